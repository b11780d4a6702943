"""The pieces that picture files consist of: chunks of PNG and WebP, segments of JPEG."""

import struct
from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and contents of the chunks of a PNG before the pixels."""
    start = len(PNG_SIGNATURE)
    while start + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        if kind == b"IDAT":
            return
        yield kind, data[start + 8 : start + 8 + size]
        start += 12 + size


def jpeg_segments(data: bytes, marker: int) -> Iterator[bytes]:
    """Yield the contents of the segments of one marker before the pixels of a JPEG."""
    start = len(JPEG_START)
    while start + 4 <= len(data) and data[start] == 0xFF and data[start + 1] != 0xDA:
        if data[start + 1] == 0xFF:
            start += 1
            continue
        size = struct.unpack(">H", data[start + 2 : start + 4])[0]
        if data[start + 1] == marker:
            yield data[start + 4 : start + 2 + size]
        start += 2 + size


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and contents of the chunks of a RIFF file, such as WebP."""
    start = 12
    while start + 8 <= len(data):
        kind, size = struct.unpack("<4sI", data[start : start + 8])
        yield kind, data[start + 8 : start + 8 + size]
        start += 8 + size + size % 2
