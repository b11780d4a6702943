"""The texts of a set as a file that people and programs change: instructions and captions, a line of JSON a pair.

set → **texts.jsonl** → any language model or editor → `v2v pairs caption --read`
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from data_synth.dataset.stored_set import StoredSet
from v2v.errors import InputError
from v2v.runtime import text_files

# Fields of a line that change a pair; "position" says which.
FIELDS = ("instructions", "source_caption", "target_caption")


def write_texts(stored: StoredSet, path: Path) -> int:
    """Write the texts of all pairs, and return their number.

    Raises:
      InputError: The file can't be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            for position, record in enumerate(stored.iterate_records()):
                line: dict[str, Any] = {"position": position, "edit": _decode(record["edit"])}
                line["instructions"] = json.loads(record["instructions"])
                line |= {name: _decode(record[name]) for name in FIELDS[1:]}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(
            f"{path}: can't be written ({(error.strerror or str(error)).lower()}); name another"
        ) from None
    return len(stored)


def read_texts(path: Path, count: int) -> dict[int, dict[str, Any]]:
    """Return the changed fields by position.

    Args:
      path: JSON Lines as `write_texts` writes them; lines and fields may be left out.
      count: Number of pairs of the set.

    Raises:
      InputError: A line is malformed.
    """
    changes: dict[int, dict[str, Any]] = {}
    for number, text in enumerate(text_files.read_text(path).split("\n"), 1):
        if not text.strip():
            continue
        try:
            line = text_files.parse_json(text)
            position = line["position"]
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{path}: line {number}: expected an object with a position, got {text[:60]}"
            ) from None
        if type(position) is not int or not 0 <= position < count or position in changes:
            raise InputError(
                f"{path}: line {number}: expected another position from 0 to {count - 1}, got {position!r}"
            )
        changes[position] = {name: line[name] for name in FIELDS if name in line}
        sentences = changes[position].get("instructions", ["x"])
        is_valid = isinstance(sentences, list) and sentences and all(map(_is_sentence, sentences))
        if not is_valid or not all(isinstance(changes[position].get(name, ""), str) for name in FIELDS[1:]):
            raise InputError(
                f"{path}: line {number}: expected instructions as a list of sentences and captions as text, got {text[:60]}"
            )
    return changes


def change_record(record: dict, change: dict[str, Any] | None) -> dict:
    """Return a record with other texts; as it is where there are none."""
    if not change:
        return record
    texts = {name: change[name] for name in FIELDS[1:] if name in change}
    if "instructions" in change:
        texts["instructions"] = json.dumps(change["instructions"])
    return record | texts


def _is_sentence(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and text_files.is_unicode(value)


def _decode(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
