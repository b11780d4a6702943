"""GGUF files: the names, types and places of their tensors.

    "GGUF", version, number of tensors, number of entries
    entries    name, type, value                           `general.alignment`, `comfy.gguf.orig_shape.NAME`, and others that are passed by
    tensors    name, sizes from the last axis on, type, offset
    data       from the next multiple of the alignment on

Everything is checked against the size of the file before a tensor is read. Types of blocks are those of gguf_blocks.py.

Transformers keep their published names. Text encoders have those of llama.cpp (`enc.blk.0.attn_q`), which are read as the published ones, and
their vocabulary among the entries (`tokenizer.ggml.*`).
"""

import math
import mmap
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from v2v.checkpoints.gguf_blocks import BLOCK_FORMATS
from v2v.checkpoints.tensor_slot import FLOAT_DTYPES, OTHER_DTYPES, TensorSlot, count_bytes
from v2v.errors import InputError
from v2v.models.sentencepiece_model import BYTE_PIECE, UNUSED_PIECE, Piece, Vocabulary

SUFFIX = ".gguf"
MAGIC = b"GGUF"
VERSIONS = (2, 3)
# Types of tensors by number.
TENSOR_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K",
    24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16",
}  # fmt: skip
# Types of entries by number, as codes of `struct`; 8 is a text, 9 an array.
ENTRY_TYPES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT_TYPE, ARRAY_TYPE = 8, 9
# More than any model's file has; axes of a tensor, tensors, entries, and entries in one another.
MAX_AXES, MAX_TENSORS, MAX_ENTRIES, MAX_DEPTH = 8, 1 << 20, 1 << 16, 4
SHAPE_ENTRY = "comfy.gguf.orig_shape."
VOCABULARY_ENTRY = "tokenizer.ggml."
# Names of a text encoder's layers: outside its blocks, and in them.
_TEXT_NAMES = {"token_embd": "shared", "enc.output_norm": "encoder.final_layer_norm"}
_TEXT_BLOCK = re.compile(r"enc\.blk\.(\d+)\.(\w+)")
_TEXT_LAYERS = {
    "attn_norm": "layer.0.layer_norm",
    **{f"attn_{name}": f"layer.0.SelfAttention.{name}" for name in "qkvo"},
    "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias",
    "ffn_norm": "layer.1.layer_norm",
    "ffn_gate": "layer.1.DenseReluDense.wi_0",
    "ffn_up": "layer.1.DenseReluDense.wi_1",
    "ffn_down": "layer.1.DenseReluDense.wo",
}


def read_gguf_file(path: Path) -> tuple[dict[str, TensorSlot], dict[str, str]]:
    """Return the place of every tensor by name, and the texts among the entries.

    Raises:
      InputError: no such file, another format or version, a damaged or truncated file, or tensors of a type that is not read.
    """
    entries, tensors, start, size = _read_file(path)
    slots = {}
    for name, (shape, kind, offset) in tensors.items():
        dtype = TENSOR_TYPES.get(kind)
        if dtype is None:
            types = ", ".join(TENSOR_TYPES.values())
            raise InputError(
                f"{path}: {name} is of GGUF's type {kind}, expected one of {types}; use a file such as Q4_K_M or Q8_0"
            )
        length = _count_bytes(path, name, dtype, shape)
        if start + offset + length > size:
            raise InputError(f"{path}: ends inside {name}; fetch it again")
        slots[_published_name(name)] = TensorSlot(
            path, dtype, _original_shape(name, shape, entries), start + offset, length
        )
    return slots, {name: value for name, value in entries.items() if isinstance(value, str)}


def measure_header(path: Path) -> int:
    """Return the bytes before a file's data; raise InputError as `read_gguf_file`."""
    return _read_file(path)[2]


