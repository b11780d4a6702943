"""What a HEIC or AVIF file says of the picture that it shows: its tiles, how it is cropped, turned and mirrored, its colours.

FFmpeg gives the coded pictures of such a file one by one, as streams whose ids are those of the file's items. Phones store a photo as a
grid of tiles: an item without data of its own, which tells where other items lie in it.

Sources: ISO/IEC 14496-12 (8.11 metadata), ISO/IEC 23008-12 (6.5 properties: 6.5.10 `irot`, 6.5.12 `imir`; 6.6.2.3 grids), and of
`clap` 14496-12, 12.1.4.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from v2v.video.orientation import MATRICES

# Bytes of metadata that are read; those of a photo have a few thousand, and its profile.
LARGEST_METADATA = 1 << 20
# What the auxiliary picture that holds transparency is called.
ALPHA_NAMES = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")


@dataclass(frozen=True)
class TileGrid:
    """How tiles make up a picture.

    Attributes:
      ids: of the items that are its tiles, row by row.
      columns: tiles in a row.
      height: of the joined picture; the last tiles may reach further.
      width: of the joined picture.
    """

    ids: tuple[int, ...]
    columns: int
    height: int
    width: int


@dataclass(frozen=True)
class PictureItem:
    """The picture that a HEIC or AVIF file shows.

    Attributes:
      id: of the item.
      grid: its tiles; None for a picture stored whole.
      crop: left, top, width and height of what is shown of it; None for all.
      matrix: where its pixels go, int [2, 2], rows (x', y') of a column (x, y), y downwards.
      colour: ITU-T H.273 numbers (matrix, primaries, transfer); None where the coded picture tells them.
      profile: bytes of its ICC profile, or None.
      has_alpha: whether another picture holds its transparency.
    """

    id: int
    grid: TileGrid | None = None
    crop: tuple[int, int, int, int] | None = None
    matrix: np.ndarray = field(default_factory=lambda: np.eye(2, dtype=int))
    colour: tuple[int, int, int] | None = None
    profile: bytes | None = None
    has_alpha: bool = False


def read_picture_item(path: str | Path) -> PictureItem | None:
    """Return what the metadata of a HEIC or AVIF file says of its picture; None for another file, or damaged metadata.

    Args:
      path: the file.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            start, first = 0, b"ftyp"
            while start + 8 <= size:
                file.seek(start)
                kind, head, length = _parse_head(file.read(16), size - start)
                if first and kind != first:
                    return None
                first = b""
                if kind == b"meta":
                    file.seek(start + head)
                    return _Metadata(file.read(min(length - head, LARGEST_METADATA)), path).describe()
                start += length
    except (OSError, ValueError, IndexError, KeyError, ZeroDivisionError, struct.error):
        return None
    return None


