"""The colour map of an edit: one function R^3 -> R^3 fitted to a clip and its edit. `transfer.py` applies it.

A photometric edit (greyscale, night, negative, posterise ...) is a function of colour alone, so it is fitted to all pixels of the
small clip at once and then applied to the large one, where it is exact however fine the detail and however noisy the small edit.
The map is a sum of three parts, each fitted to what the ones before leave:

    f(x) = P x + p                      affine: tints, greyscale, saturation, negative
         + c_k(x_k) for each channel k  curves with 65 knots: contrast, gamma, clipping, posterise
         + G(x)                         a 33^3 grid, trilinear: anything else

Curves and grid are averages with a prior at every scale: a knot with little evidence takes the value of the knot above it in a
pyramid of ever coarser ones, and of 0 at the top. Edits of one object are outliers among the clip's pixels; weights that fall
with a pixel's misfit (Geman-McClure) keep them out of the map.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

# Pixels fitted, evenly spread over the clip.
SAMPLES = 60_000
# Rounds of fitting and reweighting.
ROUNDS = 4
# Nodes of the grid along each channel.
NODES = 33
# Knots of a curve; one every four levels.
KNOTS = 65
# Pixels from which a knot has more weight than the coarser scale.
EVIDENCE = 4.0
# Squared levels: keeps the affine part at the identity along colours the clip doesn't vary in.
RIDGE = 0.2
# Levels of error up to which a pixel counts as explained, at least.
MISFIT = 6.0
# Levels: the map must explain more than this (and a tenth) of the median pixel's change, or the edit counts as local.
MIN_LOCAL_GAIN = 1.0
# An edit also counts as local where the median pixel changes less than `MAX_DRIFT` levels and more than `MIN_FAR_SHARE` of the
# pixels change more than `FAR_RATIO` times as much.
MAX_DRIFT = 18.0
FAR_RATIO, MIN_FAR_SHARE = 3.0, 0.07
# Cells along each channel of the grid as applied.
CELLS = 64


@dataclass(frozen=True)
class ColorMap:
    """A fitted map, in the form in which it is applied: f(x)_k = (matrix x)_k + table[x_k, k] + cells[k, cell of x].

    Attributes:
      matrix: float32 [3, 3].
      table: float32 [256, 3], offset and curve of each channel.
      cells: float32 [3, CELLS^3], the grid at the centre of each cell, or None where it is negligible.
    """

    matrix: np.ndarray
    table: np.ndarray
    cells: np.ndarray | None

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Map a frame uint8 [H, W, 3] to float32 [H, W, 3] in levels, not clipped."""
        out = np.empty((frame.shape[0], 3, frame.shape[1]), np.float32)
        self.map_planes(cv2.split(frame), out)
        return np.ascontiguousarray(out.swapaxes(1, 2))

    def map_planes(
        self, planes: Sequence[np.ndarray], out: np.ndarray, work: np.ndarray | None = None
    ) -> None:
        """Map a frame that is given as planes.

        Args:
          planes: R, G and B, uint8 [H, W] each.
          out: float32 [H, 3, W], overwritten with the result in levels, not clipped.
          work: float32 [4, H, W], overwritten; None to allocate it.
        """
        if work is None:
            work = np.empty((4, *planes[0].shape), np.float32)
        levels, (total, term, index, step) = np.arange(256, dtype=np.float32), work
        if self.cells is not None:
            index, step = index.view(np.int32), step.view(np.int32)
            self._find_cells(planes, index, step)
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            curve = self.table[:, k] + self.matrix[k, k] * levels
            cv2.LUT(planes[k], curve[:, None], dst=total)
            if self.matrix[k, i] or self.matrix[k, j]:
                others = float(self.matrix[k, i]), float(self.matrix[k, j])
                cv2.addWeighted(planes[i], others[0], planes[j], others[1], 0.0, dst=term, dtype=cv2.CV_32F)
                cv2.add(total, term, dst=total)
            if self.cells is not None:
                # "clip" skips the check of indices, which are all within.
                self.cells[k].take(index, out=term, mode="clip")
                cv2.add(total, term, dst=total)
            out[:, k] = total

    def _find_cells(self, planes: Sequence[np.ndarray], index: np.ndarray, step: np.ndarray) -> None:
        """Write the number of each pixel's cell to `index`, int32 [H, W]; `step` of the same shape is overwritten."""
        numbers = (np.arange(256) * CELLS // 256).astype(np.int32)
        cv2.LUT(planes[2], numbers[:, None], dst=index)
        for channel in range(2):
            cv2.LUT(planes[channel], (numbers * CELLS ** (2 - channel))[:, None], dst=step)
            cv2.add(index, step, dst=index)


IDENTITY = ColorMap(np.eye(3, dtype=np.float32), np.zeros((256, 3), np.float32), None)
ZERO = ColorMap(np.zeros((3, 3), np.float32), np.zeros((256, 3), np.float32), None)


def fit_color_map(source: np.ndarray, edit: np.ndarray) -> ColorMap:
    """Fit the map that takes the colours of most pixels from source to edit.

    An edit that leaves most pixels alone is local, not photometric: it yields the identity. Most pixels are also left alone where
    they change a little and some of them very much more: the model shifts the colours of the whole clip by a few levels when it
    removes an object, and a map would transfer that shift to everything that should stay.

    Args:
      source: float32 [..., 3] in levels 0..255.
      edit: the same of the edit.
    """
    x, y = (np.clip(a.reshape(-1, 3), 0, 255) for a in (source, edit))
    rows = np.linspace(0, len(x) - 1, min(SAMPLES, len(x))).astype(int)
    x, y = x[rows], y[rows]
    weight = np.ones(len(x), np.float32)
    for _ in range(ROUNDS):
        affine = _fit_affine(x, y, weight)
        residual = y - x @ affine[:3] - affine[3]
        curves = np.stack(
            [_fit_knots(x[:, k : k + 1], residual[:, k : k + 1], weight, KNOTS)[:, 0] for k in range(3)], -1
        )
        residual -= np.stack(
            [_interpolate(curves[:, k : k + 1], x[:, k : k + 1])[:, 0] for k in range(3)], -1
        )
        grid = _fit_knots(x, residual, weight, NODES)
        fine = _interpolate(grid, x)
        error = np.sqrt(((residual - fine) ** 2).sum(-1))
        scale = max(MISFIT, 1.5 * float(np.median(error)))
        weight = (1 / (1 + (error / scale) ** 2) ** 2).astype(np.float32)
    changed = np.sqrt(((y - x) ** 2).sum(-1))
    median = np.median(changed)
    is_drift = median < MAX_DRIFT and (changed > FAR_RATIO * median).mean() > MIN_FAR_SHARE
    if is_drift or median < 1.1 * np.median(error) + MIN_LOCAL_GAIN:
        return IDENTITY
    levels = np.arange(256, dtype=np.float32)[:, None]
    centres = (
        np.stack(np.meshgrid(*[np.arange(CELLS)] * 3, indexing="ij"), -1).reshape(-1, 3) + 0.5
    ) * 256 / CELLS - 0.5
    is_grid_used = np.sqrt((fine**2).mean()) > 0.5
    return ColorMap(
        matrix=np.ascontiguousarray(affine[:3].T),
        table=np.concatenate([_interpolate(curves[:, k : k + 1], levels) for k in range(3)], 1) + affine[3],
        cells=np.ascontiguousarray(_interpolate(grid, centres.astype(np.float32)).T)
        if is_grid_used
        else None,
    )


def _fit_affine(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted ridge regression towards the identity: [4, 3], offset last."""
    ones = np.concatenate([x, np.ones((len(x), 1), x.dtype)], 1).astype(np.float64)
    prior = np.eye(4, 3)
    ridge = np.diag([RIDGE, RIDGE, RIDGE, RIDGE / 1e4]) * weight.sum()
    weighted = ones * weight[:, None]
    return np.linalg.solve(weighted.T @ ones + ridge, weighted.T @ y + ridge @ prior).astype(np.float32)


def _fit_knots(x: np.ndarray, value: np.ndarray, weight: np.ndarray, nodes: int) -> np.ndarray:
    """Return averages of values at the nodes of a grid, shrunk towards coarser averages: [nodes] * k + [v].

    Args:
      x: places, [n, k] in levels.
      value: numbers there, [n, v].
      weight: of each place, [n].
      nodes: of the grid along each of its k axes.
    """
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
    """Return the multilinear interpolation of grid [nodes] * k + [v] at x [n, k] in levels: float32 [n, v]."""
    flat = grid.reshape(-1, grid.shape[-1])
    total = np.zeros((len(x), grid.shape[-1]))
    for index, share in _corners(x, grid.shape[0]):
        total += flat[index] * share[:, None]
    return total.astype(np.float32)


def _corners(x: np.ndarray, nodes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for each corner of the cells that hold x [n, k], the flat node index [n] and the multilinear weight [n]."""
    position = np.clip(x * ((nodes - 1) / 256), 0, nodes - 1 - 1e-3)
    low = position.astype(np.int64)
    part = position - low
    for corner in range(2 ** x.shape[1]):
        index, share = np.zeros(len(x), np.int64), np.ones(len(x), np.float32)
        for axis in range(x.shape[1]):
            upper = corner >> axis & 1
            index = index * nodes + low[:, axis] + upper
            share = share * (part[:, axis] if upper else 1 - part[:, axis])
        yield index, share


def _coarsen(nodes: int) -> np.ndarray:
    """Return the matrix [(nodes + 1) / 2, nodes] that pools node sums; its transpose interpolates linearly."""
    pool = np.zeros(((nodes + 1) // 2, nodes))
    rows = np.arange(len(pool))
    pool[rows, 2 * rows] = 1
    pool[rows[1:], 2 * rows[1:] - 1] = 0.5
    pool[rows[:-1], 2 * rows[:-1] + 1] = 0.5
    return pool


def _along_axes(values: np.ndarray, matrix: np.ndarray, axes: int) -> np.ndarray:
    """Multiply each of the first `axes` axes by a matrix."""
    for axis in range(axes):
        values = np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)
    return values
