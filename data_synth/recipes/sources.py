"""Sources: the clips, experts and published sets that a request brings along for recipes to read.

Files may change while a process runs. What is read from them is cached together with its stamp (`file_cache.py`), so that an edited file is
read again.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from data_synth import footage
from data_synth.file_cache import FileStamp, file_stamp
from v2v.errors import InputError

# What a recipe may read: the folder of clips, experts of role mask for those clips, the set of its own name, the caption writer, the
# license for pairs of that set that state none.
SourceKind = Literal["clips", "masks", "set", "writer", "license"]


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
