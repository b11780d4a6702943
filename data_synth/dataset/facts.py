"""The facts of a pair: what the report, the search for duplicates, training's survey and `v2v pairs` need to know without its record.

Pair → **facts** → the JSON line of a shard → pairs.jsonl of the set

Workers collect them while they hold the pair anyway, so that nothing afterwards decodes a record again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from data_synth import quality
from v2v.data import pair as pr
from v2v.data.pair import Pair

# Entries of a pair's provenance that name experts which wrote about it.
WRITERS = ("captioner", "instructor", "filter")


@dataclasses.dataclass(frozen=True)
class PairFacts:
    """Facts of one pair.

    Attributes:
      seed: Its seed.
      edit: As in `Pair`.
      recipe: As in `Pair`.
      frames: Number of frames.
      height: In pixels.
      width: In pixels.
      area: Share of pixels that the mask covers.
      instructions: As in `Pair`.
      reference: Whether there is a reference picture.
      license: All licenses that hold for the pair.
      makers: External programs that worked on it.
      hash: Text that near-duplicates share.
      size: Bytes of the serialized record.
      fps: Frames per second; None where they are not known.
      clip: Name of the footage, "" where the pair was rendered.
    """

    seed: int
    edit: str
    recipe: str
    frames: int
    height: int
    width: int
    area: float
    instructions: tuple[str, ...]
    reference: bool
    license: str
    makers: tuple[str, ...]
    hash: str
    size: int = 0
    fps: float | None = None
    clip: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON takes them."""
        return vars(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> PairFacts:
        """Return the facts that `to_json` returned, perhaps those of another version, which has more fields."""
        names = {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {name: value for name, value in fields.items() if name in names}
        values |= {name: tuple(values[name]) for name in ("instructions", "makers")}
        return cls(**values)


def collect_facts(pair: Pair) -> PairFacts:
    """Return the facts of a pair, all but the size of its record."""
    T, H, W = pair.mask.shape
    fps = pair.provenance.get("fps")
    digest = hashlib.blake2s(quality.fingerprint_pair(pair).encode(), digest_size=8)
    return PairFacts(
        seed=int(pair.seed),
        edit=pair.edit,
        recipe=pair.recipe,
        frames=T,
        height=H,
        width=W,
        area=np.count_nonzero(pair.mask) / pair.mask.size,
        instructions=tuple(pair.instructions),
        reference=pair.reference is not None,
        license=find_licenses(pair.provenance),
        makers=find_makers(pair.provenance),
        hash=digest.hexdigest(),
        fps=float(fps) if isinstance(fps, int | float) else None,
        clip=_find_clip(pair.provenance),
    )


def collect_record_facts(record: dict) -> PairFacts:
    """Return the facts of an encoded pair, which is decoded for them: those of shards of older builds."""
    return collect_facts(pr.decode_pair(record))


def _find_clip(provenance: dict) -> str:
    clip = str(provenance.get("clip") or "")
    return "" if clip == "rendered" else clip or str(provenance.get("source") or "")


def format_facts(facts: PairFacts) -> str:
    """Return a line of JSON."""
    return json.dumps(facts.to_json(), ensure_ascii=True) + "\n"


def find_licenses(provenance: dict) -> str:
    """Return all licenses that hold for a pair: of its clip, of the experts and the composition that worked on it."""
    parts = [
        provenance,
        *_iterate_experts(provenance),
        provenance.get("composition"),
        provenance.get("mask"),
        provenance.get("donor"),
        *(provenance.get(name) for name in WRITERS),
    ]
    licenses = [str(part["license"]) for part in parts if isinstance(part, dict) and part.get("license")]
    return " + ".join(dict.fromkeys(licenses)) or "unknown"


def find_makers(provenance: dict) -> tuple[str, ...]:
    """Return the external programs that worked on a pair: those that state a license, as operators of ours do not."""
    parts = [
        *_iterate_experts(provenance),
        provenance.get("mask"),
        *(provenance.get(name) for name in WRITERS),
    ]
    makers = [
        f"{part.get('name')} {part.get('version')}".strip()
        for part in parts
        if isinstance(part, dict) and part.get("license")
    ]
    writer = provenance.get("writer")
    return tuple(dict.fromkeys([*makers, *([f"writer {writer}"] if writer else [])]))


def _iterate_experts(provenance: dict) -> Iterator[Any]:
    yield provenance.get("expert")
    yield from provenance.get("experts", ())
