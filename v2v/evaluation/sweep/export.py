"""Export of a method's outputs in the layout of a published benchmark.

    EditVerseBench   ID/generate.mp4 and ID/video1.mp4 (source), and scores.csv: id, columns, type, last row "Average"
    OpenVE-Bench     NAME_edited.mp4, after the source video NAME.mp4; with a judge's scores openve_MODEL_score.jsonl
    IVEBench         NAME/00000.png ...: a folder of frames under the source video's name
    ImgEdit-Bench    KEY.png; with a judge's answers result.json {KEY: answer}
    any other        ID.mp4 or ID.png

Items that failed have no file: a script that scores the folder will miss them, so they are listed in MISSING.txt.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2

from v2v.errors import InputError
from v2v.evaluation.cache import atomic_path, write_text_atomically
from v2v.evaluation.items import Item
from v2v.evaluation.judge.judge_metric import JudgeMetric
from v2v.evaluation.metrics.clips import Clip
from v2v.evaluation.sweep.runner import SweepRun
from v2v.video import video as codec


def export_outputs(run: SweepRun, method: str, folder: Path) -> Path:
    """Write one method's outputs, and scores where the layout has a place for them.

    Raises:
      InputError: no such method, or a folder that already holds other files.
    """
    if method not in [m.name for m in run.sweep.methods]:
        raise InputError(f"export: {method!r} is none of {', '.join(m.name for m in run.sweep.methods)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write, scores = LAYOUTS.get(run.sweep.benchmark.name, (_plain, None))
    missing = []
    for item in run.sweep.benchmark.items:
        output = run.outputs[method, item.id]
        if output.path is None:
            missing.append(f"{item.id}\t{output.reason}")
        else:
            write(item, output.path, folder)
    if scores:
        scores(run, method, folder)
    if missing:
        write_text_atomically(folder / "MISSING.txt", "\n".join(missing) + "\n")
    return folder


def _plain(item: Item, output: Path, folder: Path) -> None:
    _copy(output, folder / f"{item.id}{output.suffix}")


def _edit_verse(item: Item, output: Path, folder: Path) -> None:
    _as_mp4(output, folder / item.id / "generate.mp4")
    _as_mp4(item.source, folder / item.id / "video1.mp4")


def _open_ve(item: Item, output: Path, folder: Path) -> None:
    _as_mp4(output, folder / f"{item.id}_edited.mp4")


def _ive(item: Item, output: Path, folder: Path) -> None:
    for k, frame in enumerate(Clip(output)):
        _picture(frame, folder / item.extra["name"] / f"{k:05d}.png")


def _img_edit(item: Item, output: Path, folder: Path) -> None:
    _picture(next(iter(Clip(output))), folder / f"{item.id}.png")


def _edit_verse_scores(run: SweepRun, method: str, folder: Path) -> None:
    """As its eval.py writes it, but that failed items stay in, with empty cells, and are not averaged over in silence."""
    columns = [
        (m.name, c.name) for m in run.sweep.metrics if m.name not in run.skipped_metrics for c in m.columns
    ]
    rows = []
    for item in run.sweep.benchmark.items:
        values = [run.results[method, item.id, m].values.get(c) for m, c in columns]
        rows.append([item.id, *("" if v is None else v for v in values), item.kind])
    averages: list = []
    for k in range(1, len(columns) + 1):
        numbers = [r[k] for r in rows if r[k] != ""]
        averages.append(sum(numbers) / len(numbers) if numbers else "")
    with atomic_path(folder / "scores.csv") as partial, partial.open("w", newline="") as out:
        lines = csv.writer(out)
        lines.writerow(["id", *(c for _, c in columns), "type"])
        lines.writerows(rows)
        lines.writerow(["Average", *averages, ""])


def _open_ve_scores(run: SweepRun, method: str, folder: Path) -> None:
    for metric, item_answers in _judge_answers(run, method):
        lines = [
            json.dumps({"scores": notes["criteria"], "prompt": i.instruction, "edited_type": i.kind, "result": notes["answers"][0]["text"]})
            for i, notes in item_answers
        ]  # fmt: skip
        write_text_atomically(folder / f"openve_{metric.judge.model}_score.jsonl", "\n".join(lines) + "\n")


def _img_edit_scores(run: SweepRun, method: str, folder: Path) -> None:
    for _, item_answers in _judge_answers(run, method):
        texts = {i.id: notes["answers"][0]["text"] for i, notes in item_answers}
        write_text_atomically(folder / "result.json", json.dumps(texts, indent=4))


def _judge_answers(run: SweepRun, method: str) -> Iterator[tuple[JudgeMetric, list[tuple[Item, dict]]]]:
    """Iterate over the judges with the notes of their scores, which hold the answers verbatim, by item."""
    for metric in run.sweep.metrics:
        if isinstance(metric, JudgeMetric) and metric.name not in run.skipped_metrics:
            item_results = ((i, run.results[method, i.id, metric.name]) for i in run.sweep.benchmark.items)
            yield metric, [(item, result.notes) for item, result in item_results if result.status == "ok"]


LAYOUTS: dict[str, tuple[Callable, Callable | None]] = {
    "EditVerseBench": (_edit_verse, _edit_verse_scores),
    "OpenVE-Bench": (_open_ve, _open_ve_scores),
    "IVEBench": (_ive, None),
    "ImgEdit-Bench": (_img_edit, _img_edit_scores),
}


def _as_mp4(path: Path, to: Path) -> None:
    """The file itself where it is an MP4, else written anew."""
    if path.suffix.lower() == ".mp4":
        _copy(path, to)
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    clip = codec.read_video(path)
    clip.save(to)


def _copy(path: Path, to: Path) -> None:
    with atomic_path(to) as partial:
        shutil.copyfile(path, partial)


def _picture(frame, to: Path) -> None:
    with atomic_path(to) as partial:
        cv2.imwrite(str(partial), frame[..., ::-1])
