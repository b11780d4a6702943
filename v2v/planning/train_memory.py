"""The memory of a training step by its shapes, without compiling, and the fastest setting that fits a device: `--memory`.

    total = weights and state + tensors kept for the backward pass + work of one block + gradients

Weights, state and batch are exact. What a block keeps follows from `DiTConfig.remat` (models/rematerialization.py); what it works with was fitted
to compilers' reports (`WORK`), by which `tools/checks/training_memory.py` shows how far off a total is.

The search takes what gives the same results first: where a tensor waits, and what is computed again, change no gradient. Only where no such
setting fits is the base rounded to 8 and then 4 bits. Among those of a kind the one of the fewest predicted seconds is taken: operations at an
assumed share of the chip's rate, or copies to and from the host, whichever takes longer.
"""

import dataclasses
import functools
import math
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh

from v2v.checkpoints import parameter_store
from v2v.config import (
    REMAT_TENSORS,
    MemoryName,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    WeightsDtype,
    remat_places,
)
from v2v.errors import InputError
from v2v.models import initialization
from v2v.models.conditioning import count_tokens
from v2v.planning import chips, gpus
from v2v.planning.chips import GIB, Chip
from v2v.planning.programs import PlanSetting
from v2v.runtime import flops, sharding
from v2v.train import optimizer as optimizer_lib
from v2v.train.state import TrainState

# Assumed share of a chip's rate that products reach, and bytes per second between a device and the host's memory.
UTILISATION, HOST_RATE = 0.4, 12e9
# Maps of `DiTConfig.remat` from what keeps most on the device to what keeps least.
REMATS = (
    "none",
    "dots",
    "q=device,k=device,v=device,self_attention=device",
    "outputs",
    "full",
)
OFFLOADING_REMATS = ("layer_input=host,self_attention=device", "offload", "offload_outputs")
# Time that unpacking weights in few bits adds to a step, of the operations' time.
UNPACKING = {None: 0.0, "bfloat16": 0.0, "int8": 0.02, "fp8": 0.02, "nf4": 0.06}
# What is chosen, unless the user gave it: fields of `PlanSetting` and its parts.
CHOICES = ("remat", "weights_dtype", "weights_memory", "moments", "micro")
# Weights whose rounding is tried where nothing else fits, best first.
ROUNDED: tuple[WeightsDtype, ...] = ("int8", "nf4")


@dataclass(frozen=True)
class Work:
    """What a compiler's program of a step works with beside what is kept, by platform.

    Attributes:
      streams: arrays of the residual stream's size, [b, l, d] float32.
      hidden: arrays of the MLP's size, [b, l, f] in the type of matrix products.
      rounded: as many more where weights are in few bits.
      constant: bytes.
    """

    streams: float
    hidden: float
    rounded: float
    constant: float = 0.25 * GIB


