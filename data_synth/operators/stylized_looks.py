"""Stylized looks: drawings, paintings and prints made of each frame.

clip → **stylized look** → clip. Every function takes an RGB video, uint8 [T, H, W, 3], of any size, and returns one of that shape. Strokes,
dots and cells scale with s, the shorter side of the frame. A frame's result depends on that frame alone, and thresholds are soft, so
that the noise of a film does not become flicker. G_σ is a Gaussian, S(z; a, b) the smooth step from a to b, Y luma in 0..1.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np

from data_synth.operators.pixel_math import (
    gaussian,
    grey_frame,
    luma_of,
    map_frames,
    noise_field,
    saturate,
    smoothstep,
    soft_tones,
)
from data_synth.rng import build_rng

# Paper, pigment and panes are the same in all clips.
_PAPER_SEED = 0


def sketch(video: np.ndarray) -> np.ndarray:
    """Draw with a pencil: x ← (Y / G_σ Y)^2.2 on the grain of paper, darkened a little where Y is low; σ = s / 40.

    The ratio is white in even areas and dark on the dark side of edges ("color dodge").
    """
    _, H, W, _ = video.shape
    sigma = max(1.0, min(H, W) / 40)
    paper = _paper(H, W)

    def draw(x: np.ndarray, k: int) -> np.ndarray:
        y = luma_of(x)
        lines = np.clip((y + 0.02) / (gaussian(y, sigma) + 0.02), 0, 1) ** 2.2
        shade = 0.72 + 0.28 * smoothstep(y, 0.0, 0.5)
        return grey_frame(0.97 * lines * shade * (1 + 0.05 * paper * (1 - lines * shade + 0.3)))

    return map_frames(video, draw)


def ink_drawing(video: np.ndarray) -> np.ndarray:
    """Draw with ink, black on white: extended differences of Gaussians (Winnemöller et al. 2012).

    D = (1 + p) G_σ Y - p G_{1.6 σ} Y with p = 14, σ = max(0.7, s / 300); x ← 1 where D > 0.4, else 1 + tanh(7 (D - 0.4)).
    """
    sigma, p = max(0.7, min(video.shape[1:3]) / 300), 14.0

    def draw(x: np.ndarray, k: int) -> np.ndarray:
        y = luma_of(x)
        difference = (1 + p) * gaussian(y, sigma) - p * gaussian(y, 1.6 * sigma)
        return grey_frame(
            np.where(difference > 0.4, 1, 1 + np.tanh(7 * (difference - 0.4))).astype(np.float32)
        )

    return map_frames(video, draw)


def cartoon(video: np.ndarray) -> np.ndarray:
    """Draw a cartoon: smooth areas of few tones, strong colors, dark outlines.

    Areas by two passes of an edge-preserving mean (`_kuwahara`), luma to seven soft tones, saturation times 1.5; outlines by differences
    of Gaussians.
    """
    side = min(video.shape[1:3])
    radius, sigma = max(1, round(side / 160)), max(0.7, side / 360)

    def draw(x: np.ndarray, k: int) -> np.ndarray:
        flat = _kuwahara(_kuwahara(x, radius), radius)
        y = luma_of(flat)[..., None]
        toned = saturate(flat, 1.5) + (soft_tones(y, 7) - y)
        smooth = luma_of(_kuwahara(x, 1)) if side >= 64 else luma_of(x)
        edge = gaussian(smooth, 1.6 * sigma) - gaussian(smooth, sigma)
        return np.clip(toned * 1.05 + 0.02, 0, 1) * (1 - 0.9 * smoothstep(edge, 0.006, 0.03))[..., None]

    return map_frames(video, draw)


def oil_painting(video: np.ndarray) -> np.ndarray:
    """Paint in oil: broad strokes with sharp borders, fine ones on details, lit from the upper left as thick paint is, saturation times 1.3.

    Strokes are those of `_paint_strokes`, broad ones of radius s / 85 and s / 120, fine ones of s / 240.
    """
    side = min(video.shape[1:3])
    broad, fine = [max(2, round(side / n)) for n in (85, 120)], max(1, round(side / 240))

    def paint(x: np.ndarray, k: int) -> np.ndarray:
        strokes = _paint_strokes(x, broad, fine)
        y = luma_of(strokes)
        relief = cv2.Sobel(y, cv2.CV_32F, 1, 0) + cv2.Sobel(y, cv2.CV_32F, 0, 1)
        return saturate(strokes, 1.3) + np.clip(0.16 * relief, -0.14, 0.14)[..., None]

    return map_frames(video, paint)


def watercolor(video: np.ndarray) -> np.ndarray:
    """Paint in watercolor: pale washes that run unevenly, darker at their rims, on grainy paper (after Bousseau et al. 2006).

    With c the wash, an edge-preserving mean lifted to 0.22 + 0.8 c, pigment density d: x ← c - (c - c²) (d - 1).
    """
    _, H, W, _ = video.shape
    side = min(H, W)
    radius, fine = max(2, round(side / 120)), max(1, round(side / 300))
    pigment = 0.22 * noise_field(build_rng(_PAPER_SEED, "pigment"), H, W, 4, 4) + 0.14 * _paper(H, W)

    def paint(x: np.ndarray, k: int) -> np.ndarray:
        wash = _paint_strokes(x, [radius, radius], fine)
        wash = np.clip(0.22 + 0.8 * saturate(wash, 1.25), 0, 1)
        y = luma_of(wash)
        rim = np.hypot(cv2.Sobel(y, cv2.CV_32F, 1, 0), cv2.Sobel(y, cv2.CV_32F, 0, 1))
        density = 1 + pigment + 1.1 * smoothstep(gaussian(rim, max(0.6, side / 500)), 0.05, 0.6)
        return wash - (wash - wash * wash) * (density - 1)[..., None]

    return map_frames(video, paint)


def pixel_art(video: np.ndarray) -> np.ndarray:
    """Draw in large pixels: squares of s / 64 (at least 2) pixels of one color, eight soft tones a channel, saturation times 1.35."""
    _, H, W, _ = video.shape
    side = max(2, min(H, W) / 64)
    small = max(1, round(W / side)), max(1, round(H / side))

    def draw(x: np.ndarray, k: int) -> np.ndarray:
        blocks = cv2.resize(x, small, interpolation=cv2.INTER_AREA).reshape(small[1], small[0], 3)
        blocks = soft_tones(0.5 + np.float32(1.15) * (saturate(blocks, 1.35) - 0.5), 8)
        return cv2.resize(blocks, (W, H), interpolation=cv2.INTER_NEAREST)

    return map_frames(video, draw)


def halftone(video: np.ndarray) -> np.ndarray:
    """Print with dots of cyan, magenta, yellow and black, on screens turned by 15, 75, 0 and 45 degrees, s / 72 (at least 4) pixels apart.

    Black is half of the common part of the other inks. An ink covers a pixel where its share exceeds the screen's threshold there,
    softly over 0.16. Thresholds are cos u cos v of the turned coordinates u and v, mapped so that they are uniform over 0..1: the ink
    that is printed is then the ink that is asked for.
    """
    _, H, W, _ = video.shape
    step = np.float32(2 * np.pi / max(4.0, min(H, W) / 72))
    y, x = np.mgrid[:H, :W].astype(np.float32)
    period = np.cos(np.linspace(0, np.pi, 256))
    quantiles = np.quantile(np.outer(period, period), np.linspace(0, 1, 129))
    thresholds = []
    for degrees in (15, 75, 0, 45):
        cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        dots = np.cos(step * (cos * x + sin * y)) * np.cos(step * (cos * y - sin * x))
        thresholds.append(np.interp(dots, quantiles, np.linspace(0, 1, 129)).astype(np.float32))

    def cover(share: np.ndarray, threshold: np.ndarray) -> np.ndarray:
        return smoothstep(share * 1.16 - 0.08 - threshold, -0.08, 0.08)

    def print_frame(frame: np.ndarray, k: int) -> np.ndarray:
        ink = np.clip(1 - saturate(frame, 1.2), 0, 1)
        black = 0.5 * ink.min(-1)
        # What is left to the colors, so that all inks together let through what the frame does.
        inks = (ink - black[..., None]) / (1 - black[..., None])
        printed = [1 - cover(inks[..., c], thresholds[c]) for c in range(3)]
        return 0.03 + 0.95 * np.stack(printed, -1) * (1 - cover(black, thresholds[3]))[..., None]

    return map_frames(video, print_frame)


def emboss(video: np.ndarray) -> np.ndarray:
    """Press into grey metal: x ← 1/2 + the derivative of the slightly smoothed luma towards the lower right."""
    sigma = max(0.6, min(video.shape[1:3]) / 480)
    kernel = np.array(((-1, -1, 0), (-1, 0, 1), (0, 1, 1)), np.float32)

    def press(x: np.ndarray, k: int) -> np.ndarray:
        relief = cv2.filter2D(gaussian(luma_of(x), sigma), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        return grey_frame(0.5 + relief)

    return map_frames(video, press)


def neon(video: np.ndarray) -> np.ndarray:
    """Bend from neon tubes: glowing edges in the scene's own, saturated hues on an almost black picture."""
    side = min(video.shape[1:3])
    sigma = max(0.7, side / 320)

    def bend(x: np.ndarray, k: int) -> np.ndarray:
        smooth = gaussian(x, sigma)
        slope = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)).max(-1)
        edge = smoothstep(slope * np.float32(sigma), 0.15, 1.0)
        hue = gaussian(x, 3 * sigma)
        hue = hue - hue.min(-1, keepdims=True)
        # Grey has no hue: it shines in violet.
        hue = (hue + np.array((0.03, 0.005, 0.05), np.float32)) / (hue.max(-1, keepdims=True) + 0.05)
        tubes = hue * edge[..., None]
        halo = gaussian(tubes, side / 60) + gaussian(tubes, side / 24)
        return (
            0.1 * x * np.array((0.6, 0.5, 1.1), np.float32) + tubes + 0.45 * halo + 0.3 * (edge**4)[..., None]
        )

    return map_frames(video, bend)


