"""The page of training runs: curves, previews, where the time went, and settings, in one file that opens from disk.

train/metric_writer.py, train/attempts.py, train/callbacks.py -> **training_report** -> page/training.html

A run is a folder with log.jsonl, such as RUN/edit; a folder of `v2v train` may hold several, one for each stage.
"""

import base64
import dataclasses
import datetime
import json
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from v2v.errors import InputError
from v2v.evaluation.html_page import encode_small, fill_page
from v2v.evaluation.metrics.clips import Clip
from v2v.train.attempts import Attempt, measure_goodput, read_attempts
from v2v.train.run_record import PREVIEW_LIST, RECORD_FILE

SCRIPTS = ("player.js", "elements.js", "training.js", "controls.js")
# Most points of a curve; more are averaged.
POINTS = 600
# Longest side of a preview in pixels, and x264's quality.
SIDE, CRF = 960, "25"
# Of a preview's name: step and number of the clip.
PREVIEW_NAME = re.compile(r"(\d+)-(\d+)\.mp4")


@dataclass(frozen=True)
class Chart:
    """One plot over steps.

    Attributes:
      title: of the plot.
      keys: columns of the log, each with its name in the plot.
      about: what it tells.
      unit: of the values.
      log: whether a logarithmic scale may be chosen.
      zero: whether the axis begins at 0.
    """

    title: str
    keys: dict[str, str]
    about: str
    unit: str = ""
    log: bool = False
    zero: bool = False


CHARTS = (
    Chart("loss", {"loss": "loss"}, "loss on the training batches", log=True),
    Chart(
        "held-out loss", {"held_out_loss": "loss"},
        "loss on pairs that are never trained on, with the same flow times and noise at every step", log=True,
    ),
    Chart(
        "is the condition used?", {"source_use": "source", "mask_use": "mask", "text_use": "text"},
        "rise of the held-out loss where another pair gives source, mask or sentence; 0: it is ignored", zero=True,
    ),
    Chart(
        "held-out loss by flow time",
        {f"held_out_loss_tau_{i / 4:.2f}": f"from {i / 4:.2f}" for i in range(4)},
        "0 is clean, 1 is noise", log=True,
    ),
    Chart(
        "error of the clip", {"inside": "inside the edit", "outside": "outside"},
        "squared error of the predicted latents where the edit is, and elsewhere", log=True,
    ),
    Chart("difference of previews", {"preview_rmse": "RMSE"}, "from the targets, in levels of 255", zero=True),
    Chart("learning rate", {"learning_rate": "rate"}, "of the weights that the optimizer updates first", zero=True),
    Chart(
        "gradients", {"grad_norm_lora": "adapter", "grad_norm_embed": "embeddings", "grad_norm_dit": "transformer"},
        "norms before clipping, by group", log=True,
    ),
    Chart(
        "updates", {"update_norm_lora": "adapter", "update_norm_embed": "embeddings", "update_norm_dit": "transformer"},
        "norms of what a step changes", log=True,
    ),
    Chart(
        "step time", {"step_p50": "median", "step_p90": "90 %", "step_max": "longest"},
        "seconds of a step within an interval of the log, without compiling, saving and evaluating", "s", log=True,
    ),
    Chart("waiting for data", {"data_wait": "share"}, "share of the time in which no batch was there", zero=True),
    Chart("throughput", {"clips_per_second": "clips"}, "clips a second", zero=True),
    Chart("model FLOP utilization", {"mfu": "MFU"}, "needed operations over the devices' peak, without recomputation", zero=True),
    Chart("device memory", {"device_gib": "peak"}, "most that was ever used of a device", "GiB", zero=True),
)  # fmt: skip

# Columns of the table of runs: name, unit, meaning, kind of value.
COLUMNS = (
    ("step", "", "the last logged step", ""),
    ("loss", "", "mean of the last rows, a twentieth of the run", ""),
    ("held-out loss", "", "the last one", ""),
    ("least held-out loss", "", "of all steps", ""),
    ("source use", "", "rise of the held-out loss with another pair's source", "share"),
    ("mask use", "", "the same for the mask", "share"),
    ("text use", "", "the same for the sentence", "share"),
    ("loss spikes", "", "intervals of the log whose loss was far above the median of those before", ""),
    ("step time", "s", "median", ""),
    ("MFU", "", "model FLOP utilization, median", "share"),
    ("memory", "GiB", "peak of a device", ""),
    ("goodput", "", "share of the time since the first start in steps that counted", "share"),
    ("time", "", "since the first start", "seconds"),
    ("attempts", "", "starts of this stage", ""),
)


@dataclass(frozen=True)
class TrainingRun:
    """A stage of a training run, as its folder tells it.

    Attributes:
      name: short name, unique among those that are compared.
      folder: its folder.
      rows: rows of the log.
      attempts: starts and ends.
      settings: fields of the configuration by dotted name; {} where none is stored.
    """

    name: str
    folder: Path
    rows: tuple[dict[str, float], ...]
    attempts: tuple[Attempt, ...]
    settings: dict[str, Any]


