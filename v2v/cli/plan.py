"""`v2v plan`: whether a run fits on devices that need not be present, and what it costs."""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2v.checkpoints import hub
from v2v.checkpoints.known_models import find_configuration
from v2v.checkpoints.model_folder import read_model_folder
from v2v.cli.memory_preset import resolve_memory
from v2v.cli.train import load_experiment
from v2v.config import ModelConfig, PhaseKind, ProgramKind, WeightsDtype
from v2v.errors import InputError
from v2v.planning import edit_plan, encode_plan, preview_plan, report
from v2v.planning.chips import parse_topology
from v2v.planning.report import Plan, TrialReport
from v2v.train.fine_tuning import with_published_sizes

# The experiment whose training settings a published model has that is named in place of one.
BACKBONE_EXPERIMENT = "wan22_ti2v_5b"


@dataclass(frozen=True)
class PlanRequest:
    """A run to plan.

    Attributes:
      experiment: name or path of an experiment, or a published model, which is then `model`, with the settings of `BACKBONE_EXPERIMENT`.
      model: a published model in place of the experiment's (`_plan_model`), a folder or ORG/NAME on the hub; "" for the experiment's own.
      overrides: words such as --edit.steps 100 that set its fields.
      topology: "v6e:2x4" and so on.
      program: a training step, the sampler, a whole edit, the encoding of latents, or a preview during training.
      utilisation: the assumed share of the peak rate, 0 to 1.
      search: whether to try more economical settings when the requested one does not fit.
      json: whether to return JSON values instead of text.
      weights_dtype: type that weights which aren't trained are stored in; None for the experiment's.
    """

    experiment: str
    overrides: Sequence[str]
    topology: str
    program: ProgramKind | PhaseKind = "train"
    utilisation: float = 0.4
    search: bool = True
    json: bool = False
    model: str = ""
    weights_dtype: WeightsDtype | None = None


def parse_request(args: argparse.Namespace) -> PlanRequest:
    """Return the request of a command line; nothing else here sees the parsed arguments."""
    return PlanRequest(
        experiment=args.experiment,
        overrides=args.extra_words,
        topology=args.topology,
        program=args.what,
        utilisation=args.utilisation,
        search=not args.no_search,
        json=args.json,
        model=args.model,
        weights_dtype=args.weights_dtype,
    )


def run_plan(request: PlanRequest) -> dict[str, Any]:
    """Plan a run and return what the command prints.

    Raises:
      InputError: an unknown experiment, model or topology, libtpu is not installed, or a setting that is impossible there.
    """
    if not request.model and _is_model(request.experiment):
        request = dataclasses.replace(request, experiment=BACKBONE_EXPERIMENT, model=request.experiment)
    config = load_experiment(request.experiment, request.overrides, "plan").config
    if request.model:
        base = load_experiment(request.experiment, [], "plan").config.model
        model = _plan_model(request.model, base, config.model, request.program)
        config = dataclasses.replace(config, model=model, name=request.model)
    if request.weights_dtype is not None:
        if config.trains == "full" and request.program == "train":
            raise InputError(
                "plan: --weights-dtype is for a frozen base, but --trains is full; leave one out"
            )
        config = dataclasses.replace(config, trains="lora", weights_dtype=request.weights_dtype)
    if request.program in ("train", "preview"):
        config = resolve_memory(config, request.overrides, parse_topology(request.topology).chips)
    if request.program == "edit":
        # Without axes of its own, the clip's mesh is chosen.
        mesh = config.mesh if max(config.mesh.fsdp, config.mesh.seq, config.mesh.tensor) > 1 else None
        edit = edit_plan.plan_edit(
            config.model, request.topology, config.name, mesh, config.weights_dtype, request.utilisation
        )
        return edit.to_json() if request.json else {"output": edit.describe()}
    if request.program == "encode":
        encoding = encode_plan.plan_encoding(config.model, request.topology, config.name, request.utilisation)
        return encoding.to_json() if request.json else {"output": encoding.describe()}
    if request.program == "preview":
        preview = preview_plan.plan_preview(config, request.topology, request.utilisation)
        return preview.to_json() if request.json else {"output": preview.describe()}
    setting = report.build_setting(config, request.program)
    plan = report.build_plan(setting, request.topology, config.name, request.utilisation, request.search)
    return plan.to_json() if request.json else {"output": format_plan(plan)}


def _is_model(name: str) -> bool:
    """Return whether what stands in an experiment's place is a published model: a folder or ORG/NAME."""
    return Path(name).is_dir() or bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*(?<!\.py)(@[^/]+)?", name))


