"""SentencePiece vocabularies (spiece.model, or from elsewhere), made into tokenizers of the package `tokenizers`, which has no reader for them.

The file is a protocol buffer; these are its fields that decide what a text becomes:

    1  pieces      1 text, 2 score (float32), 3 kind
    2  trainer     3 type of the model, 35 whether unknown characters become bytes, 40 id of the unknown piece
    3  normalizer  2 character map, 3 whether a space is put in front, 4 whether spaces are collapsed
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

SPACE = "▁"
# Kinds of pieces, and types of models.
UNKNOWN_PIECE, CONTROL_PIECE, USER_PIECE, UNUSED_PIECE, BYTE_PIECE = 2, 3, 4, 5, 6
UNIGRAM = 1
# Wire types of protocol buffers: a variable-length integer, 8 bytes, a length and so many bytes, 4 bytes.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Piece:
    """A piece of the vocabulary.

    Attributes:
      text: the piece.
      score: logarithm of its probability.
      kind: 1 for one of text.
    """

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class Vocabulary:
    """What decides what a text becomes.

    Attributes:
      pieces: by their ids.
      has_bytes: whether unknown characters become pieces of bytes.
      character_map: SentencePiece's compiled normalization of characters; empty for none.
      has_space_in_front: whether a space is put in front of a text.
      collapses_spaces: whether runs of spaces become one, and those at the end none.
    """

    pieces: tuple[Piece, ...]
    has_bytes: bool
    character_map: bytes
    has_space_in_front: bool
    collapses_spaces: bool


def parse_vocabulary(content: bytes) -> Vocabulary:
    """Parse a SentencePiece file.

    Raises:
      ValueError: no such file, or another type of model than unigram.
    """
    fields = list(_iterate_fields(content))
    pieces = [_parse_piece(value) for number, value in fields if number == 1 and isinstance(value, bytes)]
    trainer, normalizer = (dict(_iterate_fields(_last(fields, number))) for number in (2, 3))
    if trainer.get(3, UNIGRAM) != UNIGRAM:
        raise ValueError(f"type {trainer[3]} of model, expected {UNIGRAM} (unigram)")
    characters = normalizer.get(2)
    return Vocabulary(
        tuple(pieces),
        bool(trainer.get(35, 0)),
        characters if isinstance(characters, bytes) else b"",
        bool(normalizer.get(3, 1)),
        bool(normalizer.get(4, 1)),
    )


def build_tokenizer(vocabulary: Vocabulary, end: str = "</s>") -> tokenizers.Tokenizer:
    """Build the tokenizer of a vocabulary, with an end token behind every text.

    Args:
      vocabulary: the vocabulary.
      end: the piece that ends a text.

    Raises:
      ValueError: no end token.
    """
    pieces = vocabulary.pieces
    names = [piece.text for piece in pieces]
    if end not in names:
        raise ValueError(f"{len(names)} pieces without {end}")
    unknown = next((i for i, piece in enumerate(pieces) if piece.kind == UNKNOWN_PIECE), None)
    backend = tokenizers.Tokenizer(
        models.Unigram([(p.text, p.score) for p in pieces], unknown, byte_fallback=vocabulary.has_bytes)
    )
    steps = [normalizers.Precompiled(vocabulary.character_map)] if vocabulary.character_map else []
    if vocabulary.collapses_spaces:
        steps += [
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(tokenizers.Regex(" {2,}"), " "),
        ]
    backend.normalizer = normalizers.Sequence(steps)
    scheme = "always" if vocabulary.has_space_in_front else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme)
    backend.decoder = decoders.Metaspace(SPACE, prepend_scheme=scheme)
    backend.add_tokens(
        [
            AddedToken(piece.text, normalized=False, special=piece.kind != USER_PIECE)
            for piece in pieces
            if piece.kind in (UNKNOWN_PIECE, CONTROL_PIECE, USER_PIECE)
        ]
    )
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, names.index(end))]
    )
    return backend


def _parse_piece(content: bytes) -> Piece:
    fields = dict(_iterate_fields(content))
    text, score, kind = fields.get(1, b""), fields.get(2, bytes(4)), fields.get(3, 1)
    if not isinstance(text, bytes) or not isinstance(score, bytes) or not isinstance(kind, int):
        raise ValueError("a piece with fields of other types")
    return Piece(text.decode(), struct.unpack("<f", score)[0], kind)


def _last(fields: list[tuple[int, int | bytes]], number: int) -> bytes:
    """Return the last message with a number; an empty one where there is none."""
    return next((value for n, value in reversed(fields) if n == number and isinstance(value, bytes)), b"")


def _iterate_fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and value of each field of a protocol buffer; raise ValueError where it is none."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = 0
        for shift in range(0, 70, 7):
            if place >= len(content):
                raise ValueError("no SentencePiece model, or one that was cut off")
            byte = content[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("no SentencePiece model: a number without an end")

    while place < len(content):
        key = varint()
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            yield number, varint()
            continue
        if wire not in (FIXED64, BYTES, FIXED32):
            raise ValueError(f"no SentencePiece model: wire type {wire}")
        length = varint() if wire == BYTES else 8 if wire == FIXED64 else 4
        if place + length > len(content):
            raise ValueError("no SentencePiece model, or one that was cut off")
        yield number, content[place : place + length]
        place += length
