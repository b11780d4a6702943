"""Sentences from lists of templates, drawn without repetition."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

# Largest number of instructions of a pair.
MAX_SENTENCES = 5


@dataclasses.dataclass(frozen=True)
class EditSentences:
    """The instructions of several edits, and of what undoes them.

    Attributes:
      templates: Templates with {placeholders} by the name of the edit.
      reverses: Name of the edit that undoes another, by the name of that one.
    """

    templates: Mapping[str, tuple[str, ...]]
    reverses: Mapping[str, str]

    def sample(self, name: str, slots: Mapping[str, str], rng: np.random.Generator) -> tuple[str, ...]:
        """Sample different instructions for an edit.

        Args:
          name: Edit, of `templates`.
          slots: Words for the placeholders.
          rng: Orders the templates.
        """
        return fill_templates(self.templates[name], slots, rng, MAX_SENTENCES)

    def sample_reverse(
        self, name: str, slots: Mapping[str, str], rng: np.random.Generator
    ) -> dict[str, list[str]]:
        """Return what a pair's provenance records of the way back; nothing where it can't be said.

        Args:
          name: Edit, of `templates`.
          slots: Words for the placeholders.
          rng: Orders the templates.
        """
        if name not in self.reverses:
            return {}
        return {"reverse_instructions": list(self.sample(self.reverses[name], slots, rng))}


def fill_templates(
    rows: Sequence[str], slots: Mapping[str, str], rng: np.random.Generator, count: int = MAX_SENTENCES
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
