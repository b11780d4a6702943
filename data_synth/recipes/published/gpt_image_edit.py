"""GPT-Image-Edit-1.5M (Wang et al. 2025, arXiv 2507.21033): picture pairs, lifted to video.

The card states a licence per part that we could not read, so the provenance says "unknown".

Layout, from https://github.com/wyhlovecpp/GPT-Image-Edit (README, "Data preparation", and univa/dataset): data.txt has
lines "image root,annotation JSON,region weighting"; an annotation is a list of {"image": [input, output],
"conversations": [{"from": "human", "value": instruction with <image> tags}, {"from": "gpt", ...}]}, its pictures relative
to the line's root. Without a data.txt the README's own lines are used, under gpt-edit/ or data/gpt-edit/. The archives
hold hqedit/edit/{input,output}/*.png and so on (card, https://huggingface.co/datasets/UCSC-VLAA/GPT-Image-Edit-1.5M).
"""

from __future__ import annotations

import functools
from pathlib import Path

from data_synth.recipes.published.metadata_files import Concatenation, JsonList, abbreviate
from data_synth.recipes.published.rows import (
    MalformedRowError,
    ParsedRows,
    PublishedRecipe,
    Row,
    first_existing,
    parse_fields,
)
from v2v.errors import InputError
from v2v.runtime import text_files

LICENSE = "unknown"
PARTS = (
    ("hqedit/edit", "hqedit_gpt_edit"),
    ("hqedit/generate", "hqedit_gpt_generate"),
    ("omniedit", "omniedit_gpt"),
    ("omniedit", "omniedit_gpt_rewrite"),
    ("omniedit/complex-edit", "complexedit_gpt"),
    ("ultraedit", "ultraedit_gpt"),
)


def gpt_image_edit(root: str | Path, fps: float = 0.0) -> PublishedRecipe:
    """Return the set in folder `root`: the parts its data.txt names, or those of the README whose annotation is there."""
    root, rows = Path(root), []
    for pictures, annotation in _find_parts(root):
        parse = functools.partial(_parse_row, pictures, annotation.stem)
        rows.append(ParsedRows(annotation, JsonList(annotation), parse))
    return PublishedRecipe("GPT-Image-Edit-1.5M", LICENSE, Concatenation(rows), fps)


def _parse_row(pictures: Path, edit: str, item: dict) -> Row:
    if not isinstance(item, dict):
        raise MalformedRowError(f"expected an object, got {abbreviate(item)}")
    image, turns = item.get("image"), item.get("conversations")
    if not (
        isinstance(image, list) and len(image) == 2 and all(isinstance(name, str) for name in image)
    ) or not (isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns)):
        raise MalformedRowError(
            'expected "image": [input, output] and "conversations": [{"from", "value"}, ...], got '
            f"{abbreviate(image)} and {abbreviate(turns)}"
        )
    requests = [next(parse_fields(turn, "value")) for turn in turns if turn.get("from") == "human"]
    text = " ".join(requests[-1].replace("<image>", " ").split()) if requests else ""
    return Row(pictures / image[0], pictures / image[1], text, edit)


def _find_parts(root: Path) -> list[tuple[Path, Path]]:
    """Return (folder that the pictures are relative to, annotation file) of each part."""
    listing = root / "data.txt"
    if listing.is_file():
        lines = [line.split(",") for line in text_files.read_text(listing).splitlines() if line.strip()]
        if not all(len(line) == 3 for line in lines):
            raise InputError(f"{listing}: expected lines of image root, annotation JSON and true or false")
        return [(root / pictures.strip(), root / annotation.strip()) for pictures, annotation, _ in lines]
    base = root / "gpt-edit" if (root / "gpt-edit").is_dir() else root / "data" / "gpt-edit"
    parts = [
        (base / pictures, first_existing((root / "training_json" / f"{name}.json", root / f"{name}.json")))
        for pictures, name in PARTS
    ]
    parts = [(pictures, annotation) for pictures, annotation in parts if annotation.is_file()]
    if not parts:
        raise InputError(
            f"{root}: expected data.txt, or training_json/ with one of "
            f"{', '.join(f'{name}.json' for _, name in PARTS)}; found none"
        )
    return parts
