"""Where did the edit change anything? Measured on small frames, source s and edit e both through the VAE. windowed.py → **change**

`Changed` is a mask estimated from the edit itself (`--mask auto`). The model saw no mask and may touch every pixel a little:

    d² = |e - s|² averaged over `BLUR` pixels,   noise² = the clip's median of d², kept between `NOISE`'s ends
    changed where d² > `GATE`² noise² ;  holes closed, grown by `GROW` pixels, and any frame takes in its neighbours' maps

An edit of one object leaves the rest at the noise, which the gate keeps out; a photometric edit lifts the median itself and is
kept whole: where more than `WHOLE` of the picture changed beyond the VAE's own noise, nothing is masked.

`leak` is what the model changed where it was told not to.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from v2v.video.frame_store import FrameStore
from v2v.video.mask import apply_fade, fade_width

BLUR = 3  # small pixels over which differences are averaged
GATE = 3.0  # times the noise from which a difference counts
NOISE = (1.5, 8.0)  # levels: what the VAE alone does to a still picture, and what no noise exceeds
GROW = 2  # small pixels kept around what changed, for edges and for the fade
WHOLE_FRAME_SHARE = 0.6  # of the picture


class ChangeMask:
    """The mask of one edit; each walk gives every frame's alpha, uint8 [H, W], as `mask.Mask` does.

    Attributes:
      area: share of the picture that changed, a mean over the edited frames.
    """

    def __init__(
        self,
        source: FrameStore,
        edit: FrameStore,
        size: tuple[int, int, int],
        first: int,
        some: np.ndarray,
        soft: float | None,
    ):
        """Args: size: (T, H, W) of the clip; first: number of the first edited frame; some: rows to take the noise from."""
        self.T, self.H, self.W = size
        self.first, self.maps = first, FrameStore()
        self._fade = fade_width(soft, self.H, self.W)
        energy = np.stack([_energy(source[row], edit[row]) for row in some])
        noise = float(np.clip(np.sqrt(np.median(energy)), *NOISE))
        whole = (energy > (GATE * NOISE[0]) ** 2).mean() > WHOLE_FRAME_SHARE
        past, areas = [], []
        for row in range(len(edit) + 1):  # a frame's map needs the next frame's
            if row < len(edit):
                past.append(np.uint8(_energy(source[row], edit[row]) > (GATE * noise) ** 2) | np.uint8(whole))
            if row > 0:
                self.maps.append(_cleaned(np.bitwise_or.reduce(past[-3:] if row < len(edit) else past[-2:])))
                areas.append(self.maps[row - 1].mean() / 255)
            past = past[-3:]
        self.area = float(np.mean(areas))

    def __iter__(self) -> Iterator[np.ndarray]:
        for t in range(self.T):
            if self.first <= t < self.first + len(self.maps):
                large = cv2.resize(
                    self.maps[t - self.first], (self.W, self.H), interpolation=cv2.INTER_LINEAR
                )
                yield apply_fade(cv2.inRange(large, 128, 255), self._fade)
            else:
                yield np.zeros((self.H, self.W), np.uint8)


def measure_leak(
    source: FrameStore, edit: FrameStore, seen: Callable[[np.ndarray], np.ndarray] | None, first: int
) -> float | None:
    """Mean |e - s| in levels outside of what the model was told to edit, a pixel's border apart; None where that is all."""
    total, count = 0.0, 0
    for row in range(len(edit) if seen else 0):
        outside = ~cv2.dilate(seen(np.array(first + row)).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(
            bool
        )
        total += float(np.abs(edit[row] - source[row])[outside].sum())
        count += 3 * int(outside.sum())
    return total / count if count else None


def _energy(source: np.ndarray, edit: np.ndarray) -> np.ndarray:
    return cv2.blur(((edit - source) ** 2).mean(-1), (BLUR, BLUR))


def _cleaned(changed: np.ndarray) -> np.ndarray:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * GROW + 1, 2 * GROW + 1))
    return 255 * cv2.dilate(cv2.morphologyEx(changed, cv2.MORPH_CLOSE, disc), disc)
