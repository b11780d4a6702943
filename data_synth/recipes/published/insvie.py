"""InsViE-1M (Wu et al. 2025, arXiv 2503.20287), of unknown licence.

The card (https://huggingface.co/datasets/wyh6666/InsViE) names none that we could read, so the provenance says "unknown".

Layout, from the authors' loader (https://github.com/langmanbusi/InsViE, CogVideo/sat/data_video.py, SFTDataset_edit): a
CSV with a header whose rows hold, by position, [source video name, source caption, instruct, edit caption, edit
subfolder name]; the source and the edited video have the same file name, in two folders beside the CSV. The loader
takes the folders' names from its configuration, which is not published with values: the edited video is looked for in
the row's subfolder, the source in the other folder beside the CSV that holds that name.
"""

from __future__ import annotations

from pathlib import Path

from data_synth.recipes.published.metadata_files import Concatenation, CsvRows
from data_synth.recipes.published.rows import (
    MalformedRowError,
    ParsedRows,
    PublishedRecipe,
    Row,
    find_metadata,
    first_existing,
)

LICENSE = "unknown"
COLUMNS = 5


def insvie(root: str | Path, fps: float = 0.0) -> PublishedRecipe:
    """Return the set in folder `root`: every CSV in it; clips are read at `fps`, 0 for their own."""
    root, rows = Path(root), []
    folders = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    for path in find_metadata(root, "*.csv"):
        lines = CsvRows(path, ",")

        def row(line: list[str], max_fields: int = max(COLUMNS, len(lines.names))) -> Row:
            if not COLUMNS <= len(line) <= max_fields:
                raise MalformedRowError(
                    "expected source video name, source caption, instruct, edit caption, edit subfolder name; "
                    f"got {len(line)} fields"
                )
            name, source_caption, text, target_caption, edited = (field.strip() for field in line[:COLUMNS])
            source = first_existing([f / name for f in folders if f.name != edited] or [root / name])
            return Row(source, root / edited / name, text, "edit", source_caption, target_caption)

        rows.append(ParsedRows(path, lines, row))
    return PublishedRecipe("InsViE-1M", LICENSE, Concatenation(rows), fps)
