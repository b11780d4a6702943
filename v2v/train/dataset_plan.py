"""What a run trains on, decided before anything is encoded: the size of every clip, the batches, and what is held out.

datasets.py, own_sizes.py -> **dataset_plan** -> encode_dataset.py

Every set is surveyed, which for tables means that each file is decoded once. Whatever would end a run after hours of encoding, such as
batches that nothing fills, is found here.
"""

import dataclasses
import functools
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from v2v.config import ModelConfig
from v2v.data import buckets, datasets
from v2v.data.buckets import Bucket, CachedClips, Size
from v2v.data.dataset_source import ClipMeasurement, PairDataset
from v2v.data.datasets import Survey
from v2v.data.latent_cache import RecordFacts
from v2v.data.latent_folder import LatentFolder
from v2v.data.own_sizes import SizeLimits, choose_own_sizes
from v2v.data.pair import Pair
from v2v.errors import InputError
from v2v.models.conditioning import count_tokens
from v2v.runtime import sharding
from v2v.runtime.interruptible import run_interruptible
from v2v.train.config import Experiment


@dataclass(frozen=True)
class ClipGroup:
    """Clips of one set, size and weight, which share a folder of latents.

    Attributes:
      folder: the folder of their latents.
      number: position of the set among all.
      dataset: the set.
      size: the size that they train at.
      indices: their indices in the set.
      share: their share of the drawn clips.
      first: number of the set's first pair.
      held_out: positions of those that are never trained on; None for the share `DataConfig.held_out`.
      later_shares: `share` after each change of the mixture.
    """

    folder: Path
    number: int
    dataset: PairDataset
    size: Size
    indices: list[int]
    share: float
    first: int
    held_out: tuple[int, ...] | None
    later_shares: tuple[float, ...] = ()

    def read_pair(self, index: int) -> Pair:
        """Return a pair of the set at the group's size."""
        return self.dataset.read_pair(index, self.size)

    def planned_clips(self) -> CachedClips:
        """Return what the loader will find once the clips are encoded; facts that only a record tells are taken for the best."""
        unknown: RecordFacts = {"edit": "", "recipe": "", "reference": True}
        facts = tuple(self.dataset.facts(i) or unknown for i in self.indices)
        return CachedClips(
            [str(self.folder)], self.share, self.first, self.held_out, facts, self.later_shares
        )


@dataclass(frozen=True)
class DatasetPlan:
    """What a run trains on.

    Attributes:
      groups: the clips.
      batches: clips in a batch of each size.
      repeats: as in `Bucket`.
    """

    groups: tuple[ClipGroup, ...]
    batches: dict[Size, int]
    repeats: bool

    def groups_of(self, size: Size) -> list[ClipGroup]:
        """Return the groups of a size."""
        return [group for group in self.groups if group.size == size]

    def choose_pairs(self, count: int) -> list[tuple[ClipGroup, int]]:
        """Return pairs to look at, those that are held out before others and clips before pictures, as (group, index)."""
        ranked = []
        for group in self.groups:
            held_out = set(group.held_out or ())
            ranked += [
                ((group.size[0] == 1, position not in held_out, position), group, index)
                for position, index in enumerate(group.indices[: max(held_out, default=0) + count])
            ]
        return [(group, index) for _, group, index in sorted(ranked, key=lambda row: row[0])[:count]]


