"""Hooks of the training loop: the loss on held-out pairs with the best weights so far, and preview videos.

loop.py -> **callbacks** -> stage.py, stages.py

Held-out losses always use the same pairs, tau and noise, so two rows differ by the weights alone. A preview is the output of
`v2v edit` with the weights of that step: EasyV2VEditor with the adapter, seed 0, the model's steps and guidance.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from etils import epath

from v2v.data.buckets import Size
from v2v.data.pair import Pair
from v2v.pipeline.editor import EasyV2VEditor
from v2v.train.metric_writer import MetricWriter, mean_metrics
from v2v.train.objectives import Objective, Parameters
from v2v.train.state import TrainState
from v2v.train.train_step import build_evaluation
from v2v.video.video import Video

Batch = TypeVar("Batch")


class HeldOutLoss:
    """A hook that logs every metric of an objective as held_out_NAME.

    Args:
      every: steps between calls; 0 is never.
      objective: the objective.
      frozen: weights that it reads and that stay constant.
      batches: held-out batches on the devices.
      best: keeps the weights of the least loss; None keeps none.
    """

    def __init__(
        self,
        every: int,
        objective: Objective[Batch, Any, Any],
        frozen: Parameters | None,
        batches: Sequence[Batch],
        best: "BestWeights | None" = None,
    ):
        self.every = every
        evaluate = build_evaluation(objective)
        self._evaluate_all = lambda trained: [evaluate(trained, batch, frozen) for batch in batches]
        self._best = best

    def __call__(self, state: TrainState, step: int, writer: MetricWriter) -> dict[str, float]:
        """Return the mean metrics of the held-out batches."""
        rows = jax.device_get(self._evaluate_all(state.result))
        row = {f"held_out_{name}": value for name, value in mean_metrics(rows).items()}
        if self._best is not None:
            self._best.update(row["held_out_loss"], state, step)
        return row


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


class Previews:
    """A hook that writes folder/STEP-I.mp4 (source, edit and target side by side) and logs three frames of each.

    Args:
      every: steps between previews; 0 is never.
      build_editor: returns the editor of an adapter {"lora", "embed"} for clips of a size (frames, height, width).
      pairs: pairs that are not in the training data.
      folder: a local folder.
      fps: frame rate of the videos.
      steps: sampling steps; None for the model's.
    """

    def __init__(
        self,
        every: int,
        build_editor: Callable[[Parameters, Size], EasyV2VEditor],
        pairs: Sequence[Pair],
        folder: str | Path,
        fps: float = 10.0,
        steps: int | None = None,
    ):
        self.every, self._steps = every, steps
        self._build_editor, self._pairs = build_editor, pairs
        self._folder, self._fps = Path(folder), fps

    def __call__(self, state: TrainState, step: int, writer: MetricWriter) -> dict[str, float]:
        """Write the previews of a step; return their root mean square error against the targets, 0..255."""
        if jax.process_index():
            return {}
        adapter, errors = jax.device_get(state.result), []
        self._folder.mkdir(parents=True, exist_ok=True)
        for i, pair in enumerate(self._pairs):
            mask = None if pair.mask.all() else pair.mask
            editor = self._build_editor(adapter, pair.mask.shape)
            edit = editor.edit_video(
                pair.source, pair.instructions[0], mask, pair.reference,
                fps=self._fps, detail="model", steps=self._steps,
            )  # fmt: skip
            edited = np.asarray(edit.frames)
            frames = np.concatenate([pair.source, edited, pair.target], 2)
            Video.from_array(frames, self._fps).save(self._folder / f"{step:07d}-{i}.mp4")
            writer.picture(step, f"preview/{i} {pair.instructions[0]}", stack_frames(frames))
            errors.append(np.mean((edited.astype(np.float32) - pair.target) ** 2))
        return {"preview_rmse": float(np.sqrt(np.mean(errors)))}


def stack_frames(frames: np.ndarray) -> np.ndarray:
    """Return first, middle and last frame below one another."""
    return np.concatenate([frames[i] for i in (0, len(frames) // 2, -1)])
