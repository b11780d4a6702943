"""Senorita-2M (Zi et al. 2025, arXiv 2502.06734); access to the set is by its own terms, recorded as "see the set's terms".

Layout: JSON lists at the root, one a task (updated_data_obj_removal.json, updated_data_obj_swap_videos.json,
updated_data_obj_addition_videos.json, ...), of items with source_video_path and target_video_path such as
./obj_swap_videos/NAME.mp4, relative to the root. The card (https://huggingface.co/datasets/SENORITADATASET/Senorita) is
gated and could not be read here. File names and folders are from the maintainer's answer in
https://github.com/zibojia/SENORITA/issues/7 (obj_removal_videos_upload and obj_removal_videos_upload2 go with
updated_data_obj_removal.json) and from a public script that reads those JSON files with these two keys, and finds
./obj_swap_videos/ unpacked as ./obj_swap_upload/. The key of the instruction appears in none of them: the first of
INSTRUCTIONS that an item has is taken, and an item with none of them is an error that lists its keys.
"""

from __future__ import annotations

from pathlib import Path

from data_synth.recipes.published.metadata_files import Concatenation, JsonList
from data_synth.recipes.published.rows import (
    MalformedRowError,
    ParsedRows,
    PublishedRecipe,
    Row,
    find_metadata,
    first_existing,
    parse_fields,
)

LICENSE = "see the set's terms"
INSTRUCTIONS = ("instruction", "enhanced_instruction", "edit_instruction", "prompt")


def senorita(root: str | Path, fps: float = 0.0) -> PublishedRecipe:
    """Return the set in folder `root`: every JSON list in it; clips are read at `fps`, 0 for their own."""
    root, rows = Path(root), []
    for path in find_metadata(root, "updated_data_*.json", "*.json"):

        def row(
            item: dict, task: str = path.stem.removeprefix("updated_data_").removesuffix("_videos")
        ) -> Row:
            source, target = parse_fields(item, "source_video_path", "target_video_path")
            key = next((k for k in INSTRUCTIONS if isinstance(item.get(k), str)), None)
            if key is None:
                raise MalformedRowError(
                    f"expected the instruction under one of {', '.join(INSTRUCTIONS)}, "
                    f"got {', '.join(map(str, item))}; rename that key, or add it to senorita.INSTRUCTIONS"
                )
            (text,) = parse_fields(item, key)
            return Row(_find_file(root, source), _find_file(root, target), text, task)

        rows.append(ParsedRows(path, JsonList(path), row))
    return PublishedRecipe("Senorita-2M", LICENSE, Concatenation(rows), fps)


def _find_file(root: Path, name: str) -> Path:
    """Return the file as written, or in the folder that the upload's archives unpack to."""
    head, _, tail = name.removeprefix("./").partition("/")
    stem = head.removesuffix("_videos")
    return first_existing(
        root / folder / tail
        for folder in (head, f"{stem}_upload", f"{head}_upload", f"{head}_upload2", f"{stem}_upload2")
    )
