"""Masks: where and when to edit. They are read and checked, shown to the model, and used to restore the rest of the source.

`Mask` takes what a user hands in. Polarity: white = edit here, now (`invert` swaps black and white, with a note). It may be

- a picture (the same for every frame) or a video (one for each), of the clip's own size, as a file or an array;
- a box "x,y,w,h" in whole pixels of the upright frame, x and y those of its upper left corner;
- what a mask source found (`segmentation/`): people, background, text.

Of colours the largest channel counts, so that pure red is white. Alpha counts where colour says nothing: a picture of one colour
whose alpha varies has its mask there; where both vary the colour is taken. Where colours number objects, as in the palettes of
datasets, all objects are white. A note says which. Grey is a soft edge: it counts in
proportion between `GRAY_RANGE`'s ends, beyond which compression alone may put black and white. `frame_range` turns times into
frames.

The model sees a mask at its own resolution (`Mask.lookup`), encoded either by the autoencoder as a black and white video, or by
`pool_mask` as the share of each latent cell that is edited; `ConditionConfig.mask_code` selects. The first keeps the outline
inside a cell and did better in the paper's ablation (7.48 against 5.60). The shares also weigh the loss (`data/latent_cache.py`).

`composite` is the last step before a clip is written: where the mask is black the source's bytes stay as they are, and inside its
rim the edit fades in over a few pixels (`apply_fade`) so that no seam shows.
"""

import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from v2v.errors import InputError, note
from v2v.video import decoder, file_checks
from v2v.video.frame_store import FrameStore
from v2v.video.picture_chunks import PNG_SIGNATURE
from v2v.video.pixels import round_to_uint8
from v2v.video.segmentation.base import ClipMask
from v2v.video.video import Video

# Levels: up to the first a value is black, from the second on white.
GRAY_RANGE = (32, 224)
# Width of the fade, as a share of the frame's shorter side.
FADE_SHARE = 1 / 240
# Share of a small pixel's area that must be white for the model to see it white.
MIN_CELL_SHARE = 0.25
# Share of the frame; a mask that covers more, corners included, may be inverted by mistake.
SUSPECT_SHARE = 0.6
# Colours besides black up to which a picture without a palette may number objects.
MAX_OBJECTS = 32
BOX = re.compile(r"\s*(-?\d{1,9})\s*" + r",\s*(-?\d{1,9})\s*" * 3)