def plan_datasets(cfg: Experiment, shared: LatentFolder) -> tuple[DatasetPlan, str]:
    """Survey all sets and decide what is trained on.

    Args:
      cfg: the experiment: `sets`, `data`, the model, and the batch of its `edit` stage.
      shared: folder of the latents; receives the surveys.

    Returns:
      the plan, and a summary of used and skipped pairs for people.

    Raises:
      InputError: sets without usable clips, sizes that the model cannot take, or batches that nothing fills.
    """
    names, folder = datasets.dataset_names(cfg.sets), shared.path
    sets = [datasets.open_pairs(path, cfg.data.fps) for path in cfg.sets]
    hashes = [datasets.dataset_fingerprint(path, cfg.data.fps) for path in cfg.sets]
    batches = {} if cfg.data.own_sizes else batch_sizes(cfg)
    survey = functools.partial(
        _survey_own if cfg.data.own_sizes else _survey_fixed, cfg, folder, names, sets, hashes
    )
    if jax.process_index() == 0:
        survey(batches)
        shared.publish()
    wait_for_all("survey")
    if jax.process_index():
        shared.fetch(with_shards=False)
    surveys = survey(batches)
    if cfg.data.own_sizes:
        batches = _own_batches(cfg, surveys)
    groups, first = [], 0
    mixtures = [cfg.data.mixture, *(change.weights for change in cfg.data.changes)]
    shares = [datasets.compute_shares(surveys, mixture) for mixture in mixtures]
    for number, (result, dataset) in enumerate(zip(surveys, sets, strict=True)):
        by_weight = datasets.group_by_weight(result, dataset)
        total = sum(weight * len(indices) for (_, weight), indices in by_weight.items())
        held_out = _held_out_pairs(cfg, dataset, [i for indices in by_weight.values() for i in indices])
        for (size, weight), indices in by_weight.items():
            name = buckets.format_size(size) + ("" if weight == 1 else f"-weight-{weight:g}")
            parts = [sum(of_sets[number].values()) * weight * len(indices) / total for of_sets in shares]
            positions = None
            if held_out is not None:
                positions = tuple(k for k, i in enumerate(indices) if i in held_out)
            groups.append(
                ClipGroup(
                    folder / result.name / name,
                    number,
                    dataset,
                    size,
                    indices,
                    parts[0],
                    first,
                    positions,
                    tuple(parts[1:]),
                )  # fmt: skip
            )
        first += result.count
    plan = DatasetPlan(tuple(groups), batches, repeats=cfg.data.own_sizes)
    check_plan(cfg, plan)
    return plan, datasets.format_surveys(surveys, cfg.data.mixture)


def check_plan(cfg: Experiment, plan: DatasetPlan) -> None:
    """Check that batches of all kinds will be filled, and that there is something to measure a held-out loss on.

    Raises:
      InputError: names the flag that helps.
    """
    planned = [
        Bucket(
            batch,
            np.empty((1, 1, *cfg.model.vae.latent_shape(*size)[:3], 0)),
            tuple(group.planned_clips() for group in plan.groups_of(size)),
            cfg.model.vae.stride_t,
            plan.repeats,
        )
        for size, batch in plan.batches.items()
        if plan.groups_of(size)
    ]
    kinds = [kind for bucket in planned for kind in buckets.build_batch_kinds(bucket, cfg.data)]
    buckets.check_batch_kinds(kinds, cfg.data)
    clips = [clips for bucket in planned for clips in bucket.sets]
    if cfg.log.held_out_every and not any(c.held_out_indices(cfg.data.held_out) for c in clips):
        raise InputError(
            f"--log.held-out-every {cfg.log.held_out_every}: expected pairs to measure the loss on, none of"
            f" {sum(len(c.facts) for c in clips)} are held out; give --data.held-out, such as 0.1, or --log.held-out-every 0"
        )


def check_room(cfg: Experiment, plan: DatasetPlan, shared: LatentFolder) -> str:
    """Return how many latents there will be and how large, for people.

    Args:
      cfg: the experiment.
      plan: what it trains on.
      shared: the folder of the latents.

    Raises:
      InputError: the disk has no room for them.
    """
    size = sum(2 * 2 * math.prod(cfg.model.vae.latent_shape(*g.size)) * len(g.indices) for g in plan.groups)
    if shared.keeps_shards and not any(
        group.folder.exists() for group in plan.groups
    ):  # what is encoded already needs none
        free = shutil.disk_usage(shared.path).free
        if free < size:
            raise InputError(
                f"{shared.path}: the latents take at least {size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make room, or choose another"
                " disk with --latents"
            )
    pairs = sum(len(group.indices) for group in plan.groups)
    return (
        f"latents: {pairs} pairs, at least {size / 1e9:.2g} GB with masks up to twice that, in {shared.place}"
    )


def batch_sizes(cfg: Experiment) -> dict[Size, int]:
    """Return the batch of every configured size: as many clips as fit the budget of tokens.

    Raises:
      InputError: a batch that the devices cannot share, or a size that the model cannot take.
    """
    unit, budget = _batch_unit(cfg), _token_budget(cfg)
    sizes = cfg.data.sizes or ((cfg.model.frames, cfg.model.height, cfg.model.width),)
    return {size: buckets.batch_size(size, _count_tokens(cfg.model, size), budget, unit) for size in sizes}


def wait_for_all(name: str) -> None:
    """Wait until every process has called this with the same name; a signal ends the wait."""
    if jax.process_count() > 1:
        run_interruptible(functools.partial(multihost_utils.sync_global_devices, name))


