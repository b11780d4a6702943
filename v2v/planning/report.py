"""Plans: the result of the search with time and cost, as JSON values and as text.

    step = max( FLOPs / (utilization · peak rate), bytes sent / rate of the links )          links and matmuls overlapping

Utilization refers to the executed operations, recomputed ones included; 0.4 is what a tuned run of this kind reaches, not a promise.
"""

import logging
import sys
from typing import Any

from v2v.config import ModelConfig
from v2v.errors import InputError
from v2v.planning import chips, search
from v2v.planning.chips import Chip
from v2v.planning.compile import GIB, ProgramCost
from v2v.planning.passes import count_pass_flops
from v2v.planning.programs import PlanSetting
from v2v.planning.search import Trial
from v2v.runtime import flops

logger = logging.getLogger(__name__)


def build_plan(
    setting: PlanSetting, topology: str, name: str, utilisation: float = 0.4, searching: bool = True
) -> dict[str, Any]:
    """Search for a setting that fits and describe it.

    Args:
      setting: the run as requested.
      topology: "v6e:2x4" and so on.
      name: of the experiment.
      utilisation: the share of a chip's peak rate that the run is assumed to reach.
      searching: try more economical settings when the requested one does not fit.

    Returns:
      the plan as JSON values; "text" is the same for people.

    Raises:
      InputError: an unknown topology, libtpu is not installed, or a setting that is impossible there.
    """
    import jax

    if not 0 < utilisation <= 1:
        raise InputError(
            f"plan: --utilisation is a share of the chip's rate, expected 0 to 1, got {utilisation}"
        )
    chip, devices = chips.resolve_topology(topology)
    # A program for absent devices cannot be read back from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    trials = search.search_settings(setting, chip, devices, searching, tell=_log_progress)
    final = trials[-1]
    m = final.setting.model
    report = {
        "experiment": name,
        "what": setting.what,
        "topology": topology,
        "chips": len(devices),
        "clip": f"{m.frames}x{m.height}x{m.width}",
        "tokens": flops.tokens(m, reference=True),
        "hbm_gib": round(chip.hbm / GIB, 2),
        "fits": final.cost.fits,
        **describe_trial(final, chip, utilisation, len(devices)),
        "tried": [describe_trial(t, chip, utilisation, len(devices)) for t in trials],
    }
    if setting.what == "sample":
        report["passes"] = compare_passes(m, chip, utilisation)
    return report | {"text": format_plan(report)}


def compare_passes(m: ModelConfig, chip: Chip, utilisation: float) -> dict[str, dict[str, float]]:
    """Compare the cost of a sampling step on one clip by the kinds of passes of `count_pass_flops`.

    Returns:
      {"tflop", "seconds"} of each kind, on one chip, over all guidance branches.
    """
    branches = 1 if m.flow.guidance == 1 else 2
    flop = {name: branches * n for name, n in count_pass_flops(m).items()}
    return {
        name: {"tflop": _round(n / 1e12), "seconds": _round(n / (utilisation * chip.flops))}
        for name, n in flop.items()
    }


def describe_trial(trial: Trial, chip: Chip, utilisation: float, devices: int) -> dict[str, Any]:
    """Describe one trial as JSON values: sizes in GiB and GB, times in seconds and hours."""
    s, cost = trial.setting, trial.cost
    mesh = {axis: n for axis, n in search.axis_sizes(s.mesh, devices).items() if n > 1}
    return {
        "change": trial.change,
        "mesh": mesh,
        "batch": s.batch,
        "steps": s.steps,
        "micro": s.micro,
        "remat": s.model.dit.remat,
        "fits": cost.fits,
        "arguments_gib": _round(cost.arguments / GIB),
        "temporaries_gib": None if cost.temporaries is None else _round(cost.temporaries / GIB),
        "peak_gib": _round(cost.peak / GIB),
        "tflop": _round(cost.flops / 1e12),
        "tflop_model": _round(_model_flops(s) / devices / 1e12),
        "sent_gb": {kind: _round(n / 1e9) for kind, n in sorted(cost.sent.items())},
        "utilisation": utilisation,
        "seconds": _round(call_seconds(cost, chip, utilisation)),
        "hours": _round(s.steps * call_seconds(cost, chip, utilisation) / 3600),
        "seconds_links": _round(sum(cost.sent.values()) / chip.ici_rate),
    }


