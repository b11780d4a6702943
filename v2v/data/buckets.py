"""Clips of one size, and which of them make which batches. cache.py → **buckets** → loader.py

A bucket holds what was cached at one size, from one or more sets. Of it come two kinds of batches, with a reference picture and
without one; a kind with fewer pairs than a batch is left out, and the other takes its share. `report` says all of it before step 0.

Which clips train at which size, and how many of them make a batch. pairs → **sizes** → sets.py → cache.py

A size is (frames, height, width). A clip goes to the largest one it fills:
    frames   at least as many as the size has; of a longer clip a window is kept that holds the beginning of the edit. Pictures go
             to sizes of one frame, clips to those of several: a clip cut down to one frame would be a waste, a still no video
    picture  shrunk until it just covers the size, never enlarged; of what stands over, at most CUT of the picture's area is cut
             off, along one axis and around the edit's mask
A clip that fills none is left out with its reason. A batch holds as many clips of a size as a budget of tokens allows.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from v2v.config import DataConfig
from v2v.data.latent_cache import facts
from v2v.data.pair import Pair
from v2v.data.transforms import frames_of
from v2v.errors import InputError


@dataclass(frozen=True)
class Cached:
    """Cached clips of one set and size.

    Attributes:
      shards: of data/cache.py. weight: how often its clips are drawn, against other sets and sizes (sets.shares).
      first: the number that error messages give to the set's first pair.
    """

    shards: list[str]
    weight: float = 1.0
    first: int = 0
    facts: list[dict] = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "facts", facts(self.shards))


@dataclass(frozen=True)
class Bucket:
    """Clips of one size.

    Attributes:
      batch: clips in a batch, over all processes.
      time_masks: latents of the masks of whole frames (`latent_cache.write`).
      sets: what clips are drawn from.
      stride_t: frames that one latent frame stands for, after the first (`VAEConfig.stride_t`).
    """

    batch: int
    time_masks: np.ndarray
    sets: tuple[Cached, ...]
    stride_t: int = 4

    @property
    def grid(self) -> tuple[int, int, int]:
        """Latent frames, height and width."""
        return self.time_masks.shape[2:5]


@dataclass(frozen=True)
class Kind:
    """Batches of one bucket with a reference picture, or without: `share` of the bucket's, from `chosen` records of each set."""

    bucket: Bucket
    reference: bool
    share: float
    chosen: tuple[list[int], ...]

    @property
    def count(self) -> int:
        return sum(map(len, self.chosen))

    @property
    def full(self) -> bool:
        return self.count >= self.bucket.batch

    @property
    def rate(self) -> float:
        """How often such a batch comes, against others: clips drawn over clips a batch."""
        return self.share * sum(s.weight for s in self.bucket.sets) / self.bucket.batch


def kinds_of(bucket: Bucket, data: DataConfig) -> list[Kind]:
    made = []
    for ref, share in ((False, 1 - data.reference), (True, data.reference)):
        chosen = tuple(_chosen(s, ref, data.held_out) for s in bucket.sets)
        made += [Kind(bucket, ref, share, chosen)] if share else []
    whole = sum(kind.share for kind in made if kind.full) or 1.0
    return [dataclasses.replace(kind, share=kind.share / whole) for kind in made]


def _chosen(cached: Cached, reference: bool, held_out: float) -> list[int]:
    kept = set(held_out_of(len(cached.facts), held_out))
    good = (lambda fact: fact["reference"]) if reference else (lambda fact: fact["edit"] != "palette")
    return [i for i, fact in enumerate(cached.facts) if i not in kept and good(fact)]


def check(kinds: list[Kind], data: DataConfig) -> None:
    for ref, name in ((False, "no need of a reference"), (True, "a reference")):
        asked = [kind for kind in kinds if kind.reference == ref]
        if asked and not any(kind.full for kind in asked):
            most = max(asked, key=lambda kind: kind.count)
            raise InputError(
                f"edit_batches: expected at least {most.bucket.batch} pairs with {name}, got {most.count}; make more pairs or"
                f" change data.reference, now {data.reference}"
            )
    members = {id(s): (kind.bucket, s) for kind in kinds for s in kind.bucket.sets}
    used = {
        id(s) for kind in kinds if kind.full for s, c in zip(kind.bucket.sets, kind.chosen, strict=True) if c
    }
    empty = [
        f"{s.shards[0]} ({len(s.facts)} pairs of {size_of(b)})"
        for key, (b, s) in members.items()
        if key not in used
    ]
    if empty:
        raise InputError(
            f"edit_batches: expected pairs to train on from every set and size, none are left of {', '.join(empty)}; make more"
            " pairs, or leave that set or size out"
        )


def held_out_of(count: int, share: float) -> list[int]:
    """Evenly spread over the records, and the same for any number of processes."""
    return [] if share == 0 else list(range(0, count, max(1, round(1 / share))))


def recipes_of(buckets: Sequence[Bucket]) -> tuple[str, ...]:
    return tuple(sorted({fact["recipe"] for b in buckets for s in b.sets for fact in s.facts}))


def size_of(bucket: Bucket) -> str:
    t, y, x = bucket.grid
    return f"{frames_of(t, bucket.stride_t)} frames ({t}x{y}x{x} latents)"


