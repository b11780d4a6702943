"""Sentences from lists of templates, drawn without repetition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def fill_templates(
    rows: Sequence[str], slots: Mapping[str, str], rng: np.random.Generator, count: int
) -> tuple[str, ...]:
    """Return sentences of different templates, in a drawn order.

    Args:
      rows: Templates with {placeholders}.
      slots: Words for the placeholders.
      rng: Orders the templates.
      count: Largest number of sentences.
    """
    order = rng.permutation(len(rows))[:count]
    return tuple(rows[int(i)].format(**slots) for i in order)
