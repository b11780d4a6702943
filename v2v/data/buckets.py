"""Buckets of cached clips of one size, the batches made of them, and the choice of a size for every clip.

latent_cache.py -> **buckets** -> loader.py

A bucket holds the clips cached at one size, from one or more datasets. It gives two kinds of batches: with a reference picture and
without one. A kind with fewer pairs than a batch is skipped and its share goes to the other kind. Where sources are dropped there are more kinds:
a batch has them all or none, as their tokens are left out.

A size is (frames, height, width). A clip is assigned to the largest size that it fills:
    frames   the clip has at least as many frames as the size. From a longer clip a window is cut that contains the start of the edit.
             Pictures only go to sizes of one frame, clips only to sizes of several.
    picture  the frame is shrunk until it just covers the size, never enlarged. At most MAX_CROP of its area is cut off, along one
             axis and centred on the edit's mask.
A clip that fills no size is skipped, with a reason. The batch of a size is the largest that fits a budget of tokens.
"""

import copy
import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from v2v.config import DataConfig
from v2v.data.latent_cache import RecordFacts, read_facts
from v2v.data.pair import OVERLAP, Pair
from v2v.data.transforms import frame_count
from v2v.errors import InputError

# Frames, height, width.
Size = tuple[int, int, int]
# Largest share of a picture's area that may be cut off.
MAX_CROP = 0.2


@dataclass(frozen=True)
class CachedClips:
    """Cached clips of one dataset and size.

    Attributes:
      shards: paths of array_record files written by `latent_cache`.
      weight: relative frequency with which its clips are drawn.
      first: number of the dataset's first pair, for error messages.
      held_out: positions of records that are never trained on; None for those of the share `DataConfig.held_out`.
      planned_facts: of records that are still to be encoded; () reads those of the shards.
      later_weights: `weight` after each change of the mixture (`DataConfig.mixture_changes`).
      counts: number of records of every shard.
      facts: facts of every record.
    """

    shards: list[str]
    weight: float = 1.0
    first: int = 0
    held_out: tuple[int, ...] | None = None
    planned_facts: tuple[RecordFacts, ...] = field(default=(), repr=False)
    later_weights: tuple[float, ...] = ()
    counts: list[int] = field(init=False, repr=False)
    facts: list[RecordFacts] = field(init=False, repr=False)

    def __post_init__(self):
        facts = (
            [list(self.planned_facts)] if self.planned_facts else [read_facts([path]) for path in self.shards]
        )
        object.__setattr__(self, "counts", [len(of_shard) for of_shard in facts])
        object.__setattr__(self, "facts", [fact for of_shard in facts for fact in of_shard])

    def held_out_indices(self, share: float) -> list[int]:
        """Return the positions of records that are never trained on.

        Args:
          share: `DataConfig.held_out`.
        """
        return held_out_indices(len(self.facts), share) if self.held_out is None else list(self.held_out)


@dataclass(frozen=True)
class Bucket:
    """Clips of one size.

    Attributes:
      batch: clips in a batch, over all processes.
      time_masks: latents of the masks of whole frames (`latent_cache`).
      sets: the cached clips of every dataset.
      stride_t: frames that one latent frame stands for, after the first (`VAEConfig.stride_t`).
      repeats: fewer clips than a batch fill one by being repeated, each time with other noise; otherwise they are left out.
    """

    batch: int
    time_masks: np.ndarray
    sets: tuple[CachedClips, ...]
    stride_t: int = 4
    repeats: bool = False

    @property
    def grid(self) -> tuple[int, int, int]:
        """Size of the latents: frames, height and width."""
        return self.time_masks.shape[2:5]

    def after_change(self, number: int) -> "Bucket":
        """Return the bucket with the weights after a change of the mixture, numbered from 1; 0 for those of the beginning."""
        if number == 0:
            return self
        changed = copy.copy(self)
        sets = tuple(copy.copy(clips) for clips in self.sets)  # their facts are not read again
        for clips in sets:
            object.__setattr__(clips, "weight", clips.later_weights[number - 1])
        object.__setattr__(changed, "sets", sets)
        return changed


