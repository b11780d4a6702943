"""The items of the exact-truth benchmark: generated pairs that no training uses, written as files with their truth.

    data_synth -> exact_truth.py (items) -> exact_truth_scoring.py (settings as methods) -> exact_truth_summary.py (numbers and table)

Two lists of items have one format and are scored alike:

    build_benchmark        twelve kinds, twenty items each; of the kinds in PHYSICS every second item is a room with physics (MuJoCo:
                           pip install 'v2v-edit[scenes]'), the others are planar scenes
    build_type_benchmark   all planar edit types in turn, n / 21 items of each: the figures of the packaged model's card

Clips are 17 frames of 128x128, 128x176 and 176x128 (height x width) in turn: longer, larger and of other shapes than the embedded model's 9
frames of 64x64. Smaller ones would lose edits to H.264's halved chroma alone: the truth itself, written and read again, succeeds in 97 % of
pairs at 64x64 and 96x96 and in all at these sizes (by the stricter criterion of success.py in 91 %). Half of the edits are on for part of the
clip only. Every item has a mask in space and time; items whose edit can be shown by a picture have a reference. Start, end, and the picture
from which a palette edit takes its colors are given to every editor, because the sentence presupposes them and cannot say them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from data_synth import generate
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.recipes import planar
from data_synth.recipes.sources import NO_SOURCES, Sources
from data_synth.rejection import Rejected
from data_synth.scenes.edits import LOCAL_EDITS
from v2v.data.pair import Pair
from v2v.errors import InputError
from v2v.evaluation.cache import atomic_path, digest, write_text_atomically
from v2v.evaluation.counts import format_count
from v2v.evaluation.items import Benchmark, Item

# Goes up when items change. 2: replaced things in rooms have their own height; 3: no dots of shadow on their floors.
VERSION = "3"
# Height, width.
FRAME_SIZES = ((128, 128), (128, 176), (176, 128))
FRAME_COUNT = 17
# One frame is 40 ms, a whole number in every container, so seconds name frames exactly.
FPS = 25
EDIT_TYPES = (*LOCAL_EDITS, *PHOTOMETRIC)
KINDS = (
    "recolour", "remove", "insert", "replace", "background",
    "greyscale", "night", "warmer", "darker", "negative", "winter", "palette",
)  # fmt: skip
PHYSICS = ("recolour", "remove", "insert", "replace", "background")
FIRST_SEED = generate.SCORE_SEED_BASE + 2 * 10**6
SEEDS_PER_KIND = 10_000
README = """\
Items of v2v's exact-truth benchmark: generated pairs of clips with the exact result of the edit. One folder an item:

    item.json                         instruction, kind, times, captions, names of files
    source.mkv  truth.mkv  mask.mkv   FFV1, bit for bit; the mask is white where and when the clip is edited
    reference.png                     a picture of the edit, where there is one

