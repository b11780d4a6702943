"""HEIC and AVIF files for tests, written box by box: pictures of tiles as phones store them."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {"libx265": (b"hvc1", b"hvcC", b"heic"), "libsvtav1": (b"av01", b"av1C", b"avif")}
# `clap`: everything without 2 pixels on the left and 1 at the top, of a picture of so many pixels.
LEFT, TOP = 2, 1


@dataclass(frozen=True)
class CodedTile:
    """A picture as an encoder gives it: its data, and the box that its decoder needs."""

    data: bytes
    config: bytes


def pack_box(kind: bytes, *parts: bytes, version: int | None = None) -> bytes:
    """Return a box; one with a version has flags of 0."""
    content = (b"" if version is None else struct.pack(">I", version << 24)) + b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def find_box(data: bytes, kind: bytes) -> bytes:
    """Return the first box of a kind, with its head."""
    start = data.index(kind) - 4
    return data[start : start + struct.unpack(">I", data[start : start + 4])[0]]


def encode_tile(folder: Path, frame: np.ndarray, codec: str, pix_fmt: str = "yuv420p") -> CodedTile:
    """Encode a picture, uint8 [H, W, 3]."""
    path = folder / "tile.mp4"
    options = {"crf": "4", "x265-params": "log-level=none:bframes=0"} if codec == "libx265" else {"crf": "10"}
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], pix_fmt
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pix_fmt)
        picture.pts, picture.time_base = 0, Fraction(1, 25)
        out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    data = path.read_bytes()
    return CodedTile(find_box(data, b"mdat")[8:], find_box(data, CODECS[codec][1]))


def clap(height: int, width: int) -> bytes:
    """Return the box that crops a picture of this size by `LEFT` and `TOP`."""
    shown = width - LEFT, 1, height - TOP, 1
    return pack_box(b"clap", struct.pack(">IIIIiIiI", *shown, LEFT, 2, TOP, 2))


def irot(quarter_turns: int) -> bytes:
    """Return the box that turns a picture anticlockwise."""
    return pack_box(b"irot", bytes([quarter_turns]))


def imir(mode: int) -> bytes:
    """Return the box that exchanges top and bottom (0) or left and right (1)."""
    return pack_box(b"imir", bytes([mode]))


def nclx(primaries: int, transfer: int, matrix: int) -> bytes:
    """Return the box that tells colours by their H.273 numbers, of limited range."""
    return pack_box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, matrix, 0))


def icc(profile: bytes) -> bytes:
    """Return the box that holds a profile."""
    return pack_box(b"colr", b"prof", profile)


def write_tiles(
    path: Path,
    tiles: list[CodedTile],
    tile_size: tuple[int, int],
    size: tuple[int, int],
    *,
    codec: str,
    columns: int,
    properties: tuple[bytes, ...] = (),
    thumbnail: CodedTile | None = None,
    has_alpha: bool = False,
    in_metadata: bool = False,
    is_wide: bool = False,
) -> None:
    """Write a picture of tiles; without columns the first tile is the picture.

    Args:
      path: the file.
      tiles: row by row.
      tile_size: height and width of a tile.
      size: of the joined picture.
      codec: FFmpeg's name of the tiles' encoder.
      columns: tiles in a row.
      properties: boxes of the picture, in order.
      thumbnail: another picture of a tile's size.
      has_alpha: say that the thumbnail is the picture's transparency.
      in_metadata: keep the grid's description there rather than beside the tiles.
      is_wide: write numbers of 32 bits where there is a choice.
    """
    kind, _, brand = CODECS[codec]
    number, version = (">I", 1) if is_wide else (">H", 0)
    coded = tiles + [thumbnail] * (thumbnail is not None)
    rows = len(tiles) // columns if columns else 0
    grid = struct.pack(
        ">BBBB" + ("II" if is_wide else "HH"), 0, is_wide, rows - 1 & 255, columns - 1 & 255, *size[::-1]
    )
    primary = len(coded) + 1 if columns else 1
    contents = [tile.data for tile in coded] + [grid] * bool(columns)
    kinds = [kind] * len(coded) + [b"grid"] * bool(columns)
    configs = [tiles[0].config] if thumbnail is None else [tiles[0].config, thumbnail.config]
    alpha = pack_box(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", version=0)
    boxes = [
        pack_box(b"ispe", struct.pack(">II", *tile_size[::-1]), version=0),
        pack_box(b"ispe", struct.pack(">II", *size[::-1]), version=0),
        *configs,
        alpha,
        *properties,
    ]
    own = [len(boxes) - len(properties) + 1 + k for k in range(len(properties))]

    def links(item: int) -> bytes:
        if item == primary and columns:
            numbers = [2, *own]
        else:
            numbers = [1, 4 if item == len(tiles) + 1 and thumbnail else 3]
            numbers += own if item == primary else []
            numbers += [len(configs) + 3] if has_alpha and item == len(tiles) + 1 else []
        essential = 0x8000 if is_wide else 0x80
        numbers = [n | essential * (n > 2) for n in numbers]
        packed = [struct.pack(">H", n) if is_wide else struct.pack(">B", n) for n in numbers]
        return struct.pack(number + "B", item, len(numbers)) + b"".join(packed)

    def meta(first: int) -> bytes:
        places = []
        for k, content in enumerate(contents):
            is_inside = in_metadata and kinds[k] == b"grid"
            offset = 0 if is_inside else first + sum(map(len, contents[:k]))
            places.append(struct.pack(">HHHHII", k + 1, is_inside, 0, 1, offset, len(content)))
        infos = [
            pack_box(b"infe", struct.pack(number + "H", k + 1, 0), name, b"\0", version=3 if is_wide else 2)
            for k, name in enumerate(kinds)
        ]
        references = []
        if columns:
            ids = range(1, len(tiles) + 1)
            packed = [struct.pack(number, n) for n in (primary, *ids)]
            references.append(pack_box(b"dimg", packed[0], struct.pack(">H", len(ids)), *packed[1:]))
        if thumbnail:
            name = b"auxl" if has_alpha else b"thmb"
            packed = [struct.pack(number, n) for n in (len(tiles) + 1, primary)]
            references.append(pack_box(name, packed[0], struct.pack(">H", 1), packed[1]))
        links_head = struct.pack(">II", version << 24 | is_wide, len(kinds))
        return pack_box(
            b"meta",
            pack_box(b"hdlr", struct.pack(">I4s", 0, b"pict"), bytes(13), version=0),
            pack_box(b"pitm", struct.pack(number, primary), version=version),
            pack_box(b"iloc", struct.pack(">BBH", 0x44, 0, len(kinds)), *places, version=1),
            pack_box(b"iinf", struct.pack(number, len(kinds)), *infos, version=version),
            pack_box(b"iref", *references, version=version),
            pack_box(
                b"iprp",
                pack_box(b"ipco", *boxes),
                pack_box(b"ipma", links_head, *map(links, range(1, len(kinds) + 1))),
            ),
            *[pack_box(b"idat", grid)] * (in_metadata and bool(columns)),
            version=0,
        )

    head = pack_box(b"ftyp", brand + bytes(4) + brand + b"mif1miaf")
    first = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(first) + pack_box(b"mdat", *contents))
