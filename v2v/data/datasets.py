"""Folders of pairs → what of them a run trains on. data_synth → TFDS → **sets** → cache.py

A survey reads only headers, so all is known before hours of encoding: clips of each size, clips left out and why, frames used and
frames there. With weights, a set gives its share of the clips drawn, however large it is; without, each clip is drawn equally often.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from v2v.data import buckets, pair
from v2v.data.buckets import Size
from v2v.errors import InputError


@dataclasses.dataclass(frozen=True)
class Survey:
    """Of one set.

    Attributes:
      name: the folder's.
      count: pairs in it.
      chosen: size → numbers of the pairs that train at it.
      dropped: reason → pairs left out.
      frames: (used, there).
    """

    name: str
    count: int
    chosen: dict[Size, list[int]]
    dropped: dict[str, int]
    frames: tuple[int, int]


def open_set(folder: str | Path) -> Any:
    """Records of a set, by number; raises InputError when there are none."""
    import tensorflow_datasets as tfds

    try:
        found = tfds.builder_from_directory(str(folder)).as_data_source("train")
    except Exception as err:  # TFDS raises many kinds
        raise InputError(
            f"{folder}: expected pairs written by v2v synth, could not open them ({err})"
        ) from err
    if not len(found):
        raise InputError(
            f"{folder}: expected pairs, found none; leave it out of --sets or make some with v2v synth"
        )
    return found


def names(folders: Sequence[str]) -> list[str]:
    """The folders' own names, under which their latents are kept; raises InputError when two have the same."""
    out = [Path(folder).resolve().name for folder in folders]
    twice = [name for name, n in Counter(out).items() if n > 1]
    if twice:
        raise InputError(
            f"sets: two of them are called {twice[0]}; rename one, their latents lie side by side"
        )
    return out


def survey(name: str, records: Any, wanted: Sequence[Size]) -> Survey:
    """Every pair's size against the sizes `wanted`.

    Raises:
      InputError: no pair fills any of them.
    """
    chosen: dict[Size, list[int]] = {size: [] for size in wanted}
    dropped: Counter[str] = Counter()
    used = there = 0
    for i in range(len(records)):
        clip = pair.size(records[i])
        size, reason = buckets.choose(clip, wanted)
        there += clip[0]
        if size is None:
            dropped[reason] += 1
        else:
            chosen[size].append(i)
            used += size[0]
    found = Survey(name, len(records), {s: c for s, c in chosen.items() if c}, dict(dropped), (used, there))
    if not found.chosen:
        raise InputError(
            f"set {name}: expected clips of {' or '.join(map(buckets.label, wanted))}, none of its {len(records)} pairs fills one"
            f" ({_reasons(found)}); change --data.sizes, leave the set out of --sets, or make pairs with v2v synth --frames --height"
            " --width"
        )
    return found


def shares(surveys: Sequence[Survey], weights: Sequence[float] = ()) -> list[dict[Size, float]]:
    """Of all clips drawn, the share of each set and size; they sum to 1. Without weights a set counts by its clips.

    Raises:
      InputError: other than one positive weight a set.
    """
    if weights and (len(weights) != len(surveys) or min(weights) <= 0):
        raise InputError(
            f"data.mixture: expected one positive weight for each of the {len(surveys)} sets, got {tuple(weights)}"
        )
    counts = [sum(map(len, s.chosen.values())) for s in surveys]
    weights = weights or counts
    total = sum(weights)
    return [
        {size: weight / total * len(chosen) / count for size, chosen in s.chosen.items()}
        for s, weight, count in zip(surveys, weights, counts, strict=True)
    ]


def describe(surveys: Sequence[Survey], weights: Sequence[float] = ()) -> str:
    """Lines for people: every set, its clips of each size, what was left out and why, frames."""
    lines = []
    for found, share in zip(surveys, shares(surveys, weights), strict=True):
        used, there = found.frames
        kept = sum(map(len, found.chosen.values()))
        lines.append(
            f"set {found.name}: {found.count} pairs, {kept} used, {found.count - kept} left out; {used} of {there} frames used;"
            f" {sum(share.values()):.1%} of the clips drawn"
        )
        lines += [f"{len(chosen):>8}  {buckets.label(size)}" for size, chosen in found.chosen.items()]
        lines += [f"{n:>8}  left out: {reason}" for reason, n in found.dropped.items()]
    return "\n".join(lines)


def remembered(file: Path, name: str, records: Any, wanted: Sequence[Size]) -> Survey:
    """`survey`, kept as JSON in `file`: reading every header of a large set takes long, and is done again only when the set has
    another number of pairs or other sizes are wanted."""
    asked = {"count": len(records), "wanted": [list(size) for size in wanted]}
    if file.exists():
        plain = json.loads(file.read_text())
        if {key: plain.pop(key) for key in asked} == asked:
            chosen = {tuple(size): numbers for size, numbers in plain["chosen"]}
            return Survey(name, len(records), chosen, plain["dropped"], tuple(plain["frames"]))
    found = survey(name, records, wanted)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    plain = {"chosen": list(found.chosen.items()), "dropped": found.dropped, "frames": found.frames}
    partial.write_text(json.dumps(asked | plain))
    partial.rename(file)
    return found


def _reasons(found: Survey) -> str:
    return ", ".join(f"{n}: {reason}" for reason, n in found.dropped.items())
