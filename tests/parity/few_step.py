"""The question that published few-step pipelines and our sampler are asked: noise, text, and seeds of the fresh noise."""

import numpy as np

from tests.parity import tiny
from v2v.diffusion import windows

GRID = (3, 4, 6)


def noise() -> np.ndarray:
    return tiny.normal("noise", 1, *GRID, tiny.Z)


def text() -> np.ndarray:
    return tiny.normal("prompt", 1, 9, 20)


def first() -> np.ndarray:
    """Latents of a given first frame."""
    return tiny.normal("first", 1, 1, *GRID[1:], tiny.Z)


def seeds() -> np.ndarray:
    return windows.noise_seeds(11, 0, GRID[0])[None]
