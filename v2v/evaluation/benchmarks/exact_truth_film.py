"""The exact-truth benchmark, version 4: edits of rendered scenes, of rooms, of cut-outs on footage, and looks on film.

Every kind of edit has as many items as the others, which take its materials in turn:

    scene     planar scenes (`exact_truth.py`), objects and the looks of the default mix
    room      scenes with physics (MuJoCo: pip install 'v2v-edit[scenes]'), objects
    cut-out   pictures of objects moved into footage (`cutouts=DIR`), objects
    film      footage as it is (`clips=DIR`; the packaged sample clip without it), all looks and weather

A material that is not there is left out, which the benchmark's text and version say: scores of different materials are not comparable. What the
user brings enters the version as a hash. An item counts as done by the columns of `metrics/success.py`: "success" says half of the way in squared
error, "complete success" also that no place of the frame was left as it was. Seeds are never used by training; whether footage was, only its
owner knows: use clips that no training saw.
"""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_synth import generate
from data_synth.dataset.request import fingerprint_sources
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.recipes import clip_looks, looks, planar, weather
from data_synth.recipes import cutouts as cutout_recipes
from data_synth.recipes import physics as physics_recipes
from data_synth.recipes.sources import NO_SOURCES, Sources
from v2v import assets
from v2v.errors import InputError
from v2v.evaluation.benchmarks.exact_truth import FRAME_COUNT, FRAME_SIZES, ItemRequest, build_items
from v2v.evaluation.cache import digest
from v2v.evaluation.counts import format_count
from v2v.evaluation.items import Benchmark, Item

VERSION = "4"
PER_KIND = 40
OBJECT_KINDS = ("recolour", "remove", "insert", "replace")
CUTOUT_KINDS = ("resize", "move", "count")
LOOK_KINDS = tuple(PHOTOMETRIC)
# Looks and weather that are added to footage; those that undo one have names of their own.
FILM_KINDS = (
    *(recipe.name for recipe in looks.FAMILY.recipes),
    *(recipe.name for recipe in weather.FAMILY.recipes if not recipe.name.startswith("remove-")),
)
KINDS = (*OBJECT_KINDS, "background", *CUTOUT_KINDS, *LOOK_KINDS, *FILM_KINDS)
MATERIALS = ("scene", "room", "cut-out", "film")
FIRST_SEED = generate.SCORE_SEED_BASE + 10**7
SEEDS_PER_KIND = 10**6
DATASHEET = """\
v2v's exact-truth benchmark, version {version}: pairs of clips with the exact result of an edit. One folder an item:

    item.json                         instruction, kind, material, times, captions, names of files
    source.mkv  truth.mkv  mask.mkv   FFV1, bit for bit; the mask is white where and when the clip is edited
    reference.png                     a picture of the edit, where there is one

Purpose: how often, and how well, an editor does what a sentence says. Not for training.
Items: {kinds} kinds, {per_kind} of each, {materials}.
Clips: {frames} frames at 25 a second, of {sizes} pixels (height x width) in turn; half of the edits are on for part of the clip only.
Made from: seeds from {seed} on, which no training run of v2v uses, and
{sources}
Left out: {left_out}.
Licenses: scenes and rooms Apache-2.0; footage and cut-outs as their owner states them.
Limits: instructions are written by templates; scenes and cut-outs are simpler than film; looks are those of v2v's own operators.
The same version, seed, sizes, kinds and sources make the same bytes.
"""


@dataclass(frozen=True)
class _Source:
    """One way to make items of a kind: material, recipe and, of recipes that draw among edits, the edit."""

    material: str
    recipe: str
    edit: str = ""