def read_vocabulary(path: Path) -> Vocabulary | None:
    """Return the SentencePiece vocabulary among a file's entries; None where there is none, or one of another kind.

    Raises:
      InputError: as `read_gguf_file`, or entries that don't go together.
    """
    entries = {
        name.removeprefix(VOCABULARY_ENTRY): value
        for name, value in _read_file(path)[0].items()
        if name.startswith(VOCABULARY_ENTRY)
    }
    if entries.get("model") != "t5":
        return None
    rows = [entries.get(name) for name in ("tokens", "scores", "token_type")]
    try:
        pieces = [Piece(str(text), float(score), int(kind)) for text, score, kind in zip(*rows, strict=True)]
        characters = bytes(value & 0xFF for value in entries.get("precompiled_charsmap", []))
    except (TypeError, ValueError) as err:
        raise InputError(f"{path}: its vocabulary is damaged ({err}); put tokenizer.json beside it") from err
    while pieces and pieces[-1].kind == UNUSED_PIECE:  # which fill it up to the size of the embedding
        pieces.pop()
    return Vocabulary(
        tuple(pieces),
        any(piece.kind == BYTE_PIECE for piece in pieces),
        characters,
        bool(entries.get("add_space_prefix", True)),
        bool(entries.get("remove_extra_whitespaces", True)),
    )


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, tuple[tuple[int, ...], int, int]], int, int]:
    """Return what `_read_header` returns, and the size of the file; raise InputError where there is no such file."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            if file.read(4) != MAGIC:
                raise InputError(f'{path}: expected a GGUF file, which begins with "GGUF"; fetch it again')
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return *_read_header(path, _Cursor(content, 4)), size
    except OSError as err:
        reason = (err.strerror or str(err)).lower()
        raise InputError(
            f"{path}: expected a GGUF file, could not read it ({reason}); check the path"
        ) from err
    except (struct.error, ValueError, OverflowError) as err:
        raise InputError(f"{path}: its header is damaged or cut short ({err}); fetch it again") from err


def _published_name(name: str) -> str:
    """Return the published name of a tensor of a text encoder; other names as they are."""
    stem, _, leaf = name.rpartition(".")
    if stem in _TEXT_NAMES:
        return f"{_TEXT_NAMES[stem]}.{leaf}"
    match = _TEXT_BLOCK.fullmatch(stem)
    layer = _TEXT_LAYERS.get(match[2]) if match else None
    return f"encoder.block.{match[1]}.{layer}.{leaf}" if match and layer else name


class _Cursor:
    """A place in a file's bytes, from which values are read one after the other.

    Args:
      content: the bytes.
      place: of the first value.
    """

    def __init__(self, content: mmap.mmap, place: int):
        self._content, self.place = content, place

    def number(self, code: str) -> Any:
        """Return a number of a code of `struct`."""
        (value,) = struct.unpack_from(f"<{code}", self._content, self.place)
        self.place += struct.calcsize(f"<{code}")
        return value

    def text(self) -> str:
        """Return a text."""
        length = self.number("Q")
        if length > len(self._content) - self.place:
            raise ValueError("a text reaches beyond the end")
        data = self._content[self.place : self.place + length]
        self.place += length
        return data.decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        """Return the value of an entry; arrays as lists."""
        if kind == TEXT_TYPE:
            return self.text()
        if kind != ARRAY_TYPE:
            if kind not in ENTRY_TYPES:
                raise ValueError(f"an entry of type {kind}")
            return self.number(ENTRY_TYPES[kind])
        inner, count = self.number("I"), self.number("Q")
        if depth == MAX_DEPTH or count > len(self._content) - self.place:
            raise ValueError("an array reaches beyond the end")
        return [self.value(inner, depth + 1) for _ in range(count)]


def _read_header(
    path: Path, cursor: _Cursor
) -> tuple[dict[str, Any], dict[str, tuple[tuple[int, ...], int, int]], int]:
    """Return entries, (shape, type, offset) of tensors, and where their data begin."""
    version = cursor.number("I")
    if version not in VERSIONS:
        raise InputError(
            f"{path}: is GGUF of version {version}, expected {' or '.join(map(str, VERSIONS))}; fetch a newer file"
        )
    tensor_count, entry_count = cursor.number("Q"), cursor.number("Q")
    if tensor_count > MAX_TENSORS or entry_count > MAX_ENTRIES:
        raise ValueError(f"{tensor_count} tensors and {entry_count} entries")
    entries = {}
    for _ in range(entry_count):
        name = cursor.text()
        entries[name] = cursor.value(cursor.number("I"))
    tensors = {}
    for _ in range(tensor_count):
        name, axes = cursor.text(), cursor.number("I")
        if axes > MAX_AXES:
            raise ValueError(f"{name} of {axes} axes")
        sizes = [cursor.number("Q") for _ in range(axes)]
        tensors[name] = tuple(reversed(sizes)), cursor.number("I"), cursor.number("Q")
    alignment = entries.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise ValueError(f"an alignment of {alignment}")
    return entries, tensors, -(-cursor.place // alignment) * alignment


def _count_bytes(path: Path, name: str, dtype: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of a tensor; raise InputError where its rows are no whole blocks."""
    if dtype in FLOAT_DTYPES or dtype in OTHER_DTYPES:
        return count_bytes(dtype, shape)
    stored = BLOCK_FORMATS[dtype]
    if not shape or shape[-1] % stored.values:
        raise InputError(
            f"{path}: {name} {list(shape)} is {dtype}, expected rows of a multiple of {stored.values} values; fetch it again"
        )
    return math.prod(shape) // stored.values * stored.size


def _original_shape(name: str, shape: tuple[int, ...], entries: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape that a tensor had before it was laid out for blocks, where an entry tells."""
    original = entries.get(SHAPE_ENTRY + name)
    if not isinstance(original, list) or not all(isinstance(n, int) for n in original):
        return shape
    return tuple(original) if math.prod(original) == math.prod(shape) else shape
