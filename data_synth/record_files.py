"""Files of records: the bytes of a pair's record, and the array_record files that hold them.

`pair.encode_pair` → **serialized record → array_record** → v2v_pairs (its description by TFDS)

Workers write these files without TFDS, whose import takes a quarter of a second and 20 MB a process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from array_record.python.array_record_module import ArrayRecordWriter
BYTES = (
    "source",
    "target",
    "mask",
    "effect",
    "reference",
    "instructions",
    "provenance",
    "active",
    "source_caption",
    "target_caption",
    "edit",
    "recipe",
)
INTEGERS = ("schema_version", "frames", "seed")
# Pictures are packed already: more effort takes thrice as long and gains 1 %.
COMPRESSION = "group_size:1,zstd:1"
# Tags of protobuf's wire format: fields 1 and 2 with a length, and the lists of bytes and of integers in a `tf.train.Feature`.
_FIRST, _SECOND = b"\x0a", b"\x12"
_BYTES_LIST, _INT64_LIST = b"\x0a", b"\x1a"
# Records, and bytes of them, that are read at once from an array_record file; one record in any case.
_READ_RECORDS, _READ_BYTES = 16, 64 << 20


def serialize_record(record: dict) -> bytes:
    """Return a record of `v2v.data.pair.encode_pair` as the bytes that array_record files hold.

    They are those of TFDS's serializer, a `tf.train.Example` in protobuf's deterministic order: by name, a longer name before its
    beginning. TFDS copies each clip several times to make it, a fifth of the time of a pair of 33 frames at 480p; here each is copied once.

    Raises:
      KeyError: A field is missing.
    """
    parts: list[bytes] = []
    for name in sorted((*BYTES, *INTEGERS), key=lambda name: name + "~"):
        value = record[name]
        if name in INTEGERS:
            feature = _wrap(_INT64_LIST, _wrap(_FIRST, [_varint(int(value))]))
        else:
            content = value.encode() if isinstance(value, str) else value
            feature = _wrap(_BYTES_LIST, _wrap(_FIRST, [content]))
        parts += _wrap(_FIRST, [*_wrap(_FIRST, [name.encode()]), *_wrap(_SECOND, feature)])
    return b"".join(_wrap(_FIRST, parts))


def _wrap(tag: bytes, parts: list[bytes]) -> list[bytes]:
    """Return the parts of a field of protobuf's wire format: tag, length, content."""
    return [tag, _varint(sum(map(len, parts))), *parts]


def _varint(number: int) -> bytes:
    """Return an integer of 64 bits as protobuf writes it: seven bits a byte, the low ones first."""
    number &= (1 << 64) - 1
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def iterate_file(path: Path) -> Iterator[bytes]:
    """Yield the serialized records of an array_record file, a few of which are in memory at a time."""
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(str(path))
    try:
        count = reader.num_records()
        mean_size = max(1, os.stat(path).st_size // max(1, count))
        step = max(1, min(_READ_RECORDS, _READ_BYTES // mean_size))
        for start in range(0, count, step):
            yield from reader.read(start, min(start + step, count))
    finally:
        reader.close()


def open_writer(path: Path) -> ArrayRecordWriter:
    """Return a writer of serialized records to a new array_record file."""
    from array_record.python.array_record_module import ArrayRecordWriter

    return ArrayRecordWriter(str(path), COMPRESSION)
