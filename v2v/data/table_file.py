"""Rows of table files as dictionaries with their line numbers: CSV, JSON Lines, JSON lists. Used by `pair_table.py`.

A row that can't be read costs itself: it comes as a `TableItem` with a problem. A file that can't be read, or that isn't UTF-8, is an
error.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from v2v.errors import InputError
from v2v.runtime.text_files import escape_invalid, parse_json, read_text

CSV_SUFFIXES = (".csv", ".tsv")
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
DELIMITERS = ",;\t"


@dataclass(frozen=True)
class TableItem:
    """One row of a table file.

    Attributes:
      line: number of the line that it begins at, from 1.
      fields: values by column, its name in lower case; empty where there is a problem.
      problem: why the row can't be read, "" where it can.
    """

    line: int
    fields: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def iterate_items(path: Path) -> Iterator[TableItem]:
    """Yield the rows of a table file in order; blank lines are no rows.

    Args:
      path: a file that ends in one of `CSV_SUFFIXES` or `JSON_SUFFIXES`. JSON is taken for a list where it begins with a bracket, for
        one object a line elsewhere.

    Raises:
      InputError: another ending, a missing file, text that is not UTF-8, a CSV file without column names or with one twice, or a JSON
        list with an error of syntax.
    """
    suffix = path.suffix.lower()
    if suffix in CSV_SUFFIXES:
        return _iterate_csv(path)
    if suffix not in JSON_SUFFIXES:
        raise InputError(
            f"{path}: expected a table that ends in {', '.join(CSV_SUFFIXES + JSON_SUFFIXES)}, or a folder"
        )
    first = next((line.lstrip() for line in _iterate_lines(path) if line.strip()), "")
    return _iterate_json_list(path) if first.startswith("[") else _iterate_json_lines(path)


def format_value(value: Any) -> str:
    """Return a value as JSON, cut to sixty characters, for messages."""
    text = escape_invalid(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _iterate_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file with their ends, without its byte order mark."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise InputError(
                        f"{path}: expected UTF-8 text, got a zero byte in line {number}; is it UTF-16? save it as UTF-8"
                    )
                yield line
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} after line {number}; save it as UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({(error.strerror or str(error)).lower()})") from None


def _iterate_csv(path: Path) -> Iterator[TableItem]:
    """Yield the rows of a CSV file, separated by commas, semicolons or tabs as its header is."""
    lines = _iterate_lines(path)
    header = next(lines, "")
    delimiter = max(DELIMITERS, key=header.count)
    # Strict: an open quotation mark would otherwise swallow the rest of the file without a word.
    reader = csv.reader(itertools.chain([header], lines), delimiter=delimiter, strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as error:
        raise InputError(f"{path}: expected column names in the first line, got {error}") from None
    if not any(names):
        raise InputError(f"{path}: expected column names in the first line, got none")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise InputError(f"{path}: expected different column names, got {twice[0]} twice")
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            last = f", up to line {reader.line_num}" if reader.line_num > line else ""
            yield TableItem(line, problem=f"{error}{last}; is a quotation mark left open?")
            continue
        if not any(value.strip() for value in values):
            continue
        if len(values) > len(names):
            problem = (
                f"{len(values)} fields for {len(names)} columns; put text with {delimiter!r} into quotes"
            )
            yield TableItem(line, problem=problem)
            continue
        yield TableItem(line, {name: value for name, value in zip(names, values, strict=False) if name})


def _iterate_json_lines(path: Path) -> Iterator[TableItem]:
    for number, line in enumerate(_iterate_lines(path), 1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            yield TableItem(number, problem=f"not JSON ({error})")
            continue
        yield _to_item(number, value)


def _iterate_json_list(path: Path) -> Iterator[TableItem]:
    text, decoder = read_text(path), json.JSONDecoder()
    line, line_start = 1, 0
    position = _skip_space(text, text.index("[") + 1)
    is_first = True
    while position >= len(text) or text[position] != "]":
        try:
            if not is_first:
                if text[position : position + 1] != ",":
                    raise json.JSONDecodeError("expected a comma or the end of the list", text, position)
                position = _skip_space(text, position + 1)
            start = position
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: expected a JSON list of objects, got {error}") from None
        line += text.count("\n", line_start, start)
        line_start = start
        yield _to_item(line, value)
        position, is_first = _skip_space(text, position), False


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def _to_item(line: int, value: Any) -> TableItem:
    if not isinstance(value, dict):
        return TableItem(line, problem=f"expected an object, got {format_value(value)}")
    return TableItem(line, {name.strip().lower(): part for name, part in value.items()})
