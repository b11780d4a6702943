"""Sources: the clips, experts and published sets that a request brings along for recipes to read.

Files may change while a process runs. What is read from them is cached together with `file_stamp`, so that an edited file is read again.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from data_synth import footage
from v2v.errors import InputError

Content = TypeVar("Content")

# What a recipe may read: the folder of clips, experts of role mask for those clips, the set of its own name, the caption writer, the
# license for pairs of that set that state none.
SourceKind = Literal["clips", "masks", "set", "writer", "license"]

# Inode, size and times of the last changes; None where there is no file.
FileStamp = tuple[int, int, int, int] | None


@dataclasses.dataclass(frozen=True)
class Sources:
    """What a request brings along. The default is nothing: recipes that render need nothing.

    Attributes:
      clips: Folder of videos that control and removal recipes use as footage instead of rendered scenes; "" for none.
      license: License of those clips and of people's own pairs that state none, stored with each pair.
      experts: TOML files that describe external experts (`experts.spec`) or compositions of them (`recipes.composition`).
      sets: (recipe name, path) of published sets, tables of people's own pairs and caption files.
      writer: TOML file of a caption writer (`language.caption_rewriting`); "" for the rule-based one.
    """

    clips: str = ""
    license: str = "unknown"
    experts: tuple[str, ...] = ()
    sets: tuple[tuple[str, str], ...] = ()
    writer: str = ""

    def clip_source(self) -> footage.ClipSource:
        """Return the source of footage: the folder of clips, or rendered scenes without one.

        Raises:
          InputError: The folder cannot be read or holds no video.
        """
        return footage.read_clip_folder(self.clips, self.license) if self.clips else footage.render_clip

    def set_path(self, name: str) -> str:
        """Return the path of the set for the recipe of that name.

        Raises:
          InputError: The request brings none.
        """
        for set_name, path in self.sets:
            if set_name == name:
                return path
        raise InputError(f"recipe {name}: expected the place of its data, got none; add --import {name}=PATH")

    def stamps(self) -> tuple[FileStamp, ...]:
        """Return the stamps of all files and folders that are named here."""
        paths = (self.clips, *self.experts, *(path for _, path in self.sets), self.writer)
        return tuple(file_stamp(path) for path in paths if path)


NO_SOURCES = Sources()


def file_stamp(path: str | Path) -> FileStamp:
    """Return a value that changes with the file, or with the list of files directly in the folder; None where there is nothing."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def cached_by_file(function: Callable[[str], Content]) -> Callable[[str], Content]:
    """Wrap a function of a file's path so that it reads a file once, and again after the file has changed."""

    @functools.lru_cache(maxsize=64)
    def read(path: str, stamp: FileStamp) -> Content:
        return function(path)

    @functools.wraps(function)
    def read_current(path: str) -> Content:
        return read(path, file_stamp(path))

    return read_current
