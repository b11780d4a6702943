"""Clips from photographs: a window that pans, zooms and turns over a picture, with cut-outs that move across it.

seed → **clip** → training of the autoencoder. Rendered scenes have none of the texture of film; pictures have it, but stand still. The window takes
a part of the picture, from all of it down to little more than the clip's own pixels, since an editor sees film at every scale. Half of the
clips have up to two cut-outs with a motion of their own, a third a look, since an autoencoder codes edited clips as well.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from data_synth.operators.looks import LOOKS, apply_look
from data_synth.rng import build_rng
from v2v.errors import InputError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# A picture is held with at most this many pixels along its shorter side.
MAX_SIDE = 720
# Largest turn of a window within a clip, in radians, and largest change of its size, as a factor.
MAX_TURN, MAX_ZOOM = np.deg2rad(12.0), 1.35
# Shares of clips: that stand still, that have cut-outs, that have a look.
STILL, CUTOUTS, LOOK = 0.15, 0.5, 0.33


@dataclasses.dataclass(frozen=True)
class PictureClips:
    """Pictures, and cut-outs that may move across them.

    Attributes:
      pictures: Files of photographs; alpha is ignored.
      cutouts: Files of pictures whose alpha says what belongs to the object; () for none.
      skipped: Files among the cut-outs that have no alpha.
    """

    pictures: tuple[str, ...]
    cutouts: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def __call__(self, seed: int, T: int, H: int, W: int) -> np.ndarray:
        """Return the clip of a seed, uint8 [T, H, W, 3].

        Raises:
          InputError: a picture is unreadable.
        """
        rng = build_rng(seed, "picture clip")
        levels = _read_picture(self.pictures[int(rng.integers(len(self.pictures)))])
        video = move_window(levels, rng, T, H, W)
        if self.cutouts and rng.random() < CUTOUTS:
            for _ in range(int(rng.integers(1, 3))):
                cutout = _read_cutout(self.cutouts[int(rng.integers(len(self.cutouts)))])
                video = move_cutout(video, cutout, rng)
        if rng.random() < LOOK:
            video = apply_look(str(rng.choice(list(LOOKS))), video, rng)
        return video


def read_picture_folders(pictures: str | Path, cutouts: str | Path | None = None) -> PictureClips:
    """Find all pictures under a folder and, where given, all cut-outs under another, in alphabetical order.

    Raises:
      InputError: a folder holds no picture, or the second none with alpha.
    """
    files = _list_pictures(cutouts) if cutouts else ()
    skipped = tuple(path for path in files if not _has_alpha(path))
    if files and len(skipped) == len(files):
        raise InputError(
            f"{cutouts}: expected pictures with alpha, found none among {len(files)}; leave the cut-outs out"
        )
    return PictureClips(_list_pictures(pictures), tuple(sorted({*files} - {*skipped})), skipped)


def move_window(levels: Sequence[np.ndarray], rng: np.random.Generator, T: int, H: int, W: int) -> np.ndarray:
    """Return what a window sees that moves evenly from one drawn pose to another.

    Args:
      levels: A picture, uint8 [h, w, 3], and the same picture at a half, a quarter and so on of its size.
      rng: Generator of both poses.
      T: Number of frames.
      H: Height of the window in pixels of the clip.
      W: Width of it.

    Returns:
      uint8 [T, H, W, 3].
    """
    h, w = levels[0].shape[:2]
    whole = min(h / H, w / W)  # picture's pixels for one of the clip, when the window is as large as can be
    scale = whole * min(1.0, 1 / whole) ** rng.uniform(0, 0.9)
    speed = 0.0 if rng.random() < STILL else rng.uniform(0, 1) ** 2
    zoom = MAX_ZOOM ** (speed * rng.uniform(-1, 1))
    turn = speed * rng.uniform(-MAX_TURN, MAX_TURN)
    # Prefiltering the picture, not every frame, keeps the motion exact between pixels.
    factor = 1 / (scale * max(1.0, zoom))
    picture = levels[int(np.clip(np.floor(-np.log2(min(factor, 1.0))), 0, len(levels) - 1))]
    if factor < 1:
        size = max(W, round(w * factor)), max(H, round(h * factor))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    h, w = picture.shape[:2]
    turns, zooms = np.linspace(0, turn, T), np.linspace(1, zoom, T)
    cos, sin = np.abs(np.cos(turns)), np.abs(np.sin(turns))
    half_width, half_height = zooms * (W * cos + H * sin) / 2, zooms * (H * cos + W * sin) / 2
    size = min(1.0, (w - 1) / (2 * half_width.max()), (h - 1) / (2 * half_height.max()))
    zooms, half_width, half_height = size * zooms, size * half_width, size * half_height
    centre = np.empty((T, 2))
    for axis, (half, extent) in enumerate(((half_width, w), (half_height, h))):
        low, high = np.minimum(half, extent / 2), np.maximum(extent - half, extent / 2)
        start = rng.uniform(low[0], high[0])
        end = start + speed * rng.uniform(-0.5, 0.5) * (W, H)[axis]
        centre[:, axis] = np.clip(np.linspace(start, end, T), low, high)
    matrices = _poses(centre, turns, zooms, H, W)
    if rng.random() < 0.5:
        matrices = matrices[::-1]
    return np.stack([_sample(picture, matrix, H, W) for matrix in matrices])


def move_cutout(video: np.ndarray, cutout: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a clip with a cut-out moving across it, evenly and partly outside at times.

    Args:
      video: uint8 [T, H, W, 3].
      cutout: uint8 [h, w, 4].
      rng: Generator of size and motion.
    """
    T, H, W = video.shape[:3]
    h, w = cutout.shape[:2]
    size = rng.uniform(0.2, 0.8) * min(H, W) / max(h, w)
    if size < 1:
        cutout = cv2.resize(
            cutout, (max(2, round(w * size)), max(2, round(h * size))), interpolation=cv2.INTER_AREA
        )
        h, w, size = *cutout.shape[:2], 1.0
    start = rng.uniform((0.0, 0.0), (W, H))
    end = start + rng.uniform(0, 1) ** 2 * rng.uniform(-0.6, 0.6, 2) * (W, H)
    turns = np.linspace(0, rng.uniform(-0.5, 0.5) * rng.random(), T) + rng.uniform(-0.2, 0.2)
    layer = np.dstack([cutout[..., :3] * (cutout[..., 3:] / 255.0), cutout[..., 3] / 255.0]).astype(
        np.float32
    )
    out = np.empty_like(video)
    for k, (centre, turn) in enumerate(zip(np.linspace(start, end, T), turns, strict=True)):
        matrix = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), float(np.rad2deg(turn)), size)
        matrix[:, 2] += centre - ((w - 1) / 2, (h - 1) / 2)
        placed = cv2.warpAffine(layer, matrix, (W, H), flags=cv2.INTER_LINEAR)
        out[k] = np.clip(placed[..., :3] + video[k] * (1 - placed[..., 3:]) + 0.5, 0, 255)
    return out