@dataclass(frozen=True)
class BatchKind:
    """Batches of one bucket that all show the same conditions.

    Attributes:
      bucket: the bucket that the clips are drawn from.
      reference: whether the batches have a reference picture.
      share: share of the bucket's batches, between 0 and 1.
      indices: indices of the usable records of each dataset.
      hidden: of "source" (with its mask) and "text", what the batches don't show.
    """

    bucket: Bucket
    reference: bool
    share: float
    indices: tuple[list[int], ...]
    hidden: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of usable records."""
        return sum(map(len, self.indices))

    @property
    def full(self) -> bool:
        """Whether the usable records fill a batch."""
        return self.count >= (1 if self.bucket.repeats else self.bucket.batch)

    @property
    def rate(self) -> float:
        """Relative frequency of such batches: clips drawn, divided by the clips in a batch."""
        return self.share * sum(s.weight for s in self.bucket.sets) / self.bucket.batch


def build_batch_kinds(bucket: Bucket, data: DataConfig) -> list[BatchKind]:
    """Return the kinds of batches of a bucket; the shares of those that fill a batch sum to 1."""
    everything = ("source", "text")
    visible_share = 1 - data.drop_source - data.drop_source_and_text - data.drop_all
    shares = {
        (ref, hidden): of_reference * of_hidden
        for hidden, of_hidden in (((), visible_share), (("source",), data.drop_source), (everything, data.drop_source_and_text))
        for ref, of_reference in ((False, 1 - data.reference), (True, data.reference))
    }  # fmt: skip
    shares[False, everything] += data.drop_all
    kinds = []
    for (ref, hidden), share in shares.items():
        indices = tuple(_usable_indices(s, ref, data.held_out) for s in bucket.sets)
        kinds += [BatchKind(bucket, ref, share, indices, hidden)] if share else []
    full_share = sum(kind.share for kind in kinds if kind.full) or 1.0
    return [dataclasses.replace(kind, share=kind.share / full_share) for kind in kinds]


def _usable_indices(cached: CachedClips, reference: bool, held_out: float) -> list[int]:
    """Return the records that are not held out and have a reference, or can do without one."""
    excluded = set(cached.held_out_indices(held_out))

    def usable(facts: RecordFacts) -> bool:
        return facts["reference"] if reference else facts["edit"] != "palette"

    return [i for i, facts in enumerate(cached.facts) if i not in excluded and usable(facts)]


def check_batch_kinds(kinds: list[BatchKind], data: DataConfig) -> None:
    """Check that both kinds of batches exist and that every dataset and size is used.

    Raises:
      InputError: no bucket fills a batch of a requested kind, or a dataset has no usable pair at a size.
    """
    for ref, name in ((False, "no need of a reference"), (True, "a reference")):
        matching = [kind for kind in kinds if kind.reference == ref]
        if matching and not any(kind.full for kind in matching):
            largest = max(matching, key=lambda kind: kind.count)
            remedies = [f"--edit.batch {largest.count} or fewer"] if largest.count else []
            if ref:
                remedies.append(f"--data.reference 0, now {data.reference:g}, trains without references")
            elif data.held_out and not largest.count:
                remedies.append(f"--data.held-out, now {data.held_out:g}, leaves none")
            raise InputError(
                f"data: a batch of {format_bucket_size(largest.bucket)} takes {largest.bucket.batch} pairs with {name}, got"
                f" {largest.count}; {', or '.join([*remedies, 'give more pairs'])}"
            )
    members = {id(s): (kind.bucket, s) for kind in kinds for s in kind.bucket.sets}
    used_sets = {
        id(s) for kind in kinds if kind.full for s, i in zip(kind.bucket.sets, kind.indices, strict=True) if i
    }
    empty = [
        f"{s.shards[0]} ({len(s.facts)} pairs of {format_bucket_size(b)})"
        for key, (b, s) in members.items()
        if key not in used_sets
    ]
    if empty:
        raise InputError(
            f"data: expected pairs to train on from every set and size, none are left of {', '.join(empty)}; make more"
            " pairs, or leave that set or size out"
        )


def held_out_indices(count: int, share: float) -> list[int]:
    """Return indices of held-out records, evenly spread and the same for any number of processes."""
    return [] if share == 0 else list(range(0, count, max(1, round(1 / share))))


def list_recipes(buckets: Sequence[Bucket]) -> tuple[str, ...]:
    """Return the names of the recipes of all records, sorted."""
    return tuple(sorted({fact["recipe"] for b in buckets for s in b.sets for fact in s.facts}))


def format_bucket_size(bucket: Bucket) -> str:
    """Return the size of a bucket's clips for people, in frames and latents."""
    t, y, x = bucket.grid
    return f"{frame_count(t, bucket.stride_t)} frames ({t}x{y}x{x} latents)"


def format_report(buckets: Sequence[Bucket], kinds: Sequence[BatchKind], data: DataConfig) -> str:
    """Return a summary of the training data for people: totals, then every kind of batch, then every edit."""
    members = [(b, s) for b in buckets for s in b.sets]
    pair_count, shards = sum(len(s.facts) for _, s in members), sum(len(s.shards) for _, s in members)
    held_out = sum(len(s.held_out_indices(data.held_out)) for _, s in members)
    refs = sum(fact["reference"] for _, s in members for fact in s.facts)
    frames = sum(len(s.facts) * frame_count(b.grid[0], b.stride_t) for b, s in members)
    lines = [
        f"data: {pair_count} pairs in {shards} shards, {frames} frames, {held_out} held out, {refs} with a reference, shown in"
        f" {data.reference:.0%} of the batches"
    ]
    total = sum(kind.rate for kind in kinds if kind.full)
    for kind in kinds:
        pairs = f"{kind.count:>8}  pairs of {format_bucket_size(kind.bucket)} with{'' if kind.reference else 'out'} a reference"
        pairs += f", without {' and '.join(kind.hidden)}" if kind.hidden else ""
        batches = f"batches of {kind.bucket.batch}, {kind.rate / total:.1%} of all"
        if kind.full and kind.count < kind.bucket.batch:
            batches += ", which repeat pairs"
        lines.append(f"{pairs}: {batches if kind.full else f'left out, a batch is {kind.bucket.batch}'}")
    counts = Counter(fact["edit"] for _, s in members for fact in s.facts)
    return "\n".join(lines + [f"{n:>8}  {edit}" for edit, n in counts.most_common()])