class _Metadata:
    """The contents of a box `meta`."""

    def __init__(self, data: bytes, path: str | Path):
        self._path = path
        self._boxes = {kind: content for kind, content in _boxes(data[4:])}
        self._kinds = dict(self._parse_kinds(self._boxes[b"iinf"]))
        self._references = list(self._parse_references(self._boxes.get(b"iref", b"")))
        properties = dict(_boxes(self._boxes[b"iprp"]))
        self._properties = list(_boxes(properties[b"ipco"]))
        self._links = dict(self._parse_links(properties[b"ipma"]))

    def describe(self) -> PictureItem | None:
        content = self._boxes[b"pitm"]
        item = struct.unpack_from(">I" if content[0] else ">H", content, 4)[0]
        grid = None
        if self._kinds.get(item) == b"grid":
            grid = self._parse_grid(item)
        elif self._kinds.get(item) in (b"iovl", b"iden"):
            # Pictures laid over each other, or one that another item holds.
            return None
        matrix, crop, colour, profile = np.eye(2, dtype=int), None, None, None
        size = (0, 0) if grid is None else (grid.width, grid.height)
        for kind, content in self._properties_of(item):
            match kind:
                case b"ispe" if grid is None:
                    width, height = struct.unpack_from(">II", content, 4)
                    size = width, height
                case b"irot":
                    matrix = np.linalg.matrix_power(np.array(MATRICES[8]), content[0] & 3) @ matrix
                case b"imir":
                    matrix = np.array(MATRICES[2 if content[0] & 1 else 4]) @ matrix
                case b"clap":
                    crop = _parse_crop(content, *size)
                case b"colr" if content[:4] == b"nclx":
                    primaries, transfer, number = struct.unpack_from(">HHH", content, 4)
                    colour = number, primaries, transfer
                case b"colr" if content[:4] in (b"prof", b"rICC"):
                    profile = content[4:]
        return PictureItem(item, grid, crop, matrix, colour, profile, self._has_alpha(item))

    def _properties_of(self, item: int) -> list[tuple[bytes, bytes]]:
        # Numbered from 1; 0 is none.
        return [self._properties[number - 1] for number in self._links.get(item, ()) if number]

    def _has_alpha(self, item: int) -> bool:
        helpers = [
            source for kind, source, targets in self._references if kind == b"auxl" and item in targets
        ]
        return any(
            kind == b"auxC" and content[4:].split(b"\0")[0] in ALPHA_NAMES
            for helper in helpers
            for kind, content in self._properties_of(helper)
        )

    def _parse_grid(self, item: int) -> TileGrid:
        data = self._read_data(item)
        rows, columns = data[2] + 1, data[3] + 1
        width, height = struct.unpack_from(">II" if data[1] & 1 else ">HH", data, 4)
        grids = (targets for kind, source, targets in self._references if (kind, source) == (b"dimg", item))
        ids = next(grids, ())
        if len(ids) != rows * columns or not width or not height:
            raise ValueError("a grid without all of its tiles")
        return TileGrid(ids, columns, height, width)

    def _read_data(self, item: int) -> bytes:
        """Return the first bytes of an item, from the file or from the metadata."""
        content = self._boxes[b"iloc"]
        version, sizes = content[0], struct.unpack_from(">H", content, 4)[0]
        offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
        index_size = sizes & 15 if version else 0
        reader = _Reader(content, 6)
        for _ in range(reader.take(4 if version == 2 else 2)):
            number = reader.take(4 if version == 2 else 2)
            method = reader.take(2) & 15 if version else 0
            reader.take(2)
            base = reader.take(base_size)
            count = reader.take(2)
            if number == item and count:
                reader.take(index_size)
                offset, length = base + reader.take(offset_size), reader.take(length_size)
                if method == 1:
                    return self._boxes[b"idat"][offset : offset + length]
                with open(self._path, "rb") as file:
                    file.seek(offset)
                    return file.read(12)
            reader.skip(count * (index_size + offset_size + length_size))
        raise ValueError("an item without a place")

    @staticmethod
    def _parse_kinds(content: bytes) -> Iterator[tuple[int, bytes]]:
        for kind, entry in _boxes(content[8 if content[0] else 6 :]):
            if kind == b"infe" and entry[0] >= 2:
                wide = entry[0] > 2
                number = struct.unpack_from(">I" if wide else ">H", entry, 4)[0]
                start = 10 if wide else 8
                yield number, entry[start : start + 4]

    @staticmethod
    def _parse_references(content: bytes) -> Iterator[tuple[bytes, int, tuple[int, ...]]]:
        """Yield kind, source and targets."""
        if not content:
            return
        letter, size = ("I", 4) if content[0] else ("H", 2)
        for kind, entry in _boxes(content[4:]):
            source, count = struct.unpack_from(f">{letter}H", entry)
            yield kind, source, struct.unpack_from(f">{count}{letter}", entry, size + 2)

    @staticmethod
    def _parse_links(content: bytes) -> Iterator[tuple[int, list[int]]]:
        """Yield items and the numbers of their properties, in the order in which these are applied."""
        is_wide, reader = bool(content[3] & 1), _Reader(content, 4)
        for _ in range(reader.take(4)):
            item = reader.take(4 if content[0] else 2)
            count = reader.take(1)
            yield item, [reader.take(2) & 0x7FFF if is_wide else reader.take(1) & 0x7F for _ in range(count)]


class _Reader:
    """Takes whole numbers from bytes one after the other."""

    def __init__(self, data: bytes, start: int):
        self._data, self._start = data, start

    def skip(self, size: int) -> None:
        self._start += size

    def take(self, size: int) -> int:
        end = self._start + size
        if end > len(self._data):
            raise ValueError("cut short")
        number = int.from_bytes(self._data[self._start : end], "big")
        self._start = end
        return number


def _parse_head(head: bytes, available: int) -> tuple[bytes, int, int]:
    """Return the kind of a box, the bytes of its head, and all its bytes, of which at most `available` are there."""
    length, kind = struct.unpack_from(">I4s", head)
    size = 8
    if length == 1:
        length, size = struct.unpack_from(">Q", head, 8)[0], 16
    length = length or available
    if not size <= length <= available:
        raise ValueError("a box that doesn't fit")
    return kind, size, length


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and contents of the boxes that follow each other."""
    start = 0
    while start + 8 <= len(data):
        kind, head, length = _parse_head(data[start : start + 16], len(data) - start)
        yield kind, data[start + head : start + length]
        start += length


def _parse_crop(content: bytes, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Return left, top, width and height of a clean aperture; None for one that doesn't fit the picture."""
    numbers = struct.unpack_from(">IIIIiIiI", content)
    shown_width, shown_height, right, down = (Fraction(*numbers[k : k + 2]) for k in (0, 2, 4, 6))
    # The offsets are those of its center from the picture's.
    left = int((width - shown_width) / 2 + right)
    top = int((height - shown_height) / 2 + down)
    size = int(shown_width), int(shown_height)
    fits = 0 <= left <= left + size[0] <= width and 0 <= top <= top + size[1] <= height
    return (left, top, *size) if fits and min(size) > 0 else None
