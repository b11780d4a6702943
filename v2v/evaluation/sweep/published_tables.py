"""Tables of published figures, shown beside those of a sweep.

Every file names its source and what its figures measure. Columns have the names of our metrics, so that a figure is shown in the right
column; one without a namesake in a sweep is not shown. Subsets and judges differ from paper to paper: compare within a table first.
"""

from __future__ import annotations

import json
from pathlib import Path

from v2v.errors import InputError

FOLDER = Path(__file__).parent / "published"


def list_tables() -> list[str]:
    """Return the names of all tables."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read_table(name: str) -> dict:
    """Read a table as it is shown: title, short, source, notes, columns, rows [{method, values: {column: number}}].

    Raises:
      InputError: no such table.
    """
    if name not in list_tables():
        raise InputError(f"published: expected one of {', '.join(list_tables())}; got {name!r}")
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
