"""Where and when to edit: masks and time ranges, read and checked; and what is left alone, put back exactly.

Polarity: white = edit here, now (`invert` turns the other kind round, and says so). A mask is

- a picture (the same for every frame) or a video (one for each), of the clip's own size, as a file or an array;
- a box "x,y,w,h" in whole pixels of the upright frame, x and y those of its upper left corner.

Of colours the largest channel counts, so that pure red is white. Alpha counts where colour says nothing: a picture of one colour
whose alpha varies has its mask there; where both vary the colour is taken. A note says which.
Grey is a soft edge: it counts in proportion between `GREY`'s ends, beyond which compression alone may put black and white.
`composite` is the last step before a clip is written: where the mask is black the source's bytes are kept as they are, and inside
its rim the edit fades in over a few pixels (`soft`) so that no seam shows.

A mask averaged down to the latent grid: the cheap way to code one. pixels → **pooled** → models/conditioning.py

    pooled[k, i, j] = share of latent cell (k, i, j)'s pixels that are edited; latent frame 0 is pixel frame 0, each later one four
The paper's ablation compares it with a mask that goes through the VAE as a black and white video, which keeps the outline inside a
cell and did better (7.48 against 5.60); ConditionConfig.mask_code chooses. The same shares weigh the loss (data/latent_cache.py, `area`).
"""

import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from v2v.array_types import Array, Float
from v2v.errors import InputError, note
from v2v.video import decoder, file_checks
from v2v.video.frame_store import FrameStore
from v2v.video.video import Video

GRAY_RANGE = (32, 224)  # up to the first a value is black, from the second on white
FADE_SHARE = 1 / 240  # width of the fade, as a share of the frame's shorter side
MIN_CELL_SHARE = 0.25  # of a small pixel's area must be chosen for the model to see it chosen
SUSPECT_SHARE = 0.6  # of the frame; a mask that covers more, corners included, may be the wrong way round
BOX = re.compile(r"\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(-?\d+)\s*")


