"""Control videos: transformations whose inverse is the footage itself (EasyV2V §4, "controllable video generation").

clip → **control video** → a pair in either direction. The paper turns control videos into footage; each transformation
here serves both ways ("turn this video into an edge video", "turn this edge video into a video showing ..."). Every
function takes a video, uint8 [T, H, W, 3], and the generator of its parameters, and returns a `ControlVideo`. Networks that the
paper used for the same purpose (HED, RAFT, depth, pose) are external experts (`data_synth/experts`); soft edges and optical flow
here are classical: a smoothed gradient, and `optical_flow.py`.

In the formulas Y is BT.601 luma, x a pixel in 0..255 (left of the arrow the new one), k a frame, and s the shorter side of the frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from statistics import NormalDist

import cv2
import numpy as np

from data_synth.operators import optical_flow, photometric
from data_synth.scenes import objects as ob

_GREY_LEVELS = np.arange(256, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class ControlVideo:
    """A control video of a clip.

    Attributes:
      video: uint8 [T, H, W, 3].
      mask: bool [T, H, W], where the video may differ from the clip; None for everywhere.
      slots: Words for the placeholders of the instruction's template.
    """

    video: np.ndarray
    mask: np.ndarray | None = None
    slots: dict[str, str] = dataclasses.field(default_factory=dict)


def canny(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Draw Canny edges, white on black.

    The thresholds are the clip's 80th and 92nd percentile of |grad Y|, so that they are the same in every frame.
    """
    luma = _luma(video)
    low, high = np.percentile(_gradients(luma), (80, 92), overwrite_input=True)
    return ControlVideo(_stack_grey([cv2.Canny(y, max(low, 1), max(high, 2), L2gradient=True) for y in luma]))


