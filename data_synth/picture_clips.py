"""Clips from photographs for the training of the autoencoder: a window that moves over a picture, with cut-outs that move across it.

seed → **clip** → training of the autoencoder. Rendered scenes have none of the texture of film; pictures have it, but stand still. Half of
the clips have up to two cut-outs with a motion of their own, a third a look, since an autoencoder codes edited clips as well. The clips of
pairs come from `pictures.py`.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import cv2
import numpy as np

from data_synth import pictures as folders
from data_synth.operators.looks import LOOKS, apply_look
from data_synth.operators.random_motion import move_cutout, move_window
from data_synth.rng import build_rng
from v2v.data.pair_table import PICTURE_SUFFIXES
from v2v.errors import InputError

# A picture is held with at most this many pixels along its shorter side, a cut-out along its longer one.
MAX_SIDE, MAX_CUTOUT_SIDE = 720, 256
# Shares of clips: that have cut-outs, that have a look.
CUTOUTS, LOOK = 0.5, 0.33


@dataclasses.dataclass(frozen=True)
class PictureClips:
    """Pictures, and cut-outs that may move across them.

    Attributes:
      pictures: Files of photographs; alpha is ignored.
      cutouts: Files of pictures whose alpha says what belongs to the object; () for none.
      opaque: Files among the cut-outs that have no alpha.
      looks: Share of clips that have a look.
    """

    pictures: tuple[str, ...]
    cutouts: tuple[str, ...] = ()
    opaque: tuple[str, ...] = ()
    looks: float = LOOK

    def without_look(self) -> PictureClips:
        """Return the same pictures with clips that have no look."""
        return dataclasses.replace(self, looks=0.0)

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
        if rng.random() < self.looks:
            video = apply_look(str(rng.choice(list(LOOKS))), video, rng)
        return video


def read_picture_folders(pictures: str | Path, cutouts: str | Path | None = None) -> PictureClips:
    """Find all pictures under a folder and, where given, all cut-outs under another, in alphabetical order.

    Raises:
      InputError: a folder holds no picture, or the second none with alpha.
    """
    files = _list_files(cutouts) if cutouts else ()
    opaque = tuple(path for path in files if not _has_alpha(path))
    if files and len(opaque) == len(files):
        raise InputError(
            f"{cutouts}: expected pictures with alpha, found none among {len(files)}; leave the cut-outs out"
        )
    return PictureClips(_list_files(pictures), tuple(sorted({*files} - {*opaque})), opaque)


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
    scale = MAX_CUTOUT_SIDE / max(h, w)
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


def _list_files(root: str | Path) -> tuple[str, ...]:
    files = tuple(str(Path(root) / name) for name in folders.list_pictures(root))
    if not files:
        raise InputError(f"{root}: expected at least one picture ({', '.join(PICTURE_SUFFIXES)}), found none")
    return files