def call_seconds(cost: ProgramCost, chip: Chip, utilisation: float) -> float:
    """Return the predicted seconds of one call."""
    return max(cost.flops / (utilisation * chip.flops), sum(cost.sent.values()) / chip.ici_rate)


def format_plan(r: dict[str, Any]) -> str:
    """Format a plan for people."""
    mesh = " ".join(f"{axis}={n}" for axis, n in r["mesh"].items()) or "one chip"
    how = f"mesh {mesh}, batch {r['batch']}"
    if r["what"] == "train":
        how += f" in {r['micro']} part{'s' * (r['micro'] > 1)}, remat {r['remat']}"
    sent_text = ", ".join(f"{kind} {n:.3g}" for kind, n in r["sent_gb"].items()) or "nothing"
    temporaries = "-" if r["temporaries_gib"] is None else f"{r['temporaries_gib']:.3g} GiB"
    unit = "step" if r["what"] == "train" else "call"
    lines = [
        f"{r['experiment']}: {r['what']} {r['clip']}, {r['tokens']:,} tokens a clip, on {r['topology']} "
        f"({r['chips']} chips of {r['hbm_gib']} GiB)",
        how,
        f"a chip  arguments {r['arguments_gib']:.3g} GiB  temporaries {temporaries}  peak {r['peak_gib']:.3g} of "
        f"{r['hbm_gib']:.3g} GiB  {'fits' if r['fits'] else 'DOES NOT FIT'}",
        f"        {r['tflop']:,.4g} TFLOP a {unit}, {r['tflop_model']:,.4g} without what is recomputed",
        f"        sends {sum(r['sent_gb'].values()):.3g} GB ({sent_text})",
        f"{unit}    {r['seconds']:.3g} s at {100 * r['utilisation']:.0f} % of the chip's rate (links alone "
        f"{r['seconds_links']:.3g} s)",
    ]
    if r["steps"] > 1:
        lines[-1] += f"; {r['steps']:,} steps in {r['hours']:.3g} hours"
    if "passes" in r:
        costs = r["passes"]
        lines += [
            f"a step on one clip, one chip: {name:8} {cost['tflop']:>10,.4g} TFLOP {cost['seconds']:>8.3g} s"
            f"  {cost['tflop'] / costs['t2v']['tflop']:.2f}x t2v"
            for name, cost in costs.items()
        ]
        lines.append("(prefill is paid once a clip, cached needs a one_way model)")
    if len(r["tried"]) > 1:
        lines.append("tried   " + "; ".join(_format_trial(t) for t in r["tried"]))
    rows = r["mesh"].get("data", 1) * r["mesh"].get("fsdp", 1)
    if r["batch"] % rows:
        lines.append(
            f"note    a batch of {r['batch']} doesn't divide by data x fsdp = {rows}: chips repeat work; use --mesh.seq"
        )
    if not r["fits"]:
        lines.append("nothing tried fits: a larger topology, a smaller clip or a lower rank is needed")
    return "\n".join(lines)


def _model_flops(s: PlanSetting) -> float:
    """Return the operations on all chips without recomputed ones, as in model FLOP utilization."""
    if s.what == "train":
        return flops.step_flops(s.model, s.batch, s.trains == "full", reference=True)
    calls = s.model.flow.steps * (1 if s.model.flow.guidance == 1 else 2)
    return (
        s.batch * calls * flops.forward_flops(s.model, flops.tokens(s.model, reference=True), adapter=False)
    )


def _round(x: float) -> float:
    """Round to four digits; a prediction has no more."""
    return float(f"{x:.4g}")


def _format_trial(t: dict[str, Any]) -> str:
    return f"{t['change']}: {t['peak_gib']:.3g} GiB{', fits' if t['fits'] else ''}"


def build_setting(experiment: Any, what: str) -> PlanSetting:
    """Build the setting of an experiment's edit stage, or of its sampler on the model's batch of windows."""
    stage, model = experiment.edit, experiment.model
    if what == "sample":
        return PlanSetting(model, stage.optim, experiment.mesh, model.batch, what="sample")
    work = {"batch": stage.batch, "micro": stage.micro, "steps": stage.steps}
    return PlanSetting(
        model, stage.optim, experiment.mesh, **work, trains=experiment.trains, region=experiment.region
    )


def _log_progress(line: str) -> None:
    if sys.stderr.isatty():
        logger.info("%s", line)
