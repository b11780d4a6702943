"""OpenVE-3M (He et al. 2025, arXiv 2512.07826), CC BY-NC 4.0.

Layout: one CSV for each edit type (local_add.csv, local_change.csv, local_remove.csv, ...) with columns video (the
edited one), original_video and prompt; paths relative to the folder with the unpacked videos. The card
(https://huggingface.co/datasets/Lewandofski/OpenVE-3M) could not be read here; the columns are those that three users
of the set agree on: OpenVE-Bench, ThinkV2V's training scripts (`--data_file_keys
"video,original_video"`, OPENVE3M_VIDEO_ROOT = OpenVE-3M/videos) and a public loader that reads `item['video']`,
`item['original_video']`, `item['prompt']` from a file separated by semicolons under videos_folders/. Either separator
is read, and paths are looked for in videos/, videos_folders/ and the root.
"""

from __future__ import annotations

from pathlib import Path

from data_synth.recipes.published.metadata_files import Concatenation, CsvRecords
from data_synth.recipes.published.rows import (
    ParsedRows,
    PublishedRecipe,
    Row,
    find_metadata,
    first_existing,
    parse_fields,
)

LICENSE = "CC-BY-NC-4.0"
COLUMNS = ("video", "original_video", "prompt")


def openve(root: str | Path, fps: float = 0.0) -> PublishedRecipe:
    """Return the set in folder `root`: every CSV in it or in its metadata folders; clips are read at `fps`, 0 for their own."""
    root, rows = Path(root), []
    for path in find_metadata(root, "*.csv", "*/*.csv"):

        def row(item: dict, edit: str = path.stem) -> Row:
            edited, source, text = parse_fields(item, *COLUMNS)
            return Row(_find_file(root, source), _find_file(root, edited), text, edit)

        rows.append(ParsedRows(path, CsvRecords(path, COLUMNS), row))
    return PublishedRecipe("OpenVE-3M", LICENSE, Concatenation(rows), fps)


def _find_file(root: Path, name: str) -> Path:
    return first_existing(base / name for base in (root / "videos", root / "videos_folders", root))
