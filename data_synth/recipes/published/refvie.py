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

import functools
from pathlib import Path

from data_synth.recipes.published.rows import (
    PublishedRecipe,
    Row,
    build_rows,
    find_metadata,
    parse_fields,
    read_csv,
)
from v2v.errors import InputError

LICENSE = "CC-BY-NC-SA-4.0"
_COLUMNS = ("prompt", "src_video", "tgt_video")


def refvie(root: str | Path) -> PublishedRecipe:
    """Return the set in folder `root`, from its parquet chunks or, without them, its CSVs."""
    root, rows = Path(root), []
    for path in find_metadata(root, "refvie_477k/chunk_*.parquet", "chunk_*.parquet", "*.csv"):
        if path.suffix == ".parquet":
            rows += _read_chunk(path, root)
        else:
            rows += build_rows(
                path, read_csv(path, (*_COLUMNS, "ref_image")), functools.partial(_parse_row, root)
            )
    return PublishedRecipe("RefVIE", LICENSE, tuple(rows))


def _parse_row(root: Path, item: dict) -> Row:
    text, source, target = parse_fields(item, *_COLUMNS)
    reference = item.get("picture") or root / next(parse_fields(item, "ref_image"))
    return Row(root / source, root / target, text, "reference", reference=reference)


def _read_chunk(path: Path, root: Path) -> list[Row]:
    file = _open_parquet(path)
    missing = {*_COLUMNS, "ref_image_bytes"} - set(file.schema_arrow.names)
    if missing:
        raise InputError(
            f"{path}: expected columns {', '.join(sorted(missing))}, got {', '.join(file.schema_arrow.names)}"
        )
    items = (
        {**item, "picture": functools.partial(_read_picture, path, group, i)}
        for group in range(file.num_row_groups)
        for i, item in enumerate(file.read_row_group(group, columns=list(_COLUMNS)).to_pylist())
    )
    try:
        return build_rows(path, items, functools.partial(_parse_row, root))
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
