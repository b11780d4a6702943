"""What a model can do, as measured: `abilities.json` in its folder, which tools/checks/measure_abilities.py writes.

A model with that file is asked in the words that it does best with, and refuses what it isn't known to do. A model without it reads every
sentence as it is typed, as published models with a real text encoder do.

    {"version": 1, "about": "...", "clips": ["bunny_720p.mp4", ...],
     "looks": {"sepia": {"say": "make the video sepia", "psnr": 32.1, "lowest": 27.9, "source": 18.5}, ...},
     "things": {"names": ["ball", "cube"], "words": ["small", "leaf"], "edits": {"remove": {"sentence": 0.62, "mask": 1.0}, ...}}}

`psnr` and `lowest` are those of the result against the exact operator, in dB, mean and lowest over the clips; `source` is what the clip
itself would have. `sentence` and `mask` are shares of success without and with a mask.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from v2v.errors import InputError

FILE_NAME = "abilities.json"
VERSION = 1
# A look is one that the model can do from this PSNR on, in dB, and from this gain over the untouched clip.
LEAST_PSNR, LEAST_GAIN = 24.0, 4.0
# An edit of a thing is one from this share of success on.
LEAST_SUCCESS = 0.75


@dataclass(frozen=True)
class LookAbility:
    """How well a model does a look.

    Attributes:
      say: the sentence that it does it best with.
      psnr: against the exact operator, in dB, a mean over clips.
      lowest: that of the worst clip.
      source: the untouched clip's, a mean.
    """

    say: str
    psnr: float
    lowest: float
    source: float

    @property
    def is_able(self) -> bool:
        """Return whether the model can do it."""
        return self.psnr >= LEAST_PSNR and self.psnr - self.source >= LEAST_GAIN


@dataclass(frozen=True)
class ThingAbility:
    """How often an edit of a thing succeeds.

    Attributes:
      sentence: share of success from the sentence alone.
      mask: with a mask that shows the place.
    """

    sentence: float
    mask: float


@dataclass(frozen=True)
class Abilities:
    """What a model can do.

    Attributes:
      looks: how well it does looks, by name.
      things: how well it edits things, by operation.
      names: things that it knows.
      words: other words of sentences about things.
      about: how this was measured.
    """

    looks: Mapping[str, LookAbility]
    things: Mapping[str, ThingAbility] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    about: str = ""

    @property
    def able_looks(self) -> tuple[str, ...]:
        """Return the looks that the model can do."""
        return tuple(name for name, look in self.looks.items() if look.is_able)


def load_abilities(folder: str | Path) -> Abilities | None:
    """Read the abilities of a model's folder; None where it brings none.

    Raises:
      InputError: a file that can't be read.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']}")
        looks = {
            str(name): LookAbility(str(row["say"]), *_numbers(row, "psnr", "lowest", "source"))
            for name, row in content["looks"].items()
        }
        things = content.get("things", {})
        edits = {
            str(name): ThingAbility(*_numbers(row, "sentence", "mask"))
            for name, row in things.get("edits", {}).items()
        }
        names, words = (tuple(map(str, things.get(key, ()))) for key in ("names", "words"))
        return Abilities(looks, edits, names, words, str(content.get("about", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise InputError(
            f"{path}: expected a model's abilities of version {VERSION}, could not read them ({err}); measure them again, or remove the file"
        ) from err


def _numbers(row: Mapping[str, object], *keys: str) -> list[float]:
    values = [float(row[key]) for key in keys]  # pyright: ignore[reportArgumentType]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{', '.join(keys)}: not finite")
    return values