def build_film_benchmark(
    folder: Path,
    *,
    clips: str | Path = "",
    cutouts: str | Path = "",
    per_kind: int = PER_KIND,
    kinds: tuple[str, ...] = KINDS,
    materials: tuple[str, ...] = MATERIALS,
    seed: int = FIRST_SEED,
    frames: int = FRAME_COUNT,
    sizes: tuple[tuple[int, int], ...] = FRAME_SIZES,
) -> Benchmark:
    """Build the benchmark in a folder of its own below `folder`; items that exist are not built again.

    Args:
      folder: any folder.
      clips: folder of footage; "" for the packaged sample clip.
      cutouts: folder of pictures with alpha, named after what they show; "" leaves the material out.
      per_kind: items of each kind; a smaller number is the beginning of a larger one's.
      kinds: of KINDS.
      materials: of MATERIALS. Rooms are left out where MuJoCo is not installed.
      seed: of the first kind; each kind has a range of its own.
      frames: length of the clips.
      sizes: heights and widths of the clips, in turn.

    Raises:
      InputError: unknown kinds or materials, a kind that none of the materials has, or sources that give no item.
    """
    for what, names, choices in (("kinds", kinds, KINDS), ("materials", materials, MATERIALS)):
        if unknown := [name for name in names if name not in choices]:
            raise InputError(f"{what}: expected names among {', '.join(choices)}; got {', '.join(unknown)}")
    left_out = {
        "room": "MuJoCo is not installed" if importlib.util.find_spec("mujoco") is None else "",
        "cut-out": "" if cutouts else "no cut-outs were given",
    }
    usable_materials = tuple(m for m in materials if not left_out.get(m))
    reasons = [f"{m} ({left_out[m]})" for m in materials if left_out.get(m)]
    sources = Sources(clips=str(clips or Path(assets.SAMPLE).parent), cutouts=str(cutouts))
    hashes = fingerprint_sources(sources) if {"cut-out", "film"} & {*usable_materials} else {}
    content = {
        "version": VERSION, "materials": list(usable_materials), "seed": seed, "frames": frames, "sizes": [list(s) for s in sizes],
        "sources": sorted(hashes.values()), "recipes": _recipe_versions(),
    }  # fmt: skip
    root = Path(folder) / f"exact-truth-film-{digest(content)[:12]}"
    snapshot = json.dumps(hashes, sort_keys=True) if hashes else ""
    names = {
        path: f"{'cut-outs' if path == str(cutouts) else 'footage'} {value[:8]}"
        for path, value in hashes.items()
    }
    readme = DATASHEET.format(
        version=VERSION, kinds=len(kinds), per_kind=per_kind, materials=", ".join(usable_materials), frames=frames, seed=seed,
        sizes=", ".join(f"{h}x{w}" for h, w in sizes), left_out=", ".join(reasons) or "nothing",
        sources="\n".join(f"    {name} (hash of names and contents)" for name in names.values()) or "    nothing else",
    )  # fmt: skip
    items: list[Item] = []
    for kind in kinds:
        requests = list(_requests(kind, usable_materials, per_kind, sizes, sources, snapshot))
        items += build_items(
            root, requests, seed + KINDS.index(kind) * SEEDS_PER_KIND, frames, transition=0.5, readme=readme
        )
    counts = Counter(item.extra["material"] for item in items)
    about = (
        f"Exact truth, {format_count(len(kinds), 'kind')} x {per_kind}, {format_count(frames, 'frame')}: "
        + ", ".join(f"{n} {material}" for material, n in counts.items())
    )
    about += f"; left out: {', '.join(reasons)}." if reasons else "."
    is_complete = (per_kind, kinds, usable_materials) == (PER_KIND, KINDS, MATERIALS)
    parts = [
        *(() if is_complete else (f"{len(kinds)} kinds x {per_kind}", "+".join(usable_materials))),
        *names.values(),
    ]
    return Benchmark("exact truth on film", tuple(items), f"{VERSION} ({', '.join(parts)})", about)


def _requests(
    kind: str,
    materials: tuple[str, ...],
    per_kind: int,
    sizes: tuple[tuple[int, int], ...],
    sources: Sources,
    snapshot: str,
) -> Iterator[ItemRequest]:
    """Yield the items of a kind, whose materials and sizes take turns."""
    kind_sources = [source for source in _sources(kind) if source.material in materials]
    if not kind_sources:
        names = ", ".join(source.material for source in _sources(kind))
        raise InputError(f"kind {kind}: expected one of the materials {names}, got {', '.join(materials)}")
    for k in range(per_kind):
        source = kind_sources[k % len(kind_sources)]
        # Rendered scenes stay what they are whatever footage there is.
        is_rendered = source.material in ("scene", "room")
        yield ItemRequest(
            f"{kind.replace(' ', '-')}-{k:02d}", kind, source.recipe, sizes[(k // len(kind_sources)) % len(sizes)], source.edit, source.material,
            NO_SOURCES if is_rendered else sources, "" if is_rendered else snapshot,
        )  # fmt: skip


def _sources(kind: str) -> list[_Source]:
    if kind in OBJECT_KINDS:
        return [
            _Source("scene", kind),
            _Source("room", f"physics-{kind}"),
            _Source("cut-out", f"cutout-{kind}"),
        ]
    if kind == "background":
        return [_Source("scene", kind), _Source("room", "physics-background")]
    if kind in CUTOUT_KINDS:
        return [_Source("cut-out", f"cutout-{kind}")]
    if kind in LOOK_KINDS:
        return [_Source("scene", kind), _Source("film", "look-on-clip", kind)]
    return [_Source("film", kind)]


def _recipe_versions() -> dict[str, str]:
    return {
        "scene": planar.VERSION,
        "room": physics_recipes.FAMILY.version,
        "cut-out": cutout_recipes.VERSION,
        "look on clip": clip_looks.VERSION,
        "look": looks.FAMILY.version,
        "weather": weather.FAMILY.version,
    }
