"""ICC profiles: found in pictures, embedded again where the output holds one, named where it doesn't."""

import struct
import zlib

import av
import cv2
import numpy as np
import pytest

from tests.example_clips import picture, psnr
from tests.notes import expect_no_notes
from v2v.errors import collect_notes
from v2v.video import video
from v2v.video.color_profile import ColorProfile, embed_profile, read_profile


def profile(name="Display P3", space=b"RGB ", padding=0) -> ColorProfile:
    """Return a profile with a name of version 4 and nothing else that tells colours."""
    text = name.encode("utf-16-be")
    description = b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(text), 28) + text
    table = struct.pack(">I4sII", 1, b"desc", 144, len(description))
    noise = np.random.default_rng(0).integers(0, 256, padding, np.uint8).tobytes()
    size = 128 + len(table) + len(description) + padding
    header = struct.pack(">I", size) + bytes(12) + space + b"XYZ " + bytes(12) + b"acsp" + bytes(88)
    return ColorProfile(header + table + description + noise)


def png_chunks(data: bytes) -> dict[bytes, bytes]:
    chunks, start = {}, 8
    while start < len(data):
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        body = data[start + 8 : start + 8 + size]
        assert struct.unpack(">I", data[start + 8 + size : start + 12 + size])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        start += 12 + size
    return chunks


def still(path, color_profile=None) -> None:
    clip = video.Video.from_array(picture(1))
    clip.profile = color_profile
    clip.save(path)


@pytest.mark.parametrize("padding", [0, 200_000])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_profile_is_embedded_and_found(tmp_path, suffix, padding):
    still(tmp_path / f"a{suffix}", profile(padding=padding))
    assert read_profile(tmp_path / f"a{suffix}") == profile(padding=padding)
    still(tmp_path / f"b{suffix}")
    assert read_profile(tmp_path / f"b{suffix}") is None
    a, b = (cv2.imread(str(tmp_path / f"{name}{suffix}")) for name in "ab")
    np.testing.assert_array_equal(a, b)
    if suffix == ".png":
        chunks = png_chunks((tmp_path / "a.png").read_bytes())
        assert list(chunks)[:2] == [b"IHDR", b"iCCP"] and chunks[b"iCCP"].startswith(b"Display P3\0\0")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_photograph_keeps_its_profile(tmp_path, suffix):
    still(tmp_path / "in.jpg", profile())
    clip = video.read_video(tmp_path / "in.jpg")
    with expect_no_notes():
        clip.save(tmp_path / f"out{suffix}")
    assert read_profile(tmp_path / f"out{suffix}") == profile()
    with av.open(str(tmp_path / f"out{suffix}")) as file:
        assert file.streams.video[0].width == 64


@pytest.mark.parametrize(
    "color_profile,suffix,message",
    [
        (profile(), ".mp4", 'the colour profile "Display P3" can\'t be kept in .mp4; save as PNG or JPEG'),
        (profile("Dot Gain", b"GRAY"), ".png", '"Dot Gain" can\'t be kept in .png, which holds RGB'),
        (profile("Coated", b"CMYK"), ".jpg", '"Coated" can\'t be kept in .jpg, which holds RGB'),
    ],
)
def test_a_profile_that_cannot_be_kept_is_named(tmp_path, color_profile, suffix, message):
    with collect_notes() as notes:
        still(tmp_path / f"a{suffix}", color_profile)
    assert len(notes) == 1 and message in notes[0]
    assert read_profile(tmp_path / f"a{suffix}") is None


def test_srgb_needs_no_note_in_a_clip(tmp_path):
    with expect_no_notes():
        still(tmp_path / "a.mp4", profile("sRGB IEC61966-2.1"))


def test_profiles_of_webp_and_heic(tmp_path):
    data = profile().data
    body = (
        b"WEBP" + b"VP8X" + struct.pack("<I", 10) + bytes(10) + b"ICCP" + struct.pack("<I", len(data)) + data
    )
    (tmp_path / "a.webp").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    box = struct.pack(">I", 12 + len(data)) + b"colrprof" + data
    (tmp_path / "a.heic").write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(12) + box + b"mdat")
    assert read_profile(tmp_path / "a.webp") == read_profile(tmp_path / "a.heic") == profile()


def test_damaged_profiles_are_none(tmp_path):
    data = embed_profile(cv2.imencode(".png", picture(1)[0])[1].tobytes(), profile())
    rng = np.random.default_rng(0)
    for length in rng.integers(0, 300, 40):
        (tmp_path / "a.png").write_bytes(data[:length])
        assert read_profile(tmp_path / "a.png") in (None, profile())
    for cut in (
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe2\x00",
        b"\xff\xd8" + b"\xff" * 50,
        b"RIFF\0\0\0\0WEBPICCP",
    ):
        (tmp_path / "a.jpg").write_bytes(cut)
        assert read_profile(tmp_path / "a.jpg") is None
    assert read_profile(tmp_path / "none.png") is None and profile("x").name == "x"
    assert ColorProfile(b"short").name == "" and not ColorProfile(b"").is_rgb


def test_pixels_are_as_without_a_profile(tmp_path):
    still(tmp_path / "a.jpg", profile())
    assert psnr(video.read_video(tmp_path / "a.jpg").frames, picture(1)) > 30