def _survey_fixed(
    cfg: Experiment,
    folder: Path,
    names: Sequence[str],
    sets: Sequence[PairDataset],
    hashes: Sequence[str],
    batches: dict[Size, int],
) -> list[Survey]:
    """Return the surveys of all sets for configured sizes, stored ones where they exist."""
    return [
        datasets.load_or_survey(folder / name / "survey.json", name, dataset, list(batches), set_hash)
        for name, dataset, set_hash in zip(names, sets, hashes, strict=True)
    ]


def _survey_own(
    cfg: Experiment,
    folder: Path,
    names: Sequence[str],
    sets: Sequence[PairDataset],
    hashes: Sequence[str],
    batches: dict[Size, int],
) -> list[Survey]:
    """Return the surveys of all sets for sizes of their clips' own; measurements are stored."""
    limits = SizeLimits.of(cfg.model)
    measured = [
        [
            _explain_small(clip, limits)
            for clip in datasets.load_or_measure(folder / name / "measurements.json", dataset, set_hash)
        ]
        for name, dataset, set_hash in zip(names, sets, hashes, strict=True)
    ]
    clips = [clip.size for of_set in measured for clip in of_set if clip.size is not None]
    sizes = choose_own_sizes(clips, limits, cfg.edit.batch)
    return [
        datasets.survey_dataset(name, dataset, sizes, measurements)
        for name, dataset, measurements in zip(names, sets, measured, strict=True)
    ]


def _explain_small(clip: ClipMeasurement, limits: SizeLimits) -> ClipMeasurement:
    """Return the measurement of a clip; of one without an own size, why it has none."""
    if clip.size is None or limits.own_size(clip.size) is not None:
        return clip
    if clip.size[0] != 1 and clip.size[0] < limits.lengths[-1]:
        return ClipMeasurement(
            None, f"{clip.size[0]} frames, the model takes 1 or from {limits.lengths[-1]} on"
        )
    height, width = limits.side
    return ClipMeasurement(None, f"smaller than {width}x{height} pixels")


def _own_batches(cfg: Experiment, surveys: Sequence[Survey]) -> dict[Size, int]:
    """Return the batch of every size that clips have: `edit.batch`, or of short clips and pictures more where there are enough."""
    unit, budget = _batch_unit(cfg), _token_budget(cfg)
    counts: dict[Size, int] = {}
    for result in surveys:
        for size, indices in result.indices_by_size.items():
            counts[size] = counts.get(size, 0) + len(indices)
    out = {}
    for size, count in counts.items():
        largest = buckets.batch_size(size, _count_tokens(cfg.model, size), budget, unit)
        out[size] = min(largest, max(cfg.edit.batch, count // unit * unit))
    return out


def _held_out_pairs(cfg: Experiment, dataset: PairDataset, indices: Sequence[int]) -> set[int] | None:
    """Return the pairs of a set that are never trained on: those that its table names, or a share of all sizes together; None for one of each size."""
    table_pairs = {i for i in indices if (dataset.facts(i) or {}).get("held_out")}
    if table_pairs:
        return table_pairs
    if not cfg.data.own_sizes:
        return None
    positions = buckets.held_out_indices(len(indices), cfg.data.held_out)
    return {sorted(indices)[k] for k in positions} if len(indices) > 1 else set()


def _batch_unit(cfg: Experiment) -> int:
    """Return the number that batches are multiples of: devices that share them, times micro-batches, and processes.

    Raises:
      InputError: `edit.batch` is none.
    """
    mesh = sharding.make_mesh(**dataclasses.asdict(cfg.mesh))
    sharding.batch_sharding(mesh, cfg.edit.batch // cfg.edit.micro)
    return math.lcm(mesh.shape["data"] * mesh.shape["fsdp"] * cfg.edit.micro, jax.process_count())


def _token_budget(cfg: Experiment) -> int:
    """Return the most tokens of a batch."""
    model_size = (cfg.model.frames, cfg.model.height, cfg.model.width)
    return cfg.data.tokens or cfg.edit.batch * _count_tokens(cfg.model, model_size)


def _count_tokens(model: ModelConfig, size: Size) -> int:
    """Return the tokens of a clip of a size, with a reference.

    Raises:
      InputError: the model cannot take that size.
    """
    frames, height, width = size
    try:
        sized = dataclasses.replace(model, frames=frames, height=height, width=width)
    except ValueError as err:
        raise InputError(f"data.sizes {buckets.format_size(size)}: {err}") from err
    return count_tokens(sized, reference=True)