def find_runs(folders: Sequence[str | Path]) -> list[TrainingRun]:
    """Return the stages with a log in some folders of `v2v train`.

    Args:
      folders: of runs, or of single stages.

    Raises:
      InputError: a folder that doesn't exist, or without a log that has rows.
    """
    logs_of_runs: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"{folder}: expected the folder of a training run, found none")
        logs = sorted(folder.glob("log.jsonl")) or sorted(folder.rglob("log.jsonl"))
        if not logs:
            hint = (
                "; v2v eval SWEEP --report-only makes the page of a sweep"
                if (folder / "results.json").exists()
                else ""
            )
            raise InputError(f"{folder}: expected the folder of a training run, it has no log.jsonl{hint}")
        logs_of_runs += logs
    runs = []
    for log, name in zip(logs_of_runs, _short_names([log.parent for log in logs_of_runs]), strict=True):
        rows = tuple(_read_rows(log))
        if rows:
            record = next(
                (p / RECORD_FILE for p in (log.parent, *log.parents) if (p / RECORD_FILE).exists()), None
            )
            settings = _flatten(json.loads(record.read_text())) if record else {}
            runs.append(TrainingRun(name, log.parent, rows, tuple(read_attempts(log.parent)), settings))
    if not runs:
        raise InputError(
            f"{', '.join(map(str, folders))}: the logs have no rows yet; wait for --log.every steps"
        )
    return runs


def build_training_report(runs: Sequence[TrainingRun], *, megabytes: float = 60) -> str:
    """Build the page as HTML.

    Args:
      runs: the runs, side by side.
      megabytes: limit of the previews before base64.
    """
    tags = sorted({key for run in runs for row in run.rows for key in row if key.startswith("loss_recipe_")})
    recipes = [
        Chart(
            f"loss of {tag.removeprefix('loss_recipe_')}",
            {tag: "loss"},
            "loss of this recipe's pairs",
            log=True,
        )
        for tag in (tags if len(tags) > 1 else [])[:24]
    ]
    taus = [
        key
        for key in sorted({k for run in runs for row in run.rows for k in row})
        if re.fullmatch(r"loss_tau_[\d.]+", key)
    ]
    by_tau = [
        Chart(
            "loss by flow time",
            {key: f"from {key.removeprefix('loss_tau_')}" for key in taus[:4]},
            "0 is clean, 1 is noise",
            log=True,
        )
    ]
    charts = [CHARTS[0], *by_tau, *CHARTS[1:], *recipes]
    data = {
        "made": datetime.datetime.now().isoformat(" ", "minutes"),
        "note": "Loss: mean over the last twentieth of the rows. Times and memory are those of the machines that ran it.",
        "columns": [dict(zip(("name", "unit", "about", "kind"), column, strict=True)) for column in COLUMNS],
        "charts": [
            dataclasses.asdict(chart)
            | {"series": [{"key": key, "name": name} for key, name in chart.keys.items()]}
            for chart in charts
        ],
        "runs": [_run_document(run, {key for chart in charts for key in chart.keys}) for run in runs],
        "fields": _compare_settings(runs),
    }
    title = f"Training: {runs[0].name}" if len(runs) == 1 else f"Training: {len(runs)} runs"
    return fill_page("training", title, data, _preview_media(runs, megabytes), SCRIPTS)


