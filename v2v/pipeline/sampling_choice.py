"""How a model is sampled, where several say it: what the user set, a preset, an adapter's own schedule, and the model's, in that order.

Weights distilled to a few steps give poor results in any other way, so whatever is passed over is told in a note.
"""

import dataclasses
from collections.abc import Set
from typing import Any

from v2v.checkpoints.presets import Preset, describe_sampling
from v2v.config import FlowConfig, ModelConfig, SamplingConfig
from v2v.errors import note
from v2v.pipeline.settings import EditSettings

# Fields of `FlowConfig` that a `SamplingConfig` sets.
FIELDS = tuple(field.name for field in dataclasses.fields(SamplingConfig))


def change_flow(flow: FlowConfig, values: dict[str, Any]) -> FlowConfig:
    """Return a flow with other values; its explicit levels are given up where a schedule, a shift or another number of steps is asked for.

    Args:
      flow: the model's.
      values: fields of `FlowConfig`.

    Raises:
      ValueError: values that don't fit.
    """
    values = dict(values)
    if values.get("levels"):
        values.setdefault("steps", len(values["levels"]))
    elif flow.levels and (
        values.keys() & {"schedule", "shift"} or values.get("steps", flow.steps) != flow.steps
    ):
        values["levels"] = ()
    changed = dataclasses.replace(flow, **values)
    if flow.levels:
        note_departure(sampling_of(flow), changed, "the model was distilled")
    return changed


def sampling_of(flow: FlowConfig) -> SamplingConfig:
    """Return the part of a flow that says how it is sampled."""
    return SamplingConfig(**{name: getattr(flow, name) for name in FIELDS})


def apply_sampling(
    flow: FlowConfig, sampling: SamplingConfig, user_fields: Set[str], origin: str
) -> FlowConfig:
    """Return a flow that is sampled as a preset or an adapter says, except in what the user set; what is not followed is told in a note.

    Args:
      flow: the model's flow.
      sampling: what the preset or the adapter says.
      user_fields: names of fields that the user set.
      origin: what says so, for the note, such as "preset fastwan".
    """
    values = {name: value for name, value in vars(sampling).items() if name not in user_fields}
    steps = flow.steps if "steps" in user_fields else sampling.steps
    if sampling.levels and (user_fields & {"schedule", "shift"} or steps != len(sampling.levels)):
        values["levels"] = ()
    if "levels" in user_fields:
        values.pop("steps", None)
    if not user_fields & {"guidance", "low_guidance"}:
        values["low_guidance"] = None  # one scale for both transformers of a model with two
    changed = dataclasses.replace(flow, **values)
    note_departure(sampling, changed, f"{origin} is meant")
    return changed


def note_departure(sampling: SamplingConfig, flow: FlowConfig, words: str) -> None:
    """Note where a flow isn't sampled as its weights are meant to be.

    Args:
      sampling: how they are meant to be.
      flow: how they are.
      words: the beginning of the note, before "for ...".
    """
    actual = sampling_of(flow)
    names = ["solver", "steps", "guidance", "levels"]
    if not sampling.levels:
        names += ["schedule", "shift"]
    if any(getattr(actual, name) != getattr(sampling, name) for name in names):
        note(
            f"sampling: {words} for {describe_sampling(sampling)}; with {describe_sampling(actual)}, as asked, results may be poor"
        )


def note_settings(settings: EditSettings, config: ModelConfig) -> None:
    """Note where an edit asks a model of explicit levels for another number of steps or another guidance than it was distilled for."""
    flow = config.flow
    if not flow.levels:
        return
    wish = sampling_of(flow)
    if settings.steps_of(config) != flow.steps:
        wish = dataclasses.replace(wish, steps=settings.steps_of(config), levels=())
    wish = dataclasses.replace(wish, guidance=settings.guidance_of(config))
    if wish != sampling_of(flow):
        note_departure(sampling_of(flow), dataclasses.replace(flow, **vars(wish)), f"{config.name} is meant")


def note_preset(preset: Preset, config: ModelConfig) -> None:
    """Note the caution of a preset, and a model of another backbone than it is of."""
    if preset.caution:
        note(f"preset {preset.name}: {preset.caution}")
    if preset.backbone not in (0, config.dit.width):
        note(f"preset {preset.name} is of {preset.title}; {config.name} is another backbone")