def report(buckets: Sequence[Bucket], kinds: Sequence[Kind], data: DataConfig) -> str:
    """What a run will see, for people: pairs, frames, held out, then every kind of batch, then every edit."""
    every = [(b, s) for b in buckets for s in b.sets]
    pairs, shards = sum(len(s.facts) for _, s in every), sum(len(s.shards) for _, s in every)
    held = sum(len(held_out_of(len(s.facts), data.held_out)) for _, s in every)
    refs = sum(fact["reference"] for _, s in every for fact in s.facts)
    frames = sum(len(s.facts) * frames_of(b.grid[0], b.stride_t) for b, s in every)
    lines = [
        f"data: {pairs} pairs in {shards} shards, {frames} frames, {held} held out, {refs} with a reference, shown in"
        f" {data.reference:.0%} of the batches"
    ]
    total = sum(kind.rate for kind in kinds if kind.full)
    for kind in kinds:
        what = f"{kind.count:>8}  pairs of {size_of(kind.bucket)} with{'' if kind.reference else 'out'} a reference"
        how = f"batches of {kind.bucket.batch}, {kind.rate / total:.1%} of all"
        lines.append(f"{what}: {how if kind.full else f'left out, a batch is {kind.bucket.batch}'}")
    counts = Counter(fact["edit"] for _, s in every for fact in s.facts)
    return "\n".join(lines + [f"{n:>8}  {edit}" for edit, n in counts.most_common()])


Size = tuple[int, int, int]  # frames, height, width
CUT = 0.2  # of a picture's area


def label(size: Size) -> str:
    """As people write it and folders are called: 81x480x832."""
    return "x".join(map(str, size))


def choose(clip: Size, sizes: Sequence[Size]) -> tuple[Size | None, str]:
    """(the largest of `sizes` that a clip of this size fills, "") or (None, why it fills none)."""
    kind = [size for size in sizes if (size[0] == 1) == (clip[0] == 1)]
    if not kind:
        return None, "a picture, and no size has one frame" if clip[
            0
        ] == 1 else "a clip, and all sizes have one frame"
    long = [size for size in kind if size[0] <= clip[0]]
    if not long:
        return None, f"fewer than {min(size[0] for size in kind)} frames"
    large = [size for size in long if size[1] <= clip[1] and size[2] <= clip[2]]
    if not large:
        return None, "a smaller picture than any size it is long enough for"
    fitting = [size for size in large if _cut(clip, size) <= CUT]
    if not fitting:
        return None, f"another shape: more than {CUT:.0%} of the picture would be cut off"
    return max(fitting, key=lambda size: (math.prod(size), size)), ""


def crop(pair: Pair, size: Size) -> Pair:
    """The pair at a size that `choose` gave it; untouched where it has it already.

    Outside the mask source and target stay equal where they were: what an edited pixel is averaged into is masked too.
    """
    T, H, W = pair.mask.shape
    t, h, w = size
    if (T, H, W) == size:
        return pair
    start, end = pair.active
    first = min(max(0, start - t // 2), T - t) if end - start < T else 0
    scale = max(h / H, w / W)
    rows, columns = max(h, round(H * scale)), max(w, round(W * scale))
    top, left = (
        _place(pair.mask.any((0, axis)), n, kept) for axis, n, kept in ((2, rows, h), (1, columns, w))
    )

    def cut(video: np.ndarray) -> np.ndarray:
        frames = [
            cv2.resize(f, (columns, rows), interpolation=cv2.INTER_AREA) for f in video[first : first + t]
        ]
        return np.ascontiguousarray(np.stack(frames)[:, top : top + h, left : left + w])

    def cut_mask(mask: np.ndarray) -> np.ndarray:
        return np.where(cut(mask.astype(np.float32)) > 0, 255, 0).astype(np.uint8)

    return dataclasses.replace(
        pair, source=cut(pair.source), target=cut(pair.target), mask=cut_mask(pair.mask),
        effect=None if pair.effect is None else cut_mask(pair.effect),
        active=(max(start - first, 0), min(end - first, t)),
    )  # fmt: skip


def batch_size(size: Size, tokens: int, budget: int, unit: int) -> int:
    """Clips of `tokens` tokens that a batch of at most `budget` tokens holds, a multiple of `unit` (devices that share it, times
    micro-batches).

    Raises:
      InputError: not even `unit` of them.
    """
    if tokens * unit > budget:
        raise InputError(
            f"data.sizes: {unit} clips of {label(size)}, the fewest the devices can share, are {tokens * unit:,} tokens, the budget"
            f" is {budget:,}; raise --data.tokens (0: those of edit.batch clips of the model's size) or leave that size out"
        )
    return budget // (tokens * unit) * unit


def _cut(clip: Size, size: Size) -> float:
    """Share of the picture's area that is lost."""
    _, H, W = clip
    scale = max(size[1] / H, size[2] / W)
    return 1 - size[1] * size[2] / (H * W * scale**2)


def _place(edited: np.ndarray, n: int, kept: int) -> int:
    """Where `kept` of `n` places begin so that the middle of what is edited lies as near their middle as can be."""
    where = np.flatnonzero(edited)
    middle = (where[0] + where[-1] + 1) / 2 / len(edited) * n if len(where) else n / 2
    return int(min(max(0, round(middle - kept / 2)), n - kept))