def stained_glass(video: np.ndarray) -> np.ndarray:
    """Set in stained glass: about 24 panes along s, of one saturated color each, between dark lead; the panes stand still."""
    _, H, W, _ = video.shape
    labels, lead = _panes(H, W)
    count = int(labels.max()) + 1
    sizes = np.maximum(np.bincount(labels.ravel(), minlength=count), 1)[:, None]

    def glaze(x: np.ndarray, k: int) -> np.ndarray:
        sums = [np.bincount(labels.ravel(), x[..., c].ravel(), count) for c in range(3)]
        means = (np.stack(sums, -1) / sizes).astype(np.float32)
        return np.clip(saturate(means, 1.6) * 1.12 + 0.03, 0, 1)[labels] * lead + 0.05 * (1 - lead)

    return map_frames(video, glaze)


def _kuwahara(x: np.ndarray, radius: int) -> np.ndarray:
    """Return the mean over the most even of eight discs around each pixel (a generalized Kuwahara filter, Papari et al. 2007).

    The discs are Gaussians of sigma 0.45 radius whose centres lie 0.7 radius away. Their means are mixed with weights
    1 / (1 + 2500 variance)^6, so the result changes smoothly with the input.

    Args:
      x: float32 [H, W, 3].
      radius: Radius of the neighbourhood in pixels, at least 1.
    """
    H, W = x.shape[:2]
    radius = min(radius, min(H, W) - 1)
    if radius < 1:
        return x
    reach = max(1, round(0.7 * radius))
    sigma = 0.45 * radius
    moments = np.dstack([x, (x * x).sum(-1)])
    moments = cv2.GaussianBlur(moments, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    evenness = 1 / (1 + 2500 * np.maximum(moments[..., 3] - (moments[..., :3] ** 2).sum(-1), 0))
    moments[..., 3] = (evenness * evenness * evenness) ** 2 + np.float32(1e-12)
    moments[..., :3] *= moments[..., 3:]
    padded = cv2.copyMakeBorder(moments, reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
    total = np.zeros_like(moments)
    for i in range(8):
        dy, dx = (round(reach * f(i * np.pi / 4)) + reach for f in (np.sin, np.cos))
        total += padded[dy : dy + H, dx : dx + W]
    return total[..., :3] / total[..., 3:]


def _paint_strokes(x: np.ndarray, broad: Sequence[int], fine: int) -> np.ndarray:
    """Return a frame painted coarse to fine (the idea of Hertzmann 1998): fine strokes only where broad ones miss something.

    With b and f the frame after `_kuwahara` of the broad radii one after the other and of the fine one twice, and e = |Y_f - Y_b|,
    x ← b + S(e; 0.06, 0.16) (f - b).

    Args:
      x: float32 [H, W, 3].
      broad: Radii of the broad strokes in pixels.
      fine: Radius of the fine strokes in pixels.
    """
    base, details = functools.reduce(_kuwahara, broad, x), _kuwahara(_kuwahara(x, fine), fine)
    error = cv2.dilate(
        np.abs(luma_of(details) - luma_of(base)), np.ones((2 * fine + 1, 2 * fine + 1), np.uint8)
    )
    return base + smoothstep(gaussian(error, fine), 0.06, 0.16)[..., None] * (details - base)


@functools.lru_cache(maxsize=4)
def _paper(H: int, W: int) -> np.ndarray:
    """Return the grain of paper, float32 [H, W], of mean 0 and deviation 1."""
    scale = max(1.0, min(H, W) / 480)
    rng = build_rng(_PAPER_SEED, "paper")
    shape = max(2, round(H / scale)), max(2, round(W / scale))
    grain = gaussian(rng.standard_normal(shape, np.float32), 0.9)
    grain = cv2.resize(grain, (W, H), interpolation=cv2.INTER_CUBIC)
    return grain / max(float(grain.std()), 1e-6)


@functools.lru_cache(maxsize=4)
def _panes(H: int, W: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each pixel's pane, int64 [H, W], and the share of glass, not lead, float32 [H, W, 1].

    Panes are the cells nearest to points of a grid that are shifted at random.
    """
    side = max(3.0, min(H, W) / 24)
    rng = build_rng(_PAPER_SEED, "panes")
    rows, columns = int(np.ceil(H / side)) + 2, int(np.ceil(W / side)) + 2
    shift = rng.uniform(0.12, 0.88, (rows, columns, 2)).astype(np.float32)
    y, x = np.mgrid[:H, :W].astype(np.float32)
    row, column = (y / side).astype(int) + 1, (x / side).astype(int) + 1
    nearest = np.full((H, W), np.inf, np.float32)
    second, labels = nearest.copy(), np.zeros((H, W), np.int64)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            r, c = np.clip(row + i, 0, rows - 1), np.clip(column + j, 0, columns - 1)
            point = shift[r, c]
            distance = np.hypot(y / side + 1 - (r + point[..., 0]), x / side + 1 - (c + point[..., 1]))
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            nearest = np.where(closer, distance, nearest)
            labels = np.where(closer, r * columns + c, labels)
    width = max(1.0, min(H, W) / 300) / side
    return labels, smoothstep(second - nearest, 0.5 * width, 2 * width)[..., None]
