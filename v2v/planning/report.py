"""Plans: the result of the search with time and cost, as values that `v2v plan` formats.

    step = max( FLOPs / (utilization · peak rate), bytes sent / rate of the links )          links and matmuls overlapping

Utilization refers to the executed operations, recomputed ones included; 0.4 is what a tuned run of this kind reaches, not a promise.
"""

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

import jax

from v2v.config import ModelConfig
from v2v.data.loader import HELD_OUT_BATCHES
from v2v.errors import InputError
from v2v.models.conditioning import count_tokens, default_branches
from v2v.planning import chips, search, train_memory
from v2v.planning.chips import Chip
from v2v.planning.compile import GIB, ProgramCost
from v2v.planning.passes import count_pass_flops
from v2v.planning.programs import PlanSetting, ProgramKind
from v2v.planning.search import Trial
from v2v.runtime import flops, sharding
from v2v.train.config import Experiment
from v2v.train.loop import STEPS_IN_FLIGHT
from v2v.train.stage import PROBES

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialReport:
    """One trial in the units of people; the field names are the keys of `v2v plan --json`.

    Attributes:
      change: what was changed last.
      mesh: chips along each axis that has several.
      batch: clips per step.
      steps: updates of the run.
      micro: micro-batches per step.
      remat: the policy of recomputation.
      fits: whether the program fits into a chip's memory.
      arguments_gib: memory of the arguments.
      temporaries_gib: memory of temporaries; None where the program did not compile.
      peak_gib: memory at the peak, `held_gib` included.
      tflop: operations of a chip per call.
      tflop_model: the same without recomputed operations.
      sent_gb: what a chip sends, by kind of collective.
      utilisation: the assumed share of the peak rate.
      seconds: time of one call.
      hours: time of all steps.
      seconds_links: time of one call that the links alone would take.
      weights_gib: of the arguments, weights that aren't trained; None for the sampler.
      state_gib: of the arguments, trained weights with the optimizer's moments and their average; None for the sampler.
      held_gib: batches that a run holds beside that of the step.
    """

    change: str
    mesh: dict[str, int]
    batch: int
    steps: int
    micro: int
    remat: str
    fits: bool
    arguments_gib: float
    temporaries_gib: float | None
    peak_gib: float
    tflop: float
    tflop_model: float
    sent_gb: dict[str, float]
    utilisation: float
    seconds: float
    hours: float
    seconds_links: float
    weights_gib: float | None = None
    state_gib: float | None = None
    held_gib: float = 0.0


@dataclass(frozen=True)
class PassCost:
    """The cost of a sampling step on one clip and one chip; the field names are keys of `v2v plan --json`.

    Attributes:
      tflop: operations over all guidance branches.
      seconds: time at the assumed share of the peak rate.
    """

    tflop: float
    seconds: float


