"""What counts as white in a mask, the fade at its rim, and what a composite keeps."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from tests.example_clips import write as make
from tests.notes import expect_no_notes, expect_note
from v2v.errors import InputError
from v2v.video import mask as masks
from v2v.video.video import Video

CLIP = Video.from_array(np.zeros((3, 48, 64, 3), np.uint8))
SHAPE = np.zeros((48, 64), np.uint8)
SHAPE[10:30, 10:40] = 255


def open_mask(mask, **how) -> masks.Mask:
    edit_mask = masks.Mask(mask, CLIP, **{"soft": 0, **how})
    edit_mask.survey(16, 16, 0, 3)
    return edit_mask


def alpha_of(mask, **how) -> np.ndarray:
    return next(iter(open_mask(mask, **how)))


@pytest.mark.parametrize(
    "colour, name, depth",
    [
        (0, "m.png", np.uint8),
        (255, "m.png", np.uint8),
        (255, "m.png", np.uint16),
        (90, "m.webp", np.uint8),  # whose encoder blackens what is transparent
    ],
)
def test_of_a_picture_of_one_colour_the_alpha_is_the_mask(tmp_path, colour, name, depth):
    stored = np.dstack([np.full((48, 64, 3), colour, np.uint8), SHAPE]).astype(depth)
    cv2.imwrite(str(tmp_path / name), stored * (np.iinfo(depth).max // 255))
    with expect_note("so its alpha is the mask"):
        np.testing.assert_array_equal(alpha_of(tmp_path / name), SHAPE)
    with expect_note("so its alpha is the mask"):
        np.testing.assert_array_equal(alpha_of(tmp_path / name, invert=True), 255 - SHAPE)


def test_where_colour_and_alpha_vary_the_colour_is_the_mask(tmp_path):
    cv2.imwrite(str(tmp_path / "m.png"), np.dstack([SHAPE] * 3 + [SHAPE.T.reshape(48, 64)]))
    with expect_note("its colour is the mask, its alpha is ignored"):
        np.testing.assert_array_equal(alpha_of(tmp_path / "m.png"), SHAPE)


@pytest.mark.parametrize("alpha", [SHAPE, np.full_like(SHAPE, 255)])
def test_an_alpha_that_says_nothing_more_is_not_spoken_of(tmp_path, alpha):
    cv2.imwrite(str(tmp_path / "m.png"), np.dstack([SHAPE] * 3 + [alpha]))
    with expect_no_notes():
        np.testing.assert_array_equal(alpha_of(tmp_path / "m.png"), SHAPE)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_colours_count_fully_in_files_and_arrays(tmp_path, channel):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[..., channel] = SHAPE
    Video.from_array(frame).save(tmp_path / "m.png")
    for mask in (tmp_path / "m.png", frame[None], Video.from_array(frame)):
        np.testing.assert_array_equal(alpha_of(mask), SHAPE)


@pytest.mark.parametrize("tint", [0, 3])
def test_greys_of_a_compressed_video_keep_their_values(tmp_path, tint):
    """Also where they aren't quite grey."""
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (3, 48, 1))
    noise = np.random.default_rng(0).integers(-tint, tint + 1, (3, 48, 64, 3))
    make(tmp_path / "m.mp4", np.clip(grey[..., None] + noise, 0, 255).astype(np.uint8))
    np.testing.assert_allclose(alpha_of(tmp_path / "m.mp4"), alpha_of(grey), atol=8)


@pytest.mark.parametrize(
    "mask, description",
    [
        (SHAPE.astype(np.float32), "float32 from 0 to 255"),
        (SHAPE / 255 - 0.5, "float64 from -0.5 to 0.5"),
        (np.where(SHAPE, np.nan, 0.0), "float64 from nan to nan"),
        (np.where(SHAPE, np.inf, 0.0), "float64 from 0 to inf"),
        (SHAPE.astype(np.uint16) * 257, "uint16 from 0 to 65535"),
    ],
)
def test_arrays_on_another_scale_are_refused(mask, description):
    with pytest.raises(
        InputError, match=f"expected floats 0..1 or integers 0..255, got {description}; scale it"
    ):
        open_mask(mask)
    np.testing.assert_array_equal(alpha_of(SHAPE / 255 * 1.0001), SHAPE)


def test_advice_fits_what_was_asked():
    for black, words in (
        (False, "paint what to edit white, or add"),
        (True, "paint what to edit black, or remove"),
    ):
        with pytest.raises(InputError, match=f"{words} --invert-mask"):
            open_mask(np.full((48, 64), 255 * black, np.uint8), invert=black)
    with expect_note("if white marks the place, remove --invert-mask"):
        open_mask(SHAPE, invert=True)


@pytest.mark.parametrize("soft", [-1, 65, np.inf, np.nan])
def test_a_fade_is_not_wider_than_the_frame(soft):
    with pytest.raises(InputError, match="soft: expected a width of 0 to 64 pixels"):
        masks.fade_width(soft, 48, 64)
    assert masks.fade_width(64, 48, 64) == 64