# Fitted to reports of steps of one clip of 81x480x832, rank 32, GiB without what is in the host's memory:
#     RTX 4090   full 20.6; full, int8 17.1; offload, weights on the host 7.3
#     v5e        offload_outputs, weights on the host 6.6
# With nf4 and `outputs` the 4090's is 20.1, a tenth above the prediction.
WORK = {"tpu": Work(6.0, 6.0, 2.5), "gpu": Work(6.0, 6.0, 2.5)}


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a training step takes on each device.

    Attributes:
      weights: of the frozen base.
      state: trained weights, moments, average.
      batch: latents and text.
      residuals: tensors kept for the backward pass.
      work: what a block works with, and gradients.
      host: in the host's memory beside the device.
    """

    weights: int
    state: int
    batch: int
    residuals: int
    work: int
    host: int

    @property
    def total(self) -> int:
        """Return the bytes on the device."""
        return self.weights + self.state + self.batch + self.residuals + self.work


@dataclass(frozen=True)
class Preset:
    """A setting that fits, with its prediction.

    Attributes:
      setting: the setting.
      memory: what it takes.
      seconds: of a step.
    """

    setting: PlanSetting
    memory: StepMemory
    seconds: float


def chip_of_memory(name: MemoryName) -> Chip:
    """Return the kind of device of a name of `--memory`: a TPU's, or that of an NVIDIA card with so many GB.

    Cards of 12, 16 and 24 GB are taken to compute as an RTX 4090, of 40 GB as an A100, of 80 GB as an H100.
    """
    if name in chips.CHIPS:
        return chips.CHIPS[name]
    kind = {"40": "a100", "80": "h100"}.get(name, "rtx4090")
    gpu = gpus.GPUS[kind]
    nominal = {"rtx4090": 24, "a100": 80, "h100": 80}[kind]
    memory = gpus.POOL * gpu.memory * int(name) / nominal
    return Chip(f"{name} GB", memory, gpu.flops, gpu.memory_rate, gpu.link_rate, "gpu")


def estimate_memory(setting: PlanSetting, platform: Literal["tpu", "gpu"], devices: int = 1) -> StepMemory:
    """Return what a training step takes on each device.

    Args:
      setting: the run.
      platform: of the devices.
      devices: number of them.
    """
    m, mesh = setting.model, _abstract_mesh(setting.mesh, devices)
    streams = setting.weights_memory == "host"
    plain = dataclasses.replace(m, dit=dataclasses.replace(m.dit, remat="none"))
    base_bytes, on_host = _base_bytes(plain, mesh, setting.weights_dtype, streams)
    state_bytes, trained = _state_bytes(plain, setting.optim, setting.trains, mesh)
    clips = setting.batch / (mesh.shape["data"] * mesh.shape["fsdp"])
    t, y, x, c = m.vae.latent_shape(m.frames, m.height, m.width)
    batch_bytes = int(
        clips * (2 * (3 * t + 1) * y * x * c + 2 * m.text.text_len * m.text.width + 4 * t * y * x)
    )
    # One part of the batch at a time; tokens are split over `seq`.
    rows = max(1.0, clips / setting.micro) * count_tokens(m, reference=True) / mesh.shape["seq"]
    sizes = _tensor_bytes(m, rows)
    residuals = {"device": 0.0, "host": 0.0, "recompute": 0.0}
    for name, place in remat_places(m.dit.remat).items():
        residuals[place] += m.dit.layers * sizes[name]
    if m.dit.remat == "none":  # without a policy, what lies between products is kept too
        residuals["device"] += m.dit.layers * 2 * sizes["layer_input"]
    work = WORK[platform]
    hidden = work.hidden + work.rounded * (setting.weights_dtype not in (None, "bfloat16"))
    working = rows * (work.streams * 4 * m.dit.width + hidden * 2 * m.dit.ffn_width) + work.constant
    if streams:
        working += 2 * on_host / m.dit.layers
    return StepMemory(
        int(base_bytes), int(state_bytes), batch_bytes, int(residuals["device"]), int(working + trained), int(on_host + residuals["host"])
    )  # fmt: skip


@functools.cache
def _base_bytes(
    m: ModelConfig, mesh: AbstractMesh, weights_dtype: WeightsDtype | None, streams: bool
) -> tuple[int, int]:
    """Return the bytes of the frozen transformer on a device, and in the host's memory beside it."""
    totals = {"device": 0, "host": 0}
    for x in jax.tree.leaves(parameter_store.abstract_parameters("dit", m, mesh, weights_dtype, streams)):
        place = "host" if x.sharding.memory_kind == "pinned_host" else "device"
        totals[place] += math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    return totals["device"], totals["host"]


