"""Readers of benchmarks published in 2026: CoVEBench, LongV2VBench, RefVIE-Bench, and pairs listed as VEFX-Bench's code lists them.

    read_covebench(folder)       checklist.json [{"id", "editing_instruction", "videoA_path", "category", "evaluation_groups", ...}], and data/*.mp4
                                 (github.com/NJU-LINK/CoVEBench, data/checklist.json and README, commits 000da5a, e9aff10)
    read_longv2vbench(folder)    benchmark_videos.csv, or another CSV or JSON Lines file, with edited_type or segment, original_video or video, prompt
                                 (github.com/jd-opensource/JoyAI-Video-Edit, training/evaluation/benchmark/common.py, commit cd09893)
    read_refvie_bench(folder)    refvie_bench.yaml [{"src_video", "ref_img", "instruction", "edit_type"}], source_videos/, ref_images/
                                 (github.com/showlab/Kiwi-Edit, eval_refvie_gemini.py and its README)
    read_vefx_pairs(folder)      prompts.json [{"original", "edited", "instruction", "category"}]
                                 (github.com/Visko-Platform/VEFX-Bench, examples/sample_videos/prompts.json, commit 9960eb9)

VEFX-Bench's own listing of its 300 test pairs is only with the data set, in a layout that no public repository shows; it is left out. Written as
prompts.json, or as a table for `read_item_table`, its pairs can be read.

Like those of published.py, these read what the user brings: a listing that lacks fields is an error, a video that is missing costs its item.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from v2v.errors import InputError
from v2v.evaluation.benchmarks.listings import check_fields, find_listing, first_existing, with_text_id
from v2v.evaluation.items import Benchmark, Item
from v2v.runtime import text_files

# Edits of compositional instructions: items are of the kind of their first part, or of this one where none is named.
UNKNOWN_KIND = "compositional"


def read_covebench(folder: Path, listing: str | None = None) -> Benchmark:
    """Read CoVEBench; the kind of an item is the first level of its first category, `extra` has the whole row with its questions.

    Args:
      folder: holds the listing and the videos that it names.
      listing: file name; by default checklist.json.

    Raises:
      InputError: no listing, or one that lacks fields.
    """
    folder = Path(folder)
    file = find_listing(folder, listing, ("checklist.json",))
    items = []
    for number, row in enumerate(_read_list(file), 1):
        row = with_text_id(row)
        check_fields(
            row, ("id", "editing_instruction", "videoA_path"), f"{file}, row {number}",
            optional=("original_description", "target_video_description"),
        )  # fmt: skip
        items.append(
            Item(
                id=row["id"],
                source=folder / row["videoA_path"],
                instruction=row["editing_instruction"],
                kind=_first_category(row),
                source_prompt=row.get("original_description") or "",
                target_prompt=row.get("target_video_description") or "",
                extra={"row": row},
            )
        )
    return Benchmark("CoVEBench", tuple(items), about="NJU-LINK/CoVEBench, arXiv 2606.08415.")


def read_longv2vbench(folder: Path, listing: str | None = None) -> Benchmark:
    """Read LongV2VBench, whose clips are a minute long; rows without a prompt are no items, as in its own script.

    Ids are TYPE-NAME, after the type of edit and the source's name, as its results are stored; where two rows would have the same, the row's
    number follows.

    Args:
      folder: holds the listing and the videos.
      listing: file name; by default benchmark_videos.csv, or the only CSV or JSON Lines file.

    Raises:
      InputError: no listing, or one that lacks fields.
    """
    folder = Path(folder)
    default = (
        ("benchmark_videos.csv",) if (folder / "benchmark_videos.csv").is_file() else ("*.csv", "*.jsonl")
    )
    file = find_listing(folder, listing, default)
    items, name_counts = [], Counter()
    for number, row in enumerate(_read_rows(file), 1):
        fields: Any = row
        if isinstance(row, dict):
            fields = {
                "type": row.get("edited_type", row.get("segment")),
                "video": row.get("original_video", row.get("video")),
                "prompt": row.get("prompt"),
            }
            if fields["prompt"] in (None, ""):
                continue
        check_fields(fields, ("type", "video", "prompt"), f"{file}, row {number}")
        kind, video = fields["type"].strip(), PurePosixPath(fields["video"].strip())
        if kind in (".", "..") or "/" in kind:
            raise InputError(f"{file}, row {number}: edited_type: expected a name, got {kind!r}; correct it")
        parts = video.parts[1:] if video.parts and video.parts[0] == folder.name else video.parts
        name = f"{kind}-{video.stem}"
        name_counts[name] += 1
        items.append(
            Item(
                id=name if name_counts[name] == 1 else f"{name}-{number}",
                source=first_existing(
                    folder.joinpath(*parts), folder / video, folder / "videos" / video.name
                ),
                instruction=fields["prompt"].strip(),
                kind=kind,
                extra={"stem": video.stem},
            )
        )
    return Benchmark(
        "LongV2VBench", tuple(items), about="EasonXiao-888/LongV2VBench, one-minute clips, arXiv 2608.03974."
    )


def read_refvie_bench(folder: Path, listing: str | None = None) -> Benchmark:
    """Read RefVIE-Bench; every edit speaks of a reference picture. Ids are the numbers of the rows, from 0, as in the names of its results.

    Args:
      folder: holds the listing and the files that it names.
      listing: file name; by default refvie_bench.yaml.

    Raises:
      InputError: no listing, or one that lacks fields.
    """
    folder = Path(folder)
    file = find_listing(folder, listing, ("refvie_bench.yaml", "refvie_bench.json"))
    rows = _read_list(file) if file.suffix == ".json" else _read_yaml(file)
    items = []
    for number, row in enumerate(rows):
        check_fields(row, ("src_video", "ref_img", "instruction", "edit_type"), f"{file}, item {number}")
        items.append(
            Item(
                id=str(number),
                source=folder / row["src_video"],
                instruction=row["instruction"],
                kind=row["edit_type"],
                reference=folder / row["ref_img"],
                reference_is_asked=True,
                extra={"row": row},
            )
        )
    return Benchmark("RefVIE-Bench", tuple(items), about="linyq/RefVIE-Bench, reference-guided edits.")


def read_vefx_pairs(folder: Path, listing: str | None = None) -> Benchmark:
    """Read pairs listed as VEFX-Bench's code lists its samples; the edited clips that the listing names are results, not read here.

    Args:
      folder: holds the listing and the clips.
      listing: file name; by default prompts.json.

    Raises:
      InputError: no listing, or one that lacks fields.
    """
    folder = Path(folder)
    file = find_listing(folder, listing, ("prompts.json",))
    items, name_counts = [], Counter()
    for number, row in enumerate(_read_list(file), 1):
        check_fields(
            row, ("original", "instruction", "category"), f"{file}, row {number}", optional=("edited",)
        )
        stem = Path(row["original"]).stem
        name_counts[stem] += 1
        name = stem if name_counts[stem] == 1 else f"{stem}-{number}"
        items.append(
            Item(name, folder / row["original"], row["instruction"], row["category"], extra={"row": row})
        )
    return Benchmark("VEFX-Bench", tuple(items), about="Visko-Platform/VEFX-Bench, arXiv 2604.16272.")


def _first_category(row: dict[str, Any]) -> str:
    categories = row.get("category")
    first = categories[0] if isinstance(categories, list) and categories else None
    level = first.get("Level 1") if isinstance(first, dict) else None
    return level if isinstance(level, str) and level else UNKNOWN_KIND


def _read_list(file: Path) -> list[Any]:
    rows = text_files.read_json(file)
    if not isinstance(rows, list):
        raise InputError(
            f"{file}: expected a JSON list of items, got {type(rows).__name__}; name the listing's file"
        )
    return rows


def _read_rows(file: Path) -> list[Any]:
    """Return the rows of a CSV or JSON Lines file."""
    if file.suffix.lower() == ".csv":
        with text_files.open_csv(file) as lines:
            return list(csv.DictReader(lines))
    rows = []
    for number, line in enumerate(text_files.read_text(file).splitlines(), 1):
        if line.strip():
            try:
                rows.append(text_files.parse_json(line))
            except ValueError as error:
                raise InputError(f"{file}, line {number}: expected JSON, got {error}; correct it") from None
    return rows


def _read_yaml(file: Path) -> list[Any]:
    """Return the list of a YAML file, of which nothing is run.

    Raises:
      InputError: it is no YAML, or no list.
    """
    try:
        rows = yaml.safe_load(text_files.read_text(file))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{file}: expected YAML, got an error: {reason}; correct it") from None
    if not isinstance(rows, list):
        raise InputError(
            f"{file}: expected a list of items, got {type(rows).__name__}; name the listing's file"
        )
    return rows