class Mask:
    """A mask on one clip. `survey` it first; then each walk gives every frame's alpha, uint8 [H, W], 0 = the source as it is.

    Attributes:
      active: frames [first, last) of those asked for outside of which the mask is black.
      area: share of the frame that is edited, a mean over these.
      full: white everywhere in these, so that it is as good as a time range.
      small: bool [height, width] for each frame as the model sees it; one for all if the mask is a picture.
    """

    def __init__(
        self,
        mask: "str | Path | np.ndarray | Video",
        clip: Video,
        invert: bool = False,
        soft: float | None = None,
    ):
        """Args: mask: file, box, or array [H, W] or [T, H, W] (or with a last axis of colours): bool, integers 0..255 or floats 0..1;
        invert: black marks the place; soft: width of the fade in pixels, None for one that fits the frame.

        Raises:
          InputError: no mask, a box outside the frame, a fade of less than no pixels or wider than the frame.
        """
        self.T, self.H, self.W = clip.frames.shape[:3]
        self.name = f"mask {mask}" if isinstance(mask, str | Path) else "mask"
        values = np.clip((np.arange(256) - GRAY_RANGE[0]) * 255 / (GRAY_RANGE[1] - GRAY_RANGE[0]), 0, 255)
        self._box = BOX.fullmatch(mask) if isinstance(mask, str) else None
        invert = invert and not self._box  # a box is always the place
        self._place, self._rest = ("black", "white") if invert else ("white", "black")  # as painted
        self._turn = ("remove" if invert else "add") + " --invert-mask"
        self._share = np.rint(values[::-1] if invert else values).astype(np.uint8)
        self._frames = self._open(mask)
        self._fade = fade_width(soft, self.H, self.W)
        self.active, self.area, self.full, self.small = (0, self.T), 0.0, False, FrameStore()
        if invert:
            note(f"{self.name}: black marks the place, as asked; turned round")

    def survey(self, height: int, width: int, first: int, last: int) -> None:
        """One walk before any computing: checks size, length and content, measures, and keeps the model's view.

        Args: first, last: the frames that are edited.

        Raises:
          InputError: another size or length than the clip's, or a mask that selects nothing then.
        """
        areas, least, corners = [], [], True
        for share in self._shares():
            if share.shape != (self.H, self.W):
                raise InputError(
                    f"{self.name}: expected to have the clip's size {self.W}x{self.H}, got {share.shape[1]}x{share.shape[0]}; "
                    "scale it to the clip"
                )
            areas.append(np.count_nonzero(share) / share.size)
            least.append(int(share.min()))
            corners = corners and bool(share[:: self.H - 1 or 1, :: self.W - 1 or 1].all())
            small = cv2.resize(share, (width, height), interpolation=cv2.INTER_AREA)
            self.small.append(
                small > min(255 * MIN_CELL_SHARE, max(0, int(small.max()) - 1))
            )  # what is tiny is seen where it is most
        if len(areas) not in (1, self.T):
            raise InputError(
                f"{self.name}: expected to have 1 frame or the clip's {self.T}, got {len(areas)}; cut it to the clip's length"
            )
        if not any(areas):
            raise InputError(
                f"{self.name}: {self._rest} everywhere, so nothing would be edited; paint what to edit {self._place}, "
                f"or {self._turn}"
            )
        edited = areas if len(areas) == 1 else areas[first:last]
        if not any(edited):
            raise InputError(
                f"{self.name}: {self._rest} in every frame between start and end, so nothing would be edited; move the range"
            )
        self.active, white = (first, last), min(least) == 255
        if len(areas) > 1:
            on = first + np.flatnonzero(edited)
            self.active = int(on[0]), int(on[-1]) + 1
            edited, least = areas[slice(*self.active)], least[slice(*self.active)]
        self.area, self.full = float(np.mean(edited)), min(least) == 255
        if white:
            note(f"{self.name}: {self._place} everywhere, which is the same as no mask")
        elif self.area > SUSPECT_SHARE and corners and not self._box:
            note(
                f"{self.name}: {self._place}, which means edit here, on {self.area:.0%} of the picture, corners included; if "
                f"{self._rest} marks the place, {self._turn}"
            )

    def seen(self, rows: np.ndarray) -> np.ndarray:
        """bool [*rows.shape, height, width]: the model's view of frames `rows`."""
        return self.small[np.minimum(rows, len(self.small) - 1)]

    def __iter__(self) -> Iterator[np.ndarray]:
        shares = self._shares()
        if len(self.small) == 1:
            return itertools.repeat(apply_fade(next(shares), self._fade), self.T)
        return (apply_fade(share, self._fade) for share in shares)

    def _shares(self) -> Iterator[np.ndarray]:
        """uint8 [H, W] of each frame: how much of the edit is wanted, soft edges included."""
        return (cv2.LUT(frame, self._share) for frame in self._frames())

    def _open(self, mask):
        """A function that walks the frames, uint8 [H, W]."""
        if self._box:
            picture = self._painted(*map(int, self._box.groups()))
            return lambda: iter((picture,))
        if isinstance(mask, str | Path):
            return self._file(Path(mask))
        if isinstance(mask, Video):
            return lambda: map(_largest, mask.frames)
        array = _levels(mask, self.name)
        return lambda: iter(array)

    def _file(self, path: Path) -> Callable[[], Iterator[np.ndarray]]:
        """As `_open`, of a picture or a video."""
        if not os.path.exists(path):
            raise InputError(
                f"{self.name}: no such file; --mask takes a picture, a video, a box x,y,w,h in whole pixels, or auto"
            )

        def walk():
            with file_checks.prefix_errors("mask"):
                yield from map(_largest, decoder.iterate_frames(path, decoder.StreamInfo(), sounds=False))

        first = list(itertools.islice(walk(), 2))
        if len(first) > 1:
            return walk
        picture = self._colour_or_alpha(first[0], path)
        return lambda: iter((picture,))

    def _colour_or_alpha(self, colour: np.ndarray, path: Path) -> np.ndarray:
        """What of a picture is its mask: its colour, uint8 [H, W], unless only its alpha varies."""
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)  # None for a video of one frame
        if stored is None or stored.ndim < 3 or stored.shape[2] < 4 or stored.dtype.kind != "u":
            return colour
        alpha = (stored[..., 3] / (np.iinfo(stored.dtype).max / 255)).astype(np.uint8)
        if np.ptp(alpha) <= GRAY_RANGE[0] or np.array_equal(alpha, colour):
            return colour
        told = (alpha > 0) | (colour > GRAY_RANGE[0])  # programs blacken what is transparent
        if np.ptp(colour[told]) <= GRAY_RANGE[0]:
            note(f"{self.name}: its colour is the same everywhere, so its alpha is the mask")
            return alpha
        note(
            f"{self.name}: its colour is the mask, its alpha is ignored; if the alpha is meant, save it as grey"
        )
        return colour

    def _painted(self, x: int, y: int, w: int, h: int) -> np.ndarray:
        if w < 1 or h < 1 or x < 0 or y < 0 or x + w > self.W or y + h > self.H:
            raise InputError(
                f"{self.name}: box x,y,w,h expected within the frame, {self.W}x{self.H} pixels; it spans {x} to {x + w} and "
                f"{y} to {y + h}"
            )
        picture = np.zeros((self.H, self.W), np.uint8)
        picture[y : y + h, x : x + w] = 255
        return picture


