"""ICC colour profiles of pictures: found in the bytes of a file, and embedded in those of another.

Frames hold a picture's own numbers, so an edited picture needs its source's profile to look the same. FFmpeg hands profiles over as
side data, which PyAV can't read safely; the few bytes around a profile are parsed here instead.

Sources: PNG (W3C, 11.3.2.3 iCCP), ICC.1:2022 (7.2 header, 10.13 and 10.15 names, annex B: JPEG), WebP's RIFF container, ISO/IEC 23008-12
(`colr` boxes of HEIC and AVIF).
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from v2v.video.picture_chunks import JPEG_START, PNG_SIGNATURE, jpeg_segments, png_chunks, riff_chunks
from v2v.video.picture_items import read_picture_item

# Begins the APP2 segments of a JPEG that hold a profile.
JPEG_MARKER = b"ICC_PROFILE\0"
# Bytes of a profile that one JPEG segment holds: 65535 without length, marker, number and count.
JPEG_PIECE = 65535 - 2 - len(JPEG_MARKER) - 2
# Largest profile that is read, in bytes; those of printers have a few million.
LARGEST_PROFILE = 1 << 24
# Bytes of an ISO media file in which the description of a picture is looked for.
HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class ColorProfile:
    """An ICC profile.

    Attributes:
      data: its bytes.
    """

    data: bytes

    @property
    def is_rgb(self) -> bool:
        """Return whether it describes RGB numbers; others describe gray or CMYK ones."""
        return self.data[16:20] == b"RGB "

    @property
    def is_srgb(self) -> bool:
        """Return whether it is called sRGB, the space of pictures without a profile."""
        return self.is_rgb and "sRGB" in self.name

    @property
    def name(self) -> str:
        """Return its description, such as "Display P3"; "" for none."""
        tags = struct.unpack(">I", self.data[128:132].rjust(4, b"\0"))[0]
        for start in range(132, min(132 + 12 * tags, len(self.data) - 11), 12):
            tag, offset, size = struct.unpack(">4sII", self.data[start : start + 12])
            if tag == b"desc":
                return _parse_description(self.data[offset : offset + size])
        return ""


def read_profile(path: str | Path) -> ColorProfile | None:
    """Return the profile of a PNG, JPEG, WebP, HEIC or AVIF file; None for none, a damaged one, or another kind of file.

    Args:
      path: the file.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            if head.startswith((PNG_SIGNATURE, JPEG_START)) or (head[:4], head[8:]) == (b"RIFF", b"WEBP"):
                data = _find_in_picture(head + file.read())
            elif head[4:8] == b"ftyp":
                item = read_picture_item(path)
                data = _find_in_boxes(head + file.read(HEADER_BYTES)) if item is None else item.profile
            else:
                return None
    except (OSError, ValueError, struct.error, zlib.error):
        return None
    if not data or data[36:40] != b"acsp" or struct.unpack(">I", data[:4])[0] > len(data):
        return None
    return ColorProfile(data)


def embed_profile(picture: bytes, profile: ColorProfile) -> bytes:
    """Return the bytes of a PNG or JPEG file with a profile added.

    Args:
      picture: the file, without a profile.
      profile: the profile.
    """
    if picture.startswith(PNG_SIGNATURE):
        name = profile.name.encode("latin-1", "ignore").strip()[:79] or b"ICC profile"
        return _add_png_chunk(picture, b"iCCP" + name + b"\0\0" + zlib.compress(profile.data))
    pieces = [profile.data[start : start + JPEG_PIECE] for start in range(0, len(profile.data), JPEG_PIECE)]
    segments = b"".join(
        b"\xff\xe2"
        + struct.pack(">H", 2 + len(JPEG_MARKER) + 2 + len(piece))
        + JPEG_MARKER
        + bytes([number, len(pieces)])
        + piece
        for number, piece in enumerate(pieces, 1)
    )
    # A JFIF segment has to stay the first.
    start = 4 + struct.unpack(">H", picture[4:6])[0] if picture[2:4] == b"\xff\xe0" else 2
    return picture[:start] + segments + picture[start:]


def tag_png(picture: bytes, primaries: int, transfer: int) -> bytes:
    """Return the bytes of a PNG file that says which colours its numbers are (chunk cICP), such as those of HDR.

    Args:
      picture: the file.
      primaries: H.273 number.
      transfer: H.273 number.
    """
    # The matrix of RGB, and full range.
    return _add_png_chunk(picture, b"cICP" + bytes([primaries, transfer, 0, 1]))


def _add_png_chunk(picture: bytes, chunk: bytes) -> bytes:
    """Return a PNG file with a chunk, its kind and contents, behind the header."""
    header_end = picture.index(b"IHDR") + 4 + 13 + 4
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return picture[:header_end] + chunk + picture[header_end:]


def _find_in_picture(data: bytes) -> bytes | None:
    if data.startswith(PNG_SIGNATURE):
        for kind, chunk in png_chunks(data):
            if kind == b"iCCP":
                compressed = chunk[chunk.index(b"\0") + 2 :]
                return zlib.decompressobj().decompress(compressed, LARGEST_PROFILE)
        return None
    if data.startswith(JPEG_START):
        segments = sorted(
            body[len(JPEG_MARKER) :] for body in jpeg_segments(data, 0xE2) if body.startswith(JPEG_MARKER)
        )
        return b"".join(segment[2:] for segment in segments)
    return next((chunk for kind, chunk in riff_chunks(data) if kind == b"ICCP"), None)


def _find_in_boxes(data: bytes) -> bytes | None:
    for kind in (b"prof", b"rICC"):
        start = data.find(b"colr" + kind)
        if start >= 4:
            size = struct.unpack(">I", data[start - 4 : start])[0]
            return data[start + 8 : start - 4 + size]
    return None


def _parse_description(tag: bytes) -> str:
    """Return the text of a description of version 2 (ASCII) or 4 (UTF-16 in several languages, of which the first is taken)."""
    if tag[:4] == b"desc" and len(tag) >= 12:
        size = struct.unpack(">I", tag[8:12])[0]
        text = tag[12 : 12 + size].decode("latin-1")
    elif tag[:4] == b"mluc" and len(tag) >= 28:
        size, offset = struct.unpack(">II", tag[20:28])
        text = tag[offset : offset + size].decode("utf-16-be", "replace")
    else:
        text = ""
    return "".join(letter for letter in text if letter.isprintable()).strip()