class Mask:
    """A mask on one clip: call `survey` first; then iterating gives every frame's alpha, uint8 [H, W], 0 = the source unchanged.

    Attributes:
      active_span: frames [first, end) inside the edited range outside of which the mask is black.
      area: share of the frame that is edited, a mean over these.
      is_full: white everywhere in these, so that it is equivalent to a time range.
    """

    def __init__(
        self,
        mask: str | Path | np.ndarray | Video | ClipMask,
        clip: Video,
        invert: bool = False,
        soft: float | None = None,
        name: str = "",
    ):
        """Open a mask.

        Args:
          mask: a file, a box, a clip, an array [H, W] or [T, H, W] (or with a last axis of colours): bool, integers 0..255 or
            floats 0..1, or what a mask source found.
          clip: the clip to edit.
          invert: black marks the place to edit; a box always marks it.
          soft: width of the fade in pixels, None for one that fits the frame.
          name: of the mask source; "" where the mask was handed over.

        Raises:
          InputError: no mask, a box outside the frame, a fade of less than no pixels or wider than the frame.
        """
        self._T, self._H, self._W = clip.frames.shape[:3]
        self._name = f"mask {mask}" if isinstance(mask, str | Path) else f"mask {name}".rstrip()
        self._box = BOX.fullmatch(mask) if isinstance(mask, str) else None
        # Boxes and sources know which side they mean.
        self._is_sure = self._box is not None or isinstance(mask, ClipMask)
        invert = invert and not self._box
        # As painted by the user; for messages.
        self._edit_colour, self._keep_colour = ("black", "white") if invert else ("white", "black")
        self._advice = ("remove" if invert else "add") + " --invert-mask"
        shares = np.clip((np.arange(256) - GRAY_RANGE[0]) * 255 / (GRAY_RANGE[1] - GRAY_RANGE[0]), 0, 255)
        self._share_of_level = np.rint(shares[::-1] if invert else shares).astype(np.uint8)
        self._frames = self._open(mask)
        self._fade = fade_width(soft, self._H, self._W)
        self._small = FrameStore()
        self.active_span, self.area, self.is_full = (0, self._T), 0.0, False
        if invert:
            note(f"{self._name}: black marks the place, as asked; turned round")

    def survey(self, height: int, width: int, first: int, end: int) -> None:
        """Check size, length and content in one pass, measure the mask, and store the model's view of it.

        Args:
          height: of the model's frames.
          width: of the model's frames.
          first: number of the first edited frame.
          end: number of the frame after the last edited one.

        Raises:
          InputError: another size or length than the clip's, or a mask that selects nothing in the edited frames.
        """
        areas, minima, has_corners, strongest = [], [], True, 0
        for share in self._shares():
            if share.shape != (self._H, self._W):
                raise InputError(
                    f"{self._name}: expected to have the clip's size {self._W}x{self._H}, got {share.shape[1]}x{share.shape[0]}; "
                    "scale it to the clip"
                )
            areas.append(np.count_nonzero(share) / share.size)
            minima.append(int(share.min()))
            strongest = max(strongest, int(share.max()))
            has_corners = has_corners and bool(share[:: self._H - 1 or 1, :: self._W - 1 or 1].all())
            small = cv2.resize(share, (width, height), interpolation=cv2.INTER_AREA)
            # An area too small for the threshold is seen where it is largest.
            self._small.append(small > min(255 * MIN_CELL_SHARE, max(0, int(small.max()) - 1)))
        if len(areas) not in (1, self._T):
            raise InputError(
                f"{self._name}: expected to have 1 frame or the clip's {self._T}, got {len(areas)}; cut it to the clip's length"
            )
        if not any(areas):
            raise InputError(
                f"{self._name}: {self._keep_colour} everywhere, so nothing would be edited; paint what to edit {self._edit_colour}, "
                f"or {self._advice}"
            )
        edited = areas if len(areas) == 1 else areas[first:end]
        if not any(edited):
            raise InputError(
                f"{self._name}: {self._keep_colour} in every frame between start and end, so nothing would be edited; move the range"
            )
        self.active_span, is_white = (first, end), min(minima) == 255
        if len(areas) > 1:
            active = first + np.flatnonzero(edited)
            self.active_span = int(active[0]), int(active[-1]) + 1
            edited, minima = areas[slice(*self.active_span)], minima[slice(*self.active_span)]
        self.area, self.is_full = float(np.mean(edited)), min(minima) == 255
        if strongest < 255:
            note(
                f"{self._name}: {self._edit_colour} nowhere, at most grey, so the edit is applied by {strongest / 255:.0%}; if it "
                f"should be whole, paint the place {self._edit_colour}"
            )
        if is_white:
            note(f"{self._name}: {self._edit_colour} everywhere, which is the same as no mask")
        elif self.area > SUSPECT_SHARE and has_corners and not self._is_sure:
            note(
                f"{self._name}: {self._edit_colour}, which means edit here, on {self.area:.0%} of the picture, corners included; if "
                f"{self._keep_colour} marks the place, {self._advice}"
            )

    def lookup(self, rows: np.ndarray) -> np.ndarray:
        """Return the model's view of frames by number: bool [*rows.shape, height, width], True = edit."""
        return self._small[np.minimum(rows, len(self._small) - 1)]

    def __iter__(self) -> Iterator[np.ndarray]:
        shares = self._shares()
        if len(self._small) == 1:
            return itertools.repeat(apply_fade(next(shares), self._fade), self._T)
        return (apply_fade(share, self._fade) for share in shares)

    def _shares(self) -> Iterator[np.ndarray]:
        """Yield how much of the edit to use, uint8 [H, W] for each frame, soft edges included."""
        return (cv2.LUT(frame, self._share_of_level) for frame in self._frames())

    def _open(self, mask: str | Path | np.ndarray | Video | ClipMask) -> Callable[[], Iterator[np.ndarray]]:
        """Return a function that iterates over the frames, uint8 [H, W]."""
        if self._box:
            picture = self._paint_box(*map(int, self._box.groups()))
            return lambda: iter((picture,))
        if isinstance(mask, str | Path):
            return self._open_file(Path(mask))
        if isinstance(mask, Video):
            return lambda: map(_largest_channel, mask.frames)
        if isinstance(mask, ClipMask):
            return lambda: iter(mask)
        levels = _check_array(mask, self._name)
        return lambda: iter(levels)

    def _open_file(self, path: Path) -> Callable[[], Iterator[np.ndarray]]:
        if not os.path.exists(path):
            raise InputError(
                f"{self._name}: no such file; --mask takes a picture, a video, a box x,y,w,h in whole pixels, or auto"
            )

        def frames() -> Iterator[np.ndarray]:
            with file_checks.prefix_errors("mask"):
                yield from decoder.iterate_frames(path, decoder.StreamInfo(), with_audio=False)

        first_two = list(itertools.islice(frames(), 2))
        if len(first_two) > 1:
            return lambda: map(_largest_channel, frames())
        picture = first_two[0]
        if _shows_objects(picture, _has_palette(path)):
            note(f"{self._name}: its colours number objects, so all of them are white and the rest is black")
            levels = np.where(picture.any(-1), np.uint8(255), np.uint8(0))
        else:
            levels = _largest_channel(picture)
        levels = self._colour_or_alpha(levels, path)
        return lambda: iter((levels,))

    def _colour_or_alpha(self, colour: np.ndarray, path: Path) -> np.ndarray:
        """Return the part of a picture that is its mask, uint8 [H, W]: its colour, unless only its alpha varies."""
        # None for a video of one frame.
        stored = decoder.read_stored_picture(path, cv2.IMREAD_UNCHANGED)
        if stored is None or stored.ndim < 3 or stored.shape[2] < 4 or stored.dtype.kind != "u":
            return colour
        alpha = (stored[..., 3] / (np.iinfo(stored.dtype.name).max / 255)).astype(np.uint8)
        if np.ptp(alpha) <= GRAY_RANGE[0] or np.array_equal(alpha, colour):
            return colour
        # Programs blacken what is transparent: black there says nothing.
        is_informative = (alpha > 0) | (colour > GRAY_RANGE[0])
        if np.ptp(colour[is_informative]) <= GRAY_RANGE[0]:
            note(f"{self._name}: its colour is the same everywhere, so its alpha is the mask")
            return alpha
        note(
            f"{self._name}: its colour is the mask, its alpha is ignored; if the alpha is meant, save it as grey"
        )
        return colour

    def _paint_box(self, x: int, y: int, w: int, h: int) -> np.ndarray:
        if w < 1 or h < 1 or x < 0 or y < 0 or x + w > self._W or y + h > self._H:
            raise InputError(
                f"{self._name}: box x,y,w,h expected within the frame, {self._W}x{self._H} pixels; it spans {x} to {x + w} and "
                f"{y} to {y + h}"
            )
        picture = np.zeros((self._H, self._W), np.uint8)
        picture[y : y + h, x : x + w] = 255
        return picture


