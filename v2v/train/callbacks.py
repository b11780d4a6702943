"""Hooks of the training loop: the loss on held-out pairs, and preview videos.

stage.py -> **callbacks** -> loop.py

Held-out losses always use the same pairs, tau and noise, so two rows differ by the weights alone. A preview is the output of
`v2v edit` with the weights of that step: EasyV2VEditor with the adapter, seed 0, the model's steps and guidance.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath

from v2v.train.loop import Hook
from v2v.train.metric_writer import MetricWriter, mean_metrics
from v2v.train.objectives import Objective
from v2v.train.state import TrainState
from v2v.train.train_step import build_evaluation
from v2v.video.video import Video


def held_out_loss(every: int, objective: Objective, frozen: Any, batches: Sequence[Any]) -> Hook:
    """Return a hook that logs every metric of the objective as held_out_NAME; `batches` are on the devices."""
    evaluate_batch = build_evaluation(objective)

    def run(state: TrainState, step: int, log: MetricWriter) -> dict[str, float]:
        del step, log
        rows = jax.device_get([evaluate_batch(state.result, batch, frozen) for batch in batches])
        return {f"held_out_{name}": value for name, value in mean_metrics(rows).items()}

    return Hook(every, run)


def previews(
    every: int, editor_of: Callable[[Any], Any], pairs: Sequence[Any], folder: str | Path, fps: float = 10.0
) -> Hook:
    """Return a hook that writes folder/STEP-I.mp4 (source, edit and target side by side) and logs three frames of each.

    Args:
      every: steps between previews.
      editor_of: returns the EasyV2VEditor of an adapter {"lora", "embed"}.
      pairs: pairs that are not in the training data.
      folder: local or gs://...
      fps: frame rate of the videos.
    """

    def run(state: TrainState, step: int, log: MetricWriter) -> dict[str, float]:
        if jax.process_index():
            return {}
        editor, out, errors = editor_of(jax.device_get(state.result)), epath.Path(folder), []
        out.mkdir(parents=True, exist_ok=True)
        for i, pair in enumerate(pairs):
            mask = None if pair.mask.all() else pair.mask
            edit = editor.edit_video(
                pair.source, pair.instructions[0], mask, pair.reference, fps=fps, detail="model"
            )
            frames = np.concatenate([pair.source, np.asarray(edit.frames), pair.target], 2)
            clip = Video.from_array(frames, fps)
            clip.save(out / f"{step:07d}-{i}.mp4")
            log.picture(step, f"preview/{i} {pair.instructions[0]}", stack_frames(frames))
            errors.append(np.mean((np.asarray(edit.frames, np.float32) - pair.target) ** 2))
        return {"preview_rmse": float(np.sqrt(np.mean(errors)))}

    return Hook(every, run)


def stack_frames(frames: np.ndarray) -> np.ndarray:
    """Return first, middle and last frame below one another."""
    return np.concatenate([frames[i] for i in (0, len(frames) // 2, -1)])
