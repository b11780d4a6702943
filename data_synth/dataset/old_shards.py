"""Shards of builds that an earlier version began: one file START-END.shard with records and rejections, read only.

Layout: for each seed a line of JSON. For a rejection it is {"seed", "reason", "transient", "error"}, in still older builds {"seed", "reason"}
alone; for a record {"seed", "fields", "sizes"}, followed by the bytes of its fields. The last 32 bytes are the SHA-256 of the rest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from data_synth.rejection import Rejected

# How the oldest builds stored rejections: the kind was part of the text.
_TRANSIENT_REASON = re.compile(r": expert (\S+ )?(cannot be|took more than|crashed|answered HTTP 5)")
_ERROR_PREFIX = "failed: "


def find_results(
    folder: Path, seeds: range, first: int, length: int
) -> Iterator[tuple[int, dict | Rejected]]:
    """Yield seeds with their records or rejections, as far as sound old shards in a folder hold them.

    Args:
      folder: Folder of the shards, a Path or an epath one.
      seeds: Seeds that are looked for.
      first: First seed of the build.
      length: Number of seeds that old shards hold.
    """
    start = first + (seeds.start - first) // length * length
    for shard_start in range(start, seeds.stop, length):
        # The last shard of a finite build is shorter.
        for stop in dict.fromkeys((shard_start + length, min(shard_start + length, seeds.stop))):
            path = folder / f"{shard_start:012d}-{stop:012d}.shard"
            try:
                results = read_old_shard(path)
            except (OSError, ValueError):
                continue
            yield from ((seed, outcome) for seed, outcome in results if seed in seeds)


def read_old_shard(path: Path) -> list[tuple[int, dict | Rejected]]:
    """Read the seeds in an old shard, with their records or rejections.

    Raises:
      ValueError: The file is damaged.
    """
    data = path.read_bytes()
    if len(data) < 32 or hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise ValueError(f"{path}: damaged")
    results, at, end = [], 0, len(data) - 32
    while at < end:
        stop = data.index(b"\n", at)
        line = json.loads(data[at:stop])
        at = stop + 1
        if "reason" in line:
            results.append((line["seed"], _parse_rejection(line)))
            continue
        record = dict(line["fields"])
        for name, size in line["sizes"]:
            record[name] = data[at : at + size]
            at += size
        results.append((line["seed"], record))
    return results


def _parse_rejection(line: dict) -> Rejected:
    """Return the rejection in a line; that of the oldest builds holds only a text."""
    reason = line["reason"]
    if "transient" in line:
        return Rejected(
            reason, line["transient"], line["error"], line.get("outage", False), line.get("recipe", "")
        )
    if reason.startswith(_ERROR_PREFIX):
        return Rejected(reason.removeprefix(_ERROR_PREFIX), error=True)
    return Rejected(reason, transient=bool(_TRANSIENT_REASON.search(reason)))
