"""Published editors as settings: of the model, and of what an edit must do for it.

Each stands on a backbone of `config/backbones.py`. A preset holds what its release was sampled with, so that `v2v edit --model NAME` needs no other
option; where files say otherwise (a scheduler, a boundary), they go first (`checkpoints/model_folder.py`).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from v2v.config import (
    ConditionConfig,
    FlowConfig,
    ModelConfig,
    wan21_t2v_1_3b,
    wan21_t2v_14b,
    wan22_ti2v_5b,
)
from v2v.language.task_prompts import WAN_NEGATIVE

# Flow time at which the 14B editor changes from its high-noise transformer to the low-noise one, and the factor of its guidance from there.
BERNINI_BOUNDARY, BERNINI_LOW_FACTOR = 0.875, 0.8


@dataclass(frozen=True)
class EditorRules:
    """What an edit must do for an editor beside sampling it.

    Attributes:
      size: clips are edited at the model's area and their own aspect (area), at a longest edge of `limit` pixels (long_edge), or at their
        own size up to `limit` pixels (pixels); the last two never enlarge.
      limit: in pixels; 0 for none.
      reference: a reference picture is stretched to the clip's size (stretch), has a size of its own by the same rule (own), or is padded with
        white to the clip's (pad).
      references: most reference pictures.
      sources: most source clips.
      has_tasks: whether a sentence that tells the task stands before the instruction (`language/task_prompts.py`).
      fits_length: whether clips shorter than a window are edited as they are, and pictures as pictures; else a window is filled with the last
        frame.
    """

    size: Literal["area", "long_edge", "pixels"] = "area"
    limit: int = 0
    reference: Literal["stretch", "own", "pad"] = "stretch"
    references: int = 1
    sources: int = 1
    has_tasks: bool = False
    fits_length: bool = False


# By `ConditionConfig.layout`; other layouts have the defaults.
RULES: Mapping[str, EditorRules] = {
    "segments": EditorRules(
        size="long_edge",
        limit=848,
        reference="own",
        references=16,
        sources=2,
        has_tasks=True,
        fits_length=True,
    ),
    "scaled_add": EditorRules(
        size="pixels", limit=720 * 1280, reference="pad", references=4, fits_length=True
    ),
}


def editor_rules(config: ModelConfig) -> EditorRules:
    """Return what an edit must do for a model."""
    return RULES.get(config.condition.layout, EditorRules())


def as_bernini(backbone: ModelConfig, boundary: float = 0.0) -> ModelConfig:
    """Return Bernini-R on a backbone of the Wan2.1 family: its tensors are the backbone's, so nothing else tells it.

    Args:
      backbone: the model that the weights fit.
      boundary: flow time at which the second transformer takes over; 0 for one transformer.
    """
    guidance = 4.0
    flow = FlowConfig(
        shift=5.0, steps=40, guidance=guidance, guidance_reference=4.5, guidance_source=1.25, negative=WAN_NEGATIVE,
        solver="unipc", schedule="wan", boundary=boundary, low_guidance=BERNINI_LOW_FACTOR * guidance if boundary else None,
    )  # fmt: skip
    return dataclasses.replace(
        backbone, frames=81, height=480, width=848, largest=(81, 848, 848), fps=16.0, flow=flow,
        condition=ConditionConfig(layout="segments", time="same"),
    )  # fmt: skip


def bernini_r_1_3b() -> ModelConfig:
    """Return Bernini-R 1.3B."""
    return dataclasses.replace(as_bernini(wan21_t2v_1_3b()), name="bernini_r_1_3b")


def bernini_r_14b() -> ModelConfig:
    """Return Bernini-R 14B, two transformers."""
    return dataclasses.replace(as_bernini(wan21_t2v_14b(), BERNINI_BOUNDARY), name="bernini_r_14b")


def as_kiwi(backbone: ModelConfig, *, reference_first: bool = False) -> ModelConfig:
    """Return Kiwi-Edit on a backbone of the size of Wan2.2-TI2V-5B.

    Args:
      backbone: the model that the weights fit.
      reference_first: whether references come before the target (the release that takes nothing but references).
    """
    condition = ConditionConfig(
        layout="scaled_add", time="same", context="stored", reference="before" if reference_first else "after"
    )
    flow = FlowConfig(shift=5.0, steps=50, guidance=1.0, solver="euler", schedule="diffsynth")
    return dataclasses.replace(
        backbone, frames=81, height=704, width=1280, largest=(81, 1280, 1280), fps=15.0, condition=condition, flow=flow
    )  # fmt: skip


def kiwi_edit_5b(*, reference_first: bool = False) -> ModelConfig:
    """Return Kiwi-Edit 5B; arguments as of `as_kiwi`."""
    kiwi = as_kiwi(wan22_ti2v_5b(), reference_first=reference_first)
    return dataclasses.replace(kiwi, name="kiwi_edit_5b")


def lucy_edit() -> ModelConfig:
    """Return Lucy-Edit, 1.0 and 1.1 alike: the source's latents are further channels of the backbone's input."""
    backbone = wan22_ti2v_5b()
    return dataclasses.replace(
        backbone,
        name="lucy_edit",
        dit=dataclasses.replace(backbone.dit, in_channels=2 * backbone.dit.out_channels),
        condition=ConditionConfig(layout="channel", time="same"),
        flow=FlowConfig(shift=5.0, steps=50, guidance=5.0, solver="unipc", schedule="diffusers"),
    )
