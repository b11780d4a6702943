"""What a run is watched by between steps: the loss on held-out pairs, and previews by the editor itself. run.py → **watch** → loop.py

Held-out losses use the same pairs, tau and noise every time, so two rows differ by the weights alone. A preview is what `v2v edit`
would give with the weights of that step: EasyV2VEditor with the adapter, seed 0, the model's own steps and guidance.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath

from v2v.train.loop import Watch
from v2v.train.metric_writer import Log, mean
from v2v.train.objectives import Objective
from v2v.train.state import TrainState
from v2v.train.train_step import evaluate
from v2v.video.video import Video


def held_out(every: int, objective: Objective, frozen: Any, batches: Sequence[Any]) -> Watch:
    """Logs every metric of the objective as held_out_NAME. `batches` lie on the devices; EMA weights where they are kept."""
    one = evaluate(objective)

    def run(state: TrainState, step: int, log: Log) -> dict[str, float]:
        del step, log
        rows = jax.device_get([one(state.result, batch, frozen) for batch in batches])
        return {f"held_out_{name}": value for name, value in mean(rows).items()}

    return Watch(every, run)


def previews(
    every: int, editor_of: Callable[[Any], Any], pairs: Sequence[Any], folder: str | Path, fps: float = 10.0
) -> Watch:
    """Writes folder/STEP-I.mp4, source | edit | target side by side, and shows a sheet of each in the log.

    Args:
      editor_of: adapter {"lora", "embed"} → EasyV2VEditor.
      pairs: v2v.data.pair.Pair, never trained on.
    """

    def run(state: TrainState, step: int, log: Log) -> dict[str, float]:
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
            log.picture(step, f"preview/{i} {pair.instructions[0]}", sheet(frames))
            errors.append(np.mean((np.asarray(edit.frames, np.float32) - pair.target) ** 2))
        return {"preview_rmse": float(np.sqrt(np.mean(errors)))}

    return Watch(every, run)


def sheet(frames: np.ndarray) -> np.ndarray:
    """First, middle and last frame below one another."""
    return np.concatenate([frames[i] for i in (0, len(frames) // 2, -1)])
