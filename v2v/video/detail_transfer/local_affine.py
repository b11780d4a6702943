"""The local part of an edit on a large frame: A(p) I + b(p) + r(p), which `transfer.py` adds to the colour map's share.

The residual d is what the colour map leaves of the small edit. A at a small pixel is the ridge regression of d on the small
source s:

    A = cov(d, s) (cov(s, s) + RIDGE 1)^-1,   covariances within 3x3 patches, summed over a window, then averaged over windows
    b + r = d - A s

so A describes what becomes of detail, not of slow shading, which b and r contain anyway. Large pixels take A by bilinear and
b + r by bicubic interpolation: across once for a frame, down row by row. Everything is worked on as planes [row, channel, column],
a band of rows at a time, in memory that is used again, so that it stays in the processor's cache.
"""

import cv2
import numpy as np

# Radius, in small pixels, of the windows of the local fit.
WINDOW = 3
# Squared levels of contrast below which the local fit prefers A = 0.
RIDGE = 15.0


class LocalAffine:
    """The local part of one frame's edit, for the rows and columns of a region.

    Attributes:
      columns: columns of the region where it is not 0.
    """

    def __init__(
        self, source: np.ndarray, residual: np.ndarray, size: tuple[int, int], region: tuple[slice, slice]
    ):
        """Fit A and b + r at every small pixel.

        Args:
          source: small source, float32 [h, w, 3] in levels.
          residual: what the colour map leaves of the small edit, of the same shape.
          size: (H, W) of the large frame.
          region: its rows and columns that will be asked for.
        """
        matrix = _fit_matrix(source, residual)
        # b + r: what the matrix alone leaves.
        level = residual - np.einsum("hwij,hwj->hwi", matrix, source)
        (H, W), (h, w) = size, residual.shape[:2]
        is_used = residual.any(-1) | (np.abs(matrix).max((2, 3)) > 0)
        weights = _resize_weights(w, W, cv2.INTER_CUBIC)[region[1]]
        reach = np.flatnonzero(weights @ is_used.any(0).astype(np.float32) != 0)
        self.columns = slice(reach[0], reach[-1] + 1) if len(reach) else slice(0, 0)
        across = slice(region[1].start + self.columns.start, region[1].start + self.columns.stop)
        self._level = _widen(level, W, across, cv2.INTER_CUBIC)
        self._matrix = _widen(matrix.swapaxes(2, 3).reshape(h, w, 9), W, across, cv2.INTER_LINEAR)
        self._cubic_taps = _find_taps(_resize_weights(h, H, cv2.INTER_CUBIC)[region[0]], 4)
        self._linear_taps = _find_taps(_resize_weights(h, H, cv2.INTER_LINEAR)[region[0]], 2)
        first, weights = self._cubic_taps
        near = np.minimum(first[:, None] + np.arange(weights.shape[1]), h - 1)
        self._is_row_used = is_used.any(1)[near].any(1)
        self._work = np.empty(0, np.float32)

    def add(self, out: np.ndarray, planes: np.ndarray, top: int) -> None:
        """Add the local part to rows of the region, in place.

        Args:
          out: float32 [n, 3, W], the region's rows from `top` on, in levels.
          planes: the same rows of the large source, uint8 [3, n, W].
          top: number of the first row.
        """
        n, (low, high) = len(out), (self.columns.start, self.columns.stop)
        if low == high or not self._is_row_used[top : top + n].any():
            return
        width = high - low
        if self._work.size < n * 12 * width:
            self._work = np.empty(n * 12 * width, np.float32)
        matrix = self._work[: n * 9 * width].reshape(n, 9, width)
        colour = self._work[n * 9 * width : n * 12 * width].reshape(n, 3, width)
        for row in range(n):
            _blend_rows(self._matrix, self._linear_taps, top + row, matrix[row])
            _blend_rows(self._level, self._cubic_taps, top + row, colour[row])
        target = out[:, :, low:high]
        target += colour
        # What each of the source's channels gives to all of the edit's; `colour` is free by now.
        for channel in range(3):
            terms = matrix[:, 3 * channel : 3 * channel + 3]
            np.copyto(colour[:, 0], planes[channel][:, low:high])
            np.multiply(terms, colour[:, :1], out=terms)
            target += terms


def box_mean(values: np.ndarray, size: int) -> np.ndarray:
    """Return the mean over size x size windows of [h, w, ...]."""
    h, w = values.shape[:2]
    return cv2.blur(values.reshape(h, w, -1), (size, size), borderType=cv2.BORDER_REFLECT).reshape(
        values.shape
    )


def _fit_matrix(source: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return A at every small pixel, float32 [h, w, 3, 3]."""
    window = 2 * WINDOW + 1
    within = box_mean(
        box_mean(_outer(source, source), 3) - _outer(box_mean(source, 3), box_mean(source, 3)), window
    )
    across = box_mean(
        box_mean(_outer(residual, source), 3) - _outer(box_mean(residual, 3), box_mean(source, 3)), window
    )
    solution = np.linalg.solve(within + RIDGE * np.eye(3, dtype=np.float32), across.swapaxes(-1, -2))
    return box_mean(np.ascontiguousarray(solution.swapaxes(-1, -2)), window)


def _outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., :, None] * b[..., None, :]


def _widen(small: np.ndarray, W: int, columns: slice, interpolation: int) -> np.ndarray:
    """Resize [h, w, k] to the columns of [h, k, W], each row's planes side by side."""
    h, _, k = small.shape
    out = np.empty((h, k, columns.stop - columns.start), np.float32)
    for channel in range(k):
        plane = np.ascontiguousarray(small[..., channel])
        out[:, channel] = cv2.resize(plane, (W, h), interpolation=interpolation)[:, columns]
    return out


def _resize_weights(small: int, large: int, interpolation: int) -> np.ndarray:
    """Return [large, small]: each large row as a weighted sum of small ones, as `cv2.resize` has it."""
    return cv2.resize(np.eye(small, dtype=np.float32), (small, large), interpolation=interpolation)


def _find_taps(weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first small row [large] that each large row is a sum of, and the weights [large, count] from it on.

    Args:
      weights: [large, small] with at most `count` neighbouring numbers in a row that aren't 0.
      count: of neighbours.
    """
    small = weights.shape[1]
    count = min(count, small)
    first = np.minimum((weights != 0).argmax(1), small - count)
    return first, np.take_along_axis(weights, first[:, None] + np.arange(count), 1)


def _blend_rows(rows: np.ndarray, taps: tuple[np.ndarray, np.ndarray], row: int, out: np.ndarray) -> None:
    """Write one large row to `out`, [k, W], as a sum of small ones, [h, k, W].

    A sum of few long rows: BLAS, however small, would wait for its threads.
    """
    first, weights = taps[0][row], [float(weight) for weight in taps[1][row]]
    last = min(1, len(weights) - 1)
    cv2.addWeighted(rows[first], weights[0], rows[first + last], weights[last] * last, 0, dst=out)
    for tap, weight in enumerate(weights[2:], 2):
        if weight:
            cv2.scaleAdd(rows[first + tap], weight, out, dst=out)