@functools.cache
def _state_bytes(
    m: ModelConfig, optim: OptimConfig, trains: Literal["lora", "full"], mesh: AbstractMesh
) -> tuple[int, int]:
    """Return the bytes of the state on a device, and those of its trained weights."""
    base = parameter_store.abstract_parameters("dit", m)

    def create(key: jax.Array) -> TrainState:
        if trains == "lora":
            trained = initialization.init_adapter(key, m, base)
        else:
            trained = {"dit": jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), base)}
            trained["embed"] = initialization.init_embed(key, m)
        return TrainState.create(trained, optimizer_lib.build_optimizer(optim), ema=optim.ema > 0)

    def size(tree: Any, places: Any) -> int:
        leaves = zip(jax.tree.leaves(tree), jax.tree.leaves(places), strict=True)
        return sum(math.prod(place.shard_shape(x.shape)) * x.dtype.itemsize for x, place in leaves)

    state = jax.eval_shape(create, jax.random.key(0))
    places = sharding.tree_shardings(state, mesh)
    return size(state, places), size(state.trained, places.trained)


def estimate_seconds(setting: PlanSetting, chip: Chip, devices: int = 1) -> float:
    """Return the predicted seconds of a step: operations, or copies to and from the host, whichever takes longer."""
    m, mesh = setting.model, _abstract_mesh(setting.mesh, devices)
    clips = setting.batch / (mesh.shape["data"] * mesh.shape["fsdp"]) / mesh.shape["seq"]
    tokens = count_tokens(m, reference=True)
    operations = clips * (
        flops.step_flops(m, 1, tokens, setting.trains == "full") + _recomputed_flops(m, tokens)
    )
    compute = operations / (UTILISATION * chip.flops) * (1 + UNPACKING[setting.weights_dtype])
    places = remat_places(m.dit.remat)
    sizes = _tensor_bytes(m, clips * tokens)
    moved = 2 * m.dit.layers * sum(sizes[name] for name, place in places.items() if place == "host")
    if setting.weights_memory == "host":
        plain = dataclasses.replace(m, dit=dataclasses.replace(m.dit, remat="none"))
        # Forward, and again where a block is computed again and its gradient taken.
        moved += 2 * setting.micro * _base_bytes(plain, mesh, setting.weights_dtype, True)[1]
    return max(compute, moved / HOST_RATE)


def choose_preset(setting: PlanSetting, chip: Chip, fixed: Container[str] = (), devices: int = 1) -> Preset:
    """Return the fastest setting that fits.

    Args:
      setting: the run.
      chip: the kind of device.
      fixed: those of `CHOICES` that stay as they are in the setting.
      devices: number of devices.

    Raises:
      InputError: none fits.
    """
    smallest = math.inf
    for group in _groups(setting, chip, fixed, devices):
        presets = [
            Preset(s, estimate_memory(s, chip.platform, devices), estimate_seconds(s, chip, devices))
            for s in group
        ]
        fitting = [preset for preset in presets if preset.memory.total <= chip.hbm]
        if fitting:
            # Of those as fast, the one that leaves most room.
            return min(fitting, key=lambda preset: (float(f"{preset.seconds:.3g}"), preset.memory.total))
        smallest = min([smallest, *(preset.memory.total for preset in presets)])
    raise InputError(
        f"expected a run that fits {chip.hbm / GIB:.1f} GiB of a device ({chip.name}), the smallest setting takes {smallest / GIB:.1f}"
    )


