"""Sources: the clips, experts and published sets that a request brings along for recipes to read.

Files may change while a process runs. What is read from them is cached together with its stamp (`file_cache.py`), so that an edited file is
read again.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from data_synth import footage, pictures
from data_synth.file_cache import FileStamp, file_stamp
from data_synth.recipes import text_experts
from v2v.errors import InputError

# What a recipe may read: the folders of clips and of pictures as footage, experts of role mask for those and of role remove for their gaps, pictures before and after an
# edit, cut-outs, the set of its own name, the caption writer, the license for pairs of that set that state none.
SourceKind = Literal["clips", "masks", "inpainter", "picture pairs", "cutouts", "set", "writer", "license"]


@dataclasses.dataclass(frozen=True)
class Sources:
    """What a request brings along. The default is nothing: recipes that render need nothing.

    Attributes:
      clips: Folder of videos that control and removal recipes use as footage instead of rendered scenes; "" for none.
      license: License of those clips and of people's own pairs that state none, stored with each pair.
      experts: TOML files that describe external experts (`experts.spec`) or compositions of them (`recipes.composition`).
      sets: (recipe name, path) of published sets, tables of people's own pairs and caption files.
      writer: TOML file of a caption writer (`language.caption_rewriting`); "" for the rule-based one.
      pictures: Folder of pictures that are lifted to clips wherever `clips` are read, and of pictures before and after an edit; "" for none.
      cutouts: Folder of cut-out objects (`cutouts.library`); "" for none.
      fps: Frames per second to which clips are brought; 0 for their own.
    """

    clips: str = ""
    license: str = "unknown"
    experts: tuple[str, ...] = ()
    sets: tuple[tuple[str, str], ...] = ()
    writer: str = ""
    pictures: str = ""
    cutouts: str = ""
    fps: float = 0.0

    @property
    def has_footage(self) -> bool:
        """Whether the request brings clips or pictures."""
        return bool(self.clips or self.pictures)

    def clip_folders(self) -> tuple[footage.ClipFolder | pictures.PictureFolder, ...]:
        """Return the folders of footage; none without any.

        Raises:
          InputError: A folder cannot be read or holds nothing of its kind.
        """
        folders = []
        describe = text_experts.build_describer(self.experts) if self.has_footage else None
        if self.clips:
            folders.append(footage.read_clip_folder(self.clips, self.license, self.fps, describe))
        if self.pictures:
            folders.append(pictures.read_picture_folder(self.pictures, self.license, describe))
        return tuple(folders)

    def clip_source(self) -> footage.ClipSource:
        """Return the source of footage: the folders of clips and pictures, or rendered scenes without one.

        Raises:
          InputError: A folder cannot be read or holds nothing of its kind.
        """
        folders = self.clip_folders()
        return footage.draw_from(folders) if folders else footage.render_clip

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
        paths = (
            *(self.clips, self.pictures, self.cutouts),
            *self.experts,
            *(path for _, path in self.sets),
            self.writer,
        )
        return tuple(file_stamp(path) for path in paths if path)


NO_SOURCES = Sources()
