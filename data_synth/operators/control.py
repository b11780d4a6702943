"""Control experts: transformations whose inverse is the footage itself (EasyV2V §4, "controllable video generation").

clip → **control video** → a pair in either direction. The paper turns control videos into footage; each transformation
here serves both ways ("turn this video into an edge video", "turn this edge video into a video showing ..."). Every
function maps (video uint8 [T, H, W, 3], rng) to `Control`. Networks the paper used for the same purpose (HED, RAFT,
depth, pose) plug in through `protocol.py`; soft edges and optical flow here are classical: a smoothed gradient, and
`optical_flow.py`. Y is BT.601 luma, x a pixel in 0..255, s the shorter side of the frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from statistics import NormalDist

import cv2
import numpy as np

from data_synth.operators import optical_flow, photometric
from data_synth.scenes import objects as ob

_ALL = np.arange(256, dtype=np.float32)  # every grey level


@dataclasses.dataclass(frozen=True)
class ControlVideo:
    """video uint8 [T, H, W, 3]; mask bool [T, H, W] where it may differ from the clip, None for everywhere; `slots`
    are words the instruction uses."""

    video: np.ndarray
    mask: np.ndarray | None = None
    slots: dict = dataclasses.field(default_factory=dict)


def canny(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Canny edges, white on black. Thresholds are the clip's 80th and 92nd percentile of |grad Y|, so they don't jump."""
    luma = _luma(video)
    low, high = np.percentile(_gradients(luma), (80, 92), overwrite_input=True)
    return ControlVideo(_spread([cv2.Canny(y, max(low, 1), max(high, 2), L2gradient=True) for y in luma]))


