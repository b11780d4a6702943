"""What published editors are given beside the clip: references at their sizes, the sentence of their task, stored contexts.

What a model has is read from its configuration (`models/editor_presets.py`); for models without such rules nothing here does anything.
"""

from collections.abc import Sequence

import numpy as np

from v2v.checkpoints import context_file
from v2v.config import ModelConfig
from v2v.errors import InputError, note
from v2v.language.task_prompts import choose_task, task_prefix
from v2v.models.conditioning import build_conditioning
from v2v.models.editor_presets import editor_rules
from v2v.pipeline.model import EditingModel, TextEmbedding
from v2v.pipeline.settings import EditRequest, EditSettings, PictureInput
from v2v.pipeline.working_size import choose_size
from v2v.video import inputs

# How far a clip's rate may be from the model's without a note.
NOTED_RATE = 1.6


def check_inputs(model: EditingModel, request: EditRequest, *, has_mask: bool, frames: int) -> None:
    """Check that a model takes what an edit is given; a mask or time range that it can't be shown causes a note.

    Args:
      model: the model.
      request: the edit.
      has_mask: whether it has a mask that doesn't cover everything.
      frames: frames to be edited.

    Raises:
      InputError: references that the model doesn't take, a mode or scale of guidance that it doesn't have, a context that it doesn't read.
    """
    config, settings, references = model.config, request.settings, request.references
    if references and "reference" not in model.conditions:
        raise InputError(f"reference: {config.name} takes none; leave it out or load an adapter with one")
    limit = editor_rules(config).references
    if len(references) > limit:
        raise InputError(
            f"reference: {config.name} takes {limit} at most, got {len(references)}; leave some out"
        )
    if request.second_video is not None:
        if editor_rules(config).sources < 2:
            raise InputError(
                f"second_video: {config.name} takes one clip; leave it out, or use ByteDance/Bernini-R-1.3B-Diffusers, which takes two"
            )
        if settings.detail == "tiles":
            raise InputError(
                'second_video: with detail "tiles" a tile would be shown all of it; expected another detail'
            )
    if request.context is not None and config.condition.context != "stored":
        raise InputError(f"context: {config.name} reads the instruction itself; leave {request.context} out")
    conditions = {*model.conditions} - ({"reference"} if not references else set())
    conditioning = build_conditioning(config.dit, config.condition)
    mode = conditioning.guidance_mode(settings.guide, conditions, -(-frames // config.vae.stride_t))
    for axis, value in (("reference", settings.guidance_reference), ("source", settings.guidance_source)):
        if value is not None and axis not in mode.axes:
            raise InputError(
                f"guidance_{axis}: {config.name} isn't guided on that here, it would do nothing; leave it out"
            )
    if has_mask and model.conditions and "mask" not in model.conditions:
        tell_blindness(config, settings)


def tell_blindness(config: ModelConfig, settings: EditSettings) -> None:
    """Note what a model that takes no mask sees of one."""
    remedy = (
        "outside the mask the source is put back"
        if settings.preserve
        else "with --no-preserve the mask does nothing"
    )
    note(
        f"mask: {config.name} takes none: it sees whole frames and edits them as the sentence says; {remedy}"
    )


def tell_rate(config: ModelConfig, fps: float) -> None:
    """Note where a clip has a rate far from that of an editor that was trained at one: its motion looks slow or fast to it.

    Args:
      config: the model.
      fps: frames per second of the clip.
    """
    rules = editor_rules(config)
    if rules.fits_length and fps > 0 and max(fps / config.fps, config.fps / fps) > NOTED_RATE:
        note(
            f"{config.name} was trained at {config.fps:g} frames a second; all {fps:.4g} of the clip are edited, so motion has another speed for it: "
            f"convert the clip to {config.fps:g} first for what its release does"
        )


def read_references(config: ModelConfig, references: Sequence[PictureInput]) -> list[np.ndarray]:
    """Read reference pictures and bring them to the sizes at which the model takes them, uint8 [h, w, 3] each.

    Args:
      config: the model, at the size for the clip.
      references: the pictures.

    Raises:
      InputError: a picture that can't be read.
    """
    how, size = editor_rules(config).reference, (config.height, config.width)
    pictures = []
    for reference in references:
        picture = inputs.read_picture(reference)
        if how == "pad":
            pictures.append(inputs.pad_frame(picture, *size))
        elif how == "own":
            pictures.append(inputs.resize_frame(picture, *choose_size(config, *picture.shape[:2])))
        else:
            pictures.append(inputs.resize_frame(picture, *size))
    return pictures


def tell_task(
    config: ModelConfig,
    settings: EditSettings,
    *,
    has_source: bool,
    has_reference: bool,
    is_picture: bool,
    has_second_source: bool = False,
) -> str:
    """Return the sentence that tells a model its task; "" for models that are told none.

    Args:
      config: the model.
      settings: the edit's; its `task` goes first.
      has_source: whether there is a clip or picture to edit.
      has_reference: whether there are references.
      is_picture: whether the result is one picture.
      has_second_source: whether there is a second clip.

    Raises:
      InputError: a task for a model that is told none.
    """
    if not editor_rules(config).has_tasks:
        if settings.task:
            raise InputError(f"task: {config.name} is told none, it would do nothing; leave it out")
        return ""
    task = choose_task(
        has_source=has_source,
        has_reference=has_reference,
        is_picture=is_picture,
        has_second_source=has_second_source,
    )
    return task_prefix(settings.task or task)


def read_context(
    config: ModelConfig, request: EditRequest, instruction: str, *, is_picture: bool
) -> TextEmbedding:
    """Read the stored context of an edit in place of its embedded instruction.

    Args:
      config: the model.
      request: the edit.
      instruction: the sentence that the model is given.
      is_picture: whether the source is one picture.

    Raises:
      InputError: no context, one that can't be read, or one of another edit.
    """
    if request.context is None:
        raise InputError(
            f"context: {config.name} reads no sentence itself, expected a file that tools/kiwi_contexts.py made of this clip and sentence; "
            "pass it with --context"
        )
    context = context_file.read_context(request.context, config)
    references = request.references
    context_file.check_context(
        request.context, context, instruction, source=request.video, reference=references[0] if references else None, is_picture=is_picture,
    )  # fmt: skip
    return TextEmbedding(context.rows[None], [], "")
