"""Distances between sets of clips in a feature space, with jackknife intervals.

With features x_i of the outputs and y_i of what they are compared with, i = 1 .. n items, means m, covariances S:

    Frechet distance     FD = |m_x - m_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2))                     Heusel et al. 2017
    kernel distance      KD = mean over i != j of k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i)
                         k(a, b) = (a.b / d + 1)^3                                                  Binkowski et al. 2018

tr (S_x S_y)^(1/2) is the nuclear norm of A B^T where S_x = A^T A and S_y = B^T B: few items need no d x d matrix.
FD is biased upwards for few items (n should exceed the features' dimension d); KD isn't, and is the one to read in small sweeps.

A set has one number, and the sweep's tables need one per item. `jackknife_pseudo_values` gives

    p_i = n D - (n - 1) D_without_i

whose mean is D (for KD exactly; for FD with its bias of order 1/n taken off) and whose spread is that of D, so means, intervals, kinds and
differences of methods are computed as for any other column (Efron and Tibshirani 1993, chapter 11).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from v2v.errors import InputError

Distance = Callable[[np.ndarray, np.ndarray], float]
# Fewer items leave no covariance once one is left out.
MIN_ITEMS = 3


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the Frechet distance of features [n, d] and [m, d], each of at least two items."""
    _check(x, y)
    a, b = ((f - f.mean(0)) / np.sqrt(len(f) - 1) for f in (x, y))
    # R has the same A^T A, and at most d rows.
    a, b = (np.asarray(np.linalg.qr(f, mode="r")) for f in (a, b))
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    gap = x.mean(0) - y.mean(0)
    return float(max(0.0, gap @ gap + (a * a).sum() + (b * b).sum() - 2 * shared))


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the kernel distance of features [n, d] of the same items; unbiased, so possibly slightly below 0."""
    _check(x, y)
    if len(x) != len(y):
        raise InputError(f"kernel distance: expected features of the same items, got {len(x)} and {len(y)}")
    n, d = x.shape
    h = np.zeros((n, n))
    for sign, a, b in ((1, x, x), (1, y, y), (-1, x, y), (-1, y, x)):
        h = h + sign * (a @ b.T / d + 1) ** 3
    return float((h.sum() - np.trace(h)) / (n * (n - 1)))


def jackknife_pseudo_values(distance: Distance, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the jackknife's pseudo-values of a distance between two sets.

    Args:
      distance: `frechet_distance` or `kernel_distance`.
      x: features [n, d].
      y: features [n, d] of the same items.

    Returns:
      float64 [n]; nan below MIN_ITEMS.
    """
    n = len(x)
    if n < MIN_ITEMS:
        return np.full(n, np.nan)
    x, y = x.astype(np.float64), y.astype(np.float64)
    without = [distance(np.delete(x, i, 0), np.delete(y, i, 0)) for i in range(n)]
    return n * distance(x, y) - (n - 1) * np.array(without)


def _check(x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise InputError(
            f"set distance: expected features [n, d] of at least two items each, got {list(x.shape)} and {list(y.shape)}"
        )
