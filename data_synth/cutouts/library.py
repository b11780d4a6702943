"""Folders of cut-outs: pictures of objects with a transparent background, and what the objects are called.

folder → names, RGBA pictures → `render`. An object's name is the first that there is of

    the line of its file in names.csv (columns file and name) of the folder
    the first line of NAME.txt beside NAME.png, without an article and full stop
    the Unicode name of the character whose code point is the file's name (1f34e.webp: red apple), as sets of emoji have it
    the name of the file, without numbers at its end (garden_gnome-2.png: garden gnome)

Files named by several code points (skin tones, flags, joined characters) need a line in names.csv; without one they are left out, and so are characters that are signs
rather than things. `license.txt` in the folder is the license that pairs record.
"""

from __future__ import annotations

import csv
import dataclasses
import re
import unicodedata
from pathlib import Path

import cv2
import numpy as np

from data_synth import footage
from data_synth.file_cache import cached_by_file
from data_synth.places import local_copy, open_place
from data_synth.rejection import Rejected
from v2v.errors import InputError
from v2v.runtime import text_files

SUFFIXES = (".png", ".webp")
# Words in the names of characters that are signs, or that nobody would place into a scene.
_SIGNS = frozenset(
    "sign symbol mark button squared arrow arrows flag keycap clock face sequence input bubble digit letter regional indicator ideograph number "
    "zodiac mahjong playing fist finger hand hands square circle diamond triangle heart part alternation person with ligature negative positive input".split()
)
_ARTICLE = re.compile(r"^(an?|the)\s+", re.IGNORECASE)
_CODE_POINT = re.compile(r"(?=[0-9a-f]*\d)[0-9a-f]{4,6}")
# Least share of a cut-out's box that is opaque, and greatest ratio of its sides.
_MIN_OPAQUE, _MAX_RATIO = 0.15, 4.0


@dataclasses.dataclass(frozen=True)
class CutoutFolder:
    """The cut-outs under a folder.

    Attributes:
      root: The folder.
      files: Paths of the pictures below it.
      names: What each is called, such as "red apple".
      license: License of the pictures, "unknown" where the folder states none.
    """

    root: str
    files: tuple[str, ...]
    names: tuple[str, ...]
    license: str = "unknown"

    def load(self, index: int) -> Cutout | Rejected:
        """Return a cut-out, or why it can't be used."""
        picture = read_cutout(str(open_place(self.root) / self.files[index]))
        if isinstance(picture, Rejected):
            return picture
        return Cutout(picture, self.names[index], self.files[index])


@dataclasses.dataclass(frozen=True)
class Cutout:
    """One object.

    Attributes:
      picture: float32 [h, w, 4], RGB in 0..1 and opacity, cut to what is opaque.
      name: What it is called.
      file: Its file.
    """

    picture: np.ndarray
    name: str
    file: str


def read_cutout_folder(root: str | Path) -> CutoutFolder:
    """Find all cut-outs under a folder, in alphabetical order.

    Args:
      root: The folder.

    Raises:
      InputError: `root` is not a readable folder, its names.csv is malformed, or no file has a name.
    """
    root = open_place(root)
    try:
        paths = [path for path in footage.iterate_files(root) if path.suffix.lower() in SUFFIXES]
    except OSError as error:
        raise InputError(
            f"{root}: expected a readable folder of cut-outs, got {(error.strerror or str(error)).lower()}; "
            "correct the path or its permissions"
        ) from None
    table = _read_names(root / "names.csv")
    names = {}
    for path in sorted(paths):
        file = path.relative_to(root).as_posix()
        if name := table.get(file) or table.get(path.name) or _name_of(path):
            names[file] = name
    if missing := sorted(set(table) - set(names) - {Path(file).name for file in names}):
        raise InputError(
            f"{root / 'names.csv'}: expected files of the folder, got {missing[0]!r}; correct the name or take the line out"
        )
    if not names:
        raise InputError(
            f"{root}: expected at least one picture ({', '.join(SUFFIXES)}) with a name, found {len(paths)} pictures without; "
            "add names.csv with the columns file and name"
        )
    license_path = root / "license.txt"
    license_text = (
        text_files.read_text(local_copy(license_path)).strip() if license_path.is_file() else "unknown"
    )
    return CutoutFolder(
        str(root), tuple(names), tuple(names.values()), license_text.partition("\n")[0] or "unknown"
    )


@cached_by_file(size=128)
def read_cutout(path: str) -> np.ndarray | Rejected:
    """Return a picture cut to what is opaque, float32 [h, w, 4], or why it is no cut-out."""
    name = Path(path).name
    try:
        data = np.frombuffer(local_copy(path).read_bytes(), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except (OSError, cv2.error):
        picture = None
    if picture is None:
        return Rejected(f"unreadable cut-out {name}")
    if picture.ndim != 3 or picture.shape[-1] != 4 or picture.dtype != np.uint8:
        return Rejected(f"cut-out {name} has no transparent background")
    rgba = cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA).astype(np.float32) / 255
    solid = rgba[..., 3] > 0.1
    if solid.all() or not solid.any():
        return Rejected(f"cut-out {name} has no transparent background")
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    rgba = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = rgba.shape[:2]
    if max(height / width, width / height) > _MAX_RATIO or (rgba[..., 3] > 0.5).mean() < _MIN_OPAQUE:
        return Rejected(f"cut-out {name} is too thin")
    return np.ascontiguousarray(rgba)


def _read_names(path: Path) -> dict[str, str]:
    """Return file → name of names.csv; nothing without it."""
    if not path.is_file():
        return {}
    rows = list(csv.DictReader(text_files.read_text(path).splitlines()))
    if not rows or not {"file", "name"} <= set(rows[0]):
        raise InputError(
            f"{path}: expected the columns file and name, got {', '.join(map(str, rows[0])) if rows else 'no line'}"
        )
    for number, row in enumerate(rows, 2):
        if not (row["file"] or "").strip() or not (row["name"] or "").strip():
            raise InputError(f"{path}: line {number}: expected a file and a name, got an empty cell")
    return {row["file"].strip(): " ".join(row["name"].split()) for row in rows}


def _name_of(path: Path) -> str:
    """Return the name of a cut-out that names.csv doesn't tell, "" where it has none."""
    note = path.with_suffix(".txt")
    if note.is_file():
        first = text_files.read_text(note).strip().partition("\n")[0]  # further lines may be translations
        return _ARTICLE.sub("", " ".join(first.split()).rstrip(".!"))
    stem = path.stem.lower()
    points = [part for part in re.split(r"[-_]", stem) if part != "fe0f"]
    if points and all(_CODE_POINT.fullmatch(part) for part in points):
        if len(points) > 1 or int(points[0], 16) > 0x10FFFF:
            return ""
        words = unicodedata.name(chr(int(points[0], 16)), "").lower().split()
        return "" if set(words) & _SIGNS else " ".join(words)
    return " ".join(re.sub(r"[\d_\-\s]+$", "", re.sub(r"[_\-]+", " ", stem)).split())
