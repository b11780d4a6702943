"""Datasets of pairs, and the choice of the pairs that a run trains on.

pair.py, table_dataset.py, buckets.py -> **datasets** -> train/encode_dataset.py

A survey reads only the index of a folder, or the headers of the records where it has none, so that usable and skipped clips are reported before hours of encoding. With weights,
a dataset contributes its share of the drawn clips whatever its size; without, every clip is drawn equally often.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from v2v.data import buckets, pair
from v2v.data.buckets import Size
from v2v.data.dataset_source import ClipMeasurement, PairDataset
from v2v.data.latent_cache import RecordFacts
from v2v.data.pair_table import CLIP_SUFFIXES, PICTURE_SUFFIXES, read_table
from v2v.data.table_dataset import TableDataset, fingerprint_table
from v2v.data.table_file import CSV_SUFFIXES, JSON_SUFFIXES
from v2v.data.webdataset import find_tars
from v2v.errors import InputError

# What of a folder's index is read.
INDEX_FIELDS = ("frames", "height", "width", "edit", "recipe", "reference", "instructions")
# Bytes at the beginning of each file of a dataset that its fingerprint covers.
FINGERPRINT_BYTES = 1 << 16


class PairRecords(Protocol):
    """The encoded pairs of a dataset (`pair.encode_pair`), with random access."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        ...

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the record of a pair."""
        ...


@dataclasses.dataclass(frozen=True)
class RecordDataset:
    """The pairs of a folder that `v2v synth` wrote.

    Attributes:
      records: the encoded pairs.
      index: the fields `INDEX_FIELDS` of each pair, as the folder's index states them; () where it has none.
    """

    records: PairRecords
    index: Sequence[dict[str, Any]] = ()

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.records)

    def measure(self, index: int) -> ClipMeasurement:
        """Return the size of a pair's clip from the index, without one from the header of its record."""
        if not self.index:
            return ClipMeasurement(pair.pair_size(self.records[index]))
        line = self.index[index]
        return ClipMeasurement((line["frames"], line["height"], line["width"]))

    def facts(self, index: int) -> RecordFacts | None:
        """Return facts of the pair from the index; None without one."""
        if not self.index:
            return None
        line = self.index[index]
        return {"pair": index, "edit": line["edit"], "recipe": line["recipe"], "reference": line["reference"]}

    def instructions(self, index: int) -> Sequence[str]:
        """Return the instructions of a pair from the index; () without one."""
        return self.index[index]["instructions"] if self.index else ()

    def read_pair(self, index: int, size: Size) -> pair.Pair:
        """Return a pair, shrunk and cropped to a size that it fills."""
        return buckets.crop_pair(pair.decode_pair(self.records[index]), size)

    def weight(self, index: int) -> float:
        """Return 1: all are drawn equally often."""
        return 1.0


@dataclasses.dataclass(frozen=True)
class Survey:
    """Usable and skipped pairs of one dataset.

    Attributes:
      name: name of the folder.
      count: number of pairs.
      indices_by_size: indices of the pairs that train at each size.
      skip_counts: number of skipped pairs by reason.
      used_frames: frames of the pairs that train, at their sizes.
      all_frames: frames of all pairs.
      note_counts: what may surprise about pairs that train, by their number.
    """

    name: str
    count: int
    indices_by_size: dict[Size, list[int]]
    skip_counts: dict[str, int]
    used_frames: int
    all_frames: int
    note_counts: dict[str, int] = dataclasses.field(default_factory=dict)


def open_pairs(path: str | Path, fps: float = 0.0) -> PairDataset:
    """Open a dataset: a folder written by `v2v synth`, or a table of people's own pairs.

    Args:
      path: a folder of either kind, a CSV, JSON Lines or JSON file, or tar files of WebDataset.
      fps: frames per second that clips of a table are resampled to; 0 keeps every frame.

    Raises:
      InputError: it cannot be opened or is empty.
    """
    if _is_table(path):
        return TableDataset(read_table(path), fps)
    records = open_dataset(path)
    return RecordDataset(records, read_index(path, len(records)))


def read_index(folder: str | Path, count: int) -> Sequence[dict[str, Any]]:
    """Return the fields `INDEX_FIELDS` of each pair from the index of a folder; () where it has no index of as many.

    Args:
      folder: a folder written by `v2v synth`.
      count: number of its pairs.
    """
    try:
        with (Path(folder) / pair.INDEX_FILE).open() as file:
            lines = [{name: line[name] for name in INDEX_FIELDS} for line in map(json.loads, file)]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return lines if len(lines) == count else ()