def _poses(centre: np.ndarray, turns: np.ndarray, zooms: np.ndarray, H: int, W: int) -> np.ndarray:
    """Return maps [T, 2, 3] from a frame's pixel index (x, y, 1) to the picture's."""
    cos, sin = zooms * np.cos(turns), zooms * np.sin(turns)
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    offset = centre - 0.5 - np.einsum("tij,j->ti", linear, [(W - 1) / 2, (H - 1) / 2])
    return np.concatenate([linear, offset[..., None]], -1)


def _sample(picture: np.ndarray, matrix: np.ndarray, H: int, W: int) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    frame = cv2.warpAffine(picture, matrix, (W, H), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(frame)


@functools.lru_cache(maxsize=512)
def _read_picture(path: str) -> tuple[np.ndarray, ...]:
    picture = _read(path, cv2.IMREAD_COLOR)
    h, w = picture.shape[:2]
    scale = MAX_SIDE / min(h, w)
    if scale < 1:
        picture = cv2.resize(picture, (round(w * scale), round(h * scale)), interpolation=cv2.INTER_AREA)
    levels = [cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)]
    while min(levels[-1].shape[:2]) >= 64:
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return tuple(levels)


@functools.lru_cache(maxsize=1024)
def _read_cutout(path: str) -> np.ndarray:
    cutout = _read(path, cv2.IMREAD_UNCHANGED)
    if cutout.dtype != np.uint8:
        cutout = np.asarray(cutout // 257, np.uint8)
    h, w = cutout.shape[:2]
    scale = 256 / max(h, w)
    if scale < 1:
        size = max(2, round(w * scale)), max(2, round(h * scale))
        cutout = cv2.resize(cutout, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(cutout, cv2.COLOR_BGRA2RGBA)


def _read(path: str, flags: int) -> np.ndarray:
    picture = cv2.imread(path, flags)
    if picture is None:
        raise InputError(f"{path}: expected a readable picture")
    return picture


def _has_alpha(path: str) -> bool:
    shape = _read(path, cv2.IMREAD_UNCHANGED).shape
    return len(shape) == 3 and shape[2] == 4


def _list_pictures(root: str | Path) -> tuple[str, ...]:
    files = tuple(sorted(str(p) for p in Path(root).rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES))
    if not files:
        raise InputError(f"{root}: expected at least one picture ({', '.join(PICTURE_SUFFIXES)}), found none")
    return files