def _groups(
    setting: PlanSetting, chip: Chip, fixed: Container[str], devices: int
) -> Iterator[list[PlanSetting]]:
    """Yield settings in groups, the earlier preferred.

    First the base as it is, then rounded, at last with moments rounded too. Within each, all on the device goes before the host's memory, but on GPUs,
    whose copies are not to be relied on, the host's memory comes after rounded bases.
    """
    mesh = _abstract_mesh(setting.mesh, devices)
    if "micro" not in fixed:
        clips = setting.batch // (mesh.shape["data"] * mesh.shape["fsdp"])
        setting = dataclasses.replace(setting, micro=max(1, clips))
    is_lora = setting.trains == "lora"
    dtypes: list[WeightsDtype | None] = [setting.weights_dtype]
    if "weights_dtype" not in fixed and is_lora:
        dtypes.extend(dtype for dtype in ROUNDED if dtype != setting.weights_dtype)
    moments: list[Literal["float32", "bfloat16", "int8"]] = [setting.optim.moments]
    if "moments" not in fixed and setting.optim.kind == "adamw" and setting.optim.moments == "float32":
        moments.append("int8")
    kinds = [
        (dtype, uses_host) for dtype in dtypes for uses_host in (False, True) if is_lora or not uses_host
    ]
    if chip.platform == "gpu":
        kinds.sort(key=lambda kind: kind[1])
    for stored in moments:
        optim = dataclasses.replace(setting.optim, moments=stored)
        for dtype, uses_host in kinds:
            remats = (
                (setting.model.dit.remat,) if "remat" in fixed else REMATS + uses_host * OFFLOADING_REMATS
            )
            places = (
                (setting.weights_memory,)
                if "weights_memory" in fixed
                else ("device", "host")[: 1 + uses_host]
            )
            yield [
                dataclasses.replace(
                    setting,
                    model=dataclasses.replace(
                        setting.model, dit=dataclasses.replace(setting.model.dit, remat=remat)
                    ),
                    optim=optim,
                    weights_dtype=dtype,
                    weights_memory=place,
                )
                for remat in remats
                for place in places
            ]


def describe_preset(preset: Preset) -> str:
    """Return a preset for people: its options, and what it takes."""
    s, memory = preset.setting, preset.memory
    options = [f"--model.dit.remat {s.model.dit.remat}", f"--edit.micro {s.micro}"]
    if s.weights_dtype is not None:
        options.append(f"--weights-dtype {s.weights_dtype}")
    if s.weights_memory == "host":
        options.append("--weights-memory host")
    if s.optim.moments != "float32":
        options.append(f"--edit.optim.moments {s.optim.moments}")
    host = f" and {memory.host / GIB:.1f} of the host's" if memory.host else ""
    return f"{' '.join(options)}; predicted: {memory.total / GIB:.1f} GiB of a device{host}, {preset.seconds:.3g} s a step at {UTILISATION:.0%} of its rate"


def _abstract_mesh(mesh: MeshConfig, devices: int) -> AbstractMesh:
    sizes = dataclasses.asdict(mesh)
    sizes["data"] = sizes["data"] or 1
    fixed = math.prod(n for n in sizes.values() if n != -1)
    return sharding.abstract_mesh({axis: devices // fixed if n == -1 else n for axis, n in sizes.items()})


def _tensor_bytes(m: ModelConfig, rows: float) -> dict[str, float]:
    """Return the bytes of each of `REMAT_TENSORS` of a block for so many tokens."""
    size = 2 if m.dit.dtype == "bfloat16" else 4
    sizes = dict.fromkeys(REMAT_TENSORS, rows * size * m.dit.width)
    # The kernels' statistics are a float32 for each head.
    sizes |= {name: sizes[name] + rows * 4 * m.dit.heads for name in ("self_attention", "cross_attention")}
    return sizes | {"layer_input": rows * 4 * m.dit.width, "ffn_up": rows * size * m.dit.ffn_width}


def _recomputed_flops(m: ModelConfig, tokens: int) -> float:
    """Return the operations that a step of one clip computes again."""
    d, f = m.dit.width, m.dit.ffn_width
    linear = 2.0 * tokens * d * d
    costs = dict.fromkeys(REMAT_TENSORS, linear) | {
        "layer_input": 0.0,
        "self_attention": 4.0 * tokens * tokens * d,
        "cross_attention": 4.0 * tokens * m.dit.text_len * d,
        "ffn_up": 2.0 * tokens * d * f,
    }
    if m.dit.remat == "none":
        return 0.0
    places = remat_places(m.dit.remat)
    return m.dit.layers * sum(cost for name, cost in costs.items() if places[name] == "recompute")