def test_a_frame_that_is_white_all_over_stays_whole():
    assert (masks.apply_fade(np.full((16, 16), 255, np.uint8), 3) == 255).all()


def test_the_fade_lies_inside_and_rises_inwards():
    share = np.zeros((16, 16), np.uint8)
    share[:, 4:] = 255
    row = masks.apply_fade(share, 3)[8].astype(int)
    assert (row[:4] == 0).all() and (row[4:] > 0).all()
    assert (np.diff(row) >= 0).all() and row[-1] == 255 > row[4]


def test_a_composite_keeps_the_source_where_alpha_is_nought():
    rng = np.random.default_rng(0)
    source, edit = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    alpha = rng.choice(np.array([0, 100, 255], np.uint8), (8, 8))
    out = masks.composite(source, edit, alpha)
    assert (out[alpha == 0] == source[alpha == 0]).all() and (out[alpha == 255] == edit[alpha == 255]).all()
    mixed = source + (alpha[..., None] / 255) * (edit.astype(float) - source)
    assert np.abs(out - mixed).max() <= 0.5


def test_a_fade_is_the_same_wherever_the_mask_lies():
    """Only the mask's own part of a frame is worked on; distances are those of the whole."""
    rng = np.random.default_rng(0)
    for place in ((0, 0), (13, 20), (40, 64)):
        share = np.zeros((64, 96), np.uint8)
        share[place[0] : place[0] + 24, place[1] : place[1] + 32] = 255 * (rng.random((24, 32)) > 0.1)
        depth = cv2.distanceTransform((share > 0).astype(np.uint8), cv2.DIST_L2, 3)
        ramp = np.rint(np.minimum(depth * 255 / 6, 255)).astype(np.uint8)
        np.testing.assert_array_equal(masks.apply_fade(share, 5), np.minimum(share, ramp))
    assert not masks.apply_fade(np.zeros((9, 9), np.uint8), 3).any()
    assert masks.bounding_slices(np.zeros((9, 9), np.uint8)) == (slice(0, 0), slice(0, 0))
    assert masks.bounding_slices(np.eye(9, dtype=np.uint8)[:3], 1) == (slice(0, 4), slice(0, 4))


def _write_palette(path, indices, palette):
    """Write a PNG of color type 3."""
    height, width = indices.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.pad(indices.astype(np.uint8), ((0, 0), (1, 0)))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", np.asarray(palette, np.uint8).tobytes())
        + chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + chunk(b"IEND", b"")
    )


OBJECTS = np.where(SHAPE, 1, 0)
OBJECTS[35:40] = 2


@pytest.mark.parametrize(
    "palette",
    [
        [(0, 0, 0), (128, 0, 0), (0, 128, 0)],
        [(0, 0, 0), (236, 95, 103), (0, 128, 0)],
        [(0, 0, 0), (64, 0, 0), (64, 128, 0)],
    ],
)
def test_palettes_of_datasets_number_objects(tmp_path, palette):
    _write_palette(tmp_path / "m.png", OBJECTS, palette)
    with expect_note("number objects, so all of them are white"):
        np.testing.assert_array_equal(alpha_of(tmp_path / "m.png"), np.where(OBJECTS, 255, 0))
    # The same picture saved without a palette.
    picture = np.array(palette, np.uint8)[OBJECTS]
    if picture.max() < 224:
        cv2.imwrite(str(tmp_path / "rgb.png"), picture[..., ::-1])
        with expect_note("number objects"):
            np.testing.assert_array_equal(alpha_of(tmp_path / "rgb.png"), np.where(OBJECTS, 255, 0))


def test_soft_masks_with_a_palette_stay_soft(tmp_path):
    """Small files of gray, or of one color, whose palettes are sorted anyhow."""
    steps = np.tile(np.arange(64) * 4, (48, 1))
    gray = np.repeat(np.arange(256)[:, None], 3, 1)
    for palette in (gray, gray * (1, 0, 0)):
        _write_palette(tmp_path / "m.png", steps, palette)
        with expect_no_notes():
            np.testing.assert_array_equal(alpha_of(tmp_path / "m.png"), alpha_of(steps.astype(np.uint8)))
    _write_palette(tmp_path / "m.png", OBJECTS.clip(0, 1), [(255, 255, 255), (0, 0, 0)])
    with expect_note("white, which means edit here, on 70%"):
        np.testing.assert_array_equal(alpha_of(tmp_path / "m.png"), np.where(OBJECTS, 0, 255))


def test_a_mask_without_white_is_noted(tmp_path):
    cv2.imwrite(str(tmp_path / "m.png"), SHAPE // 2)
    with expect_note("white nowhere, at most grey, so the edit is applied by 49%"):
        assert alpha_of(tmp_path / "m.png").max() == 126
