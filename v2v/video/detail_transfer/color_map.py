"""Which colour became which: one map R^3 -> R^3 fitted to a clip and its edit. Used by `detail_transfer/transfer.py`.

A photometric edit (greyscale, night, negative, posterise ...) is a function of colour alone, so it is learnt from every pixel of
the small clip at once and then applied to the large one, where it is exact however fine the detail and however noisy the small
edit. The map is a sum of three parts, each fitted to what the ones before leave:

    f(x) = P x + p                      affine: tints, greyscale, saturation, negative
         + c_k(x_k) for each channel k  curves with 65 knots: contrast, gamma, clipping, posterise
         + G(x)                         a 33^3 grid, trilinear: anything else

Curves and grid are averages with a prior at every scale: a knot with little evidence takes the value of the knot above it in a
pyramid of ever coarser ones, and of 0 at the top. Edits of one object are outliers to the rest of the clip; weights that fall
with a pixel's misfit (Geman-McClure) keep them out of the map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

SAMPLES = 60_000  # pixels fitted, evenly spread over the clip
ROUNDS = 4  # of reweighting
NODES = 33  # of the grid along each channel
KNOTS = 65  # of a curve; one every four levels
EVIDENCE = 4.0  # pixels after which a knot trusts itself more than the coarser scale
RIDGE = (
    0.2  # of a squared level: keeps the affine part at the identity along colours the clip doesn't vary in
)
MISFIT = 6.0  # levels of error up to which a pixel counts as explained, at least
MIN_LOCAL_GAIN = 1.0  # levels: the median pixel must gain more than this (and a tenth) by the map, or the edit counts as local
MAX_DRIFT = 18.0  # levels up to which the median pixel may change in an edit that still counts as local ...
FAR, SHARE = 3.0, 0.07  # ... if more than this share of the pixels change more than so many times as much
CELLS = 64  # cells along each channel of the grid as applied


@dataclass(frozen=True)
class ColorMap:
    """A fitted map. `table` and `matrix` are what is applied: f(x)_k = (matrix x)_k + table[x_k, k] + cells[k, cell of x].

    Attributes:
      matrix: float32 [3, 3].
      table: float32 [256, 3], offset and curve of each channel.
      cells: float32 [3, CELLS^3], the grid at the centre of each cell, or None where it is negligible.
    """

    matrix: np.ndarray
    table: np.ndarray
    cells: np.ndarray | None

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] -> float32 [H, W, 3] in levels, not clipped."""
        out = np.empty((frame.shape[0], 3, frame.shape[1]), np.float32)
        self.put(cv2.split(frame), out)
        return np.ascontiguousarray(out.swapaxes(1, 2))

    def put(self, planes: Sequence[np.ndarray], out: np.ndarray, work: np.ndarray | None = None) -> None:
        """The same by planes: 3 of uint8 [H, W] -> `out`, float32 [H, 3, W]; `work`, float32 [4, H, W], is overwritten."""
        if work is None:
            work = np.empty((4, *planes[0].shape), np.float32)
        levels, (made, more, index, step) = np.arange(256, dtype=np.float32), work
        if self.cells is not None:
            index, step = index.view(np.int32), step.view(np.int32)
            self._cell(planes, index, step)
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            own = self.table[:, k] + self.matrix[k, k] * levels
            cv2.LUT(planes[k], own[:, None], dst=made)
            if self.matrix[k, i] or self.matrix[k, j]:
                others = float(self.matrix[k, i]), float(self.matrix[k, j])
                cv2.addWeighted(planes[i], others[0], planes[j], others[1], 0.0, dst=more, dtype=cv2.CV_32F)
                cv2.add(made, more, dst=made)
            if self.cells is not None:
                self.cells[k].take(index, out=more, mode="clip")  # which checks nothing; all are within
                cv2.add(made, more, dst=made)
            out[:, k] = made

    def _cell(self, planes: Sequence[np.ndarray], index: np.ndarray, step: np.ndarray) -> None:
        numbers = (np.arange(256) * CELLS // 256).astype(np.int32)
        cv2.LUT(planes[2], numbers[:, None], dst=index)
        for channel in range(2):
            cv2.LUT(planes[channel], (numbers * CELLS ** (2 - channel))[:, None], dst=step)
            cv2.add(index, step, dst=index)


IDENTITY = ColorMap(np.eye(3, dtype=np.float32), np.zeros((256, 3), np.float32), None)
ZERO = ColorMap(np.zeros((3, 3), np.float32), np.zeros((256, 3), np.float32), None)


def fit_color_map(source: np.ndarray, edit: np.ndarray) -> ColorMap:
    """The map that takes `source` to `edit`, both float32 [..., 3] in levels 0..255, for most of their pixels.

    An edit that leaves most pixels alone is local, not photometric: it yields the identity. Most pixels are also left alone where
    they change a little and some of them very much more: the model shifts the colours of the whole clip by a few levels when it
    takes an object away, and a map would carry that shift to all that should have stayed.
    """
    x, y = (np.clip(a.reshape(-1, 3), 0, 255) for a in (source, edit))
    pick = np.linspace(0, len(x) - 1, min(SAMPLES, len(x))).astype(int)
    x, y = x[pick], y[pick]
    weight = np.ones(len(x), np.float32)
    for _ in range(ROUNDS):
        affine = _affine(x, y, weight)
        rest = y - x @ affine[:3] - affine[3]
        curves = np.stack(
            [_knots(x[:, k : k + 1], rest[:, k : k + 1], weight, KNOTS)[:, 0] for k in range(3)], -1
        )
        rest -= np.stack([_interpolate(curves[:, k : k + 1], x[:, k : k + 1])[:, 0] for k in range(3)], -1)
        grid = _knots(x, rest, weight, NODES)
        fine = _interpolate(grid, x)
        error = np.sqrt(((rest - fine) ** 2).sum(-1))
        scale = max(MISFIT, 1.5 * float(np.median(error)))
        weight = (1 / (1 + (error / scale) ** 2) ** 2).astype(np.float32)
    changed = np.sqrt(((y - x) ** 2).sum(-1))
    most = np.median(changed)
    drifts = most < MAX_DRIFT and (changed > FAR * most).mean() > SHARE
    if drifts or most < 1.1 * np.median(error) + MIN_LOCAL_GAIN:
        return IDENTITY
    levels = np.arange(256, dtype=np.float32)[:, None]
    centres = (
        np.stack(np.meshgrid(*[np.arange(CELLS)] * 3, indexing="ij"), -1).reshape(-1, 3) + 0.5
    ) * 256 / CELLS - 0.5
    return ColorMap(
        matrix=np.ascontiguousarray(affine[:3].T),
        table=np.concatenate([_interpolate(curves[:, k : k + 1], levels) for k in range(3)], 1) + affine[3],
        cells=np.ascontiguousarray(_interpolate(grid, centres.astype(np.float32)).T)
        if np.sqrt((fine**2).mean()) > 0.5
        else None,
    )


def _affine(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted ridge regression towards the identity: [4, 3], offset last."""
    ones = np.concatenate([x, np.ones((len(x), 1), x.dtype)], 1).astype(np.float64)
    prior = np.eye(4, 3)
    ridge = np.diag([RIDGE, RIDGE, RIDGE, RIDGE / 1e4]) * weight.sum()
    weighted = ones * weight[:, None]
    return np.linalg.solve(weighted.T @ ones + ridge, weighted.T @ y + ridge @ prior).astype(np.float32)


def _knots(x: np.ndarray, value: np.ndarray, weight: np.ndarray, nodes: int) -> np.ndarray:
    """Averages of `value` [n, v] at the nodes of a grid over x [n, k], shrunk towards coarser averages: [nodes] * k + [v]."""
    k, v = x.shape[1], value.shape[1]
    sums = np.zeros((nodes**k, v + 1))
    for index, share in _corners(x, nodes):
        share = share * weight
        for column in range(v):
            sums[:, column] += np.bincount(index, share * value[:, column], nodes**k)
        sums[:, v] += np.bincount(index, share, nodes**k)
    levels = [sums.reshape([nodes] * k + [v + 1])]
    while levels[-1].shape[0] > 5:
        levels.append(_along_axes(levels[-1], _coarsen(levels[-1].shape[0]), k))
    mean = np.zeros([levels[-1].shape[0]] * k + [v])
    for level in reversed(levels):
        if mean.shape[0] != level.shape[0]:
            mean = _along_axes(mean, _coarsen(level.shape[0]).T, k)
        mean = (level[..., :v] + EVIDENCE * mean) / (level[..., v:] + EVIDENCE)
    return mean.astype(np.float32)


def _interpolate(grid: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Multilinear interpolation of grid [nodes] * k + [v] at x [n, k] in levels: float32 [n, v]."""
    flat = grid.reshape(-1, grid.shape[-1])
    return sum(flat[index] * share[:, None] for index, share in _corners(x, grid.shape[0])).astype(np.float32)


def _corners(x: np.ndarray, nodes: int):
    """For each corner of the cells that hold x [n, k]: flat node index [n] and multilinear weight [n]."""
    place = np.clip(x * ((nodes - 1) / 256), 0, nodes - 1 - 1e-3)
    low = place.astype(np.int64)
    part = place - low
    for corner in range(2 ** x.shape[1]):
        index, share = 0, np.float32(1)
        for axis in range(x.shape[1]):
            upper = corner >> axis & 1
            index = index * nodes + low[:, axis] + upper
            share = share * (part[:, axis] if upper else 1 - part[:, axis])
        yield index, share


def _coarsen(nodes: int) -> np.ndarray:
    """Matrix [(nodes + 1) / 2, nodes] that pools node sums; its transpose interpolates linearly."""
    pool = np.zeros(((nodes + 1) // 2, nodes))
    rows = np.arange(len(pool))
    pool[rows, 2 * rows] = 1
    pool[rows[1:], 2 * rows[1:] - 1] = 0.5
    pool[rows[:-1], 2 * rows[:-1] + 1] = 0.5
    return pool


def _along_axes(values: np.ndarray, matrix: np.ndarray, axes: int) -> np.ndarray:
    for axis in range(axes):
        values = np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)
    return values
