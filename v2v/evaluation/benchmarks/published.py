"""Readers of published benchmarks: EditVerseBench, OpenVE-Bench, IVEBench and ImgEdit-Bench.

    read_editverse_bench(folder)  EditVerseBench.json (or test.json) {"0": {"<text>", "<video1>", "source_prompt", "target_prompt", "type", ...}}
    read_openve_bench(folder)     a CSV with original_video, prompt, edited_type
    read_ivebench(folder)         a JSON list of {id, src_video_name, category, subcategory, source_prompt, edit_prompt, target_prompt}
    read_imgedit_bench(folder)    basic_edit.json {"1082": {"id": "animal/....jpg", "prompt", "edit_type"}}; pictures are clips of one frame

A benchmark of which some videos are missing is read all the same: their items fail, by name, and stay in the denominator.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from v2v.errors import InputError
from v2v.evaluation.benchmarks.listings import check_fields, find_listing, first_existing, with_text_id
from v2v.evaluation.items import Benchmark, Item
from v2v.runtime import text_files

# EditVerseBench's references to inputs, and the words that replace them in an instruction.
TAG = r"<(?:video|image)\d+>"
TAG_WORDS = {"<video1>": "the video", "<image1>": "the reference image"}
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")


def read_editverse_bench(folder: Path, listing: str | None = None) -> Benchmark:
    """Read EditVerseBench; `extra` has the raw text.

    Tags before the instruction, such as "<video1>", are removed; inside it "<image1>" becomes "the reference image" and "<video1>" "the video".
    An item with further videos or images can't be given to an editor, see `Item.unsupported_inputs`.

    Args:
      folder: holds the listing and the paths in it.
      listing: file name; by default EditVerseBench.json or test.json.

    Raises:
      InputError: no listing, or one that lacks fields.
    """
    file = find_listing(folder, listing, ("EditVerseBench.json", "test.json"))
    items = []
    for name, row in _read_objects(file).items():
        check_fields(
            row,
            ("<text>", "<video1>", "type"),
            f"{file}, item {name}",
            optional=("<image1>", "source_prompt", "target_prompt", "direction"),
        )
        picture = row.get("<image1>")
        items.append(
            Item(
                id=str(name),
                source=folder / row["<video1>"],
                instruction=_without_tags(row["<text>"]),
                kind=row["type"],
                reference=folder / picture if picture else None,
                reference_is_asked=bool(picture),
                source_prompt=row.get("source_prompt") or "",
                target_prompt=row.get("target_prompt") or "",
                extra={"text": row["<text>"], "direction": row.get("direction") or ""},
                unsupported_inputs=tuple(
                    sorted({tag for tag in re.findall(TAG, row["<text>"]) if tag not in TAG_WORDS})
                ),
            )
        )
    return Benchmark("EditVerseBench", tuple(items), about="adobe-research/EditVerse.")


def read_openve_bench(
    folder: Path, listing: str | None = None, *, excluded_kinds: tuple[str, ...] = ()
) -> Benchmark:
    """Read OpenVE-Bench.

    Ids are the names of the source videos, after which its result files are named; a video with several rows gets the row's number too.

    Args:
      folder: holds the listing and the videos.
      listing: file name; by default benchmark_videos.csv.
      excluded_kinds: kinds of edits to leave out.

    Raises:
      InputError: no listing, or one that lacks fields.
    """
    file = find_listing(folder, listing, ("benchmark_videos.csv",))
    with text_files.open_csv(file) as lines:
        rows = list(csv.DictReader(lines))
    items, stems = [], set()
    for number, row in enumerate(rows):
        check_fields(row, ("original_video", "prompt", "edited_type"), f"{file}, row {number + 1}")
        if row["edited_type"] in excluded_kinds:
            continue
        stem = Path(row["original_video"]).stem
        name = f"{stem}-{number}" if stem in stems else stem
        stems.add(stem)
        source = first_existing(folder / row["original_video"], folder.parent / row["original_video"])
        items.append(Item(name, source, row["prompt"], row["edited_type"], extra={"row": row}))
    return Benchmark("OpenVE-Bench", tuple(items), about="OpenVE-Team/OpenVE-3M.")


def read_ivebench(folder: Path, listing: str | None = None) -> Benchmark:
    """Read IVEBench; the kind of an item is its category.

    Args:
      folder: holds the listing, and anywhere below it videos or folders of frames.
      listing: file name; by default the only JSON file.

    Raises:
      InputError: no listing, or one that lacks fields.
    """
    file = find_listing(folder, listing, ("*.json",))
    rows = text_files.read_json(file)
    if not isinstance(rows, list):
        raise InputError(
            f"{file}: expected IVEBench's list of videos, got another JSON document; name the listing's file"
        )
    at = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES or path.is_dir():
            at.setdefault(path.stem, path)
    items = []
    for number, row in enumerate(rows, 1):
        row = with_text_id(row)
        check_fields(
            row,
            ("id", "src_video_name", "category", "edit_prompt"),
            f"{file}, row {number}",
            optional=("source_prompt", "target_prompt", "subcategory"),
        )
        stem = Path(row["src_video_name"]).stem
        items.append(
            Item(
                id=row["id"],
                source=at.get(stem, folder / row["src_video_name"]),
                instruction=row["edit_prompt"],
                kind=row["category"],
                source_prompt=row.get("source_prompt") or "",
                target_prompt=row.get("target_prompt") or "",
                extra={"name": stem, "subcategory": row.get("subcategory") or "", "row": row},
            )
        )
    return Benchmark("IVEBench", tuple(items), about="RyanChenYN/IVEBench.")


def read_imgedit_bench(folder: Path, listing: str | None = None, *, pictures: str = "") -> Benchmark:
    """Read the basic suite of ImgEdit-Bench.

    Args:
      folder: holds the listing and the pictures.
      listing: file name; by default basic_edit.json.
      pictures: folder of the pictures below `folder`; by default they are searched for one level down.

    Raises:
      InputError: no listing, or one that lacks fields.
    """
    file = find_listing(folder, listing, ("basic_edit.json",))
    subfolders = sorted(path for path in Path(folder).iterdir() if path.is_dir())
    items = []
    for name, row in _read_objects(file).items():
        check_fields(row, ("id", "prompt", "edit_type"), f"{file}, item {name}")
        places = [base / row["id"] for base in (folder / pictures, *subfolders)]
        source = first_existing(*places)
        items.append(Item(str(name), source, row["prompt"], row["edit_type"], extra={"row": row}))
    return Benchmark(
        "ImgEdit-Bench",
        tuple(items),
        about="PKU-YuanGroup/ImgEdit, basic suite; pictures as one-frame videos.",
    )


def _without_tags(text: str) -> str:
    """Return the text without the tags before and after its sentences, and with words for those inside."""
    text = re.sub(rf"^(?:\s*{TAG})+|(?<=[.!?])(?:\s*{TAG})+\s*$", "", text)
    words = re.sub(TAG, lambda tag: f" {TAG_WORDS.get(tag[0], tag[0].strip('<>'))} ", text)
    return re.sub(r"\s+([.,;:!?])", r"\1", " ".join(words.split()))


def _read_objects(path: Path) -> dict[str, Any]:
    """Return the object of a JSON listing, its values unchecked."""
    rows = text_files.read_json(path)
    if not isinstance(rows, dict):
        raise InputError(
            f"{path}: expected a JSON object of items by name, got {type(rows).__name__}; name the listing's file"
        )
    broken = [name for name in rows if not text_files.is_unicode(name)]
    if broken:
        raise InputError(
            f"{path}: expected names of items, got half a character in {broken[0]!a}; correct it"
        )
    return rows