def format_size(size: Size) -> str:
    """Return a size as text, also used for folder names: 81x480x832."""
    return "x".join(map(str, size))


@dataclass(frozen=True)
class SizeChoice:
    """The size that a clip trains at.

    Attributes:
      size: the size, or None where the clip fills none.
      reason: why it fills none, or "".
    """

    size: Size | None
    reason: str = ""


def choose_size(clip: Size, sizes: Sequence[Size]) -> SizeChoice:
    """Choose the largest size that a clip fills.

    Args:
      clip: size of the clip.
      sizes: sizes to choose from.
    """
    kind = [size for size in sizes if (size[0] == 1) == (clip[0] == 1)]
    if not kind:
        still = clip[0] == 1
        reason = "a picture, and no size has one frame" if still else "a clip, and all sizes have one frame"
        return SizeChoice(None, reason)
    long = [size for size in kind if size[0] <= clip[0]]
    if not long:
        return SizeChoice(None, f"fewer than {min(size[0] for size in kind)} frames")
    large = [size for size in long if size[1] <= clip[1] and size[2] <= clip[2]]
    if not large:
        return SizeChoice(None, "a smaller picture than any size it is long enough for")
    fitting = [size for size in large if _crop_share(clip, size) <= MAX_CROP]
    if not fitting:
        return SizeChoice(None, f"another shape: more than {MAX_CROP:.0%} of the picture would be cut off")
    return SizeChoice(max(fitting, key=lambda size: (math.prod(size), size)))


def crop_pair(pair: Pair, size: Size) -> Pair:
    """Crop and shrink a pair to a size; a pair that has the size already is returned as it is.

    Source and target stay equal outside the mask: every output pixel that averages an edited pixel is masked.

    Args:
      pair: a pair that fills the size (`choose_size`).
      size: frames, height and width of the result.
    """
    T, H, W = pair.mask.shape
    t, h, w = size
    if (T, H, W) == size:
        return pair
    start, end = pair.active
    first = min(max(0, start - t // 2), T - t) if end - start < T else 0
    scale = max(h / H, w / W)
    rows, columns = max(h, round(H * scale)), max(w, round(W * scale))
    row = _crop_start(np.asarray(pair.mask.any((0, 2))), rows, h)
    column = _crop_start(np.asarray(pair.mask.any((0, 1))), columns, w)

    def cut(video: np.ndarray) -> np.ndarray:
        frames = [
            cv2.resize(f, (columns, rows), interpolation=cv2.INTER_AREA) for f in video[first : first + t]
        ]
        return np.ascontiguousarray(np.stack(frames)[:, row : row + h, column : column + w])

    def cut_mask(mask: np.ndarray) -> np.ndarray:
        return np.where(cut(mask.astype(np.float32)) > 0, 255, 0).astype(np.uint8)

    def cut_effect(effect: np.ndarray) -> np.ndarray:
        return np.maximum(cut_mask(effect > OVERLAP), np.minimum(cut_mask(effect), OVERLAP))

    return dataclasses.replace(
        pair, source=cut(pair.source), target=cut(pair.target), mask=cut_mask(pair.mask),
        effect=None if pair.effect is None else cut_effect(pair.effect),
        active=(max(start - first, 0), min(end - first, t)),
    )  # fmt: skip


def batch_size(size: Size, tokens: int, budget: int, unit: int) -> int:
    """Return how many clips fit in a batch.

    Args:
      size: the clips' size, for error messages.
      tokens: tokens of one clip.
      budget: largest number of tokens in a batch.
      unit: the batch is a multiple of this number (devices that share it, times micro-batches).

    Raises:
      InputError: `unit` clips exceed the budget.
    """
    if tokens * unit > budget:
        raise InputError(
            f"data.sizes: {unit} clips of {format_size(size)}, the fewest the devices can share, are {tokens * unit:,} tokens, the budget"
            f" is {budget:,}; raise --data.tokens (0: those of edit.batch clips of the model's size) or leave that size out"
        )
    return budget // (tokens * unit) * unit


def _crop_share(clip: Size, size: Size) -> float:
    """Return the share of the picture's area that is cut off."""
    _, H, W = clip
    scale = max(size[1] / H, size[2] / W)
    return 1 - size[1] * size[2] / (H * W * scale**2)


def _crop_start(edited: np.ndarray, n: int, length: int) -> int:
    """Return the start of `length` out of `n` pixels that centres the edited ones as well as possible."""
    where = np.flatnonzero(edited)
    middle = (where[0] + where[-1] + 1) / 2 / len(edited) * n if len(where) else n / 2
    return int(min(max(0, round(middle - length / 2)), n - length))
