"""RefVIE-477K (Kiwi-Edit, arXiv 2603.02175): edits with a reference picture.

Layout, from https://github.com/showlab/Kiwi-Edit, DATASET.md ("CSV Format by Training Stage", "Build Reference CSV from
Parquet") and the card https://huggingface.co/datasets/linyq/kiwi_edit_training_data: refvie_477k/chunk_*.parquet with
columns iid, prompt, src_video, tgt_video, ref_image_bytes (a JPEG), or the CSV made of it with src_video, tgt_video,
ref_image, prompt. Paths are relative to the folder with the videos, which come from Ditto-1M, OpenVE-3M and ReCo; no
licence is stated for the metadata, so the provenance names those sets' strictest.

Reference pictures stay in the parquet files until a row is asked for. Reading them needs pyarrow: pip install
'v2v-edit[parquet]'.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_synth.recipes.published.metadata_files import Concatenation, CsvRecords
from data_synth.recipes.published.rows import (
    ParsedRows,
    PublishedRecipe,
    Row,
    find_metadata,
    parse_fields,
)
from v2v.errors import InputError

LICENSE = "CC-BY-NC-SA-4.0"
_COLUMNS = ("prompt", "src_video", "tgt_video")


def refvie(root: str | Path, fps: float = 0.0) -> PublishedRecipe:
    """Return the set in folder `root`, from its parquet chunks or, without them, its CSVs; clips are read at `fps`, 0 for their own."""
    root, rows = Path(root), []
    for path in find_metadata(root, "refvie_477k/chunk_*.parquet", "chunk_*.parquet", "*.csv"):
        is_chunk = path.suffix == ".parquet"
        items = _ParquetRows(path) if is_chunk else CsvRecords(path, (*_COLUMNS, "ref_image"))
        rows.append(ParsedRows(path, items, functools.partial(_parse_row, root)))
    return PublishedRecipe("RefVIE", LICENSE, Concatenation(rows), fps)


def _parse_row(root: Path, item: dict) -> Row:
    text, source, target = parse_fields(item, *_COLUMNS)
    reference = item.get("picture") or root / next(parse_fields(item, "ref_image"))
    return Row(root / source, root / target, text, "reference", reference=reference)


class _ParquetRows(Sequence[dict[str, Any]]):
    """The rows of a parquet file, without their pictures, which are read by what "picture" holds."""

    def __init__(self, path: Path):
        """Pass through the file.

        Raises:
          InputError: It is no parquet file with the columns, or its texts are not UTF-8.
        """
        file = _open_parquet(path)
        missing = {*_COLUMNS, "ref_image_bytes"} - set(file.schema_arrow.names)
        if missing:
            raise InputError(
                f"{path}: expected columns {', '.join(sorted(missing))}, got {', '.join(file.schema_arrow.names)}"
            )
        self._path = path
        counts = [len(_read_texts(path, group)) for group in range(file.num_row_groups)]
        self._ends = list(itertools.accumulate(counts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> dict[str, Any]:
        """Return a row by its number."""
        group = bisect.bisect_right(self._ends, index)
        i = index - (self._ends[group - 1] if group else 0)
        texts = _read_texts(self._path, group)[i]
        return {**texts, "picture": functools.partial(_read_picture, self._path, group, i)}


@functools.lru_cache(maxsize=2)
def _read_texts(path: Path, group: int) -> list[dict[str, Any]]:
    """Return the texts of a group of rows."""
    try:
        return _open_parquet(path).read_row_group(group, columns=list(_COLUMNS)).to_pylist()
    except (OSError, ValueError) as error:  # also of text that is not UTF-8
        raise InputError(f"{path}: expected a parquet file, got {error}; fetch it again") from None


def _read_picture(path: Path, group: int, i: int) -> bytes:
    """Return the bytes of one reference picture; b"" where the row has none."""
    try:
        column = _open_parquet(path).read_row_group(group, columns=["ref_image_bytes"]).column(0)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected pictures, got {error}; fetch it again") from None
    encoded = column[i].as_py()
    return encoded if isinstance(encoded, bytes) else b""


def _open_parquet(path: Path):
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(
            "refvie: expected pyarrow to read parquet files, which is not installed; "
            "install it with: pip install 'v2v-edit[parquet]'"
        ) from None
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a parquet file, got {error}") from None
