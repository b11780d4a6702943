"""Examples for the detail network: the same edit of a small and of a large frame, by its exact operator.

seed → photograph, look → small pair, transfer, crops → **DetailExample**. The small pair is what the model would see and make of the frame;
it is softened as an autoencoder softens it, since the network is to read its kind through that. The frame is twice the network's lines, so that
the detail above them is learnt as well.
"""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np

from data_synth.operators.looks import LOOKS, apply_look
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.picture_clips import PictureClips
from data_synth.rng import build_rng
from v2v.video.detail_transfer.transfer import DetailTransfer
from v2v.video.pixels import round_to_uint8

# Looks that move the picture as a whole, or take the colors of another one, have no texture of their own.
_WITHOUT_TEXTURE = ("palette", "mirror-image", "upside-down")
# Functions of color, which the detail transfer does; they are drawn less often, all tints and all duotones as one look each.
_OF_COLOR = (
    *(name for name in PHOTOMETRIC if name not in ("blur", "posterise")),
    "more-contrast", "less-contrast", "teal-and-orange", "golden-hour", "sunset", "moonlight", "thermal", "cyanotype", "faded", "solarise",
)  # fmt: skip
_COLORED = ("tint", "duotone")
NAMES = tuple(name for name in (*PHOTOMETRIC, *LOOKS) if name not in _WITHOUT_TEXTURE)
# Share of examples whose frame stays as it is: where nothing is asked for, nothing may be added.
UNCHANGED = 0.04
# How an autoencoder softens small frames: the blur's deviation in pixels, and the largest error in levels.
SOFT, ERROR = (0.3, 0.7), 6.0


@dataclasses.dataclass(frozen=True)
class DetailExample:
    """Crops of one edited frame; c is their side at the network's lines.

    Attributes:
      name: Look; "" where the frame stays as it is.
      source: float32 [h, w, 3] in levels, the small source.
      edit: float32 [h, w, 3], the small edit.
      frames: uint8 [n, c, c, 3], crops of the source.
      transfer: uint8 [n, c, c, 3], the same of what the detail transfer makes of it.
      large: uint8 [n, 2 c, 2 c, 3], the same crops of the source at twice the lines.
      target: uint8 [n, 2 c, 2 c, 3], the same of the exact edit.
    """

    name: str
    source: np.ndarray
    edit: np.ndarray
    frames: np.ndarray
    transfer: np.ndarray
    large: np.ndarray
    target: np.ndarray


@dataclasses.dataclass(frozen=True)
class DetailExamples:
    """Examples of photographs.

    Attributes:
      pictures: Photographs and cut-outs.
      lines: The network's lines.
      small: Lines of the small frames.
      side: Side of a crop at the network's lines; `lines` for all of the frame.
      crops: Crops of a frame.
      names: Looks that are drawn from.
    """

    pictures: PictureClips
    lines: int
    small: int
    side: int
    crops: int = 2
    names: tuple[str, ...] = NAMES

    def __call__(self, seed: int) -> DetailExample:
        """Return the example of a seed."""
        rng = build_rng(seed, "detail")
        name = str(rng.choice(self.names, p=_shares(self.names))) if rng.random() >= UNCHANGED else ""
        large = self.pictures.without_look()(seed, 1, 2 * self.lines, 2 * self.lines)[0]
        target = _edit(name, large, seed)
        frame = cv2.resize(large, (self.lines, self.lines), interpolation=cv2.INTER_AREA)
        small = cv2.resize(large, (self.small, self.small), interpolation=cv2.INTER_AREA)
        source, edit = _soften(small, rng), _soften(_edit(name, small, seed), rng)
        transfer = DetailTransfer.fit(source[None], edit[None])(frame, source, edit)
        corners = rng.integers(0, self.lines - self.side + 1, (self.crops, 2)).tolist()
        return DetailExample(
            name,
            source,
            edit,
            *(self._crop(image, corners, 1) for image in (frame, transfer)),
            *(self._crop(image, corners, 2) for image in (large, target)),
        )

    def _crop(self, image: np.ndarray, corners: list[list[int]], scale: int) -> np.ndarray:
        side = scale * self.side
        return np.stack([image[scale * y :][:side, scale * x :][:, :side] for y, x in corners])


@functools.lru_cache
def _shares(names: tuple[str, ...]) -> np.ndarray:
    """Return the probability of each look: functions of color come a third as often."""
    groups = [name.split("-")[0] for name in names]
    weights = [
        1 / (3 * groups.count(group)) if group in _COLORED else 1 / 3 if name in _OF_COLOR else 1.0
        for name, group in zip(names, groups, strict=True)
    ]
    return np.array(weights) / sum(weights)


def _edit(name: str, frame: np.ndarray, seed: int) -> np.ndarray:
    """Return a frame with a look; "" leaves it as it is."""
    if name in LOOKS:
        return apply_look(name, frame[None], build_rng(seed, "detail look"))[0]
    return PHOTOMETRIC[name](frame[None], None)[0] if name else frame


def _soften(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a small frame as an autoencoder might return it, float32 in levels."""
    error = cv2.GaussianBlur(rng.standard_normal(frame.shape).astype(np.float32), (0, 0), 0.7)
    soft = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), rng.uniform(*SOFT))
    return round_to_uint8(soft + rng.uniform(0, ERROR) * error).astype(np.float32)
