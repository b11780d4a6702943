"""Metadata files of published sets, read a row at a time: sets have millions of rows, and every worker opens them.

A file is passed through once, which finds what is wrong with it as a whole and where each of its rows begins; a row is read again from there when
it is asked for. A few bytes a row stay in memory.
"""

from __future__ import annotations

import bisect
import codecs
import contextlib
import csv
import itertools
import json
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from v2v.errors import InputError
from v2v.runtime import text_files

# Instructions and captions of some sets are long.
csv.field_size_limit(1 << 24)

_BLOCK = 1 << 20
_DELIMITERS = ",;\t"
_SPACE = re.compile(r"[ \t\r\n]*")
Item = TypeVar("Item")


class JsonList(Sequence[Any]):
    """The items of a JSON list in a file, unchecked."""

    def __init__(self, path: Path):
        """Find the items.

        Raises:
          InputError: The file can't be read, is not UTF-8, or holds something else than a list.
        """
        self._path = path
        # Where each item begins and ends, in bytes.
        self._spans = array("Q")
        with _ListScanner(path) as scanner:
            for span in scanner.spans():
                self._spans.extend(span)

    def __len__(self) -> int:
        return len(self._spans) // 2

    def __getitem__(self, index: Any) -> Any:
        """Return an item by its number."""
        begin, end = self._spans[2 * index], self._spans[2 * index + 1]
        with self._path.open("rb") as file:
            file.seek(begin)
            return json.loads(file.read(end - begin))


class CsvRows(Sequence[list[str]]):
    """The rows of a CSV file after its header, as lists of their fields; blank lines are no rows.

    Attributes:
      names: The fields of the header.
    """

    def __init__(self, path: Path, delimiters: str = _DELIMITERS):
        """Find the rows.

        Args:
          path: The file.
          delimiters: Of these the one that the header has most of separates fields.

        Raises:
          InputError: The file can't be read, is not UTF-8, or is no CSV.
        """
        self._path = path
        self._begins = array("Q")
        with _explained_errors(path), path.open("rb") as file:
            lines = _Lines(path, file)
            header = next((line for line in lines if line.strip()), "")
            self._delimiter = max(delimiters, key=header.count)
            reader = csv.reader(itertools.chain([header], lines), delimiter=self._delimiter)
            self.names = next(reader, [])
            begin = lines.position
            for row in reader:
                if row:
                    self._begins.append(begin)
                begin = lines.position

    def __len__(self) -> int:
        return len(self._begins)

    def __getitem__(self, index: Any) -> list[str]:
        """Return the fields of a row by its number."""
        begin = self._begins[index]
        with _explained_errors(self._path), self._path.open("rb") as file:
            return next(csv.reader(_Lines(self._path, file, begin), delimiter=self._delimiter), [])


class CsvRecords(Sequence[dict[Any, Any]]):
    """The rows of a CSV file as dictionaries by the names in its header, as `csv.DictReader` gives them."""

    def __init__(self, path: Path, columns: Sequence[str]):
        """Find the rows.

        Args:
          path: The file, separated by commas, semicolons or tabs as its header is.
          columns: Columns that it must have.

        Raises:
          InputError: It has other columns, or as `CsvRows`.
        """
        self._rows = CsvRows(path)
        names = self._rows.names
        if not set(columns) <= set(names):
            columns_text = abbreviate(names) if names else "none"
            raise InputError(f"{path}: expected columns {', '.join(columns)}, got {columns_text}")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> dict[Any, Any]:
        """Return a row by its number; None is what a column lacks, and the name of the fields that no column is for."""
        fields, names = self._rows[index], self._rows.names
        record: dict[Any, Any] = dict(itertools.zip_longest(names, fields[: len(names)]))
        return record | {None: fields[len(names) :]} if len(fields) > len(names) else record


