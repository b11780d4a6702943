"""The mask sources by the names that `--mask`, manifests and `EditRequest.mask` take.

A name may have an argument after a colon, such as the word of `text:SALE`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from v2v.errors import InputError
from v2v.video.segmentation.base import MaskSource
from v2v.video.segmentation.halves import HalfSource, Side
from v2v.video.segmentation.model_files import ModelFiles
from v2v.video.segmentation.person import PersonSource
from v2v.video.segmentation.text import SubtitleSource, TextSource
from v2v.video.segmentation.text_reading import RapidReader


@dataclass(frozen=True)
class MaskSourceInfo:
    """A mask source as the command line shows it.

    Attributes:
      summary: what it finds, for help texts.
      build: makes it from the files of networks and the argument after the colon, "" for none. Raises InputError where the extra isn't installed.
      argument: what the argument is; "" where it takes none.
      extra: the extra of setup.py that it needs; "" for none.
    """

    summary: str
    build: Callable[[ModelFiles, str], MaskSource]
    argument: str = ""
    extra: str = ""


def _half(side: Side) -> Callable[[ModelFiles, str], MaskSource]:
    return lambda _files, _argument: HalfSource(side)


MASK_SOURCES: dict[str, MaskSourceInfo] = {
    "person": MaskSourceInfo("the people", lambda files, _: PersonSource(files), extra="subject"),
    "background": MaskSourceInfo(
        "everything but the people", lambda files, _: PersonSource(files, is_inverted=True), extra="subject"
    ),
    "text": MaskSourceInfo(
        "all readable text, or a word of it",
        lambda _, word: TextSource(RapidReader(), word),
        argument="a word to find, such as text:SALE",
        extra="text",
    ),
    "subtitles": MaskSourceInfo(
        "lines that stand still in the lower middle",
        lambda _files, _: SubtitleSource(RapidReader()),
        extra="text",
    ),
    "left": MaskSourceInfo("the left half of the frame", _half("left")),
    "right": MaskSourceInfo("the right half", _half("right")),
    "top": MaskSourceInfo("the upper half", _half("top")),
    "bottom": MaskSourceInfo("the lower half", _half("bottom")),
    "center": MaskSourceInfo("the middle of the frame", _half("center")),
}


def is_mask_source(mask: object) -> TypeGuard[str]:
    """Return whether a mask is the name of a source; a file of that name goes before."""
    return isinstance(mask, str) and mask.partition(":")[0] in MASK_SOURCES and not Path(mask).exists()


def build_mask_source(mask: str, files: ModelFiles) -> MaskSource:
    """Build the source that a mask names.

    Args:
      mask: NAME or NAME:ARGUMENT.
      files: where the files of networks are.

    Raises:
      InputError: an argument where the source takes none or none where it takes one, an extra that isn't installed, or a network that can't be had.
    """
    name, colon, argument = mask.partition(":")
    info = MASK_SOURCES[name]
    if colon and not info.argument:
        raise InputError(f"mask {mask}: {name} takes nothing after a colon; leave it out")
    if colon and not argument.strip():
        raise InputError(f"mask {mask}: expected {info.argument} after the colon, got nothing")
    return info.build(files, argument.strip())
