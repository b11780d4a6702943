"""A small edit's local part on a large frame: A(p) I + b(p) + r(p), added to the colour map's share. **local** → transfer.py

`rest` d is what the colour map leaves of the small edit. A at a small pixel is the ridge regression of d on the small source s:

    A = cov(d, s) (cov(s, s) + RIDGE 1)^-1,   covariances within 3x3 patches, summed over a window, then averaged over windows
    b + r = d - A s

so A tells what becomes of detail, not of slow shading, which b and r carry anyway. Large pixels take A by bilinear and b + r by
bicubic interpolation: across once for a frame, down row by row. Everything is worked on as planes [row, channel, column], a band of
rows at a time, in memory that is used again: what is in hand stays in the processor's cache.
"""

import cv2
import numpy as np

WINDOW = 3  # radius in small pixels of the windows of the local fit
RIDGE = 15.0  # squared levels of contrast below which the local fit prefers A = 0


class LocalAffine:
    """The local part of one frame, at any rows of `part`."""

    def __init__(
        self, source: np.ndarray, rest: np.ndarray, size: tuple[int, int], part: tuple[slice, slice]
    ):
        """Args: source, rest: float32 [h, w, 3], small; size: (H, W) of the large frame; part: its rows and columns that are asked for."""
        matrix = _matrix(source, rest)
        level = rest - np.einsum("hwij,hwj->hwi", matrix, source)  # b + r: what the matrix alone leaves
        (H, W), (h, w) = size, rest.shape[:2]
        used = rest.any(-1) | (np.abs(matrix).max((2, 3)) > 0)
        reach = np.flatnonzero(_weights(w, W, cv2.INTER_CUBIC)[part[1]] @ used.any(0).astype(np.float32) != 0)
        self.columns = slice(reach[0], reach[-1] + 1) if len(reach) else slice(0, 0)  # of the part
        across = slice(part[1].start + self.columns.start, part[1].start + self.columns.stop)
        self._level = _wide(level, W, across, cv2.INTER_CUBIC)
        self._matrix = _wide(matrix.swapaxes(2, 3).reshape(h, w, 9), W, across, cv2.INTER_LINEAR)
        self._smooth = _taps(_weights(h, H, cv2.INTER_CUBIC)[part[0]], 4)
        self._linear = _taps(_weights(h, H, cv2.INTER_LINEAR)[part[0]], 2)
        first, weights = self._smooth
        near = np.minimum(first[:, None] + np.arange(weights.shape[1]), h - 1)
        self._used = used.any(1)[near].any(1)  # large rows
        self._work = np.empty(0, np.float32)

    def add(self, out: np.ndarray, planes: np.ndarray, top: int) -> None:
        """Adds to `out` float32 [k, 3, W], the part's rows from `top` on, in place; planes: the same rows of the source, uint8 [3, k, W]."""
        n, (low, high) = len(out), (self.columns.start, self.columns.stop)
        if low == high or not self._used[top : top + n].any():
            return
        width = high - low
        if self._work.size < n * 12 * width:
            self._work = np.empty(n * 12 * width, np.float32)
        matrix = self._work[: n * 9 * width].reshape(n, 9, width)
        colour = self._work[n * 9 * width : n * 12 * width].reshape(n, 3, width)
        for row in range(n):
            _blend(self._matrix, self._linear, top + row, matrix[row])
            _blend(self._level, self._smooth, top + row, colour[row])  # not its place, but it is free as yet
        shown = out[:, :, low:high]
        shown += colour
        for channel in range(3):  # what each of the source's gives to all of the edit's
            terms = matrix[:, 3 * channel : 3 * channel + 3]
            np.copyto(colour[:, 0], planes[channel][:, low:high])
            np.multiply(terms, colour[:, :1], out=terms)
            shown += terms


def box_mean(values: np.ndarray, size: int) -> np.ndarray:
    """Mean over size x size windows of [h, w, ...]."""
    h, w = values.shape[:2]
    return cv2.blur(values.reshape(h, w, -1), (size, size), borderType=cv2.BORDER_REFLECT).reshape(
        values.shape
    )


def _matrix(source: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """A at every small pixel, float32 [h, w, 3, 3]."""
    windows = 2 * WINDOW + 1
    within = box_mean(
        box_mean(_outer(source, source), 3) - _outer(box_mean(source, 3), box_mean(source, 3)), windows
    )
    across = box_mean(
        box_mean(_outer(rest, source), 3) - _outer(box_mean(rest, 3), box_mean(source, 3)), windows
    )
    solved = np.linalg.solve(within + RIDGE * np.eye(3, dtype=np.float32), across.swapaxes(-1, -2))
    return box_mean(np.ascontiguousarray(solved.swapaxes(-1, -2)), windows)


def _outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., :, None] * b[..., None, :]


def _wide(small: np.ndarray, W: int, columns: slice, how: int) -> np.ndarray:
    """[h, w, k] → the columns of [h, k, W], each row's planes side by side."""
    h, _, k = small.shape
    out = np.empty((h, k, columns.stop - columns.start), np.float32)
    for channel in range(k):
        plane = np.ascontiguousarray(small[..., channel])
        out[:, channel] = cv2.resize(plane, (W, h), interpolation=how)[:, columns]
    return out


def _weights(few: int, many: int, how: int) -> np.ndarray:
    """[many, few]: each of `many` large rows as a sum of small ones, as `cv2.resize` has it."""
    return cv2.resize(np.eye(few, dtype=np.float32), (few, many), interpolation=how)


def _taps(weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """[many, few] with at most `count` neighbours that aren't 0 → (first of these, [many]; their weights, [many, count])."""
    few = weights.shape[1]
    count = min(count, few)
    first = np.minimum((weights != 0).argmax(1), few - count)
    return first, np.take_along_axis(weights, first[:, None] + np.arange(count), 1)


def _blend(wide: np.ndarray, taps: tuple[np.ndarray, np.ndarray], row: int, out: np.ndarray) -> None:
    """One large row, [k, W], out of small ones. A sum of few long rows: BLAS, however small, would wait for its threads."""
    first, weights = taps[0][row], [float(weight) for weight in taps[1][row]]
    last = min(1, len(weights) - 1)
    cv2.addWeighted(wide[first], weights[0], wide[first + last], weights[last] * last, 0, dst=out)
    for tap, weight in enumerate(weights[2:], 2):
        if weight:
            cv2.scaleAdd(wide[first + tap], weight, out, dst=out)