def soft_edges(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """x = 255 min(1, |grad (G * Y)| / q)^0.8, G a Gaussian of sigma s / 64, q the clip's 98th percentile
    (of every other row and column: it is so smooth that the others say the same)."""
    sigma = max(0.6, min(video.shape[1:3]) / 64)
    sizes = _gradients([cv2.GaussianBlur(y, (0, 0), sigma) for y in _luma(video)])
    peak = max(float(np.percentile(sizes[:, ::2, ::2], 98)), 1.0)
    return ControlVideo(
        _spread((255 * np.minimum(1, size / peak) ** 0.8 + 0.5).astype(np.uint8) for size in sizes)
    )


def flow(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Optical flow from each frame to the next (the last repeats), in colours: `optical_flow.py`."""
    if len(video) == 1:
        return ControlVideo(np.full_like(video, 255))
    moves = optical_flow.estimate_flow(_luma(video))
    return ControlVideo(optical_flow.flow_colors([*moves, moves[-1]]))


def rectangle(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """A black rectangle of 8 to 30 % of the frame that stands or drifts by up to a fifth of s: inpainting."""
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
    """Black borders: on each side independently 0 or 8 to 25 % of its length, at least on one: outpainting."""
    T, H, W, _ = video.shape
    on = rng.random(4) < 0.6
    on[int(rng.integers(4))] = True
    top_side, bottom_side, left_side, right_side = (
        (on * rng.uniform(0.08, 0.25, 4) * (H, H, W, W)).round().astype(int)
    )
    inner = slice(None), slice(top_side, H - bottom_side), slice(left_side, W - right_side)
    out, mask = np.zeros_like(video), np.ones((T, H, W), bool)
    out[inner], mask[inner] = video[inner], False
    return ControlVideo(out, mask)


def grayscale(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """R, G, B = Y."""
    return ControlVideo(photometric.grayscale(video))


def blur(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Gaussian blur, sigma 0.02 to 0.06 s."""
    sigma = rng.uniform(0.02, 0.06) * min(video.shape[1:3])
    if (
        min(video.shape[1:3]) >= optical_flow.FAST_SIDE
    ):  # reduced four times first: what is lost there the blur would take anyway
        _, H, W, _ = video.shape
        small = [cv2.resize(f, (W // 4, H // 4), interpolation=cv2.INTER_AREA) for f in video]
        soft = (cv2.GaussianBlur(f, (0, 0), sigma / 4, borderType=cv2.BORDER_REFLECT_101) for f in small)
        return ControlVideo(
            _filled(video, (cv2.resize(f, (W, H), interpolation=cv2.INTER_CUBIC) for f in soft))
        )
    soft = (cv2.GaussianBlur(f, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101) for f in video)
    return ControlVideo(_filled(video, soft))


def negation(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """x = 255 - x."""
    return ControlVideo(255 - video)


def saturation(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """x = Y + a (x - Y), a = 0.1 to 0.4 or 1.8 to 2.6."""

    def from_grey(frame: np.ndarray, a: float) -> np.ndarray:
        grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
        return _levels(grey + a * (frame.astype(np.float32) - grey))

    return _scaled(lambda a: (from_grey(f, a) for f in video), video, rng, (0.1, 0.4), (1.8, 2.6))


def contrast(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """x = m + a (x - m), m the clip's mean brightness, a = 0.3 to 0.55 or 1.6 to 2.2."""
    mean = float(video.mean())
    return _scaled(lambda a: _mapped(video, mean + a * (_ALL - mean)), video, rng, (0.3, 0.55), (1.6, 2.2))


def brightness(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """x = 255 (x / 255)^a, a = 2 to 3 (darker) or 0.35 to 0.5 (brighter)."""
    return _scaled(
        lambda a: _mapped(video, 255 * (_ALL / 255) ** (1 / a)), video, rng, (1 / 3, 1 / 2), (2.0, 2.9)
    )


def pixelation(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Squares of s / 24 to s / 10 pixels, each its mean colour."""
    _, H, W, _ = video.shape
    side = min(H, W) / rng.uniform(10, 24)
    small = max(1, round(W / side)), max(1, round(H / side))
    return ControlVideo(_resampled(video, small, cv2.INTER_AREA, cv2.INTER_NEAREST))


def wave(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """frame(x, y) = clip(x + a sin(2 pi (y / p + c k / T)), y + a sin(2 pi x / p)), a = 0.03 to 0.06 s, p = 0.3 to
    0.6 s, c = -1, 0 or 1: a wave that stands or travels once through; positions beyond the border are mirrored."""
    T, H, W, _ = video.shape
    side = min(H, W)
    amount, period, cycles = (
        rng.uniform(0.03, 0.06) * side,
        rng.uniform(0.3, 0.6) * side,
        int(rng.integers(-1, 2)),
    )
    y, x = np.arange(H, dtype=np.float32)[:, None], np.arange(W, dtype=np.float32)[None]
    at_y = y + amount * np.sin(2 * np.pi * x / period)
    out = np.empty_like(video)
    for k in range(T):
        at_x = x + amount * np.sin(2 * np.pi * (y / period + cycles * k / T))
        out[k] = cv2.remap(video[k], at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return ControlVideo(out)


def posterization(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """n = 2 to 4 tones a channel: x = 255 round((n - 1) x / 255) / (n - 1)."""
    n = int(rng.integers(2, 5)) - 1
    return ControlVideo(_filled(video, _mapped(video, 255 * np.round(n * np.arange(256) / 255) / n)))


def noise(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Gaussian noise of sigma 20 to 45, new in every frame; on large frames of 256 equally likely values."""
    if min(video.shape[1:3]) >= optical_flow.FAST_SIDE:
        bell = NormalDist(0, rng.uniform(20, 45))
        levels = [bell.inv_cdf((i + 0.5) / 256) for i in range(256)]
        up = np.clip(np.round(levels), 0, 255).astype(np.uint8)
        down = np.clip(-np.round(levels), 0, 255).astype(np.uint8)
        out = np.empty_like(video)
        for k, frame in enumerate(video):
            levels_index = np.frombuffer(rng.bytes(frame.size), np.uint8).reshape(frame.shape)
            out[k] = cv2.subtract(cv2.add(frame, cv2.LUT(levels_index, up)), cv2.LUT(levels_index, down))
        return ControlVideo(out)
    grain = rng.standard_normal(video.shape, np.float32) * np.float32(rng.uniform(20, 45))
    return ControlVideo(np.clip(video + grain + 0.5, 0, 255).astype(np.uint8))


def overlay(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """x = (1 - a) x + a c, c a named colour, a = 0.4 to 0.6."""
    names = [n for n in ob.COLORS if n not in ("black", "grey", "white")]
    name = names[int(rng.integers(len(names)))]
    a = rng.uniform(0.4, 0.6)
    values = np.arange(256, dtype=np.uint8)[:, None]  # a table for each channel: the same sum, once a value
    mixed = values * np.float32(1 - a) + (a * np.array(ob.COLORS[name]) + 0.5).astype(np.float32)
    table = np.clip(mixed, 0, 255).astype(np.uint8)[None]
    return ControlVideo(_filled(video, (cv2.LUT(f, table) for f in video)), slots={"colour": name})


def low_resolution(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Reduced 4 to 8 times by area, enlarged back by bicubic interpolation."""
    _, H, W, _ = video.shape
    factor = rng.uniform(4, 8)
    small = max(2, round(W / factor)), max(2, round(H / factor))
    return ControlVideo(_resampled(video, small, cv2.INTER_AREA, cv2.INTER_CUBIC))


def frame_drop(video: np.ndarray, rng: np.random.Generator) -> ControlVideo:
    """Only every n-th frame, n = 3 or 4, is kept and held: frame k shows n floor(k / n)."""
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
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video])


def _gradients(lumas: Sequence[np.ndarray]) -> np.ndarray:
    """|grad Y| of each, float32 [T, H, W]."""
    out = np.empty((len(lumas), *lumas[0].shape), np.float32)
    for size, y in zip(out, lumas, strict=True):
        np.hypot(cv2.Sobel(y, cv2.CV_32F, 1, 0), cv2.Sobel(y, cv2.CV_32F, 0, 1), out=size)
    return out


def _spread(planes: Iterable[np.ndarray]) -> np.ndarray:
    """Planes uint8 [H, W] → [T, H, W, 3], grey."""
    return np.stack([cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB) for plane in planes])


def _filled(video: np.ndarray, frames: Iterable[np.ndarray]) -> np.ndarray:
    """Frames like the video's → one array; a large clip is in memory once, not as a list too."""
    out = np.empty_like(video)
    for k, frame in enumerate(frames):
        out[k] = frame
    return out


def _levels(values: np.ndarray) -> np.ndarray:
    """Rounded and cut off to uint8."""
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def _mapped(video: np.ndarray, values: np.ndarray) -> Iterable[np.ndarray]:
    """Frames with every grey level replaced by what it turns into, values [256]."""
    table = _levels(values)
    return (cv2.LUT(frame, table) for frame in video)


def _scaled(
    change: Callable[[float], Iterable[np.ndarray]],
    video: np.ndarray,
    rng: np.random.Generator,
    less: tuple,
    more: tuple,
) -> ControlVideo:
    """change(a), frames, with a of one of the two ranges by a coin; the words say which way it went and which leads back."""
    up = bool(rng.random() < 0.5)
    out = _filled(video, change(rng.uniform(*(more if up else less))))
    words = ("increase", "reduce"), ("high", "low")
    (change_word, inverse_word), (level, other) = words if up else (words[0][::-1], words[1][::-1])
    return ControlVideo(out, slots={"way": change_word, "back": inverse_word, "level": level, "other": other})


def _resampled(video: np.ndarray, small: tuple[int, int], down: int, up: int) -> np.ndarray:
    _, H, W, _ = video.shape
    reduced = (cv2.resize(f, small, interpolation=down) for f in video)
    return _filled(video, (cv2.resize(f, (W, H), interpolation=up) for f in reduced))
