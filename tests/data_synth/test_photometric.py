"""Photometric formulas on pixels worked out by hand, and properties on random clips."""

import numpy as np
import pytest

from data_synth.operators.photometric import PHOTOMETRIC

CLIP = np.random.default_rng(0).integers(0, 256, (3, 18, 25, 3), dtype=np.uint8)
PIXEL = (200, 100, 50)  # luma 0.299*200 + 0.587*100 + 0.114*50 = 124.2
EXPECTED_PIXELS = {
    "greyscale": (124, 124, 124),
    "sepia": (151, 120, 84),  # 1.12*124.2+12 = 151.1, .92*124.2+6 = 120.3, .68*124.2 = 84.5
    "night": (
        60,
        32,
        22,
    ),  # 81.6*(200/255)^1.25 = 60.2, 102*(100/255)^1.25 = 31.7, 168.3*(50/255)^1.25 = 22.0
    "warmer": (252, 102, 31),
    "colder": (124, 98, 74),
    "negative": (55, 155, 205),
    "brighter": (223, 152, 104),  # 255*(200/255)^.55 = 223.1, 152.4, 104.1
    "darker": (100, 50, 25),
    "more saturated": (255, 76, 0),  # 2x - 124.2 = 275.8 → 255, 75.8, -24.2 → 0
    "less saturated": (143, 118, 106),  # .75*124.2 + .25x = 143.15, 118.15, 105.65
    "posterise": (
        223,
        128,
        17,
    ),  # s = 1.569, .784, .392: z = .672, 1, .231: S = .747, 1, .135 (+ 1 step for 200)
    "autumn": (200, 105, 35),
    "winter": (168, 161, 171),  # .6 (.65*124.2 + .35 x) + offset
    "spring": (165, 161, 41),
}


@pytest.mark.parametrize("name", EXPECTED_PIXELS)
def test_known_pixel(name):
    output = PHOTOMETRIC[name](np.full((2, 4, 5, 3), PIXEL, np.uint8), None)
    expected = np.array(EXPECTED_PIXELS[name], float)
    assert np.abs(output - expected).max() <= 1, (name, output[0, 0, 0], expected)


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_shape_type_and_source_kept(name):
    original = CLIP.copy()
    reference = np.random.default_rng(1).integers(0, 99, (7, 9, 3), dtype=np.uint8)
    out = PHOTOMETRIC[name](CLIP, reference)
    assert out.shape == CLIP.shape and out.dtype == np.uint8
    np.testing.assert_array_equal(CLIP, original)
    assert np.abs(out.astype(int) - CLIP).mean() > 3
    # A view with odd strides is a clip too.
    np.testing.assert_array_equal(PHOTOMETRIC[name](CLIP[:, :, ::-1], reference)[:, :, ::-1], out)


def test_chunking_changes_nothing(monkeypatch):
    unchunked = PHOTOMETRIC["autumn"](CLIP, None)
    monkeypatch.setattr("data_synth.operators.photometric._CHUNK", 70)
    np.testing.assert_array_equal(PHOTOMETRIC["autumn"](CLIP, None), unchunked)


def test_blur_keeps_the_mean_and_scales_with_height():
    big = np.kron(CLIP[:1], np.ones((1, 4, 4, 1), np.uint8))
    small_blurred, big_blurred = PHOTOMETRIC["blur"](CLIP[:1], None), PHOTOMETRIC["blur"](big, None)
    assert abs(float(small_blurred.mean()) - float(CLIP[:1].mean())) < 1.5
    averaged = big_blurred.reshape(1, 18, 4, 25, 4, 3).mean((2, 4))
    # Same blur relative to the height: a 4x enlarged clip, blurred and reduced, is about the blurred clip.
    assert (
        np.abs(averaged - small_blurred).mean() < 0.35 * np.abs(CLIP[:1].astype(float) - small_blurred).mean()
    )


def test_palette_takes_mean_and_spread():
    rng = np.random.default_rng(2)
    video = np.clip(rng.normal((90, 120, 150), (20, 15, 18), (4, 30, 30, 3)), 0, 255).astype(np.uint8)
    reference = np.clip(rng.normal((150, 110, 100), (12, 24, 20), (40, 40, 3)), 0, 255).astype(np.uint8)
    out = PHOTOMETRIC["palette"](video, reference).reshape(-1, 3).astype(float)
    np.testing.assert_allclose(out.mean(0), reference.reshape(-1, 3).mean(0), atol=1.0)
    brightness = np.ones(3) / np.sqrt(3)
    assert (out @ brightness).std() == pytest.approx((reference.reshape(-1, 3) @ brightness).std(), rel=0.05)
    with pytest.raises(ValueError, match="expected a reference"):
        PHOTOMETRIC["palette"](video, None)