def _is_table(path: str | Path) -> bool:
    """Return whether a path is a table of people's own pairs, tar files of them, or a folder of files named alike."""
    if find_tars(path):
        return True
    if Path(path).suffix.lower() in (*CSV_SUFFIXES, *JSON_SUFFIXES):
        return not Path(path).is_dir()
    return (
        Path(path).is_dir()
        and not (Path(path) / "dataset_info.json").exists()
        and any(file.suffix.lower() in (*CLIP_SUFFIXES, *PICTURE_SUFFIXES) for file in Path(path).rglob("*"))
    )


def open_dataset(folder: str | Path) -> PairRecords:
    """Open the records of a dataset.

    Args:
      folder: a folder written by `v2v synth`.

    Raises:
      InputError: it cannot be opened or is empty.
    """
    import tensorflow_datasets as tfds

    if _is_table(folder):
        raise InputError(
            f"{folder}: expected a folder written by v2v synth, got a table or a folder of clips; make "
            f"one of it: v2v synth --import pairs={folder} --out DIR --pairs N --frames N --height N --width N"
        )
    try:
        builder: Any = tfds.builder_from_directory(str(folder))  # its decorators hide the parameters
        records = builder.as_data_source("train")
    except Exception as err:  # TFDS raises many kinds
        raise InputError(
            f"{folder}: expected a folder of pairs that v2v synth wrote, got {pair.describe_unopened(folder, err)}"
        ) from err
    if not len(records):
        raise InputError(
            f"{folder}: expected pairs, found none; leave it out of --sets or make some with v2v synth"
        )
    return records


def dataset_names(folders: Sequence[str]) -> list[str]:
    """Return the names of the folders, under which their latents are stored.

    Raises:
      InputError: two folders have the same name.
    """
    out = [Path(folder).resolve().name for folder in folders]
    twice = [name for name, n in Counter(out).items() if n > 1]
    if twice:
        raise InputError(
            f"sets: two of them are called {twice[0]}; rename one, their latents lie side by side"
        )
    return out


def survey_dataset(
    name: str,
    dataset: PairDataset,
    sizes: Sequence[Size],
    measurements: Sequence[ClipMeasurement] | None = None,
) -> Survey:
    """Assign every pair of a dataset to the largest size that it fills.

    Args:
      name: name of the dataset.
      dataset: its pairs.
      sizes: sizes to choose from.
      measurements: of its pairs; None to measure them.

    Raises:
      InputError: no pair fills any of them.
    """
    indices_by_size: dict[Size, list[int]] = {size: [] for size in sizes}
    skip_counts: Counter[str] = Counter()
    note_counts: Counter[str] = Counter()
    used_frames = all_frames = 0
    for i in range(len(dataset)):
        measured = measurements[i] if measurements is not None else dataset.measure(i)
        if measured.size is None:
            skip_counts[measured.reason] += 1
            continue
        choice = buckets.choose_size(measured.size, sizes)
        all_frames += measured.size[0]
        if choice.size is None:
            skip_counts[choice.reason] += 1
        else:
            indices_by_size[choice.size].append(i)
            used_frames += choice.size[0]
            note_counts.update(measured.notes)
    used_sizes = {size: indices for size, indices in indices_by_size.items() if indices}
    result = Survey(
        name, len(dataset), used_sizes, dict(skip_counts), used_frames, all_frames, dict(note_counts)
    )
    if not sizes:
        raise InputError(
            f"set {name}: none of its {len(dataset)} pairs can be used ({_format_reasons(result)}); v2v pairs check shows each row of a table"
        )
    if not used_sizes:
        raise InputError(
            f"set {name}: expected clips of {' or '.join(map(buckets.format_size, sizes))}, none of its {len(dataset)} pairs fills one"
            f" ({_format_reasons(result)}); change --data.sizes, leave the set out of --sets, or make pairs with v2v synth --frames --height"
            " --width"
        )
    return result


def group_by_weight(survey: Survey, dataset: PairDataset) -> dict[tuple[Size, float], list[int]]:
    """Return the indices of the pairs that train, by size and weight."""
    groups: dict[tuple[Size, float], list[int]] = {}
    for size, indices in survey.indices_by_size.items():
        for index in indices:
            groups.setdefault((size, dataset.weight(index)), []).append(index)
    return groups


def compute_shares(surveys: Sequence[Survey], weights: Sequence[float] = ()) -> list[dict[Size, float]]:
    """Return the share of each dataset and size in the drawn clips; they sum to 1.

    Args:
      surveys: the datasets.
      weights: their relative frequencies; () counts datasets by their clips.

    Raises:
      InputError: there is not one positive weight per dataset.
    """
    if weights and (len(weights) != len(surveys) or min(weights) <= 0):
        raise InputError(
            f"data.mixture: expected one positive weight for each of the {len(surveys)} sets, got {tuple(weights)}"
        )
    counts = [sum(map(len, s.indices_by_size.values())) for s in surveys]
    weights = weights or counts
    total = sum(weights)
    return [
        {size: weight / total * len(indices) / count for size, indices in s.indices_by_size.items()}
        for s, weight, count in zip(surveys, weights, counts, strict=True)
    ]


