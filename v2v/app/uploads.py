"""What a sender asks for, checked before it is a job: form fields to settings, uploads to files that can be decoded and are within limits."""

import json
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from v2v.app.access import Limits
from v2v.errors import InputError, collect_notes
from v2v.pipeline.settings import AUTO_MASK, EditSettings
from v2v.video.decoder import StreamInfo, iterate_frames
from v2v.video.mask import BOX
from v2v.video.segmentation.registry import MASK_SOURCES

LONGEST_PROMPT = 4000
# Fields of OpenAI's videos interface that an edit has no use for, and why.
_FOREIGN_FIELDS = {
    "size": "the clip's own size is kept",
    "seconds": "the clip's own length is kept; start and end choose a part",
    "input_reference": "send the picture as reference",
}


class LimitError(InputError):
    """An upload beyond the server's limits."""


def read_prompt(text: str | None) -> str:
    """Return the instruction.

    Raises:
      InputError: none, or one that is too long or holds control characters.
    """
    prompt = (text or "").strip()
    if not prompt:
        raise InputError("prompt: expected the edit as a sentence, got none")
    if len(prompt) > LONGEST_PROMPT:
        raise InputError(f"prompt: expected at most {LONGEST_PROMPT} characters, got {len(prompt)}")
    if not all(character.isprintable() or character.isspace() for character in prompt):
        raise InputError("prompt: expected text, got control characters")
    return prompt


def read_settings(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of form fields, as `EditSettings` takes them, with "mask" for one by name.

    Args:
      fields: the form's texts, without the prompt.

    Raises:
      InputError: an unknown name, or a value out of range.
    """
    kinds = typing.get_type_hints(EditSettings)
    settings: dict[str, Any] = {}
    for name, text in fields.items():
        if name in _FOREIGN_FIELDS:
            raise InputError(f"{name}: {_FOREIGN_FIELDS[name]}; leave it out")
        if name == "mask":
            settings[name] = _read_mask_name(text)
            continue
        settings[name] = text if kinds.get(name) is str else _parse(text)
    EditSettings.of(**{name: value for name, value in settings.items() if name != "mask"})
    return settings


def _read_mask_name(text: str) -> str:
    """Return the name of a mask; never a path, which would be one of this machine."""
    if text == AUTO_MASK or BOX.fullmatch(text) or text.partition(":")[0] in MASK_SOURCES:
        return text
    raise InputError(
        f"mask: expected a file, a box x,y,w,h, {AUTO_MASK} or one of {', '.join(MASK_SOURCES)}, got {text[:100]!r}"
    )


def _parse(text: str) -> Any:
    """Return a number or truth value; other texts as they are."""
    try:
        value = json.loads(text.lower() if text.lower() in ("true", "false", "null") else text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) or value is None else text


def check_clip(
    path: Path,
    role: str,
    limits: Limits,
    info: StreamInfo | None = None,
    on_frame: Callable[[np.ndarray], None] = lambda frame: None,
) -> list[str]:
    """Decode an upload from its beginning to its end, in a child process; return what there is to note.

    Args:
      path: the file.
      role: what it is, for messages.
      limits: of the server.
      info: filled during the pass.
      on_frame: called with every frame, uint8 [H, W, 3] RGB.

    Raises:
      LimitError: too long or too large.
      InputError: it can't be decoded.
    """
    info = StreamInfo() if info is None else info
    with collect_notes() as notes:
        try:
            for count, frame in enumerate(iterate_frames(path, info, with_audio=False), 1):
                if frame.shape[0] * frame.shape[1] > limits.pixels:
                    raise LimitError(
                        f"{role}: expected at most {limits.pixels} pixels a frame, got {frame.shape[1]}x{frame.shape[0]}"
                    )
                if count > limits.frames:
                    raise LimitError(f"{role}: expected at most {limits.frames} frames, got more")
                if len(info.times) and info.times[-1] > limits.seconds:
                    raise LimitError(f"{role}: expected at most {limits.seconds:g} seconds, got more")
                on_frame(frame)
        except LimitError:
            raise
        except InputError as error:
            # The sender's name for it, not ours.
            raise InputError(f"{role}: {str(error).replace(str(path), 'the file')}") from None
    return [text.replace(str(path), role) for text in notes]
