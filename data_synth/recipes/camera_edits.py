"""The recipes of the camera: zooms, pans, shake, tilt, and steadying, by windows that move over a larger picture.

seed → clip at `OVERSCAN` times the size → window of source, windows of target → **Pair**. What a window shows was filmed, so zooming out and
panning show what really lies beyond the source's frame.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np

from data_synth import footage
from data_synth.language import camera_edits as language
from data_synth.recipes.base import declare_family, join_names, on_clips
from data_synth.recipes.frame_edits import build_frame_edit_pair
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair

# 2: captions as sentences.
VERSION = "2"
# Size of the picture over which windows move, in sizes of the clip.
OVERSCAN = 1.5
# Probability that a move begins inside the clip.
_LATE_SHARE = 0.4
# Poses of a window, float64 [T, 4]: centre (x, y) as a share of the picture's size from its middle, size as a share of the picture's,
# angle in radians.
Poses = np.ndarray
# (generator, progress 0..1 of every frame) → poses of source and target, and words.
MoveSampler = Callable[[np.random.Generator, np.ndarray], tuple[Poses, Poses, dict[str, str]]]
_CLOSE = 1 / OVERSCAN


def camera_pair(name: str, clips: footage.ClipSource, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a pair of a clip and the same clip under another camera.

    Args:
      name: Edit, of `MOVES`.
      clips: Source of footage.
      seed: Seed of the clip, the move and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    if T < 3:
        return Rejected("fewer than 3 frames have no camera move")
    clip = clips(seed, T, round(OVERSCAN * H), round(OVERSCAN * W))
    if isinstance(clip, Rejected):
        return clip
    rng = build_rng(seed, "camera")
    start = int(rng.integers(1, max(2, T // 2))) if rng.random() < _LATE_SHARE else 0
    source_poses, target_poses, slots = MOVES[name](rng, _ease(rng, T, start))
    return build_frame_edit_pair(
        clip,
        _look(clip.video, source_poses, H, W),
        _look(clip.video, target_poses, H, W),
        (source_poses != target_poses).any(1),
        language.SENTENCES,
        edit=name,
        kind="camera",
        seed=seed,
        slots=slots,
        target_words=language.CAPTIONS[name].format(**slots),
        provenance={"version": VERSION},
    )


def sample_zoom_in(rng: np.random.Generator, progress: np.ndarray) -> tuple[Poses, Poses, dict[str, str]]:
    """Draw a zoom from the whole picture to a part of it."""
    size = rng.uniform(_CLOSE, 0.78)
    x, y = rng.uniform(-1, 1, 2) * (1 - size) / 2
    source = _poses(len(progress), 0, 0, 1)
    target = np.stack([progress * x, progress * y, 1 + progress * (size - 1), 0 * progress], 1)
    side = language.describe_direction(x / (1 - size), y / (1 - size))
    return source, target, {"at": f" on the {side}" if side else ""}


def sample_zoom_out(rng: np.random.Generator, progress: np.ndarray) -> tuple[Poses, Poses, dict[str, str]]:
    """Draw a zoom from a part of the picture to all of it."""
    size = rng.uniform(_CLOSE, 0.78)
    x, y = rng.uniform(-1, 1, 2) * (1 - size) / 2
    source = _poses(len(progress), x, y, size)
    remainder = 1 - progress
    return (
        source,
        np.stack([remainder * x, remainder * y, size + progress * (1 - size), 0 * progress], 1),
        {"at": ""},
    )


def sample_pan(rng: np.random.Generator, progress: np.ndarray) -> tuple[Poses, Poses, dict[str, str]]:
    """Draw a pan in one of four directions."""
    direction = ("left", "right", "up", "down")[int(rng.integers(4))]
    size = rng.uniform(_CLOSE, 0.75)
    room = (1 - size) / 2
    step = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[direction]
    begin, length = rng.uniform(0.6, 1.0) * room, rng.uniform(1.5, 1.9) * room
    across = rng.uniform(-0.5, 0.5) * room
    x0, y0 = (-s * begin if s else across for s in step)
    source = _poses(len(progress), x0, y0, size)
    target = source.copy()
    target[:, 0] = np.clip(x0 + step[0] * progress * length, -room, room)
    target[:, 1] = np.clip(y0 + step[1] * progress * length, -room, room)
    back = {"left": "right", "right": "left", "up": "down", "down": "up"}[direction]
    return source, target, {"direction": direction, "back": back}


def sample_shake(rng: np.random.Generator, progress: np.ndarray) -> tuple[Poses, Poses, dict[str, str]]:
    """Draw the tremble of a hand: shifts and turns as smooth noise."""
    T = len(progress)
    amount = rng.uniform(0.5, 1.0)
    source = _poses(T, 0, 0, 0.8)
    noise = np.stack([_smooth_noise(rng, T) for _ in range(3)], 1) * amount
    # Half a wave longer than the clip, so that it never lies still.
    target = source.copy()
    target[:, 0] += 0.035 * np.clip(noise[:, 0], -2, 2)
    target[:, 1] += 0.035 * np.clip(noise[:, 1], -2, 2)
    target[:, 3] += np.deg2rad(0.8) * np.clip(noise[:, 2], -2, 2)
    target[progress == 0] = source[progress == 0]
    return source, target, {}


def sample_steadying(rng: np.random.Generator, progress: np.ndarray) -> tuple[Poses, Poses, dict[str, str]]:
    """Draw a tremble that is taken away."""
    target, source, slots = sample_shake(rng, np.ones_like(progress))
    return source, target, slots


def sample_tilt(rng: np.random.Generator, progress: np.ndarray) -> tuple[Poses, Poses, dict[str, str]]:
    """Draw a camera that leans to one side."""
    angle = rng.uniform(4, 11) * (1 if rng.random() < 0.5 else -1)
    source = _poses(len(progress), 0, 0, 0.72)
    target = source.copy()
    target[:, 3] = np.deg2rad(angle)
    return source, target, {"side": "right" if angle > 0 else "left"}


def sample_leveling(rng: np.random.Generator, progress: np.ndarray) -> tuple[Poses, Poses, dict[str, str]]:
    """Draw a leaning camera that is set upright."""
    target, source, slots = sample_tilt(rng, progress)
    return source, target, slots


MOVES: dict[str, MoveSampler] = {
    "zoom-in": sample_zoom_in,
    "zoom-out": sample_zoom_out,
    "pan": sample_pan,
    "shake": sample_shake,
    "stabilise": sample_steadying,
    "tilt": sample_tilt,
    "level-horizon": sample_leveling,
}


def _poses(T: int, x: float, y: float, size: float) -> Poses:
    """Return a window that stays."""
    return np.tile(np.array([x, y, size, 0.0]), (T, 1))


def _ease(rng: np.random.Generator, T: int, start: int) -> np.ndarray:
    """Return the progress of a move, 0 up to frame `start` and 1 in the last frame: even, or slow at both ends."""
    u = np.clip((np.arange(T) - start) / max(1, T - 1 - start), 0, 1)
    return u if rng.random() < 0.5 else u * u * (3 - 2 * u)


def _smooth_noise(rng: np.random.Generator, T: int) -> np.ndarray:
    """Return noise of unit deviation that swings about every five frames."""
    values = rng.standard_normal(T // 2 + 4)
    at = np.arange(T) / 2 + 1
    line = np.interp(at, np.arange(len(values)), values)
    smooth = np.convolve(np.pad(line, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    return smooth / max(float(smooth.std()), 1e-6)


def _look(video: np.ndarray, poses: Poses, H: int, W: int) -> np.ndarray:
    """Return what windows of a larger picture show, uint8 [T, H, W, 3]."""
    height, width = video.shape[1:3]
    out = np.empty((len(video), H, W, 3), np.uint8)
    for k, (frame, (x, y, size, angle)) in enumerate(zip(video, poses, strict=True)):
        scale = size * height / H
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        center_x, center_y = (0.5 + x) * width - 0.5, (0.5 + y) * height - 0.5
        matrix = np.array(
            [
                [cos, -sin, center_x - cos * (W - 1) / 2 + sin * (H - 1) / 2],
                [sin, cos, center_y - sin * (W - 1) / 2 - cos * (H - 1) / 2],
            ]
        )
        if scale > 1.05:  # what is reduced would flicker without
            frame = cv2.GaussianBlur(frame, (0, 0), 0.4 * np.sqrt(scale**2 - 1))
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        out[k] = cv2.warpAffine(frame, matrix, (W, H), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return out


FAMILY = declare_family(
    "camera",
    f"{join_names(MOVES)}: windows over a picture {OVERSCAN:g} times as large",
    {name: on_clips(functools.partial(camera_pair, name)) for name in MOVES},
    kind="camera",
    renderer="camera",
    version=VERSION,
    min_change=5.0,
    reads=("clips",),
    may_begin_late=False,
    phrasing="varied",
)