def frame_range(clip: Video, start: float | None, end: float | None) -> tuple[int, int]:
    """Return the frames [first, end) that appear in a time range.

    Args:
      clip: the clip.
      start: seconds; None for the clip's start.
      end: seconds, exclusive; None for the clip's end.

    Raises:
      InputError: a time outside the clip, start not before end, or a range without a frame.
    """
    clip_start, clip_end = float(clip.times[0]), float(clip.times[0]) + clip.duration
    slack = 1 / clip.fps
    for label, value in (("start", start), ("end", end)):
        if value is not None and not 0 <= value <= clip_end + slack:
            raise InputError(f"--{label} {value:g}: expected seconds within the clip, 0 to {clip_end:.2f}")
    if start is not None and end is not None and start >= end:
        raise InputError(f"--start {start:g} --end {end:g}: expected start before end")
    low = clip_start if start is None else start
    high = np.inf if end is None else end
    first, last = np.searchsorted(clip.times, [low - 1e-6, high - 1e-6])
    if first == last:
        raise InputError(
            f"--start {low:g} --end {min(high, clip_end):g}: expected to cover a frame, but none appears then; "
            f"frames are {slack:.3f} s apart and the last is at {clip.times[-1]:.2f} s"
        )
    return int(first), int(last)


def fade_width(soft: float | None, height: int, width: int) -> int:
    """Return the pixels over which an edit fades in.

    Args:
      soft: the width asked for; None for one that fits the frame.
      height: of the frame.
      width: of the frame.

    Raises:
      InputError: less than no pixels, or more than the frame has.
    """
    if soft is None:
        return round(FADE_SHARE * min(height, width))
    if not 0 <= soft <= max(height, width):
        raise InputError(f"soft: expected a width of 0 to {max(height, width)} pixels, got {soft:g}")
    return round(soft)


def apply_fade(share: np.ndarray, width: int) -> np.ndarray:
    """Let a mask rise from its rim inwards.

    Args:
      share: how much of the edit to use, uint8 [H, W].
      width: of the rise in pixels.

    Returns:
      Alpha, uint8 [H, W]; 0 only where `share` is.
    """
    if width < 1:
        return share
    out = np.zeros_like(share)
    # The part has a ring of black around, and nothing outside it can be nearer.
    part = bounding_slices(share, 1)
    if share[part].size:
        inside = np.ascontiguousarray(share[part])
        depth = cv2.distanceTransform((inside > 0).astype(np.uint8), cv2.DIST_L2, 3)
        # Without a rim in the picture the distance is too large a number to be cast to bytes.
        depth = np.minimum(depth, width + 1)
        out[part] = np.minimum(inside, round_to_uint8(depth * (255 / (width + 1))))
    return out


