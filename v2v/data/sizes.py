"""Which clips train at which size, and how many of them make a batch. pairs → **sizes** → sets.py → cache.py

A size is (frames, height, width). A clip goes to the largest one it fills:
    frames   at least as many as the size has; of a longer clip a window is kept that holds the beginning of the edit. Pictures go
             to sizes of one frame, clips to those of several: a clip cut down to one frame would be a waste, a still no video
    picture  shrunk until it just covers the size, never enlarged; of what stands over, at most CUT of the picture's area is cut
             off, along one axis and around the edit's mask
A clip that fills none is left out with its reason. A batch holds as many clips of a size as a budget of tokens allows.
"""

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

from v2v.data.pairs import Pair
from v2v.errors import InputError

Size = tuple[int, int, int]  # frames, height, width
CUT = 0.2  # of a picture's area


def label(size: Size) -> str:
    """As people write it and folders are called: 81x480x832."""
    return "x".join(map(str, size))


def choose(clip: Size, sizes: Sequence[Size]) -> tuple[Size | None, str]:
    """(the largest of `sizes` that a clip of this size fills, "") or (None, why it fills none)."""
    kind = [size for size in sizes if (size[0] == 1) == (clip[0] == 1)]
    if not kind:
        return None, "a picture, and no size has one frame" if clip[
            0
        ] == 1 else "a clip, and all sizes have one frame"
    long = [size for size in kind if size[0] <= clip[0]]
    if not long:
        return None, f"fewer than {min(size[0] for size in kind)} frames"
    large = [size for size in long if size[1] <= clip[1] and size[2] <= clip[2]]
    if not large:
        return None, "a smaller picture than any size it is long enough for"
    fitting = [size for size in large if _cut(clip, size) <= CUT]
    if not fitting:
        return None, f"another shape: more than {CUT:.0%} of the picture would be cut off"
    return max(fitting, key=lambda size: (math.prod(size), size)), ""


def crop(pair: Pair, size: Size) -> Pair:
    """The pair at a size that `choose` gave it; untouched where it has it already.

    Outside the mask source and target stay equal where they were: what an edited pixel is averaged into is masked too.
    """
    T, H, W = pair.mask.shape
    t, h, w = size
    if (T, H, W) == size:
        return pair
    start, end = pair.active
    first = min(max(0, start - t // 2), T - t) if end - start < T else 0
    scale = max(h / H, w / W)
    rows, columns = max(h, round(H * scale)), max(w, round(W * scale))
    top, left = (
        _place(pair.mask.any((0, axis)), n, kept) for axis, n, kept in ((2, rows, h), (1, columns, w))
    )

    def cut(video: np.ndarray) -> np.ndarray:
        frames = [
            cv2.resize(f, (columns, rows), interpolation=cv2.INTER_AREA) for f in video[first : first + t]
        ]
        return np.ascontiguousarray(np.stack(frames)[:, top : top + h, left : left + w])

    def cut_mask(mask: np.ndarray) -> np.ndarray:
        return np.where(cut(mask.astype(np.float32)) > 0, 255, 0).astype(np.uint8)

    return dataclasses.replace(
        pair, source=cut(pair.source), target=cut(pair.target), mask=cut_mask(pair.mask),
        effect=None if pair.effect is None else cut_mask(pair.effect),
        active=(max(start - first, 0), min(end - first, t)),
    )  # fmt: skip


def batch_size(size: Size, tokens: int, budget: int, unit: int) -> int:
    """Clips of `tokens` tokens that a batch of at most `budget` tokens holds, a multiple of `unit` (devices that share it, times
    micro-batches).

    Raises:
      InputError: not even `unit` of them.
    """
    if tokens * unit > budget:
        raise InputError(
            f"data.sizes: {unit} clips of {label(size)}, the fewest the devices can share, are {tokens * unit:,} tokens, the budget"
            f" is {budget:,}; raise --data.tokens (0: those of edit.batch clips of the model's size) or leave that size out"
        )
    return budget // (tokens * unit) * unit


def _cut(clip: Size, size: Size) -> float:
    """Share of the picture's area that is lost."""
    _, H, W = clip
    scale = max(size[1] / H, size[2] / W)
    return 1 - size[1] * size[2] / (H * W * scale**2)


def _place(edited: np.ndarray, n: int, kept: int) -> int:
    """Where `kept` of `n` places begin so that the middle of what is edited lies as near their middle as can be."""
    where = np.flatnonzero(edited)
    middle = (where[0] + where[-1] + 1) / 2 / len(edited) * n if len(where) else n / 2
    return int(min(max(0, round(middle - kept / 2)), n - kept))
