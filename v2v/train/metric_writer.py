"""Metrics of a run: log.jsonl always, TensorBoard and Weights & Biases on request.

loop.py -> **metric_writer**

Only process 0 writes. A row is flat: the step, means of the metrics since the last row, seconds per step, and time by activity.
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


class MetricWriter:
    """A context manager that writes rows to all requested writers."""

    def __init__(self, workdir: str | Path, cfg: LogConfig | None = None, config: Any = None):
        """Open the writers.

        Args:
          workdir: a local folder or gs://...
          cfg: which writers are used.
          config: JSON-able configuration that W&B stores with the run.

        Raises:
          InputError: the package of a writer is not installed.
        """
        cfg = cfg or LogConfig()
        self._active = jax.process_index() == 0
        self._rows = self._board = self._wandb = None
        if not self._active:
            return
        folder = epath.Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"
        if "://" in str(folder):  # object stores cannot append, so the log is rewritten
            self._rows = self._path.read_text().splitlines() if self._path.exists() else []
        if cfg.tensorboard:
            writer = _import_writer("tensorboardX", "tensorboard", "--log.no-tensorboard")
            self._board = writer.SummaryWriter(str(folder / "tensorboard"))
        if cfg.wandb:
            wandb = _import_writer("wandb", "wandb", "--log.wandb ''")
            # one run, however often it was resumed: its id is the folder's
            name = "-".join(folder.parts[-2:]).strip("/")
            self._wandb = wandb.init(project=cfg.wandb, id=name, name=name, resume="allow", config=config)

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_) -> None:
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def write(self, step: int, row: dict[str, float]) -> None:
        """Write one row of scalars."""
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
            # The row is the last entry of its step (pictures come before), so it is committed now and survives a kill.
            self._wandb.log(scalars, step=step, commit=True)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Write a picture, uint8 [h, w, 3], to TensorBoard and W&B; must come before the row of its step."""
        if self._active and self._board is not None:
            self._board.add_image(name, image, step, dataformats="HWC")
        if self._active and self._wandb is not None:
            wandb = importlib.import_module("wandb")
            self._wandb.log({name: wandb.Image(image)}, step=step)


def mean_metrics(metrics: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return means over steps of scalars and quotients of [sum, count] metrics; those with count 0 are omitted."""
    out = {}
    for key in dict.fromkeys(key for row in metrics for key in row):
        values = np.asarray([row[key] for row in metrics if key in row], np.float64)
        if values.ndim == 1:
            out[key] = float(values.mean())
        elif values[:, 1].sum() > 0:
            out[key] = float(values[:, 0].sum() / values[:, 1].sum())
    return out


def _import_writer(module: str, extra: str, switch: str):
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise InputError(
            f"log: {module} isn't installed; pip install 'v2v-edit[{extra}]' or run with {switch}"
        ) from err
