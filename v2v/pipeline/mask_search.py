"""Masks by name, `--mask person`: the networks' files from the cache or the environment, and the search through a clip.

Text that is found can also be removed without a model: it hides what other frames show.
"""

import itertools
import os
import re
from pathlib import Path

from v2v.errors import InputError, suggest
from v2v.pipeline.progress import Progress, track
from v2v.pipeline.settings import AUTO_MASK
from v2v.runtime import environment
from v2v.video.mask import BOX
from v2v.video.segmentation.base import ClipMask, MaskSource, PartialMask
from v2v.video.segmentation.model_files import ModelFiles
from v2v.video.segmentation.registry import MASK_SOURCES, is_mask_source
from v2v.video.segmentation.text import TextMask
from v2v.video.text_removal import TextFreeFrames
from v2v.video.video import Video

_REMOVAL = re.compile(
    r"\s*(please\s+)?(remove|erase|delete|hide|clean (up|off)|get rid of|take (away|out|off)|wipe( out| off)?)\b",
    re.I,
)


def network_files() -> ModelFiles:
    """Return where the networks' files are found: what the environment names, else the cache."""
    variables = (environment.SUBJECT_MODEL, environment.POSE_MODEL)
    return ModelFiles(environment.cache_folder("networks"), {v.name: v.get() for v in variables})


def check_mask_name(mask: object) -> None:
    """Check that a mask given as text is a file that exists, a box, "auto" or the name of a source.

    Raises:
      InputError: it is none; the message lists the names.
    """
    if not isinstance(mask, str) or mask == AUTO_MASK or BOX.fullmatch(mask) or is_mask_source(mask):
        return
    if not os.path.exists(mask):
        raise InputError(
            f"mask {mask}: no such file; expected a picture, a video, a box x,y,w,h in whole pixels, auto, or one of "
            f"{', '.join(MASK_SOURCES)}{suggest(Path(mask).name.partition(':')[0], MASK_SOURCES)}"
        )


def search_clip(source: MaskSource, clip: Video, span: tuple[int, int], progress: Progress) -> ClipMask:
    """Return the mask of a clip, searched for in the edited frames alone.

    Args:
      source: the source.
      clip: the clip; its frames are iterated once.
      span: the edited frames, first and end.
      progress: as in progress.py.

    Raises:
      InputError: the place is in none of these frames.
    """
    first, end = span
    frames = itertools.islice(clip.frames, first, end)
    mask = source.find(track(frames, "masks", progress, end - first))
    is_whole = len(mask) in (1, len(clip.frames))
    return mask if is_whole else PartialMask(mask, first, len(clip.frames))


def remove_text(instruction: str, mask: ClipMask, clip: Video) -> TextFreeFrames | None:
    """Return the frames of a clip without its text; None unless an instruction asks for the removal of what was found and that is text.

    Args:
      instruction: such as "remove the subtitles".
      mask: the mask that was found.
      clip: the clip.
    """
    first = 0
    if isinstance(mask, PartialMask):
        mask, first = mask.mask, mask.first
    if not isinstance(mask, TextMask) or not _REMOVAL.match(instruction):
        return None
    return TextFreeFrames(clip, mask, first)
