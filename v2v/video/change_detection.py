"""Detection of what an edit changed, on small frames: source s and edit e, both after the autoencoder's round trip.

`ChangeMask` is a mask estimated from the edit itself (`--mask auto`). The model was given no mask and may change every pixel a
little:

    d² = |e - s|² averaged over `BLUR` pixels,   noise² = the clip's median of d², kept between `NOISE`'s ends
    changed where d² > `GATE`² noise² ;  holes closed, grown by `GROW` pixels, and every frame joined with its neighbours' maps

An edit of one object leaves the other pixels at the noise, below the gate. A photometric edit raises the median itself: where
more than `WHOLE_FRAME_SHARE` of the picture changed beyond the autoencoder's own noise, the mask is white everywhere.

`measure_leak` measures what the model changed outside the mask that it was given. Both are called by `pipeline/editor.py`.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from v2v.video.frame_store import FrameStore
from v2v.video.mask import apply_fade, fade_width

# Small pixels over which differences are averaged.
BLUR = 3
# Multiple of the noise from which a difference counts.
GATE = 3.0
# Bounds of the noise in levels: what the autoencoder alone does to a still picture, and what no noise exceeds.
NOISE = (1.5, 8.0)
# Small pixels by which the changed area grows, for edges and for the fade.
GROW = 2
# Share of the picture; where more changed, the whole frame counts as changed.
WHOLE_FRAME_SHARE = 0.6


class ChangeMask:
    """The mask of what an edit changed; iterating gives every frame's alpha, uint8 [H, W], as `mask.Mask` does.

    Attributes:
      area: share of the picture that changed, a mean over the edited frames.
    """

    def __init__(
        self,
        source: FrameStore,
        edit: FrameStore,
        size: tuple[int, int, int],
        first: int,
        noise_rows: np.ndarray,
        soft: float | None,
    ):
        """Compare source and edit.

        Args:
          source: small frames of the source after the autoencoder's round trip, float [height, width, 3] in levels.
          edit: the same frames of the edit.
          size: (T, H, W) of the clip.
          first: number of the clip's frame that row 0 of `source` and `edit` shows.
          noise_rows: rows from which the noise is estimated.
          soft: width of the fade in pixels, None for one that fits the frame.

        Raises:
          InputError: a fade of less than no pixels or wider than the frame.
        """
        self._T, self._H, self._W = size
        self._first, self._maps = first, FrameStore()
        self._fade = fade_width(soft, self._H, self._W)
        energy = np.stack([_change_energy(source[row], edit[row]) for row in noise_rows])
        noise = float(np.clip(np.sqrt(np.median(energy)), *NOISE))
        is_whole_frame = (energy > (GATE * NOISE[0]) ** 2).mean() > WHOLE_FRAME_SHARE
        recent, areas = [], []
        # One row more than there are: the map of a frame needs the next frame's.
        for row in range(len(edit) + 1):
            if row < len(edit):
                is_changed = _change_energy(source[row], edit[row]) > (GATE * noise) ** 2
                recent.append(np.uint8(is_changed) | np.uint8(is_whole_frame))
            if row > 0:
                neighbours = recent[-3:] if row < len(edit) else recent[-2:]
                self._maps.append(_close_and_grow(np.bitwise_or.reduce(neighbours)))
                areas.append(self._maps[row - 1].mean() / 255)
            recent = recent[-3:]
        self.area = float(np.mean(areas))

    def __iter__(self) -> Iterator[np.ndarray]:
        for t in range(self._T):
            if self._first <= t < self._first + len(self._maps):
                large = cv2.resize(
                    self._maps[t - self._first], (self._W, self._H), interpolation=cv2.INTER_LINEAR
                )
                yield apply_fade(cv2.inRange(large, 128, 255), self._fade)
            else:
                yield np.zeros((self._H, self._W), np.uint8)


def measure_leak(
    source: FrameStore, edit: FrameStore, mask_lookup: Callable[[np.ndarray], np.ndarray] | None, first: int
) -> float | None:
    """Return how much the model changed outside its mask, the mean |e - s| in levels at least one pixel away from it.

    Args:
      source: small frames of the source after the autoencoder's round trip, float [height, width, 3] in levels.
      edit: the same frames of the edit.
      mask_lookup: maps frame numbers [...] to what the model was told to edit, bool [..., height, width]; None for everything.
      first: number of the clip's frame that row 0 of `source` and `edit` shows.

    Returns:
      The mean; None if no pixel is outside.
    """
    if mask_lookup is None:
        return None
    total, count = 0.0, 0
    for row in range(len(edit)):
        inside = cv2.dilate(mask_lookup(np.array(first + row)).astype(np.uint8), np.ones((3, 3), np.uint8))
        outside = ~inside.astype(bool)
        total += float(np.abs(edit[row] - source[row])[outside].sum())
        count += 3 * int(outside.sum())
    return total / count if count else None


def _change_energy(source: np.ndarray, edit: np.ndarray) -> np.ndarray:
    return cv2.blur(((edit - source) ** 2).mean(-1), (BLUR, BLUR))


def _close_and_grow(changed: np.ndarray) -> np.ndarray:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * GROW + 1, 2 * GROW + 1))
    return 255 * cv2.dilate(cv2.morphologyEx(changed, cv2.MORPH_CLOSE, disc), disc)