def soft_edges(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Draw the smoothed gradient: x ← 255 min(1, |grad (G * Y)| / q)^0.8.

    G is a Gaussian of sigma s / 64, q the clip's 98th percentile of every other row and column, which is enough as the gradient
    is smooth.
    """
    sigma = max(0.6, min(video.shape[1:3]) / 64)
    gradients = _gradients([cv2.GaussianBlur(y, (0, 0), sigma) for y in _luma(video)])
    peak = max(float(np.percentile(gradients[:, ::2, ::2], 98)), 1.0)
    return ControlVideo(
        _stack_grey((255 * np.minimum(1, size / peak) ** 0.8 + 0.5).astype(np.uint8) for size in gradients)
    )


def flow(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Show the optical flow from each frame to the next in colours (`optical_flow.py`); the last frame repeats."""
    if len(video) == 1:
        return ControlVideo(np.full_like(video, 255))
    moves = optical_flow.estimate_flow(_luma(video))
    return ControlVideo(optical_flow.flow_colors([*moves, moves[-1]]))


def rectangle(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Hide a rectangle of 8 to 30 % of the frame, black, that stands or drifts by up to a fifth of s: inpainting."""
    T, H, W, _ = video.shape
    area, shape = rng.uniform(0.08, 0.3) * H * W, np.exp(rng.uniform(-0.6, 0.6))
    h, w = min(H - 1, round((area / shape) ** 0.5)), min(W - 1, round((area * shape) ** 0.5))
    start = np.array([rng.uniform(0, H - h), rng.uniform(0, W - w)])
    drift = rng.uniform(-0.2, 0.2, 2) * min(H, W) * (rng.random() < 0.5)
    out, mask = video.copy(), np.zeros((T, H, W), bool)
    for k in range(T):
        y, x = np.clip(start + drift * k / max(1, T - 1), 0, (H - h, W - w)).round().astype(int)
        mask[k, y : y + h, x : x + w] = True
        out[k, y : y + h, x : x + w] = 0
    return ControlVideo(out, mask)


def border(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Hide borders, black: on each side independently 0 or 8 to 25 % of its length, at least on one: outpainting."""
    T, H, W, _ = video.shape
    has_border = rng.random(4) < 0.6
    has_border[int(rng.integers(4))] = True
    top_side, bottom_side, left_side, right_side = (
        (has_border * rng.uniform(0.08, 0.25, 4) * (H, H, W, W)).round().astype(int)
    )
    inner = slice(None), slice(top_side, H - bottom_side), slice(left_side, W - right_side)
    out, mask = np.zeros_like(video), np.ones((T, H, W), bool)
    out[inner], mask[inner] = video[inner], False
    return ControlVideo(out, mask)


def grayscale(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Remove the colour: R, G, B ← Y."""
    return ControlVideo(photometric.grayscale(video))


def blur(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Blur by a Gaussian of sigma 0.02 to 0.06 s."""
    sigma = rng.uniform(0.02, 0.06) * min(video.shape[1:3])
    if min(video.shape[1:3]) >= optical_flow.FAST_SIDE:
        # Large frames are reduced to a quarter first: the blur would remove the detail that this loses.
        _, H, W, _ = video.shape
        small = [cv2.resize(f, (W // 4, H // 4), interpolation=cv2.INTER_AREA) for f in video]
        blurred = (cv2.GaussianBlur(f, (0, 0), sigma / 4, borderType=cv2.BORDER_REFLECT_101) for f in small)
        return ControlVideo(
            _stack_like(video, (cv2.resize(f, (W, H), interpolation=cv2.INTER_CUBIC) for f in blurred))
        )
    blurred = (cv2.GaussianBlur(f, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101) for f in video)
    return ControlVideo(_stack_like(video, blurred))


def negation(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Invert the colours: x ← 255 - x."""
    return ControlVideo(255 - video)


def saturation(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Change the saturation: x ← Y + a (x - Y), a = 0.1 to 0.4 or 1.8 to 2.6."""

    def saturate(frame: np.ndarray, a: float) -> np.ndarray:
        grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
        return _round_levels(grey + a * (frame.astype(np.float32) - grey))

    return _scale_randomly(lambda a: (saturate(f, a) for f in video), video, rng, (0.1, 0.4), (1.8, 2.6))


def contrast(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Change the contrast: x ← m + a (x - m), m the clip's mean brightness, a = 0.3 to 0.55 or 1.6 to 2.2."""
    mean = float(video.mean())
    return _scale_randomly(
        lambda a: _map_levels(video, mean + a * (_GREY_LEVELS - mean)), video, rng, (0.3, 0.55), (1.6, 2.2)
    )


def brightness(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Change the brightness: x ← 255 (x / 255)^a, a = 2 to 3 (darker) or 0.35 to 0.5 (brighter)."""
    return _scale_randomly(
        lambda a: _map_levels(video, 255 * (_GREY_LEVELS / 255) ** (1 / a)),
        video,
        rng,
        (1 / 3, 1 / 2),
        (2.0, 2.9),
    )


def pixelation(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Replace squares of s / 24 to s / 10 pixels by their mean colour."""
    _, H, W, _ = video.shape
    side = min(H, W) / rng.uniform(10, 24)
    small = max(1, round(W / side)), max(1, round(H / side))
    return ControlVideo(_resample(video, small, cv2.INTER_AREA, cv2.INTER_NEAREST))


def wave(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Bend the frame: frame_k(x, y) = clip_k(x + a sin(2 pi (y / p + c k / T)), y + a sin(2 pi x / p)).

    a = 0.03 to 0.06 s, p = 0.3 to 0.6 s, c = -1, 0 or 1: the wave stands, or travels through once. Positions beyond the border are
    mirrored.
    """
    T, H, W, _ = video.shape
    side = min(H, W)
    amplitude, period, cycles = (
        rng.uniform(0.03, 0.06) * side,
        rng.uniform(0.3, 0.6) * side,
        int(rng.integers(-1, 2)),
    )
    y, x = np.arange(H, dtype=np.float32)[:, None], np.arange(W, dtype=np.float32)[None]
    map_y = y + amplitude * np.sin(2 * np.pi * x / period)
    out = np.empty_like(video)
    for k in range(T):
        map_x = x + amplitude * np.sin(2 * np.pi * (y / period + cycles * k / T))
        out[k] = cv2.remap(video[k], map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return ControlVideo(out)


def posterization(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Reduce each channel to n = 2 to 4 tones: x ← 255 round((n - 1) x / 255) / (n - 1)."""
    steps = int(rng.integers(2, 5)) - 1
    return ControlVideo(
        _stack_like(video, _map_levels(video, 255 * np.round(steps * np.arange(256) / 255) / steps))
    )


def noise(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Add Gaussian noise of sigma 20 to 45, new in every frame; in large frames it has 256 equally likely values."""
    if min(video.shape[1:3]) >= optical_flow.FAST_SIDE:
        distribution = NormalDist(0, rng.uniform(20, 45))
        levels = [distribution.inv_cdf((i + 0.5) / 256) for i in range(256)]
        positive = np.clip(np.round(levels), 0, 255).astype(np.uint8)
        negative = np.clip(-np.round(levels), 0, 255).astype(np.uint8)
        out = np.empty_like(video)
        for k, frame in enumerate(video):
            index = np.frombuffer(rng.bytes(frame.size), np.uint8).reshape(frame.shape)
            out[k] = cv2.subtract(cv2.add(frame, cv2.LUT(index, positive)), cv2.LUT(index, negative))
        return ControlVideo(out)
    grain = rng.standard_normal(video.shape, np.float32) * np.float32(rng.uniform(20, 45))
    return ControlVideo(np.clip(video + grain + 0.5, 0, 255).astype(np.uint8))


def overlay(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Mix in a named colour c: x ← (1 - a) x + a c, a = 0.4 to 0.6."""
    names = [n for n in ob.COLORS if n not in ("black", "grey", "white")]
    name = names[int(rng.integers(len(names)))]
    a = rng.uniform(0.4, 0.6)
    levels = np.arange(256, dtype=np.uint8)[:, None]  # a table for each channel: the sum once for every level
    mixed = levels * np.float32(1 - a) + (a * np.array(ob.COLORS[name]) + 0.5).astype(np.float32)
    table = np.clip(mixed, 0, 255).astype(np.uint8)[None]
    return ControlVideo(_stack_like(video, (cv2.LUT(f, table) for f in video)), slots={"colour": name})


def low_resolution(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Reduce the frames 4 to 8 times by area and enlarge them back by bicubic interpolation."""
    _, H, W, _ = video.shape
    factor = rng.uniform(4, 8)
    small = max(2, round(W / factor)), max(2, round(H / factor))
    return ControlVideo(_resample(video, small, cv2.INTER_AREA, cv2.INTER_CUBIC))


def frame_drop(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Show only every n-th frame, n = 3 or 4: frame k shows n floor(k / n)."""
    n = int(rng.integers(3, 5))
    k = np.arange(len(video))
    indices = k - k % n
    mask = np.zeros(video.shape[:3], bool)
    mask[indices != k] = True
    return ControlVideo(video[indices], mask)


CONTROLS: dict[str, Callable[[np.ndarray, np.random.Generator], ControlVideo]] = {
    "canny": canny,
    "soft-edges": soft_edges,
    "flow": flow,
    "inpainting": rectangle,
    "outpainting": border,
    "greyscale": grayscale,
    "blur": blur,
    "negation": negation,
    "saturation": saturation,
    "contrast": contrast,
    "brightness": brightness,
    "pixelation": pixelation,
    "wave": wave,
    "posterisation": posterization,
    "noise": noise,
    "overlay": overlay,
    "low-resolution": low_resolution,
    "frame-drop": frame_drop,
}


def _luma(video: np.ndarray) -> np.ndarray:
    """Return the BT.601 luma, uint8 [T, H, W]."""
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video])


def _gradients(lumas: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Return |grad Y| of each plane uint8 [H, W], float32 [T, H, W]."""
    out = np.empty((len(lumas), *lumas[0].shape), np.float32)
    for k, y in enumerate(lumas):
        np.hypot(cv2.Sobel(y, cv2.CV_32F, 1, 0), cv2.Sobel(y, cv2.CV_32F, 0, 1), out=out[k])
    return out


def _stack_grey(planes: Iterable[np.ndarray]) -> np.ndarray:
    """Stack planes uint8 [H, W] to a grey video [T, H, W, 3]."""
    return np.stack([cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB) for plane in planes])


def _stack_like(video: np.ndarray, frames: Iterable[np.ndarray]) -> np.ndarray:
    """Stack frames of the video's number and size; a large clip is in memory once, not as a list too."""
    out = np.empty_like(video)
    for k, frame in enumerate(frames):
        out[k] = frame
    return out


def _round_levels(values: np.ndarray) -> np.ndarray:
    """Round and clip to uint8."""
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def _map_levels(video: np.ndarray, values: np.ndarray) -> Iterable[np.ndarray]:
    """Return the frames with every grey level i replaced by values[i]."""
    table = _round_levels(values)
    return (cv2.LUT(frame, table) for frame in video)


def _scale_randomly(
    change: Callable[[float], Iterable[np.ndarray]],
    video: np.ndarray,
    rng: np.random.Generator,
    low_range: tuple[float, float],
    high_range: tuple[float, float],
) -> ControlVideo:
    """Return the video changed by a factor of one of two ranges, drawn by a coin.

    Args:
      change: Factor to frames.
      video: uint8 [T, H, W, 3].
      rng: Generator of the coin and the factor.
      low_range: Least and greatest factor that reduce.
      high_range: Least and greatest factor that increase.

    Returns:
      The video, with the words for the change and its inverse.
    """
    increases = bool(rng.random() < 0.5)
    out = _stack_like(video, change(rng.uniform(*(high_range if increases else low_range))))
    up, down = ("increase", "high"), ("reduce", "low")
    (verb, level), (inverse_verb, inverse_level) = (up, down) if increases else (down, up)
    return ControlVideo(
        out, slots={"way": verb, "back": inverse_verb, "level": level, "other": inverse_level}
    )


def _resample(video: np.ndarray, small: tuple[int, int], down: int, up: int) -> np.ndarray:
    """Reduce frames to a size (W, H) and enlarge them back, by the given interpolations of OpenCV."""
    _, H, W, _ = video.shape
    reduced = (cv2.resize(f, small, interpolation=down) for f in video)
    return _stack_like(video, (cv2.resize(f, (W, H), interpolation=up) for f in reduced))
