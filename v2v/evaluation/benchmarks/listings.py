"""Reading of published listings: the file, its fields, and the places of the clips that it names."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from v2v.errors import InputError
from v2v.runtime import text_files


def find_listing(folder: Path, name: str | None, patterns: tuple[str, ...]) -> Path:
    """Return the listing of a benchmark.

    Args:
      folder: where it is.
      name: its file's name; None for the first of the patterns that is there.
      patterns: names, or patterns of which only one file may be there.

    Raises:
      InputError: there is none, or several.
    """
    folder = Path(folder)
    candidates = (
        [folder / name] if name else [p for pattern in patterns for p in sorted(folder.glob(pattern))]
    )
    if not candidates or not candidates[0].is_file():
        raise InputError(
            f"{folder}: expected {name or ' or '.join(patterns)} in it, found none; name the listing's file"
        )
    if len(candidates) > 1 and any("*" in pattern for pattern in patterns):
        names = ", ".join(path.name for path in candidates)
        raise InputError(f"{folder}: expected one listing, got {names}; say which with listing=")
    return candidates[0]


def with_text_id(row: Any) -> Any:
    """Return a row whose id, where it is a number, is a text."""
    return row | {"id": str(row["id"])} if isinstance(row, dict) and type(row.get("id")) is int else row


def check_fields(row: Any, names: tuple[str, ...], where: str, optional: tuple[str, ...] = ()) -> None:
    """Check that a row has some texts, and that others are texts or absent.

    Args:
      row: value of a listing.
      names: fields that it needs.
      where: the file and the row, for messages.
      optional: fields that it may lack.

    Raises:
      InputError: it is no object, lacks a field, or has one that is no text.
    """
    if not isinstance(row, dict):
        raise InputError(
            f"{where}: expected an object with {', '.join(names)}, got {type(row).__name__}; correct it"
        )
    missing = [n for n in names if row.get(n) in (None, "")]
    if missing:
        raise InputError(
            f"{where}: expected fields {', '.join(names)}; {', '.join(missing)} missing; add {'them' if len(missing) > 1 else 'it'}"
        )
    for name in (*names, *optional):
        value = row.get(name)
        if value is not None and not (isinstance(value, str) and text_files.is_unicode(value)):
            text = json.dumps(value)
            raise InputError(
                f"{where}: {name}: expected a text, got {text[:40]}{'...' * (len(text) > 40)}; correct it"
            )


def first_existing(*paths: Path) -> Path:
    """Return the first of these that exists; the first of all where none does, so that its item fails by name."""
    for path in paths:
        with contextlib.suppress(OSError, ValueError):  # of a path that can't be one
            if path.exists():
                return path
    return paths[0]
