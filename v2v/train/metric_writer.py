"""What a run tells: log.jsonl always, TensorBoard and Weights & Biases when asked for. loop.py → **log**

Process 0 alone writes. A row is flat: step, means of the metrics since the last row, seconds per step, and where time went.
"""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath

from v2v.config import LogConfig
from v2v.errors import InputError


class Log:
    """Rows to every writer asked for; a context manager."""

    def __init__(self, workdir: str | Path, cfg: LogConfig | None = None, config: Any = None):
        """Args: workdir: local or gs://…; config: JSON-able, kept beside the run by W&B.

        Raises:
          InputError: a writer's package isn't installed.
        """
        cfg = cfg or LogConfig()
        self._active = jax.process_index() == 0
        self._rows = self._board = self._wandb = None
        if not self._active:
            return
        folder = epath.Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"
        if "://" in str(folder):  # object stores can't append: the whole log is written again
            self._rows = self._path.read_text().splitlines() if self._path.exists() else []
        if cfg.tensorboard:
            writer = _need("tensorboardX", "tensorboard", "--log.no-tensorboard")
            self._board = writer.SummaryWriter(str(folder / "tensorboard"))
        if cfg.wandb:
            wandb = _need("wandb", "wandb", "--log.wandb ''")
            # one run, however often it was resumed: its id is the folder's
            name = "-".join(folder.parts[-2:]).strip("/")
            self._wandb = wandb.init(project=cfg.wandb, id=name, name=name, resume="allow", config=config)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_) -> None:
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def write(self, step: int, row: dict[str, float]) -> None:
        """One row of scalars."""
        if not self._active:
            return
        line = json.dumps(row)
        if self._rows is not None:
            self._rows.append(line)
            self._path.write_text("\n".join(self._rows) + "\n")
        else:
            with self._path.open("a") as file:
                file.write(line + "\n")
        scalars = {k: v for k, v in row.items() if k != "step"}
        if self._board is not None:
            for name, value in scalars.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()
        if self._wandb is not None:
            # The row of a step is its last word (pictures come before), so it is handed over now and survives a kill.
            self._wandb.log(scalars, step=step, commit=True)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """uint8 [h, w, 3] for TensorBoard and W&B; before the row of its step."""
        if self._active and self._board is not None:
            self._board.add_image(name, image, step, dataformats="HWC")
        if self._active and self._wandb is not None:
            wandb = importlib.import_module("wandb")
            self._wandb.log({name: wandb.Image(image)}, step=step)


def mean(metrics: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means over steps of scalars; of [sum, count] metrics the quotient, left out where nothing was counted."""
    out = {}
    for key in dict.fromkeys(key for row in metrics for key in row):
        values = np.asarray([row[key] for row in metrics if key in row], np.float64)
        if values.ndim == 1:
            out[key] = float(values.mean())
        elif values[:, 1].sum() > 0:
            out[key] = float(values[:, 0].sum() / values[:, 1].sum())
    return out


def _need(module: str, extra: str, switch: str):
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise InputError(
            f"log: {module} isn't installed; pip install 'v2v-edit[{extra}]' or run with {switch}"
        ) from err
