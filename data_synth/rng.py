"""Random number generators, one for every purpose of every seed.

seed, purpose → **generator** → any decision. Because each decision has its own stream, a pair does not depend on the
order in which pairs are made, on the number of workers, or on which decisions were taken before it.
"""

from __future__ import annotations

import zlib

import numpy as np


def build_rng(seed: int, purpose: str) -> np.random.Generator:
    """Return the generator for one purpose of one seed.

    Args:
      seed: Non-negative integer.
      purpose: Name of the decision, such as "transition"; its CRC-32 joins the seed.
    """
    return np.random.default_rng((seed, zlib.crc32(purpose.encode())))