def frame_range(clip: Video, start: float | None, end: float | None) -> tuple[int, int]:
    """Frames [first, last) that appear from `start` up to, not including, `end` (seconds; None for the clip's ends)."""
    begins, ends = float(clip.times[0]), float(clip.times[0]) + clip.duration
    slack = 1 / clip.fps
    for label, value in (("start", start), ("end", end)):
        if value is not None and not 0 <= value <= ends + slack:
            raise InputError(f"--{label} {value:g}: expected seconds within the clip, 0 to {ends:.2f}")
    if start is not None and end is not None and start >= end:
        raise InputError(f"--start {start:g} --end {end:g}: expected start before end")
    low = begins if start is None else start
    high = np.inf if end is None else end
    first, last = np.searchsorted(clip.times, [low - 1e-6, high - 1e-6])
    if first == last:
        raise InputError(
            f"--start {low:g} --end {min(high, ends):g}: expected to cover a frame, but none appears then; "
            f"frames are {slack:.3f} s apart and the last is at {clip.times[-1]:.2f} s"
        )
    return int(first), int(last)


def fade_width(soft: float | None, height: int, width: int) -> int:
    """Pixels over which an edit fades in: `soft`, or for None what fits the frame.

    Raises:
      InputError: less than no pixels, or more than the frame has.
    """
    if soft is None:
        return round(FADE_SHARE * min(height, width))
    if not 0 <= soft <= max(height, width):
        raise InputError(f"soft: expected a width of 0 to {max(height, width)} pixels, got {soft:g}")
    return round(soft)


def apply_fade(share: np.ndarray, width: int) -> np.ndarray:
    """Alpha uint8 [H, W]: `share`, fading in over `width` pixels from the rim inwards; 0 only where `share` is."""
    if width < 1:
        return share
    out, part = (
        np.zeros_like(share),
        bounding_slices(share, 1),
    )  # with a ring of black, which nothing can be nearer than
    if share[part].size:
        inside = np.ascontiguousarray(share[part])
        depth = cv2.distanceTransform((inside > 0).astype(np.uint8), cv2.DIST_L2, 3)
        depth = np.minimum(
            depth, width + 1
        )  # with no rim in sight the distance is more than bytes are cast from
        ramp = cv2.add(depth * (255 / (width + 1)), 0.0, dtype=cv2.CV_8U)
        out[part] = np.minimum(inside, ramp)
    return out


def bounding_slices(alpha: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns of [H, W] that hold all that isn't 0, and `margin` pixels around; empty ones where all is 0."""
    x, y, w, h = cv2.boundingRect(alpha)
    if not w:
        return slice(0, 0), slice(0, 0)
    return slice(max(0, y - margin), y + h + margin), slice(max(0, x - margin), x + w + margin)


def composite(source: np.ndarray, edit: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """One frame uint8 [H, W, 3]: the source's bytes where alpha uint8 [H, W] is 0, the edit's where it is 255, else a mixture."""
    out = cv2.copyTo(edit, cv2.inRange(alpha, 255, 255), source.copy())
    rows, columns = np.nonzero(cv2.inRange(alpha, 1, 254))
    if len(rows):
        a, s, e = alpha[rows, columns, None] / np.float32(255), source[rows, columns], edit[rows, columns]
        out[rows, columns] = np.rint(s + a * (e.astype(np.float32) - s)).astype(np.uint8)
    return out


def _largest(frame: np.ndarray) -> np.ndarray:
    return functools.reduce(cv2.max, cv2.split(frame))


def _levels(mask: np.ndarray, name: str) -> np.ndarray:
    """uint8 [T, H, W], T = 1 for a picture."""
    array = np.asarray(mask)
    if array.ndim in (3, 4) and array.shape[-1] in (1, 3):
        array = array.max(-1)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.dtype.kind not in "biuf" or 0 in array.shape:
        raise InputError(
            f"{name}: expected as [H, W] or [T, H, W] numbers, got {array.dtype} {list(np.shape(mask))}"
        )
    low, high = float(array.min()), float(array.max())
    top, slack = (1, 1e-3) if array.dtype.kind == "f" else (255, 0)  # resampled floats end a little beyond
    if not (-slack <= low and high <= top + slack):  # NaN neither
        raise InputError(
            f"{name}: expected floats 0..1 or integers 0..255, got {array.dtype} from {low:g} to {high:g}; scale it"
        )
    unit = array.dtype.kind in "bf" or high <= 1
    return np.clip(array * (255.0 if unit else 1.0), 0, 255).astype(np.uint8)


def pool_mask(mask: Float[Array, "*b T H W"], grid: tuple[int, int, int]) -> Float[Array, "*b t y x"]:
    """Shares 0..1 of a mask in 0..1 on a latent grid (t, y, x), float32; T - 1 is a multiple of t - 1."""
    t, y, x = grid
    *b, T, H, W = mask.shape
    cells = np.asarray(mask, np.float32).reshape(*b, T, y, H // y, x, W // x).mean((-3, -1))
    if t == 1:
        return cells[..., :1, :, :]
    rest = cells[..., 1:, :, :].reshape(*b, t - 1, (T - 1) // (t - 1), y, x).mean(-3)
    return np.concatenate([cells[..., :1, :, :], rest], -3)
