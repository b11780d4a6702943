"""Phrases of a sentence: tokens → **items**, each with what it may mean; a token that belongs to no phrase is an item without a meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from v2v.language.lexicon import Kind, Lexicon, Meaning, PhraseNode
from v2v.language.spelling import closest_word
from v2v.language.tokens import Token, base_forms, is_comparative

# Words between two of a phrase.
_MOST_BETWEEN = 3


@dataclass(frozen=True)
class Item:
    """A phrase of a sentence.

    Attributes:
      text: as typed.
      words: in their normal form.
      meanings: what it may mean, empty for an unknown word.
      is_break: whether it is punctuation.
    """

    text: str
    words: tuple[str, ...]
    meanings: tuple[Meaning, ...]
    is_break: bool = False

    def values(self, *kinds: Kind) -> list[str]:
        """Return the values of its meanings of some kinds."""
        return [meaning.value for meaning in self.meanings if meaning.kind in kinds]

    def is_a(self, *kinds: Kind) -> bool:
        """Return whether it may be of one of some kinds."""
        return bool(self.values(*kinds))

    @property
    def is_comparative(self) -> bool:
        """Return whether it is one word such as "brighter"."""
        return len(self.words) == 1 and is_comparative(self.words[0])


def correct_spelling(tokens: Sequence[Token], lexicon: Lexicon) -> tuple[list[Token], dict[str, str]]:
    """Return tokens with typing errors corrected, and what was corrected, as typed → as read.

    Args:
      tokens: of `split_sentence`.
      lexicon: the known words.
    """
    out, corrections = [], {}
    for token in tokens:
        forms = base_forms(token.word)
        is_word = token.is_break or any(form in lexicon.words or form in lexicon.neighbors for form in forms)
        correct = (
            None if is_word or token.word in lexicon.foreign else closest_word(token.word, lexicon.spellings)
        )
        if correct:
            corrections[token.text] = correct
            token = Token(token.text, correct)
        out.append(token)
    return out, corrections


def match_phrases(tokens: Sequence[Token], lexicon: Lexicon) -> list[Item]:
    """Divide tokens into the longest phrases, from left to right.

    Args:
      tokens: of `correct_spelling`.
      lexicon: the phrases.
    """
    items, i = [], 0
    while i < len(tokens):
        if tokens[i].is_break:
            items.append(Item(tokens[i].text, (",",), (), True))
            i += 1
            continue
        # Most words of a phrase; then the fewest between them.
        length, end, node = max(
            _find_phrases(tokens, i, lexicon.root, lexicon), key=lambda phrase: (phrase[0], -phrase[1]), default=(0, i + 1, None)
        )  # fmt: skip
        words = tuple(token.word for token in tokens[i:end])
        text = " ".join(token.text for token in tokens[i:end])
        items.append(Item(text, words, tuple(node.meanings) if node else ()))
        i = end
    return items


def _find_phrases(
    tokens: Sequence[Token], i: int, node: PhraseNode, lexicon: Lexicon, length: int = 0, gap: int = 0
) -> Iterator[tuple[int, int, PhraseNode]]:
    """Yield every phrase that begins with tokens[i]: its words, the end of its tokens, and its node."""
    if node.meanings:
        yield length, i, node
    if i == len(tokens) or tokens[i].is_break:
        return
    for form in base_forms(tokens[i].word):
        if form in node.following:
            yield from _find_phrases(tokens, i + 1, node.following[form], lexicon, length + 1)
    if length and gap < _MOST_BETWEEN and tokens[i].word in lexicon.between:
        yield from _find_phrases(tokens, i + 1, node, lexicon, length, gap + 1)
