"""Randomness: one generator for every purpose of every seed.

seed, purpose → **generator** → any decision. Because each decision has its own stream, a pair does not depend on the
order in which pairs are made, on the number of workers, or on which decisions were taken before it.
"""

from __future__ import annotations

import zlib

import numpy as np


def build_rng(seed: int, purpose: str) -> np.random.Generator:
    """The generator for one purpose of one seed."""
    return np.random.default_rng((seed, zlib.crc32(purpose.encode())))