def _plan_model(
    name: str,
    experiment_model: ModelConfig,
    request_model: ModelConfig,
    program: ProgramKind | PhaseKind,
) -> ModelConfig:
    """Return the model that is planned in place of an experiment's.

    A training step has the experiment's clips and settings with the sizes of the published weights, as `v2v train` has. An edit, and the sampler,
    are those of `v2v edit --model NAME`: the published model's clips and sampling too, but for what the command line sets.

    Args:
      name: the published model; of known ones nothing is fetched.
      experiment_model: the experiment's.
      request_model: the same with the fields of the command line.
      program: what is planned.
    """
    published = None if Path(name).exists() else find_configuration(name)
    if published is None:
        with hub.open_for_examination(name) as examined:
            published = read_model_folder(examined.folder).config
    if program in ("train", "encode", "preview"):
        return with_published_sizes(request_model, published)
    return _with_changes(published, experiment_model, request_model)


def _with_changes(settings: Any, base: Any, changed_base: Any) -> Any:
    """Return settings with the fields in which two others of their kind differ, as the latter has them."""
    changes = {}
    for field in dataclasses.fields(settings):
        old, new = getattr(base, field.name), getattr(changed_base, field.name)
        if old == new:
            continue
        is_nested = dataclasses.is_dataclass(old) and type(old) is type(new)
        changes[field.name] = _with_changes(getattr(settings, field.name), old, new) if is_nested else new
    return dataclasses.replace(settings, **changes)


def format_plan(plan: Plan) -> str:
    """Return a plan for people, several lines."""
    trial = plan.final
    mesh = " ".join(f"{axis}={n}" for axis, n in trial.mesh.items()) or "one chip"
    setting = f"mesh {mesh}, batch {trial.batch}"
    if plan.program == "train":
        setting += f" in {trial.micro} part{'s' * (trial.micro > 1)}, remat {trial.remat}"
    sent_text = ", ".join(f"{kind} {n:.3g}" for kind, n in trial.sent_gb.items()) or "nothing"
    temporaries = "-" if trial.temporaries_gib is None else f"{trial.temporaries_gib:.3g} GiB"
    unit = "step" if plan.program == "train" else "call"
    lines = [
        f"{plan.experiment}: {plan.program} {plan.clip}, {plan.tokens:,} tokens a clip, on {plan.topology} "
        f"({plan.chips} chips of {plan.hbm_gib} GiB)",
        setting,
        f"a chip  arguments {trial.arguments_gib:.3g} GiB  temporaries {temporaries}  peak {trial.peak_gib:.3g} of "
        f"{plan.hbm_gib:.3g} GiB  {'fits' if trial.fits else 'DOES NOT FIT'}",
        *_format_held(trial),
        f"        {trial.tflop:,.4g} TFLOP a {unit}, {trial.tflop_model:,.4g} without what is recomputed",
        f"        sends {sum(trial.sent_gb.values()):.3g} GB ({sent_text})",
        f"{unit}    {trial.seconds:.3g} s at {100 * trial.utilisation:.0f} % of the chip's rate (links alone "
        f"{trial.seconds_links:.3g} s)",
    ]
    if trial.steps > 1:
        lines[-1] += f"; {trial.steps:,} steps in {trial.hours:.3g} hours"
    if plan.passes is not None:
        costs = plan.passes
        lines += [
            f"a step on one clip, one chip: {name:8} {cost.tflop:>10,.4g} TFLOP {cost.seconds:>8.3g} s"
            f"  {cost.tflop / costs['t2v'].tflop:.2f}x t2v"
            for name, cost in costs.items()
        ]
        lines.append("(prefill is paid once a clip, cached needs a one_way model)")
    if len(plan.tried) > 1:
        lines.append("tried   " + "; ".join(_format_trial(t) for t in plan.tried))
    rows = trial.mesh.get("data", 1) * trial.mesh.get("fsdp", 1)
    if trial.batch % rows:
        lines.append(
            f"note    a batch of {trial.batch} doesn't divide by data x fsdp = {rows}: chips repeat work; use --mesh.seq"
        )
    if not trial.fits:
        lines.append("nothing tried fits: a larger topology, a smaller clip or a lower rank is needed")
    return "\n".join(lines)


def _format_held(trial: TrialReport) -> list[str]:
    """Return what the arguments of a training step are, in a line; none for a sampler."""
    if trial.weights_gib is None or trial.state_gib is None:
        return []
    return [
        f"        of the arguments {trial.weights_gib:.3g} GiB are frozen weights, {trial.state_gib:.3g} what is trained, with moments and average; "
        f"the peak holds {trial.held_gib:.2g} GiB of other batches"
    ]


def _format_trial(trial: TrialReport) -> str:
    return f"{trial.change}: {trial.peak_gib:.3g} GiB{', fits' if trial.fits else ''}"