The same version, seed, sizes and kinds make the same bytes, so scores are comparable between machines.
"""
_FILES = ("source", "truth", "mask", "reference")


# Seeds that are tried for one item.
MAX_TRIES = 500


@dataclass(frozen=True)
class ItemRequest:
    """One item to build.

    Attributes:
      name: name of its folder.
      kind: type of the edit, by which scores are broken down.
      recipe: data_synth's recipe for it.
      size: height and width of the clips.
      edit: edit that a recipe of many has to draw; "" for any.
      material: what the clips show, such as "film"; "" where the benchmark has one material.
      sources: clips and cut-outs that the recipe reads.
      snapshot: hash of what the sources hold.
    """

    name: str
    kind: str
    recipe: str
    size: tuple[int, int]
    edit: str = ""
    material: str = ""
    sources: Sources = NO_SOURCES
    snapshot: str = ""


def build_benchmark(
    folder: Path,
    *,
    per_kind: int = 20,
    kinds: tuple[str, ...] = KINDS,
    physics: bool = True,
    seed: int = FIRST_SEED,
    frames: int = FRAME_COUNT,
    sizes: tuple[tuple[int, int], ...] = FRAME_SIZES,
) -> Benchmark:
    """Build the benchmark of twelve kinds in a folder of its own below `folder`; items that exist are not built again.

    Args:
      folder: any folder.
      per_kind: items of each kind; a smaller number is the beginning of a larger one's.
      kinds: names of data_synth's recipes.
      physics: False for planar scenes alone.
      seed: of the first kind; each kind has a range of its own.
      frames: length of the clips.
      sizes: heights and widths of the clips, in turn.
    """
    content = {
        "version": VERSION, "kinds": list(kinds), "physics": physics, "seed": seed, "frames": frames, "sizes": [list(s) for s in sizes],
        "renderer": planar.VERSION,
    }  # fmt: skip
    root = Path(folder) / f"exact-truth-{digest(content)[:12]}"
    items: list[Item] = []
    for row, kind in enumerate(kinds):
        requests = [
            ItemRequest(
                f"{kind.replace(' ', '-')}-{k:02d}",
                kind,
                f"physics-{kind}" if physics and k % 2 and kind in PHYSICS else kind,
                sizes[(row + k) % len(sizes)],
            )
            for k in range(per_kind)
        ]
        items += build_items(root, requests, seed + row * SEEDS_PER_KIND, frames, transition=0.5)
    is_complete = per_kind == 20 and kinds == KINDS and physics
    about = f"Rendered pairs with exact truth, {format_count(len(kinds), 'kind')} x {per_kind}, {format_count(frames, 'frame')}."
    return Benchmark(
        "exact truth", tuple(items), VERSION if is_complete else f"{VERSION} ({per_kind} a kind)", about
    )


def build_type_benchmark(
    folder: Path,
    count: int,
    *,
    seed: int = generate.SCORE_SEED_BASE,
    frames: int = FRAME_COUNT,
    sizes: tuple[tuple[int, int], ...] = FRAME_SIZES,
    edit_types: tuple[str, ...] = EDIT_TYPES,
    transition: float = 0.5,
) -> Benchmark:
    """Build items of all edit types in turn, in a folder of their own below `folder`; items that exist are not built again.

    Args:
      folder: any folder.
      count: number of items; a smaller number is the beginning of a larger one's.
      seed: the first one to try; seeds of all items follow one another.
      frames: length of the clips.
      sizes: heights and widths of the clips, in turn after every round of edit types.
      edit_types: of EDIT_TYPES, in turn.
      transition: probability that an edit begins or ends inside the clip.

    Raises:
      InputError: `count` below 1, or a seed that training may have used.
    """
    if count < 1:
        raise InputError(f"pairs: expected at least 1, got {count}")
    if seed < generate.SCORE_SEED_BASE:
        raise InputError(
            f"seed: expected {generate.SCORE_SEED_BASE} or more, which no training uses, got {seed}"
        )
    content = {
        "types": list(edit_types), "seed": seed, "frames": frames, "sizes": [list(s) for s in sizes], "transition": transition,
        "renderer": planar.VERSION,
    }  # fmt: skip
    root = Path(folder) / f"exact-truth-types-{digest(content)[:12]}"
    requests = []
    for i in range(count):
        turn, kind = i // len(edit_types), edit_types[i % len(edit_types)]
        name = f"{kind.replace(' ', '-')}-{turn:02d}"
        requests.append(ItemRequest(name, kind, kind, sizes[turn % len(sizes)]))
    items = build_items(root, requests, seed, frames, transition)
    about = f"Rendered pairs with exact truth, {format_count(len(edit_types), 'edit type')} in turn, {format_count(frames, 'frame')}."
    return Benchmark(
        "exact truth by type", tuple(items), f"{planar.VERSION} ({format_count(count, 'pair')})", about
    )


def read_item(record: dict, folder: Path) -> Item:
    """Build an item from the record in its folder.

    Args:
      record: the content of item.json; names of files are relative to `folder`.
      folder: the item's folder.
    """
    files = {name: folder / record[name] if record.get(name) else None for name in _FILES}
    fields = {name: value for name, value in record.items() if name not in ("next_seed", "material")}
    extra = {"seed": record["next_seed"] - 1}
    if "material" in record:
        extra["material"] = record["material"]
    return Item(**{**fields, **files}, extra=extra)


def write_lossless_clip(frames: np.ndarray, path: Path) -> None:
    """Write uint8 [T, H, W, 3] as FFV1 in Matroska at FPS frames a second; read back bit for bit."""
    # bitexact: no random ids, so that the same frames give the same bytes.
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream("ffv1", rate=Fraction(FPS))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))


def build_items(
    root: Path,
    requests: Iterable[ItemRequest],
    seed: int,
    frames: int,
    transition: float,
    readme: str = README,
) -> list[Item]:
    """Build the items that are not there yet, with seeds that follow one another, and return all.

    Args:
      root: folder of the items.
      requests: what to build.
      seed: the first one to try.
      frames: length of the clips.
      transition: probability that an edit begins or ends inside the clip.
      readme: text that is written beside the items.

    Raises:
      InputError: no seed gives an item.
    """
    items = []
    for request in requests:
        folder = root / request.name
        if not (folder / "item.json").exists():
            pair, next_seed = _find_pair(request, seed, frames, transition)
            _write_item(pair, request, next_seed, folder)
        record = json.loads((folder / "item.json").read_text())
        seed = record["next_seed"]
        items.append(read_item(record, folder))
    write_text_atomically(root / "README.txt", readme)
    return items


def _find_pair(request: ItemRequest, seed: int, frames: int, transition: float) -> tuple[Pair, int]:
    """Return the pair of the first seed from `seed` on that gives the edit, and the seed after that."""
    options = generate.PairOptions(
        frames,
        *request.size,
        (request.recipe,),
        transition,
        sources=request.sources,
        snapshot=request.snapshot,
    )
    reasons: Counter[str] = Counter()
    for tried in range(seed, seed + MAX_TRIES):
        pair = generate.make_pair(tried, options)
        if isinstance(pair, Rejected):
            reasons[pair.reason] += 1
        elif request.edit in ("", pair.edit):
            return pair, tried + 1
    common = ", ".join(f"{reason} ({format_count(n, 'time')})" for reason, n in reasons.most_common(2))
    raise InputError(
        f"{request.name}: none of {MAX_TRIES} seeds gives an item; {common or 'the recipe never draws it'}"
    )


def _write_item(pair: Pair, request: ItemRequest, next_seed: int, folder: Path) -> None:
    clips = {
        "source": pair.source,
        "truth": pair.target,
        "mask": np.repeat(pair.mask[..., None], 3, -1),
    }
    record: dict = {
        "id": request.name,
        "kind": request.kind,
        "instruction": pair.instructions[0],
        "next_seed": next_seed,
    }
    if request.material:
        record["material"] = request.material
    for name, frames in clips.items():
        with atomic_path(folder / f"{name}.mkv") as partial:
            write_lossless_clip(frames, partial)
        record[name] = f"{name}.mkv"
    if pair.reference is not None:
        with atomic_path(folder / "reference.png") as partial:
            cv2.imwrite(str(partial), pair.reference[..., ::-1])
        record["reference"], record["reference_is_asked"] = "reference.png", pair.edit == "palette"
    if pair.active != (0, len(pair.source)):
        record["start"], record["end"] = (k / FPS for k in pair.active)
    record["source_prompt"], record["target_prompt"] = pair.source_caption, pair.target_caption
    write_text_atomically(folder / "item.json", json.dumps(record, indent=1))
