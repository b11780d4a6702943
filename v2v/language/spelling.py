"""Typing errors: the known word that an unknown one was meant to be.

Words of English that are spelled like known ones ("sight", "right", "light" beside "night") are no typing errors; the table
`tables/neighbors.txt` holds them, made from WordNet by tools/language/derive_words.py with the rule below.
"""

from __future__ import annotations

import difflib
import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence

# Shorter words are too much alike to tell; a word of fewer than 4 letters is taken for a longer one alone.
SHORTEST, SHORTEST_KNOWN = 3, 4
# Share of letters in common, of words of up to 4 letters and of longer ones.
_SHORT_CUTOFF, _CUTOFF = 0.85, 0.8


@functools.lru_cache(maxsize=8)
def _by_first_letter(vocabulary: frozenset[str]) -> Mapping[str, Sequence[str]]:
    """Return the words that are long enough by their first letter, in order."""
    groups: dict[str, list[str]] = defaultdict(list)
    for word in sorted(vocabulary):
        if len(word) >= SHORTEST_KNOWN:
            groups[word[0]].append(word)
    return groups


def closest_word(word: str, vocabulary: frozenset[str]) -> str | None:
    """Return the word of a vocabulary that a word is a typing error of, or None.

    Two neighboring letters may be swapped, one letter may be missing, doubled or another; in longer words two.

    Args:
      word: in its normal form.
      vocabulary: words in their normal form.
    """
    if len(word) < SHORTEST or word in vocabulary or not word.isalpha():
        return None
    for i in range(len(word) - 1):
        swapped = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        if swapped in vocabulary:
            return swapped
    cutoff = _SHORT_CUTOFF if len(word) <= SHORTEST_KNOWN else _CUTOFF
    # The first letter is seldom wrong.
    alike = [
        other for other in _by_first_letter(vocabulary).get(word[0], ()) if abs(len(other) - len(word)) <= 2
    ]
    return next(iter(difflib.get_close_matches(word, alike, 1, cutoff)), None)
