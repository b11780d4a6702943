"""How pictures are turned and mirrored by their metadata: EXIF in PNG, JPEG, WebP and TIFF. Of HEIC and AVIF `picture_items.py` tells.

PyAV can't read the display matrix of a frame that carries EXIF. What it tells of such a frame is a rotation, which leaves out mirrors.

Sources: Exif 2.32 (4.6.4, tag Orientation), PNG (W3C, 11.3.2.5 eXIf), WebP's RIFF container.
"""

import struct
from pathlib import Path

import numpy as np

from v2v.video.picture_chunks import JPEG_START, PNG_SIGNATURE, jpeg_segments, png_chunks, riff_chunks

ORIENTATION_TAG = 0x112
# Begins the APP1 segment of a JPEG that holds EXIF; some programs write it elsewhere too.
EXIF_MARKER = b"Exif\0\0"
TIFF_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
# Where pixels go, by orientation: rows (x', y') of a column (x, y), y downwards.
MATRICES = {
    1: [[1, 0], [0, 1]],
    2: [[-1, 0], [0, 1]],
    3: [[-1, 0], [0, -1]],
    4: [[1, 0], [0, -1]],
    5: [[0, 1], [1, 0]],
    6: [[0, -1], [1, 0]],
    7: [[0, -1], [-1, 0]],
    8: [[0, 1], [-1, 0]],
}


def read_exif_matrix(path: Path) -> np.ndarray | None:
    """Return the matrix that the EXIF data of a PNG, JPEG, WebP or TIFF file asks for; None for another file, or one that asks nothing.

    Args:
      path: the file.

    Returns:
      int [2, 2], rows (x', y') of a column (x, y) of pixels.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
            if not _is_picture(head):
                return None
            orientation = _parse_orientation(_find_exif(head + file.read()))
    except (OSError, struct.error):
        return None
    return np.array(MATRICES[orientation]) if orientation in MATRICES else None


def _is_picture(head: bytes) -> bool:
    return (
        head.startswith((PNG_SIGNATURE, JPEG_START, *TIFF_BYTE_ORDERS))
        or (head[:4], head[8:]) == (b"RIFF", b"WEBP")
    )  # fmt: skip


def _find_exif(data: bytes) -> bytes:
    """Return the EXIF data of a picture, which has the form of a TIFF file; b"" for none."""
    if data[:4] in TIFF_BYTE_ORDERS:
        return data
    if data.startswith(JPEG_START):
        blocks = (body for body in jpeg_segments(data, 0xE1) if body.startswith(EXIF_MARKER))
    elif data.startswith(PNG_SIGNATURE):
        blocks = (body for kind, body in png_chunks(data) if kind == b"eXIf")
    else:
        blocks = (body for kind, body in riff_chunks(data) if kind == b"EXIF")
    return next(blocks, b"").removeprefix(EXIF_MARKER)


def _parse_orientation(exif: bytes) -> int:
    """Return the orientation in EXIF data, 0 for none."""
    order = TIFF_BYTE_ORDERS.get(exif[:4])
    if order is None:
        return 0
    start = struct.unpack(order + "I", exif[4:8])[0]
    count = struct.unpack(order + "H", exif[start : start + 2])[0]
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack(order + "HH", exif[entry : entry + 4])
        if tag == ORIENTATION_TAG:
            # A short number, or a long one of some programs.
            size = {3: 2, 4: 4}.get(kind, 0)
            return int.from_bytes(exif[entry + 8 : entry + 8 + size], "little" if order == "<" else "big")
    return 0
