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

from data_synth.importers.rows import Imported, Row, files, first_existing, need, read_csv, read_json

LICENSE = "CC-BY-NC-SA-4.0"


def ditto(root: str | Path) -> Imported:
    """The set in folder `root`, from its JSON metadata or, without that, its CSVs."""
    root, rows = Path(root), []
    for path in files(root, "training_metadata/*.json", "csvs_for_DiffSynth/*.csv"):
        if path.suffix == ".json":
            triples = [
                tuple(need(item, key, path) for key in ("source_path", "edited_path", "instruction"))
                for item in read_json(path)
            ]
        else:
            triples = [
                (item["vace_video"], item["video"], item["prompt"])
                for item in read_csv(path, ("video", "vace_video", "prompt"))
            ]
        rows += [
            Row(_place(root, source), _place(root, edited), text.strip(), path.stem)
            for source, edited, text in triples
        ]
    return Imported("Ditto-1M", LICENSE, tuple(rows))


def _place(root: Path, name: str) -> Path:
    return first_existing((root / "videos" / name, root / name))