def bounding_slices(alpha: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """Return the rows and columns that hold all that isn't 0; empty ones where all is 0.

    Args:
      alpha: uint8 [H, W].
      margin: pixels to add on every side, as far as the frame goes.
    """
    x, y, w, h = cv2.boundingRect(alpha)
    if not w:
        return slice(0, 0), slice(0, 0)
    return slice(max(0, y - margin), y + h + margin), slice(max(0, x - margin), x + w + margin)


def composite(source: np.ndarray, edit: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Blend an edited frame over its source.

    Args:
      source: uint8 [H, W, 3].
      edit: uint8 [H, W, 3].
      alpha: uint8 [H, W].

    Returns:
      uint8 [H, W, 3]: the source's bytes where alpha is 0, the edit's where it is 255, a mixture elsewhere.
    """
    out = cv2.copyTo(edit, cv2.inRange(alpha, 255, 255), source.copy())
    rows, columns = np.nonzero(cv2.inRange(alpha, 1, 254))
    if len(rows):
        a, s, e = alpha[rows, columns, None] / np.float32(255), source[rows, columns], edit[rows, columns]
        out[rows, columns] = np.rint(s + a * (e.astype(np.float32) - s)).astype(np.uint8)
    return out


def pool_mask(
    mask: Float[np.ndarray, "*b T H W"], grid: tuple[int, int, int]
) -> Float[np.ndarray, "*b t y x"]:
    """Average a mask over the cells of a latent grid: latent frame 0 is pixel frame 0, each later one a group of frames.

    Args:
      mask: numbers 0..1.
      grid: (t, y, x); T - 1 is a multiple of t - 1, H of y and W of x.

    Returns:
      The share of each cell that is edited, float32 0..1.
    """
    t, y, x = grid
    *b, T, H, W = mask.shape
    cells = np.asarray(mask, np.float32).reshape(*b, T, y, H // y, x, W // x).mean((-3, -1))
    first = cells[..., :1, :, :]
    if t == 1:
        return first
    later = cells[..., 1:, :, :].reshape(*b, t - 1, (T - 1) // (t - 1), y, x).mean(-3)
    return np.concatenate([first, later], -3)


def _shows_objects(picture: np.ndarray, has_palette: bool) -> bool:
    """Return whether the colours of a picture tell objects apart, as in masks of datasets, rather than how much to edit.

    They do in a palette of several hues, or of one without white (that of DAVIS has dark red for the first object), and in other
    pictures of few colours, one of which isn't grey, without white.

    Args:
      picture: uint8 [H, W, 3].
      has_palette: whether the file has a palette.
    """
    colours = np.unique(picture.reshape(-1, 3), axis=0).astype(int)
    colours = colours[colours.any(-1)]
    if not len(colours) or len(colours) > (256 if has_palette else MAX_OBJECTS):
        return False
    if not np.ptp(colours, axis=-1).any():
        return False
    # Shades of one colour are multiples of each other.
    strongest = colours[colours.sum(-1).argmax()]
    shades = colours.max(-1, keepdims=True) * strongest / strongest.max()
    has_one_hue = np.abs(colours - shades).max() <= 8
    has_white = colours.max() >= GRAY_RANGE[1]
    return not has_white or (has_palette and not has_one_hue)


def _has_palette(path: Path) -> bool:
    """Return whether a file is a PNG or GIF with a palette."""
    with path.open("rb") as file:
        head = file.read(26)
    return head.startswith(b"GIF8") or (head.startswith(PNG_SIGNATURE) and head[25] == 3)


def _largest_channel(frame: np.ndarray) -> np.ndarray:
    return functools.reduce(cv2.max, cv2.split(frame))


def _check_array(mask: np.ndarray, name: str) -> np.ndarray:
    """Return a mask of any accepted shape and range as uint8 [T, H, W], T = 1 for a picture; raise InputError for others."""
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
    # Resampled floats end a little beyond.
    top, slack = (1, 1e-3) if array.dtype.kind == "f" else (255, 0)
    # Written so that NaN fails.
    if not (-slack <= low and high <= top + slack):
        raise InputError(
            f"{name}: expected floats 0..1 or integers 0..255, got {array.dtype} from {low:g} to {high:g}; scale it"
        )
    is_unit_range = array.dtype.kind in "bf" or high <= 1
    return np.clip(array * (255.0 if is_unit_range else 1.0), 0, 255).astype(np.uint8)
