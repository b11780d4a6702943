"""The search for the first setting that fits, from the requested one to more and more economical ones.

Memory that would be left over is used: settings that recompute less are compiled first, fastest first, as far as they fit by the shapes alone
(train_memory.py). The first that fits is the result; the requested one, which then fits too, isn't compiled, as each takes minutes.

Each step keeps the changes of those before it: the next remat policy up to `full`; micro-batches down to one clip per chip; weights over all
chips (data → fsdp); tokens over 2, 4, 8 chips (seq), which also lets one clip span several chips. Settings whose arguments alone
are too large are skipped without compilation. A sampler has no remat; its batch is halved instead.
"""

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from v2v.config import MeshConfig
from v2v.errors import InputError
from v2v.planning import compile as compiling
from v2v.planning import programs
from v2v.planning.chips import Chip
from v2v.planning.compile import ProgramCost
from v2v.planning.programs import PlanSetting, Program
from v2v.planning.train_memory import estimate_memory

# Presets without the host's memory, in the order of how much is recomputed.
REMAT_POLICIES = ("none", "dots", "outputs", "full")

# The change of the requested setting.
AS_ASKED = "as asked"
# Seconds between reports of a compilation in progress.
REPORT_SECONDS = 10.0
# A prediction by shapes may be so much too small; what fits by less is not worth minutes of compilation.
MARGIN = 1.05


@dataclass(frozen=True)
class Trial:
    """One setting and its cost.

    Attributes:
      change: what was changed last; "as asked" for the requested setting.
      setting: the setting.
      cost: its cost.
    """

    change: str
    setting: PlanSetting
    cost: ProgramCost


def search_settings(
    setting: PlanSetting,
    chip: Chip,
    devices: list,
    search: bool = True,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Trial]:
    """Try settings in order until one fits.

    Args:
      setting: the requested setting.
      chip: the kind of chip.
      devices: the devices to compile for.
      search: try faster settings before the requested one, and more economical ones where it does not fit.
      progress: receives a line before each compilation, and every ten seconds of it.

    Returns:
      all trials in order. The last fits if any does, and no other.

    Raises:
      InputError: the requested setting is impossible on these devices; other impossible ones are skipped.
    """
    trials: list[Trial] = []
    for change, candidate in iterate_faster(setting, chip, len(devices)) if search else ():
        progress(f"{change}: compiling")
        with _reports(progress, change):
            cost = _measure_cost(candidate, chip, devices)
        trials.append(Trial(change, candidate, cost))
        if cost.fits:
            return trials
    for change, candidate in iterate_candidates(setting, len(devices)) if search else [(AS_ASKED, setting)]:
        progress(f"{change}: compiling")
        try:
            with _reports(progress, change):
                cost = _measure_cost(candidate, chip, devices)
        except InputError:
            if change == AS_ASKED:
                raise
            continue
        trials.append(Trial(change, candidate, cost))
        if cost.fits:
            break
    return trials


def iterate_faster(setting: PlanSetting, chip: Chip, devices: int) -> Iterator[tuple[str, PlanSetting]]:
    """Yield (change, setting) of what recomputes less than a training step does and is predicted to fit, fastest first."""
    if setting.program != "train" or setting.model.dit.remat not in REMAT_POLICIES:
        return
    for policy in REMAT_POLICIES[: REMAT_POLICIES.index(setting.model.dit.remat)]:
        faster = _with_remat(setting, policy)
        if MARGIN * estimate_memory(faster, chip.platform, devices).total <= chip.hbm:
            yield f"remat {policy}, which recomputes less than {setting.model.dit.remat}", faster


def iterate_candidates(setting: PlanSetting, chips: int) -> Iterator[tuple[str, PlanSetting]]:
    """Yield (change, setting), beginning with the requested one."""
    yield AS_ASKED, setting
    s = setting
    if s.program == "train":
        is_preset = s.model.dit.remat in REMAT_POLICIES
        for policy in REMAT_POLICIES[REMAT_POLICIES.index(s.model.dit.remat) + 1 if is_preset else -1 :]:
            s = _with_remat(s, policy)
            yield f"remat {policy}", s
        for n in _halvings(_clips_per_group(s, chips) // s.micro):
            s = dataclasses.replace(s, micro=_clips_per_group(s, chips) // n)
            yield f"micro-batches of {n} a chip", s
    mesh = axis_sizes(s.mesh, chips)
    if mesh["data"] > 1:
        s = _with_mesh(s, mesh | {"data": 1, "fsdp": mesh["data"] * mesh["fsdp"]}, chips)
        yield f"weights over {s.mesh.fsdp} chips", s
    for seq in (2, 4, 8):
        mesh = axis_sizes(s.mesh, chips)
        fewer, remainder = divmod(mesh["fsdp"] * mesh["seq"], seq)
        if seq <= mesh["seq"] or remainder or s.model.dit.heads % (seq * mesh["tensor"]):
            continue
        s = _with_mesh(s, mesh | {"seq": seq, "fsdp": fewer}, chips)
        yield f"tokens over {seq} chips, weights over {fewer}", s
    if s.program == "sample":
        for n in _halvings(s.batch):
            s = dataclasses.replace(s, batch=n)
            yield f"batch {n}", s


@contextlib.contextmanager
def _reports(
    progress: Callable[[str], None], change: str, interval: float = REPORT_SECONDS
) -> Iterator[None]:
    """Report every `interval` seconds that a setting is still being compiled."""
    is_done, start = threading.Event(), time.monotonic()

    def report() -> None:
        while not is_done.wait(interval):
            progress(f"{change}: compiling for {time.monotonic() - start:.0f} s")

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()


def _measure_cost(setting: PlanSetting, chip: Chip, devices: list) -> ProgramCost:
    program = programs.build_program(setting, devices)
    arguments = compiling.argument_bytes(program)
    if arguments > chip.hbm:
        return ProgramCost(arguments, None, arguments, False, 0.0)
    return compiling.compile_program(program, chip.hbm, held_bytes(program, setting.held_batches))


def held_bytes(program: Program, batches: int) -> int:
    """Return the bytes on each device of a training step's batches beside its own."""
    return (
        batches * compiling.argument_bytes(dataclasses.replace(program, args=program.args[1:2]))
        if batches
        else 0
    )


def _with_remat(s: PlanSetting, policy: str) -> PlanSetting:
    dit = dataclasses.replace(s.model.dit, remat=policy)
    return dataclasses.replace(s, model=dataclasses.replace(s.model, dit=dit))


def _with_mesh(s: PlanSetting, axes: dict[str, int], chips: int) -> PlanSetting:
    """Set another mesh for the same batch; training then takes one clip per group of chips and micro-batch."""
    s = dataclasses.replace(s, mesh=MeshConfig(**axes))
    return dataclasses.replace(s, micro=max(1, _clips_per_group(s, chips))) if s.program == "train" else s


def axis_sizes(mesh: MeshConfig, chips: int) -> dict[str, int]:
    """Return the number of chips along each axis, with -1 resolved."""
    requested = dataclasses.asdict(mesh)
    requested["data"] = requested["data"] or 1
    fixed = math.prod(n for n in requested.values() if n != -1)
    return {axis: chips // fixed if n == -1 else n for axis, n in requested.items()}


def _clips_per_group(s: PlanSetting, chips: int) -> int:
    """Return the clips per step of one data-parallel group of chips."""
    mesh = axis_sizes(s.mesh, chips)
    return s.batch // (mesh["data"] * mesh["fsdp"])


def _halvings(n: int) -> Iterator[int]:
    while n > 1:
        n = max(d for d in range(1, n) if n % d == 0)
        yield n