class Concatenation(Sequence[Item]):
    """Several sequences one after the other."""

    def __init__(self, parts: Sequence[Sequence[Item]]):
        """Join them."""
        self._parts = list(parts)
        self._ends = list(itertools.accumulate(map(len, self._parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> Item:
        """Return an item by its number."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect.bisect_right(self._ends, index)
        return self._parts[part][index - (self._ends[part] - len(self._parts[part]))]


def abbreviate(value: Any) -> str:
    """Return a value as JSON, so that null is called null; cut to a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Lines(Iterator[str]):
    r"""The lines of a UTF-8 file with their ends, \n, \r or both, without its byte order mark.

    Attributes:
      position: Where the next line begins, in bytes.
    """

    def __init__(self, path: Path, file: Any, begin: int = 0):
        """Go to the byte of an open file at which a line begins; `path` is for messages."""
        self._path, self._file = path, file
        self._pending: list[bytes] = []
        has_mark = begin == 0 and file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
        self.position = len(codecs.BOM_UTF8) if has_mark else begin
        file.seek(self.position)

    def __next__(self) -> str:
        """Return the next line.

        Raises:
          InputError: It is not UTF-8.
        """
        if not self._pending:
            # Of bytes, unlike of text, splitlines knows no other ends.
            self._pending = self._file.readline().splitlines(keepends=True)[::-1]
            if not self._pending:
                raise StopIteration
        line = self._pending.pop()
        begin, self.position = self.position, self.position + len(line)
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise text_files.encoding_error(self._path, line[error.start], begin + error.start) from None


class _ListScanner(contextlib.AbstractContextManager["_ListScanner"]):
    """Finds the items of a JSON list without holding more of its file than a block, or the longest item."""

    def __init__(self, path: Path):
        """Open the file."""
        self._path = path
        with _explained_errors(path):
            self._file = path.open("rb")
        self._decoder, self._is_whole = codecs.getincrementaldecoder("utf-8")(), False
        # Text of the file, the place in it up to which it is passed, and what that is in the file, in bytes and lines.
        self._text, self._position, self._begin, self._line = "", 0, 0, 1
        self._bytes_read = 0

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._file.close()

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield where each item begins and ends, in bytes.

        Raises:
          InputError: As `JsonList`.
        """
        if self._next_character() == "\ufeff":
            self._pass(1)
        if self._next_character() != "[":
            try:
                kind_text = type(text_files.parse_json(text_files.read_text(self._path))).__name__
            except ValueError as error:
                kind_text = str(error)
            raise InputError(f"{self._path}: expected a JSON list of objects, got {kind_text}")
        self._pass(1)
        is_first = True
        while self._next_character() != "]":
            if not is_first:
                if self._next_character() != ",":
                    raise self._error("expected a comma or the end of the list")
                self._pass(1)
                self._next_character()
            length = self._measure_item()
            begin = self._begin
            self._pass(length)
            yield begin, self._begin
            is_first = False
        self._pass(1)
        if self._next_character():
            raise self._error("expected nothing behind the list")

    def _measure_item(self) -> int:
        """Return the length of the value that comes next, in characters."""
        decoder = json.JSONDecoder()
        while True:
            try:
                _, end = decoder.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                if self._is_whole:
                    raise self._error(error.msg, error.pos) from None
            except RecursionError:
                raise self._error("nested too deep") from None
            else:
                # What ends with the text that was read may go on, as a number does.
                if end < len(self._text) or self._is_whole:
                    return end - self._position
            self._read_more()

    def _next_character(self) -> str:
        """Pass over white space; return what comes then, "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._position)
            assert match is not None, "it matches nothing too"
            self._pass(match.end() - self._position)
            if self._position < len(self._text) or self._is_whole:
                return self._text[self._position : self._position + 1]
            self._read_more()

    def _pass(self, length: int) -> None:
        """Pass over characters."""
        piece = self._text[self._position : self._position + length]
        self._position += length
        self._begin += len(piece.encode())
        self._line += piece.count("\n")

    def _read_more(self) -> None:
        """Read as much again as is there, at least a block."""
        self._text, self._position = self._text[self._position :], 0
        data = self._file.read(max(_BLOCK, len(self._text)))
        self._is_whole = not data
        try:
            self._text += self._decoder.decode(data, self._is_whole)
        except UnicodeDecodeError as error:
            place = self._bytes_read + len(data) - len(error.object) + error.start
            raise text_files.encoding_error(self._path, error.object[error.start], place) from None
        self._bytes_read += len(data)

    def _error(self, message: str, position: int = 0) -> InputError:
        line = self._line + self._text.count("\n", self._position, max(position, self._position))
        return InputError(f"{self._path}: expected a JSON list, got an error in line {line}: {message}")


@contextlib.contextmanager
def _explained_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file system and of the module csv into ones that name the file."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(
            f"{path}: expected a file with the set's rows, got {reason}; check the path and its permissions"
        ) from None
    except csv.Error as error:
        raise InputError(f"{path}: expected a CSV file, got {error}; save it as CSV in UTF-8") from None
