"""Metrics of a run: log.jsonl always, TensorBoard and Weights & Biases on request.

loop.py -> **metric_writer**

Only process 0 writes. A row is flat: the step, means of the metrics since the last row, seconds per step, and time by activity.
"""

import importlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from etils import epath

from v2v.config import LogConfig
from v2v.errors import InputError, install_hint

# In the folder of a stage.
LOG_FILE = "log.jsonl"


class _Writer(Protocol):
    """One of the places that rows and pictures go to."""

    def write(self, step: int, row: Mapping[str, float]) -> None: ...

    def picture(self, step: int, name: str, image: np.ndarray) -> None: ...

    def close(self) -> None: ...


class MetricWriter:
    """A context manager that writes rows to all requested writers."""

    def __init__(
        self,
        workdir: epath.PathLike,
        cfg: LogConfig | None = None,
        config: Any = None,
        first_step: int | None = None,
    ):
        """Open the writers.

        Args:
          workdir: a local folder or gs://...
          cfg: which writers are used.
          config: JSON-able configuration that W&B stores with the run.
          first_step: the step that a resumed run continues from; rows of later steps, which it writes again, are dropped from log.jsonl.

        Raises:
          InputError: the package of a writer is not installed.
        """
        cfg = cfg or LogConfig()
        self._writers: list[_Writer] = []
        if jax.process_index():
            return
        folder = epath.Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        self._writers.append(_JsonLines(folder / LOG_FILE, first_step))
        if cfg.tensorboard:
            self._writers.append(_TensorBoard(folder / "tensorboard"))
        if cfg.wandb:
            # The run keeps its id when it is resumed: the names of its folders.
            self._writers.append(_WeightsAndBiases(cfg.wandb, "-".join(folder.parts[-2:]).strip("/"), config))

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Write one row of scalars."""
        for writer in self._writers:
            writer.write(step, row)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Write a picture, uint8 [h, w, 3], to TensorBoard and W&B; must come before the row of its step."""
        for writer in self._writers:
            writer.picture(step, name, image)


class _JsonLines:
    """A file with one JSON object a row; it holds no pictures."""

    def __init__(self, path: epath.Path, first_step: int | None = None):
        self._path = path
        # Object stores cannot append, so the log is rewritten.
        self._rewritten = "://" in str(path)
        self._lines = path.read_text().splitlines() if path.exists() else []
        if first_step is not None:
            lines = [line for line in self._lines if _row_step(line) <= first_step]
            if lines != self._lines:
                self._lines = lines
                partial = path.parent / f".{path.name}.partial"
                partial.write_text("".join(line + "\n" for line in lines))
                partial.replace(path)

    def write(self, step: int, row: Mapping[str, float]) -> None:
        line = json.dumps(row)
        if self._rewritten:
            self._lines.append(line)
            self._path.write_text("\n".join(self._lines) + "\n")
        else:
            with self._path.open("a") as file:
                file.write(line + "\n")

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        pass

    def close(self) -> None:
        pass


def _row_step(line: str) -> float:
    """Return the step of a row; a line that a killed run left unfinished comes after all steps."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf


class _TensorBoard:
    """Event files of TensorBoard."""

    def __init__(self, folder: epath.Path):
        package = _import_package("tensorboardX", "tensorboard", "--log.no-tensorboard")
        self._board = package.SummaryWriter(str(folder))

    def write(self, step: int, row: Mapping[str, float]) -> None:
        for name, value in _scalars(row).items():
            self._board.add_scalar(name, value, step)
        self._board.flush()

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        self._board.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self._board.close()


class _WeightsAndBiases:
    """A run on Weights & Biases, resumed where one of this id exists."""

    def __init__(self, project: str, run_id: str, config: Any):
        self._wandb = _import_package("wandb", "wandb", "--log.wandb ''")
        self._run = self._wandb.init(project=project, id=run_id, name=run_id, resume="allow", config=config)

    def write(self, step: int, row: Mapping[str, float]) -> None:
        # The row is the last entry of its step (pictures come before), so it is committed now and survives a kill.
        self._run.log(_scalars(row), step=step, commit=True)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def close(self) -> None:
        self._run.finish()


def mean_metrics(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return means over steps of scalars and quotients of [sum, count] metrics; those with count 0 are omitted."""
    out = {}
    for key in dict.fromkeys(key for row in metrics for key in row):
        values = np.asarray([row[key] for row in metrics if key in row], np.float64)
        if values.ndim == 1:
            out[key] = float(values.mean())
        elif values[:, 1].sum() > 0:
            out[key] = float(values[:, 0].sum() / values[:, 1].sum())
    return out


def _scalars(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name not in ("step", "time")}


def _import_package(module: str, extra: str, switch: str) -> Any:
    """Import the package of a writer; where it is missing, name its extra and the switch that does without it."""
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise InputError(
            f"log: {module} isn't installed; {install_hint(extra)} or run with {switch}"
        ) from err
