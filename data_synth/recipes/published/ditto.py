"""Ditto-1M (Bai et al. 2025, arXiv 2510.15742), CC BY-NC-SA 4.0.

Layout, from the set's card (https://huggingface.co/datasets/QingyanBai/Ditto-1M, "Dataset Structure" and "Training
Metadata"): videos/{source, local, global_style1, global_style2, global_freeform1..3}/, training_metadata/*.json with
items {source_path, instruction, edited_path}, and csvs_for_DiffSynth/*.csv. The CSV columns (video, the edited one;
vace_video, the source; prompt) and their base folder videos/ are those of the authors' training script
(https://github.com/EzioBy/Ditto, `--data_file_keys "video,vace_video"`, `--dataset_base_path .../Ditto-1M/videos`). The
card does not say what the JSON's paths are relative to: videos/ is tried first, then the root.
"""

from __future__ import annotations

from pathlib import Path

from data_synth.recipes.published.metadata_files import Concatenation, CsvRecords, JsonList
from data_synth.recipes.published.rows import (
    ParsedRows,
    PublishedRecipe,
    Row,
    find_metadata,
    first_existing,
    parse_fields,
)

LICENSE = "CC-BY-NC-SA-4.0"
JSON_KEYS = ("source_path", "edited_path", "instruction")
COLUMNS = ("vace_video", "video", "prompt")


def ditto(root: str | Path, fps: float = 0.0) -> PublishedRecipe:
    """Return the set in folder `root`, from its JSON metadata or, without that, its CSVs; clips are read at `fps`, 0 for their own."""
    root, rows = Path(root), []
    for path in find_metadata(root, "training_metadata/*.json", "csvs_for_DiffSynth/*.csv"):
        keys = JSON_KEYS if path.suffix == ".json" else COLUMNS

        def row(item: dict, keys: tuple = keys, edit: str = path.stem) -> Row:
            source, edited, text = parse_fields(item, *keys)
            return Row(_find_file(root, source), _find_file(root, edited), text, edit)

        items = JsonList(path) if keys is JSON_KEYS else CsvRecords(path, keys)
        rows.append(ParsedRows(path, items, row))
    return PublishedRecipe("Ditto-1M", LICENSE, Concatenation(rows), fps)


def _find_file(root: Path, name: str) -> Path:
    return first_existing((root / "videos" / name, root / name))
