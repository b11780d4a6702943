"""People's own items: a table of clips and instructions as a benchmark.

    id,source,instruction,kind,truth,mask,reference,start,end
    1,walk.mp4,make it night,night,,,,,
    2,walk.mp4,remove the dog,remove,walk_clean.mp4,dog.png,,0.5,2

CSV, JSON Lines or a JSON list; paths are relative to the table's folder. Only source and instruction have to be there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from v2v.data.table_file import TableItem, format_value, iterate_items
from v2v.errors import InputError
from v2v.evaluation.items import Benchmark, Item

PATHS = ("truth", "mask", "reference")
TEXTS = ("source_prompt", "target_prompt")
TIMES = ("start", "end")
COLUMNS = ("id", "source", "instruction", "kind", *PATHS, *TIMES, *TEXTS)
ALIASES = {"prompt": "instruction", "target": "truth", "type": "kind", "video": "source"}


def read_item_table(file: Path | str, name: str = "", version: str = "") -> Benchmark:
    """Read a table of items.

    Args:
      file: the table.
      name: of the benchmark; "" for the file's name.
      version: of the benchmark.

    Raises:
      InputError: a table that can't be read, a row without source or instruction, a time that is no number, unknown columns, or no row.
    """
    file, items = Path(file), []
    for row in iterate_items(file):
        place = f"{file}, line {row.line}"
        if row.problem:
            raise InputError(f"{place}: {row.problem}")
        items.append(_read_item(_rename(row, place), file.parent, str(len(items) + 1), place))
    return Benchmark(name or file.stem, tuple(items), version)


def _rename(row: TableItem, place: str) -> dict[str, Any]:
    fields = {ALIASES.get(column, column): value for column, value in row.fields.items()}
    if len(fields) < len(row.fields):
        raise InputError(f"{place}: expected one column for each thing, got {', '.join(row.fields)}")
    if unknown := sorted(fields.keys() - {*COLUMNS}):
        raise InputError(f"{place}: expected columns among {', '.join(COLUMNS)}; got {', '.join(unknown)}")
    return {column: value for column, value in fields.items() if value not in (None, "")}


def _read_item(fields: dict[str, Any], folder: Path, number: str, place: str) -> Item:
    if missing := [column for column in ("source", "instruction") if column not in fields]:
        raise InputError(f"{place}: no {missing[0]}; it must be given")
    optional: dict[str, Any] = {column: folder / str(fields[column]) for column in PATHS if column in fields}
    optional |= {column: str(fields[column]) for column in TEXTS if column in fields}
    for column in TIMES:
        if column in fields:
            try:
                optional[column] = float(fields[column])
            except (TypeError, ValueError):
                raise InputError(
                    f"{place}: {column}: expected seconds, got {format_value(fields[column])}"
                ) from None
    return Item(
        id=str(fields.get("id", number)),
        source=folder / str(fields["source"]),
        instruction=str(fields["instruction"]),
        kind=str(fields.get("kind", "edit")),
        **optional,
    )
