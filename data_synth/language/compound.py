"""One instruction for two edits. sentences of the first, sentences of the second → **instructions**."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_JOINTS = (
    "{first} and {second}",
    "{first}, then {second}",
    "{first}; also {second}",
    "first {first}, and after that {second}",
    "{first}, and in addition {second}",
    "two things: {first}, and {second}",
    "{first}. Afterwards, {second}",
    "please do both of the following: {first}; {second}",
)


def join_sentences(
    first: Sequence[str], second: Sequence[str], rng: np.random.Generator, count: int = 5
) -> tuple[str, ...]:
    """Return sentences that each ask for both edits, the first one first.

    Args:
      first: Sentences for the first edit.
      second: Sentences for the second one.
      rng: Draws sentences and how they are joined.
      count: Largest number of sentences.
    """
    joints = rng.permutation(len(_JOINTS))[:count].tolist()
    sentences = []
    for joint in joints:
        a, b = (rows[int(rng.integers(len(rows)))].strip().rstrip(".") for rows in (first, second))
        sentences.append(_JOINTS[joint].format(first=a, second=b))
    return tuple(dict.fromkeys(sentences))
