"""The estimate of a build before it starts: pairs, bytes, files and hours, from a few pairs that are made and thrown away.

request → a sample of seeds → **estimate** → `v2v synth --dry-run`
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter

from data_synth import generate
from data_synth.dataset import build, shards
from data_synth.dataset.request import SynthRequest, fingerprint_sources
from data_synth.recipes import registry
from data_synth.rejection import Rejected
from v2v.errors import InputError

# Bounds of the sample: seconds, pairs, and seeds.
SAMPLE_SECONDS = 30.0
SAMPLE_PAIRS = 32
SAMPLE_SEEDS = 512
# Size of the files that small shards are joined to.
_FILE_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a build takes.

    Attributes:
      pairs: Number of pairs: fewer than requested where the rows of finite sets run out.
      seeds: Number of seeds.
      bytes: Bytes of the finished set.
      files: Number of its array_record files.
      seconds_per_pair: Seconds of one worker for a pair, those of external programs included.
      hours: Hours with the request's workers.
      sample_pairs: Number of pairs in the sample.
      dropped: Seeds of the sample that gave no pair, by reason.
      requests: Number of requests to chat endpoints, at least.
      cost: What these cost by the prices in their descriptions; 0 where none is stated.
    """

    pairs: int
    seeds: int
    bytes: int
    files: int
    seconds_per_pair: float
    hours: float
    sample_pairs: int
    dropped: dict[str, int]
    requests: int = 0
    cost: float = 0.0

    def format(self, workers: int) -> str:
        """Return the estimate for people.

        Args:
          workers: Number of processes that the hours are for.
        """
        share = self.pairs / self.seeds
        lines = [
            f"about {self.pairs:,} pairs from {self.seeds:,} seeds ({share:.0%} give one)",
            f"{_format_bytes(self.bytes)} in {self.files:,} files",
            f"{self.hours:.3g} hours with {workers} {'worker' if workers == 1 else 'workers'}, {self.seconds_per_pair:.3g} s a pair and worker, "
            f"{self.pairs * self.seconds_per_pair / 3600:,.3g} core-hours",
            f"measured on {self.sample_pairs} pairs on this machine as busy as it is now",
        ]
        if self.requests:
            price = f", which cost about {self.cost:,.2f}" if self.cost else ""
            lines.append(f"at least {self.requests:,} requests to chat endpoints{price}")
        lines += [f"dropped: {reason} ({n})" for reason, n in self.dropped.items()]
        return "\n".join(lines)


def estimate_build(request: SynthRequest, seconds: float = SAMPLE_SECONDS) -> Estimate:
    """Make some pairs of a request, which are not kept, and reckon what all take; nothing is written.

    Args:
      request: What would be built.
      seconds: Seconds after which no further pairs are made.

    Raises:
      InputError: The request is impossible, or the sample gives no pair.
    """
    request.check()
    content = fingerprint_sources(request.sources)
    snapshot = json.dumps(content, sort_keys=True) if content else ""
    request.check_recipes(snapshot)
    size = request.largest_size
    block = max(
        shards.block_length(*size), registry.seeds_per_call(request.recipes, request.sources, snapshot)
    )
    last = generate.count_rows(request.recipes, request.sources, snapshot)
    options = request.pair_options(snapshot)
    # What a process does once is no part of a pair's time.
    build.make_records([request.seed], options)
    rejections: Counter[str] = Counter()
    pair_count = seed_count = byte_count = 0
    start = time.perf_counter()
    while pair_count < min(SAMPLE_PAIRS, request.pairs) and seed_count < SAMPLE_SEEDS:
        first = request.seed + seed_count
        seeds = range(first, first + block if last is None else min(first + block, last))
        if not seeds or (pair_count and time.perf_counter() - start > seconds):
            break
        for outcome in build.make_records(seeds, options):
            seed_count += 1
            if isinstance(outcome, Rejected):
                rejections[str(outcome)] += 1
                continue
            pair_count += 1
            byte_count += sum(len(value) for value in outcome.record.values() if isinstance(value, bytes))
    elapsed = time.perf_counter() - start
    if not pair_count:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in rejections.most_common(5))
        raise InputError(
            f"pairs: expected some of {seed_count} seeds to give one, got none; dropped: {reasons}"
        )
    share = pair_count / seed_count
    pairs = request.pairs if last is None else min(request.pairs, round((last - request.seed) * share))
    total = round(byte_count / pair_count * pairs)
    shard_bytes = shards.shard_length(*size, block, request.pairs) * share * byte_count / pair_count
    files = max(1, round(total / max(_FILE_BYTES if shard_bytes < 32 << 20 else shard_bytes, 1)))
    seconds_per_pair = elapsed / pair_count
    requests = registry.count_requests(request.recipes, request.sources, round(pairs / share))
    return Estimate(
        pairs,
        round(pairs / share),
        total,
        files,
        seconds_per_pair,
        pairs * seconds_per_pair / request.workers / 3600,
        pair_count,
        dict(rejections.most_common(5)),
        sum(count for _, count, _ in requests),
        sum(cost for _, _, cost in requests),
    )


def _format_bytes(count: int) -> str:
    for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count / 1000:.3g} kB"
