"""Metrics of single frames: values worked out by hand or by a slow, literal computation."""

import math

import cv2
import numpy as np
import pytest

from v2v.errors import InputError
from v2v.evaluation.metrics import pixel


def clip(seed=0, T=3, H=24, W=32):
    """Smooth random frames, uint8 [T, H, W, 3]."""
    rng = np.random.default_rng(seed)
    frames = [cv2.GaussianBlur(rng.uniform(0, 255, (H, W, 3)), (0, 0), 1.5) for _ in range(T)]
    return np.stack(frames).astype(np.uint8)


def test_mse_and_psnr_of_a_known_error():
    a = np.full((2, 8, 8, 3), 100, np.uint8)
    b = a.copy()
    b[0] += 10  # squared error 100 in one of two frames
    assert pixel.mse(a, b) == pytest.approx(50)
    assert pixel.psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 50))
    assert pixel.psnr(a, a) == pixel.PSNR_CAP
    assert pixel.mse(b, a) == pixel.mse(
        iter(list(a)), iter(list(b))
    )  # any iterable, either order: no uint8 wrap-around


def test_psnr_pools_frames_before_the_logarithm():
    a = np.zeros((2, 8, 8, 3), np.uint8)
    b = a.copy()
    b[1] = 51
    assert pixel.psnr(a, b) == pytest.approx(10 * math.log10(255**2 / (51**2 / 2)))


def test_regions_split_the_error():
    a, b = clip(1), clip(2)
    mask = np.zeros(a.shape[:3], np.uint8)
    mask[1:, 3:9, 4:20] = 255
    inside, outside = (pixel.mse(a, b, mask, outside=o) for o in (False, True))
    square = (a.astype(float) - b) ** 2
    assert inside == pytest.approx(square[mask > 0].mean())
    assert outside == pytest.approx(square[mask == 0].mean())
    assert math.isnan(pixel.psnr(a, b, np.zeros_like(mask)))
    assert math.isnan(pixel.mse(a, b, np.ones_like(mask, bool), outside=True))


def test_change_and_leakage():
    source = np.full((2, 10, 10, 3), 50, np.uint8)
    mask = np.zeros((2, 10, 10), bool)
    mask[1, :5] = True
    output = source.copy()
    output[1, :5] -= 20
    output[0, 0, 0] += 15
    assert pixel.change_inside(output, source, mask) == 20
    assert pixel.leakage_outside(output, source, mask) == pytest.approx(15 / 150)


def literal_ssim(a, b):
    """SSIM and its contrast-structure factor of two planes, every window written out in float64."""
    t = np.arange(11) - 5
    g = np.exp(-(t**2) / (2 * 1.5**2))
    w = np.outer(g, g) / np.outer(g, g).sum()
    a, b = (np.lib.stride_tricks.sliding_window_view(v, (11, 11)) for v in (a, b))
    mean = lambda v: (w * v).sum((-2, -1))  # noqa: E731
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = 2.55**2, 7.65**2
    structure = (2 * cov + c2) / (va + vb + c2)
    return ((2 * ma * mb + c1) / (ma**2 + mb**2 + c1) * structure).mean(), structure.mean()


def luma(frame):
    return frame.astype(float) @ (0.299, 0.587, 0.114)


@pytest.mark.parametrize("contrast, brightness, noise", [(0.7, 20, 12), (0.1, 0, 1)])
def test_ssim_equals_its_definition(contrast, brightness, noise):
    """Once on an ordinary pair, once on dark, flat frames where the constants decide."""
    a = (clip(3, T=2) * min(1, contrast * 1.4)).astype(np.uint8)
    b = a * contrast + np.random.default_rng(0).normal(brightness, noise, a.shape)
    b = np.clip(b, 0, 255).astype(np.uint8)
    expected = np.mean([literal_ssim(luma(x), luma(y))[0] for x, y in zip(a, b, strict=True)])
    assert 0.05 < expected < 0.95
    assert pixel.ssim(a, b) == pytest.approx(expected, abs=2e-4)
    assert pixel.ssim(a, a) == pytest.approx(1)
    assert pixel.ssim(clip(3), 255 - clip(3)) < 0


def test_ms_ssim_equals_its_definition():
    a = clip(4, T=1, H=179, W=200)
    b = np.clip(a * 0.8 + np.random.default_rng(1).normal(9, 25, a.shape), 0, 255).astype(np.uint8)
    x, y, expected = luma(a[0]), luma(b[0]), 1.0
    for octave, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        similarity, structure = literal_ssim(x, y)
        expected *= (similarity if octave == 4 else structure) ** weight
        x, y = (
            sum(v[i : v.shape[0] // 2 * 2 : 2, j : v.shape[1] // 2 * 2 : 2] for i in (0, 1) for j in (0, 1))
            / 4
            for v in (x, y)
        )
    assert 0.2 < expected < 0.95
    assert pixel.ms_ssim(a, b) == pytest.approx(expected, abs=2e-4)
    assert pixel.ms_ssim(a, a) == pytest.approx(1)
    with pytest.raises(InputError, match="at least 176x176"):
        pixel.ms_ssim(clip(), clip())


@pytest.mark.parametrize(
    "other, words",
    [
        (clip(T=2), "one length.*ends at frame 2"),
        (clip(H=26), "one size"),
        (clip().astype(np.float32), "expected uint8"),
    ],
)
def test_clips_that_do_not_match(other, words):
    for pair in ((clip(), other), (other, clip())):
        with pytest.raises(InputError, match=words):
            pixel.mse(*pair)


def test_masks_that_do_not_match():
    for mask in (np.ones((2, 24, 32)), np.ones((4, 24, 32)), np.ones((3, 24, 30))):
        with pytest.raises(InputError, match="expected"):
            pixel.mse(clip(), clip(), mask)
