"""Hooks of the training loop: held-out losses with the best weights so far, files of adapters, and preview videos.

loop.py -> **callbacks** -> stage.py, stages.py

Held-out losses always use the same pairs, flow times and noise, so two rows differ by the weights alone. A preview is the output of
`v2v edit` with the weights of that step: EasyV2VEditor with the adapter, seed 0, the model's steps and guidance.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import jax
import numpy as np
from etils import epath

from v2v.config import LogConfig
from v2v.data.buckets import Size
from v2v.data.pair import Pair
from v2v.errors import InputError
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.manifest import ManifestDefaults, read_manifest
from v2v.pipeline.settings import EditRequest, EditSettings
from v2v.train.metric_writer import MetricWriter, mean_metrics
from v2v.train.objectives import Objective, Parameters
from v2v.train.run_record import PREVIEW_LIST
from v2v.train.state import TrainState
from v2v.train.train_step import build_evaluation
from v2v.video.inputs import open_clip, resize_frame
from v2v.video.video import Video

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class ConditionProbe(Generic[Batch]):
    """A held-out batch, and the same with conditions of other rows, which tells whether a model uses them.

    Attributes:
      batch: the batch, on the devices.
      others: the batch with one condition taken from other rows, by the condition's name.
      share: share of rows that have got another row's conditions.
    """

    batch: Batch
    others: Mapping[str, Batch]
    share: float


class HeldOutLoss:
    """A hook that logs every metric of an objective as held_out_NAME, and how much the loss rises by another row's conditions.

    The loss of an objective with flow times is the mean over `Objective.tau_grid`. The rise, (loss with another row's source) / loss - 1,
    is logged as source_use, mask_use and text_use: 0 says that a condition is ignored.

    Args:
      every: steps between calls; 0 is never.
      objective: the objective.
      frozen: weights that it reads and that stay constant.
      batches: held-out batches on the devices.
      best: keeps the weights of the least loss; None keeps none.
      probes: batches on which the use of conditions is measured.
    """

    def __init__(
        self,
        every: int,
        objective: Objective[Batch, Any, Any],
        frozen: Parameters | None,
        batches: Sequence[Batch],
        best: "BestWeights | None" = None,
        probes: Sequence[ConditionProbe[Batch]] = (),
    ):
        self.every = every
        evaluate = build_evaluation(objective)
        taus = objective.tau_grid or (None,)

        def evaluate_all(trained: Parameters, batches: Sequence[Batch]) -> dict[str, float]:
            rows = [evaluate(trained, batch, frozen, tau) for batch in batches for tau in taus]
            return mean_metrics(jax.device_get(rows))

        self._evaluate_all, self._batches, self._best, self._probes = evaluate_all, batches, best, probes

    def __call__(self, state: TrainState, step: int, writer: MetricWriter) -> dict[str, float]:
        """Return the mean metrics of the held-out batches, and the use of conditions."""
        metrics = self._evaluate_all(state.result, self._batches)
        row = {f"held_out_{name}": value for name, value in metrics.items()}
        if self._best is not None:
            self._best.update(row["held_out_loss"], state, step)
        return row | self._measure_use(state.result)

    def _measure_use(self, trained: Parameters) -> dict[str, float]:
        if not self._probes:
            return {}
        loss = self._evaluate_all(trained, [probe.batch for probe in self._probes])["loss"]
        share = float(np.mean([probe.share for probe in self._probes]))
        row = {}
        for name in self._probes[0].others:
            other = self._evaluate_all(trained, [probe.others[name] for probe in self._probes])["loss"]
            row[f"{name}_use"] = (other / loss - 1) / share
        return row


def swap_conditions(rows: Mapping[str, np.ndarray], records: np.ndarray) -> tuple[dict[str, dict], float]:
    """Return a batch with source, mask and text of other rows, by the condition's name, and the share of rows that got another's.

    Args:
      rows: a batch of edits on the host.
      records: numbers of its records; rows of the same record don't count as others.
    """
    count = len(records)
    order = np.arange(count)
    for i in range(count):
        order[i] = next((j % count for j in range(i + 1, i + count) if records[j % count] != records[i]), i)
    entries = {"source": ("source",), "mask": ("mask",), "text": ("text", "ids", "lengths")}
    swapped = {
        name: {**rows, **{entry: rows[entry][order] for entry in of_name if entry in rows}}
        for name, of_name in entries.items()
    }
    return swapped, float(np.mean(order != np.arange(count))) if count else 0.0


class Snapshots:
    """A hook that writes the weights of a step into a file of its own, which is kept.

    Args:
      every: steps between files; 0 is never.
      folder: receives lora-STEP.safetensors; a local folder or gs://...
      save: writes weights: (file, state, step); called in all processes.
    """

    def __init__(self, every: int, folder: epath.PathLike, save: Callable[[Path, TrainState, int], object]):
        self.every, self._folder, self._save = every, epath.Path(folder), save

    def __call__(self, state: TrainState, step: int, writer: MetricWriter) -> dict[str, float]:
        """Write the weights of a step."""
        if jax.process_index() == 0:
            self._folder.mkdir(parents=True, exist_ok=True)
        file: Any = (
            self._folder / f"lora-{step:07d}.safetensors"
        )  # etils' paths have the methods of pathlib's
        self._save(file, state, step)
        return {}


class BestWeights:
    """The weights of the least held-out loss so far, in a file that a resumed run goes on with.

    Args:
      folder: receives best.json with step and loss; a local folder or gs://...
      save: writes the weights of a state; called in all processes.
    """

    def __init__(self, folder: epath.PathLike, save: Callable[[TrainState, int], object]):
        self._file, self._save = epath.Path(folder) / "best.json", save

    def read(self) -> tuple[int, float] | None:
        """Return step and loss of the best weights; None before there are any."""
        try:
            plain = json.loads(self._file.read_text())
            return int(plain["step"]), float(plain["held_out_loss"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def update(self, loss: float, state: TrainState, step: int) -> None:
        """Save the weights of a step if their loss is less than all before."""
        best = self.read()
        if not math.isfinite(loss) or (best is not None and best[1] <= loss):
            return
        self._save(state, step)
        if jax.process_index() == 0:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps({"step": step, "held_out_loss": loss}) + "\n")


@dataclass(frozen=True)
class PreviewClip:
    """A clip that previews show.

    Attributes:
      request: the edit.
      target: how it should look, uint8 [T, H, W, 3]; None where nobody knows.
      size: (frames, height, width) that it is edited at; None for the model's.
    """

    request: EditRequest
    target: np.ndarray | None = None
    size: Size | None = None

    @classmethod
    def of_pair(cls, pair: Pair, fps: float, settings: EditSettings) -> "PreviewClip":
        """Return the clip of a training pair.

        Args:
          pair: a pair that is not trained on.
          fps: frames per second.
          settings: of the edit.
        """
        mask = None if pair.mask.all() else pair.mask
        request = EditRequest(pair.source, pair.instructions[0], mask, pair.reference, settings, fps)
        T, H, W = pair.mask.shape
        return cls(request, pair.target, (T, H, W))


def read_preview_clips(path: str, settings: EditSettings) -> list[PreviewClip]:
    """Return the clips of a manifest (pipeline/manifest.py), such as {"video": "a.mp4", "instruction": "make it night"} a line.

    Args:
      path: the manifest.
      settings: what its lines default to.

    Raises:
      InputError: a line that can't be read, or with an adapter of its own.
    """
    jobs = read_manifest(path, ManifestDefaults(settings=settings))
    wrong = next((job for job in jobs if job.request is None or job.lora), None)
    if wrong is not None:
        raise InputError(
            f"--log.previews: {wrong.error or f'{path} line {wrong.line}: expected no lora, previews have that of the run; leave it out'}"
        )
    for job in jobs:
        video = job.request.video if job.request else None
        if isinstance(video, str | Path) and not Path(video).exists():
            raise InputError(f"--log.previews: {path} line {job.line}: {video}: no such clip")
    return [PreviewClip(job.request) for job in jobs if job.request is not None]


class Previews:
    """A hook that writes folder/STEP-I.mp4 (source, edit and, of pairs, target side by side) and logs three frames of each.

    Args:
      every: steps between previews; 0 is never.
      build_editor: returns the editor of an adapter {"lora", "embed"} for clips of a size (frames, height, width), None for any.
      clips: clips that are not in the training data.
      folder: a local folder.
    """

    def __init__(
        self,
        every: int,
        build_editor: Callable[[Parameters, Size | None], EasyV2VEditor],
        clips: Sequence[PreviewClip],
        folder: str | Path,
    ):
        self.every = every
        self._build_editor, self._clips, self._folder = build_editor, clips, Path(folder)

    def __call__(self, state: TrainState, step: int, writer: MetricWriter) -> dict[str, float]:
        """Write the previews of a step; return their root mean square error against the targets, 0..255."""
        if jax.process_index():
            return {}
        adapter, errors = jax.device_get(state.result), []
        self._folder.mkdir(parents=True, exist_ok=True)
        listing = [
            {"instruction": clip.request.instruction, "target": clip.target is not None}
            for clip in self._clips
        ]
        (self._folder / PREVIEW_LIST).write_text(json.dumps(listing, indent=1) + "\n")
        for i, clip in enumerate(self._clips):
            edit = self._build_editor(adapter, clip.size).edit(clip.request).video
            edited = np.asarray(edit.frames)
            columns = [_source_frames(clip.request, edited), edited]
            if clip.target is not None:
                columns.append(clip.target)
                errors.append(np.mean((edited.astype(np.float32) - clip.target) ** 2))
            frames = np.concatenate(columns, 2)
            Video.from_array(frames, edit.fps).save(self._folder / f"{step:07d}-{i}.mp4")
            writer.picture(step, f"preview/{i} {clip.request.instruction}", stack_frames(frames))
        return {"preview_rmse": float(np.sqrt(np.mean(errors)))} if errors else {}


def preview_settings(log: LogConfig) -> EditSettings:
    """Return the settings that previews are edited with."""
    return EditSettings(detail="model", steps=log.preview_steps or None, anyway=True)


def check_previews(log: LogConfig) -> None:
    """Check the clips of previews before anything is trained.

    Raises:
      InputError: clips without previews, or a line of their manifest that can't be read.
    """
    if log.previews and not log.preview_every:
        raise InputError(
            "--log.previews would change nothing without previews; add --log.preview-every 500, or leave it out"
        )
    if log.previews:
        read_preview_clips(log.previews, preview_settings(log))


def _source_frames(request: EditRequest, edited: np.ndarray) -> np.ndarray:
    """Return the frames of a request's clip, as many and as large as those of its edit."""
    frames: list[np.ndarray] = []
    open_clip(request.video, request.fps, frames.append)
    height, width = edited.shape[1:3]
    return np.stack([resize_frame(frame, height, width) for frame in frames[: len(edited)]])


def stack_frames(frames: np.ndarray) -> np.ndarray:
    """Return first, middle and last frame below one another."""
    return np.concatenate([frames[i] for i in (0, len(frames) // 2, -1)])
