"""Our exact-truth benchmark as files: twelve kinds of edit, twenty pairs each, every one with its truth. data_synth -> **own** -> items

Of the kinds in PHYSICS every second pair is a room with physics (MuJoCo: pip install 'v2v[scenes]'), the others are planar scenes.
Clips are 17 frames of 128x128, 128x176 and 176x128 in turn (why: exact.py), seeds are ones that no training uses. Half of the edits are on
for part of the clip only; every item has a mask in space and time, and items whose edit can be shown by a picture have a reference.
What the sentence presupposes and can't say is given to every editor: start and end, and the picture that a palette edit speaks of.

    FOLDER/items.json  FOLDER/<id>/source.mkv  truth.mkv  mask.mkv (FFV1, bit for bit)  reference.png

The same arguments make the same bytes, so scores are comparable between machines.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from data_synth import pipeline
from v2v.data.pairs import Pair
from v2v.evaluation.cache import digest, replacing, write_whole
from v2v.evaluation.exact import FPS, FRAMES, SIZES, write_lossless
from v2v.evaluation.items import Benchmark, Item

VERSION = "3"  # 2: replaced things in rooms have their own height; 3: no dots of shadow on their floors
KINDS = (
    "recolour", "remove", "insert", "replace", "background",
    "greyscale", "night", "warmer", "darker", "negative", "winter", "palette",
)  # fmt: skip
PHYSICS = ("recolour", "remove", "insert", "replace", "background")
SEED = pipeline.SCORE_SEED_BASE + 2 * 10**6
_FILES = ("source", "truth", "mask", "reference")


def exact_truth(
    folder: Path, *, per_kind: int = 20, kinds: tuple[str, ...] = KINDS, physics: bool = True,
    seed: int = SEED, frames: int = FRAMES, sizes=SIZES,
) -> Benchmark:  # fmt: skip
    """The benchmark, made in a folder of its own below `folder` unless it is there already.

    Args:
      folder: any folder. per_kind: items of each kind; a smaller number is the beginning of a larger one's.
      kinds: names of data_synth's recipes. physics: False for planar scenes alone. seed: of the first kind; each kind has a range of its own.
      frames, sizes: of the clips; height, width in turn.
    """
    asked = {
        "version": VERSION, "kinds": list(kinds), "physics": physics, "seed": seed, "frames": frames, "sizes": [list(s) for s in sizes],
        "renderer": pipeline.VERSION,
    }  # fmt: skip
    home = Path(folder) / f"exact-truth-{digest(asked)[:12]}"
    items = []
    for row, kind in enumerate(kinds):
        at = seed + row * 10_000
        for k in range(per_kind):
            name = f"{kind.replace(' ', '-')}-{k:02d}"
            note = home / name / "item.json"
            if not note.exists():
                room = physics and k % 2 and kind in PHYSICS
                pair, after = _pair(
                    f"physics-{kind}" if room else kind, at, frames, sizes[(row + k) % len(sizes)]
                )
                _write(pair, name, kind, after, home / name)
            record = json.loads(note.read_text())
            at = record.pop("next_seed")
            items.append(read_item(record, home / name))
    write_whole(home / "README.txt", __doc__)
    whole = per_kind == 20 and kinds == KINDS and physics
    about = f"Rendered pairs with exact truth, {len(kinds)} kinds x {per_kind}, {frames} frames."
    return Benchmark(
        "exact truth", tuple(items), VERSION if whole else f"{VERSION} ({per_kind} a kind)", about
    )


def read_item(record: dict, folder: Path) -> Item:
    """An item from its record; files are named relative to the folder."""
    files = {k: folder / record[k] if record.get(k) else None for k in _FILES}
    return Item(**{**record, **files})


def _pair(kind: str, seed: int, frames: int, size: tuple[int, int]) -> tuple[Pair, int]:
    """The first seed's pair that passes the gates, and the seed after it."""
    made = None
    while made is None:
        made, _ = pipeline.make_pair(seed, T=frames, H=size[0], W=size[1], edits=(kind,), transition=0.5)
        seed += 1
    return made, seed


def _write(pair: Pair, name: str, kind: str, next_seed: int, folder: Path) -> None:
    clips = {
        "source": pair.source,
        "truth": pair.target,
        "mask": np.repeat(pair.mask[..., None], 3, -1),
    }
    record: dict = {"id": name, "kind": kind, "instruction": pair.instructions[0], "next_seed": next_seed}
    for part, frames in clips.items():
        with replacing(folder / f"{part}.mkv") as partial:
            write_lossless(frames, partial)
        record[part] = f"{part}.mkv"
    if pair.reference is not None:
        with replacing(folder / "reference.png") as partial:
            cv2.imwrite(str(partial), pair.reference[..., ::-1])
        record["reference"], record["reference_is_asked"] = "reference.png", pair.edit == "palette"
    if pair.active != (0, len(pair.source)):
        record["start"], record["end"] = (k / FPS for k in pair.active)
    record["source_prompt"], record["target_prompt"] = pair.source_caption, pair.target_caption
    write_whole(folder / "item.json", json.dumps(record, indent=1))
