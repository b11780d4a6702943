"""GPT-Image-Edit-1.5M (Wang et al. 2025, arXiv 2507.21033): picture pairs, lifted to video. The card states a licence per
part that we could not read, so the provenance says "unknown".

Layout, from https://github.com/wyhlovecpp/GPT-Image-Edit (README, "Data preparation", and univa/dataset): data.txt has
lines "image root,annotation JSON,region weighting"; an annotation is a list of {"image": [input, output],
"conversations": [{"from": "human", "value": instruction with <image> tags}, {"from": "gpt", ...}]}, its pictures relative
to the line's root. Without a data.txt the README's own lines are used, under gpt-edit/ or data/gpt-edit/. The archives
hold hqedit/edit/{input,output}/*.png and so on (card, https://huggingface.co/datasets/UCSC-VLAA/GPT-Image-Edit-1.5M).
"""

from __future__ import annotations

from pathlib import Path

from data_synth.importers.rows import Imported, Row, first_existing, read_json, rows_of
from v2v.errors import InputError

LICENSE = "unknown"
PARTS = (
    ("hqedit/edit", "hqedit_gpt_edit"),
    ("hqedit/generate", "hqedit_gpt_generate"),
    ("omniedit", "omniedit_gpt"),
    ("omniedit", "omniedit_gpt_rewrite"),
    ("omniedit/complex-edit", "complexedit_gpt"),
    ("ultraedit", "ultraedit_gpt"),
)


def gpt_image_edit(root: str | Path) -> Imported:
    """The set in folder `root`: the parts its data.txt names, or those of the README whose annotation is there."""
    root, rows = Path(root), []
    for pictures, annotation in _parts(root):

        def row(item: dict, pictures: Path = pictures, annotation: Path = annotation) -> Row:
            if (
                not isinstance(item.get("image"), list)
                or len(item["image"]) != 2
                or not item.get("conversations")
            ):
                raise InputError(
                    f'{annotation}: expected items with "image": [input, output] and "conversations", '
                    f"got {', '.join(map(str, item))}"
                )
            before, after = item["image"]
            said = [turn["value"] for turn in item["conversations"] if turn.get("from") == "human"]
            text = " ".join(said[-1].replace("<image>", " ").split()) if said else ""
            return Row(pictures / before, pictures / after, text, annotation.stem)

        rows += rows_of(annotation, read_json(annotation), row)
    return Imported("GPT-Image-Edit-1.5M", LICENSE, tuple(rows))


def _parts(root: Path) -> list[tuple[Path, Path]]:
    """(folder the pictures are relative to, annotation file)."""
    listing = root / "data.txt"
    if listing.is_file():
        lines = [line.split(",") for line in listing.read_text().splitlines() if line.strip()]
        if not all(len(line) == 3 for line in lines):
            raise InputError(f"{listing}: expected lines of image root, annotation JSON and true or false")
        return [(root / pictures.strip(), root / annotation.strip()) for pictures, annotation, _ in lines]
    base = root / "gpt-edit" if (root / "gpt-edit").is_dir() else root / "data" / "gpt-edit"
    found = [
        (base / pictures, first_existing((root / "training_json" / f"{name}.json", root / f"{name}.json")))
        for pictures, name in PARTS
    ]
    found = [(pictures, annotation) for pictures, annotation in found if annotation.is_file()]
    if not found:
        raise InputError(
            f"{root}: expected data.txt, or training_json/ with one of "
            f"{', '.join(f'{name}.json' for _, name in PARTS)}; found none"
        )
    return found
