"""Text files that people bring along: listings, captions, configurations and JSON, checked where they are read.

Editors on Windows begin UTF-8 with a byte order mark, which is skipped. A file in another encoding, one that can't be opened and JSON that
can't be parsed each cost one InputError that names the file and the remedy.
"""

import contextlib
import csv
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from v2v.errors import InputError


def read_text(path: str | Path) -> str:
    """Return the text of a UTF-8 file without its byte order mark.

    Raises:
      InputError: The file can't be opened, or is in another encoding.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise encoding_error(path, error.object[error.start], error.start) from None
    except OSError as error:
        raise InputError(
            f"{path}: expected a text file, got {(error.strerror or str(error)).lower()}; check the path and its permissions"
        ) from None
    except ValueError as error:  # a name that can't be one, with a zero byte or half a character
        raise InputError(
            f"{str(path)!a}: expected the name of a file, got one that can't be ({error})"
        ) from None


@contextlib.contextmanager
def open_csv(path: str | Path) -> Iterator[TextIO]:
    """Open a UTF-8 file for the module csv, without its byte order mark.

    Raises:
      InputError: Inside the block too: the file can't be opened, is in another encoding, or is no CSV.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise encoding_error(path, error.object[error.start], error.start) from None
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV file, got {error}; save it as CSV in UTF-8") from None


def encoding_error(path: str | Path, byte: int, place: int) -> InputError:
    """Return the error of a file that is not UTF-8, with the first byte that isn't and its place."""
    return InputError(f"{path}: expected text in UTF-8, got byte 0x{byte:02x} at {place}; save it as UTF-8")


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can hold a text: JSON may hold halves of characters, and names of files bytes that are none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escape_invalid(text: str) -> str:
    r"""Return a text that UTF-8 can hold: what it can't is written as \udc80 and the like."""
    return text.encode(errors="backslashreplace").decode()


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
      ValueError: It is none, or nested too deep. The message is one line.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def read_json(path: str | Path, remedy: str = "correct it or fetch it again") -> Any:
    """Return what a JSON file holds.

    Args:
      path: The file.
      remedy: What to do about a file that can't be parsed.

    Raises:
      InputError: The file can't be opened, is in another encoding, or is no JSON.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"{path}: expected JSON, could not read it ({error}); {remedy}") from None


def read_toml(path: str | Path, what: str) -> dict[str, Any]:
    """Return the table in a TOML file.

    Args:
      path: The file.
      what: What the file is expected to describe, such as "an expert", for the message.

    Raises:
      InputError: The file can't be opened, is in another encoding, or is no TOML.
    """
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(
            f"{path}: expected a TOML file that describes {what}, got {error}; correct it"
        ) from None