@dataclass(frozen=True)
class Plan:
    """The result of a search.

    Attributes:
      experiment: name of the experiment.
      program: a training step or the sampler.
      topology: the topology.
      chips: number of its chips.
      clip: frames x height x width.
      tokens: tokens of one clip.
      hbm_gib: memory of a chip.
      final: the last trial, which fits if any does.
      tried: all trials in order.
      passes: for the sampler, the cost of each kind of pass (`compare_passes`).
    """

    experiment: str
    program: ProgramKind
    topology: str
    chips: int
    clip: str
    tokens: int
    hbm_gib: float
    final: TrialReport
    tried: tuple[TrialReport, ...] = ()
    passes: dict[str, PassCost] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values, those of the final trial at the top level."""
        values: dict[str, Any] = {
            "experiment": self.experiment,
            "what": self.program,
            "topology": self.topology,
            "chips": self.chips,
            "clip": self.clip,
            "tokens": self.tokens,
            "hbm_gib": self.hbm_gib,
            "fits": self.final.fits,
            **dataclasses.asdict(self.final),
        }
        values["tried"] = [dataclasses.asdict(trial) for trial in self.tried]
        if self.passes is not None:
            values["passes"] = {kind: dataclasses.asdict(cost) for kind, cost in self.passes.items()}
        return values


def build_plan(
    setting: PlanSetting, topology: str, name: str, utilisation: float = 0.4, searching: bool = True
) -> Plan:
    """Search for a setting that fits and describe it.

    Args:
      setting: the run as requested.
      topology: "v6e:2x4" and so on.
      name: of the experiment.
      utilisation: the share of a chip's peak rate that the run is assumed to reach.
      searching: try more economical settings when the requested one does not fit.

    Raises:
      InputError: an unknown topology, libtpu is not installed, or a setting that is impossible there.
    """
    if not 0 < utilisation <= 1:
        raise InputError(
            f"plan: --utilisation is a share of the chip's rate, expected 0 to 1, got {utilisation}"
        )
    chip, devices = chips.resolve_topology(topology)
    mesh = setting.mesh
    setting = dataclasses.replace(
        setting, mesh=dataclasses.replace(mesh, data=mesh.data or sharding.count_slices(devices))
    )
    # A program for absent devices cannot be read back from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    trials = search.search_settings(setting, chip, devices, searching, progress=_log_progress)
    m = trials[-1].setting.model
    reports = tuple(describe_trial(trial, chip, utilisation, len(devices)) for trial in trials)
    return Plan(
        experiment=name,
        program=setting.program,
        topology=topology,
        chips=len(devices),
        clip=f"{m.frames}x{m.height}x{m.width}",
        tokens=count_tokens(m, reference=True),
        hbm_gib=round(chip.hbm / GIB, 2),
        final=reports[-1],
        tried=reports,
        passes=compare_passes(m, chip, utilisation) if setting.program == "sample" else None,
    )


def compare_passes(m: ModelConfig, chip: Chip, utilisation: float) -> dict[str, PassCost]:
    """Return the cost of a sampling step on one clip and one chip, by the kinds of passes of `count_pass_flops`.

    Args:
      m: the model.
      chip: the kind of chip.
      utilisation: the assumed share of its peak rate.
    """
    branches = len(default_branches(m))
    flop = {name: branches * n for name, n in count_pass_flops(m).items()}
    return {
        name: PassCost(_round(n / 1e12), _round(n / (utilisation * chip.flops))) for name, n in flop.items()
    }


def describe_trial(trial: Trial, chip: Chip, utilisation: float, devices: int) -> TrialReport:
    """Describe one trial: sizes in GiB and GB, times in seconds and hours."""
    s, cost = trial.setting, trial.cost
    mesh = {axis: n for axis, n in search.axis_sizes(s.mesh, devices).items() if n > 1}
    memory = train_memory.estimate_memory(s, chip.platform, devices) if s.program == "train" else None
    return TrialReport(
        change=trial.change,
        mesh=mesh,
        batch=s.batch,
        steps=s.steps,
        micro=s.micro,
        remat=s.model.dit.remat,
        fits=cost.fits,
        arguments_gib=_round(cost.arguments / GIB),
        temporaries_gib=None if cost.temporaries is None else _round(cost.temporaries / GIB),
        peak_gib=_round(cost.peak / GIB),
        tflop=_round(cost.flops / 1e12),
        tflop_model=_round(_model_flops(s) / devices / 1e12),
        sent_gb={kind: _round(n / 1e9) for kind, n in sorted(cost.sent_bytes.items())},
        utilisation=utilisation,
        seconds=_round(call_seconds(cost, chip, utilisation)),
        hours=_round(s.steps * call_seconds(cost, chip, utilisation) / 3600),
        seconds_links=_round(sum(cost.sent_bytes.values()) / chip.ici_rate),
        weights_gib=None if memory is None else _round(memory.weights / GIB),
        state_gib=None if memory is None else _round(memory.state / GIB),
        held_gib=_round(cost.held_bytes / GIB),
    )


def call_seconds(cost: ProgramCost, chip: Chip, utilisation: float) -> float:
    """Return the predicted seconds of one call."""
    return max(cost.flops / (utilisation * chip.flops), sum(cost.sent_bytes.values()) / chip.ici_rate)


def _model_flops(s: PlanSetting) -> float:
    """Return the operations on all chips without recomputed ones, as in model FLOP utilization."""
    if s.program == "train":
        return flops.step_flops(s.model, s.batch, count_tokens(s.model, reference=True), s.trains == "full")
    calls = s.model.flow.steps * len(default_branches(s.model))
    return (
        s.batch * calls * flops.forward_flops(s.model, count_tokens(s.model, reference=True), adapter=False)
    )


def _round(x: float) -> float:
    """Round to four digits, as a prediction has no more."""
    return float(f"{x:.4g}")


def build_setting(experiment: Experiment, program: ProgramKind) -> PlanSetting:
    """Build the setting of an experiment.

    Args:
      experiment: the experiment.
      program: "train" for its edit stage, "sample" for its sampler on the model's batch of windows.
    """
    stage, model = experiment.edit, experiment.model
    if program == "sample":
        return PlanSetting(
            model,
            stage.optim,
            experiment.mesh,
            model.batch,
            program="sample",
            weights_dtype=experiment.weights_dtype,
        )
    return PlanSetting(
        model,
        stage.optim,
        experiment.mesh,
        batch=stage.batch,
        micro=stage.micro,
        steps=stage.steps,
        trains=experiment.trains,
        region=experiment.region,
        weights_dtype=experiment.weights_dtype,
        weights_memory=experiment.weights_memory,
        held_batches=_count_held_batches(experiment),
    )


def _count_held_batches(experiment: Experiment) -> int:
    """Return the batches that a run of clips of one size holds on its devices beside that of the step."""
    held_out = HELD_OUT_BATCHES + 3 * PROBES if experiment.log.held_out_every else 0
    return STEPS_IN_FLIGHT + held_out


def _log_progress(line: str) -> None:
    logger.info("%s", line)