def format_surveys(surveys: Sequence[Survey], weights: Sequence[float] = ()) -> str:
    """Return a summary for people: every dataset with its clips of each size, skipped pairs by reason, and frames."""
    lines = []
    for result, share in zip(surveys, compute_shares(surveys, weights), strict=True):
        used_pairs = sum(map(len, result.indices_by_size.values()))
        lines.append(
            f"set {result.name}: {result.count} pairs, {used_pairs} used, {result.count - used_pairs} left out;"
            f" {result.used_frames} of {result.all_frames} frames used;"
            f" {sum(share.values()):.1%} of the clips drawn"
        )
        lines += [f"{len(i):>8}  {buckets.format_size(size)}" for size, i in result.indices_by_size.items()]
        lines += [f"{n:>8}  {note}" for note, n in result.note_counts.items()]
        lines += [f"{n:>8}  left out: {reason}" for reason, n in result.skip_counts.items()]
    return "\n".join(lines)


def dataset_fingerprint(folder: str | Path, fps: float = 0.0) -> str:
    """Return twelve hexadecimal digits that change when a dataset is made anew.

    The names, sizes and beginnings of its files are hashed, not all bytes, so that a large one is not read; a copy has the same digits.

    Args:
      folder: a folder of pairs, or a table of people's own.
      fps: of tables, as for `open_pairs`.
    """
    from etils import epath

    if _is_table(folder):
        return fingerprint_table(read_table(folder), fps)

    root = epath.Path(folder)
    paths = [root] if root.is_file() else sorted(path for path in root.iterdir() if path.is_file())
    digest = hashlib.sha256()
    for path in paths:
        # What a browser or a build leaves beside the records does not count.
        if path.suffix in (".html", ".png"):
            continue
        digest.update(f"{path.name} {path.stat().length}".encode())
        with path.open("rb") as file:
            digest.update(file.read(FINGERPRINT_BYTES))
    return digest.hexdigest()[:12]


def load_or_survey(
    file: Path, name: str, dataset: PairDataset, sizes: Sequence[Size], fingerprint: str = ""
) -> Survey:
    """Return the survey stored as JSON in `file`, or survey the dataset and store the result.

    Measuring every pair of a large dataset takes long; it is repeated only when the dataset or the sizes have changed.

    Args:
      file: JSON file of the survey.
      name: name of the dataset.
      dataset: its pairs.
      sizes: sizes to choose from.
      fingerprint: of the dataset (`dataset_fingerprint`); a stored survey without one, of an earlier version, is taken as it is.

    Raises:
      InputError: no pair fills any of the sizes.
    """
    request = {"count": len(dataset), "wanted": [list(size) for size in sizes]}
    if file.exists():
        plain = json.loads(file.read_text())
        same_set = plain.pop("set", fingerprint) == fingerprint
        if same_set and {key: plain.pop(key) for key in request} == request:
            indices_by_size = {tuple(size): indices for size, indices in plain["chosen"]}
            used_frames, all_frames = plain["frames"]
            return Survey(
                name,
                len(dataset),
                indices_by_size,
                plain["dropped"],
                used_frames,
                all_frames,
                plain.get("notes", {}),
            )
    result = survey_dataset(name, dataset, sizes)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    plain = {
        "chosen": list(result.indices_by_size.items()),
        "dropped": result.skip_counts,
        "frames": (result.used_frames, result.all_frames),
        "notes": result.note_counts,
    }
    partial.write_text(json.dumps(request | plain | ({"set": fingerprint} if fingerprint else {})))
    partial.rename(file)
    return result


def load_or_measure(file: Path, dataset: PairDataset, fingerprint: str) -> list[ClipMeasurement]:
    """Return the measurements stored as JSON in `file`, or measure every pair of a dataset and store the result.

    Args:
      file: JSON file of the measurements.
      dataset: the pairs.
      fingerprint: of the dataset (`dataset_fingerprint`).
    """
    if file.exists():
        plain = json.loads(file.read_text())
        if plain["set"] == fingerprint:
            return [
                ClipMeasurement(size and tuple(size), reason, tuple(notes))
                for size, reason, notes in plain["clips"]
            ]
    clips = [dataset.measure(i) for i in range(len(dataset))]
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    plain = {"set": fingerprint, "clips": [(clip.size, clip.reason, clip.notes) for clip in clips]}
    partial.write_text(json.dumps(plain))
    partial.rename(file)
    return clips


def _format_reasons(result: Survey) -> str:
    """Return the numbers of skipped pairs by reason, for people."""
    return ", ".join(f"{n}: {reason}" for reason, n in result.skip_counts.items())
