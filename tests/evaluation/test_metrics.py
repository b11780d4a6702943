"""Metrics of single frames: values worked out by hand or by a slow, literal computation."""

import math

import cv2
import numpy as np
import pytest

from v2v.errors import InputError
from v2v.evaluation import metrics


def clip(seed=0, T=3, H=24, W=32):
    """Smooth random frames, uint8 [T, H, W, 3]."""
    rng = np.random.default_rng(seed)
    frames = [cv2.GaussianBlur(rng.uniform(0, 255, (H, W, 3)), (0, 0), 1.5) for _ in range(T)]
    return np.stack(frames).astype(np.uint8)


def test_mse_and_psnr_of_a_known_error():
    a = np.full((2, 8, 8, 3), 100, np.uint8)
    b = a.copy()
    b[0] += 10  # squared error 100 in one of two frames
    assert metrics.mse(a, b) == pytest.approx(50)
    assert metrics.psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 50))
    assert metrics.psnr(a, a) == metrics.PSNR_CAP
    assert metrics.mse(b, a) == metrics.mse(
        iter(list(a)), iter(list(b))
    )  # any iterable, either order: no uint8 wrap-around


def test_psnr_pools_frames_before_the_logarithm():
    a = np.zeros((2, 8, 8, 3), np.uint8)
    b = a.copy()
    b[1] = 51
    assert metrics.psnr(a, b) == pytest.approx(10 * math.log10(255**2 / (51**2 / 2)))


def test_regions_split_the_error():
    a, b = clip(1), clip(2)
    mask = np.zeros(a.shape[:3], np.uint8)
    mask[1:, 3:9, 4:20] = 255
    inside, outside = (metrics.mse(a, b, mask, outside=o) for o in (False, True))
    square = (a.astype(float) - b) ** 2
    assert inside == pytest.approx(square[mask > 0].mean())
    assert outside == pytest.approx(square[mask == 0].mean())
    assert math.isnan(metrics.psnr(a, b, np.zeros_like(mask)))
    assert math.isnan(metrics.mse(a, b, np.ones_like(mask, bool), outside=True))


def test_change_and_leakage():
    source = np.full((2, 10, 10, 3), 50, np.uint8)
    mask = np.zeros((2, 10, 10), bool)
    mask[1, :5] = True
    output = source.copy()
    output[1, :5] -= 20
    output[0, 0, 0] += 15
    assert metrics.change_inside(output, source, mask) == 20
    assert metrics.leakage_outside(output, source, mask) == pytest.approx(15 / 150)


def literal_ssim(x, y):
    """Every window written out in float64."""
    t = np.arange(11) - 5
    g = np.exp(-(t**2) / (2 * 1.5**2))
    w = np.outer(g, g) / np.outer(g, g).sum()
    x, y = (v.astype(float) @ (0.299, 0.587, 0.114) for v in (x, y))
    total = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (w * a).sum(), (w * b).sum()
            va, vb, cov = (w * a * a).sum() - ma**2, (w * b * b).sum() - mb**2, (w * a * b).sum() - ma * mb
            c1, c2 = 2.55**2, 7.65**2
            total.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return np.mean(total)


def test_ssim_equals_its_definition():
    a = clip(3, T=2)
    b = np.clip(a * 0.7 + np.random.default_rng(0).normal(20, 12, a.shape), 0, 255).astype(np.uint8)
    expected = np.mean([literal_ssim(x, y) for x, y in zip(a, b, strict=True)])
    assert 0.2 < expected < 0.95
    assert metrics.ssim(a, b) == pytest.approx(expected, abs=2e-4)
    assert metrics.ssim(a, a) == pytest.approx(1)
    assert metrics.ssim(a, 255 - a) < 0


def test_ms_ssim_forgives_what_is_only_fine():
    a = clip(4, T=1, H=180, W=200)
    noise = np.random.default_rng(1).normal(0, 25, a.shape)
    fine = np.clip(a + noise, 0, 255).astype(np.uint8)
    smooth = cv2.GaussianBlur(noise[0], (0, 0), 6)
    coarse = np.clip(a + 25 / smooth.std() * smooth, 0, 255).astype(np.uint8)
    assert metrics.ms_ssim(a, a) == pytest.approx(1)
    assert metrics.ms_ssim(a, fine) > metrics.ssim(a, fine) + 0.1
    assert metrics.ms_ssim(a, fine) > metrics.ms_ssim(a, coarse)
    with pytest.raises(InputError, match="at least 176x176"):
        metrics.ms_ssim(clip(), clip())


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
            metrics.mse(*pair)


def test_masks_that_do_not_match():
    for mask in (np.ones((2, 24, 32)), np.ones((4, 24, 32)), np.ones((3, 24, 30))):
        with pytest.raises(InputError, match="expected"):
            metrics.mse(clip(), clip(), mask)