def summarize_run(run: TrainingRun) -> dict[str, float | None]:
    """Return the values of a run's row in the table of runs, by column; None where the log doesn't tell."""

    def values(key: str) -> list[float]:
        return [row[key] for row in run.rows if _is_number(row.get(key))]

    def last(key: str) -> float | None:
        return (values(key) or [None])[-1]

    def median(key: str) -> float | None:
        return float(np.median(values(key))) if values(key) else None

    losses = values("loss")
    goodput = measure_goodput(run.attempts) if run.attempts else None
    return {
        "step": run.rows[-1]["step"],
        "loss": float(np.mean(losses[-max(1, len(losses) // 20) :])) if losses else None,
        "held-out loss": last("held_out_loss"),
        "least held-out loss": min(values("held_out_loss"), default=None),
        "source use": last("source_use"),
        "mask use": last("mask_use"),
        "text use": last("text_use"),
        "loss spikes": len(values("loss_spike")) or None,
        "step time": median("step_p50") or median("seconds_per_step"),
        "MFU": median("mfu"),
        "memory": max(values("device_gib"), default=None),
        "goodput": goodput.share if goodput else None,
        "time": goodput.total if goodput else None,
        "attempts": len(run.attempts) or None,
    }


def _run_document(run: TrainingRun, keys: set[str]) -> dict[str, Any]:
    goodput = dataclasses.asdict(measure_goodput(run.attempts)) if run.attempts else None
    last = run.attempts[-1] if run.attempts else None
    steps = run.settings.get(f"{run.folder.name}.steps")
    about = f"{int(run.rows[-1]['step'])}" + (f" of {steps} steps" if steps else " steps")
    if last is not None:
        about += f", {last.cause or 'running'}"
    return {
        "name": run.name,
        "about": about,
        "summary": summarize_run(run),
        "least": _least_step(run),
        "spikes": [int(row["step"]) for row in run.rows if _is_number(row.get("loss_spike"))],
        "series": {key: points for key in sorted(keys) if (points := _series(run.rows, key))},
        "goodput": goodput,
        "attempts": [dataclasses.asdict(attempt) for attempt in run.attempts],
    }


def _least_step(run: TrainingRun) -> float | None:
    """Return the step of the least held-out loss; None where none was measured."""
    losses = [(row["held_out_loss"], row["step"]) for row in run.rows if _is_number(row.get("held_out_loss"))]
    return min(losses)[1] if losses else None


def _series(rows: Sequence[Mapping[str, float]], key: str) -> list[list[float]]:
    """Return [step, value] of a column, averaged over neighbors where there are too many."""
    points = [(row["step"], row[key]) for row in rows if _is_number(row.get(key))]
    size = max(1, math.ceil(len(points) / POINTS))
    groups = [np.asarray(points[i : i + size], np.float64).mean(0) for i in range(0, len(points), size)]
    return [[round(float(step)), float(f"{value:.5g}")] for step, value in groups]


def _preview_media(runs: Sequence[TrainingRun], megabytes: float) -> dict[str, Any]:
    """Return the previews of all runs: the newest of every clip first, then the first, then those between, until the budget is spent."""
    candidates: list[tuple[int, int, int, Path]] = []  # rank, run, clip, file
    listings: list[list[dict[str, Any]]] = []
    for number, run in enumerate(runs):
        folder = run.folder / "previews"
        listings.append(_read_listing(folder / PREVIEW_LIST))
        by_clip: dict[int, list[tuple[int, Path]]] = {}
        for path in sorted(folder.glob("*.mp4")):
            if match := PREVIEW_NAME.fullmatch(path.name):
                by_clip.setdefault(int(match[2]), []).append((int(match[1]), path))
        for clip, files in by_clip.items():
            for rank, i in enumerate(_spread(len(files))):
                candidates.append((rank, number, clip, files[i][1]))
    media: dict[str, dict[str, Any]] = {}
    entries: dict[str, dict[str, Any]] = {}
    total, omitted = 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        for _, number, clip, path in sorted(candidates, key=lambda row: row[:3]):
            if total > megabytes * 2**20:
                omitted += 1
                continue
            try:
                source = Clip(path)
            except InputError:  # one that a killed run left
                omitted += 1
                continue
            fps = round(min(60.0, max(1.0, source.fps)), 3)
            small = Path(temporary) / "preview.mp4"
            record = encode_small(source, small, fps, SIDE, CRF)
            data = small.read_bytes()
            total += len(data)
            listed = listings[number][clip] if clip < len(listings[number]) else {}
            instruction = str(listed.get("instruction", f"clip {clip}"))
            columns = "source, edit, target" if listed.get("target", True) else "source, edit"
            media[str(len(media))] = record | {"data": base64.b64encode(data).decode()}
            entry = entries.setdefault(
                f"{clip} {instruction}", {"instruction": instruction, "fps": fps, "screens": []}
            )
            step = int(path.name.partition("-")[0])
            entry["screens"].append(
                {"run": number, "step": step, "id": str(len(media) - 1), "columns": columns}
            )
    note = f"Previews of at most {SIDE} pixels. Space plays, arrow keys step."
    if omitted:
        note += f" {omitted} are left out to keep this file small, or can't be read."
    return {"media": media, "clips": list(entries.values()), "note": note}


def _spread(count: int) -> list[int]:
    """Return the indices of a list in the order in which they are shown: last, first, then ever finer between."""
    order = [count - 1, 0] if count > 1 else list(range(count))
    step = 1
    while len(order) < count:
        step *= 2
        order += [i for k in range(1, step, 2) if (i := (count - 1) * k // step) not in order]
        if step > count:
            order += [i for i in range(count) if i not in order]
    return order


def _read_listing(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _read_rows(log: Path) -> list[dict[str, float]]:
    """Return the rows of a log; a line that a killed run left unfinished is passed over."""
    rows = []
    for line in log.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and _is_number(row.get("step")):
            rows.append(row)
    return rows


def _compare_settings(runs: Sequence[TrainingRun]) -> list[dict[str, Any]]:
    """Return the settings that differ between runs; of a single run all of its stage."""
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    fields = []
    for name in names:
        values = [json.dumps(run.settings[name]) if name in run.settings else "–" for run in runs]
        if len(runs) == 1 or len(set(values)) > 1:
            fields.append({"name": name, "values": [_shorten(value) for value in values]})
    return fields


def _shorten(text: str) -> str:
    """Return a value as a page has room for it; of paths of this machine the last name alone, as pages are passed on."""
    text = re.sub(r"(?<![\w:.])/(?:[^\s/\"]+/)+([^\s/\"]+)", r"\1", text)
    return text if len(text) <= 120 else text[:119] + "…"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return out


def _short_names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest endings of paths that tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        # A stage's name alone says little.
        if len(set(names)) == len(names) and (length > 1 or len(names) > 1):
            return names
    return [str(folder) for folder in folders]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
