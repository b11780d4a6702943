"""Export of a method's outputs in the layout of a published benchmark.

To add a layout, write a function that writes one output, one for the scores where the layout has a place for them, and list both in `LAYOUTS`
under the name of the benchmark.

    EditVerseBench   ID/generate.mp4 and ID/video1.mp4 (source), and scores.csv: id, columns, type, last row "Average"
    OpenVE-Bench     NAME_edited.mp4, after the source video NAME.mp4; with a judge's scores openve_MODEL_score.jsonl
    IVEBench         NAME/00000.png ...: a folder of frames under the source video's name
    ImgEdit-Bench    KEY.png; with a judge's answers result.json {KEY: answer}, the grades as lines "Name: 5", which its averaging script counts
    CoVEBench        ID.mp4
    LongV2VBench     fullset/TYPE/NAME.mp4, NAME_src.mp4 (source) and NAME_prompt.txt, after the source video NAME.mp4
    RefVIE-Bench     NUMBER_BEGINNING_NAME.mp4: the row's number, ten characters of the instruction, and the source video's name
    VEFX-Bench       ID.mp4, and edits.csv: original_video, edited_video, instruction, as its scoring scripts read
    any other        ID.mp4 or ID.png

Failed items have no file, which a script that scores the folder would not notice; they are listed in MISSING.txt.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.evaluation.cache import atomic_path, write_text_atomically
from v2v.evaluation.items import Item
from v2v.evaluation.judge.judge_metric import JudgeMetric
from v2v.evaluation.metrics.clips import Clip
from v2v.evaluation.sweep.runner import SweepRun
from v2v.video import video as codec


def export_outputs(run: SweepRun, method: str, folder: Path) -> Path:
    """Write one method's outputs, and scores where the layout has a place for them.

    Args:
      run: a finished run.
      method: name of the method.
      folder: where to write; files of an earlier export are replaced.

    Raises:
      InputError: no such method.
    """
    if method not in [m.name for m in run.sweep.methods]:
        raise InputError(f"export: {method!r} is none of {', '.join(m.name for m in run.sweep.methods)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    layout = LAYOUTS.get(run.sweep.benchmark.name, Layout(_write_plain))
    missing = []
    for item in run.sweep.benchmark.items:
        output = run.outputs[method, item.id]
        if output.path is None:
            missing.append(f"{item.id}\t{output.reason}")
        else:
            layout.write_output(item, output.path, folder)
    if layout.write_scores:
        layout.write_scores(run, method, folder)
    if missing:
        write_text_atomically(folder / "MISSING.txt", "\n".join(missing) + "\n")
    return folder


@dataclass(frozen=True)
class Layout:
    """The layout of a benchmark's results.

    Attributes:
      write_output: writes the output of an item to a folder: (item, output, folder).
      write_scores: writes the scores of a method: (run, method, folder); None where there is no place for them.
    """

    write_output: Callable[[Item, Path, Path], None]
    write_scores: Callable[[SweepRun, str, Path], None] | None = None


def _write_plain(item: Item, output: Path, folder: Path) -> None:
    _copy(output, folder / f"{item.id}{output.suffix}")


def _write_editverse(item: Item, output: Path, folder: Path) -> None:
    _write_mp4(output, folder / item.id / "generate.mp4")
    _write_mp4(item.source, folder / item.id / "video1.mp4")


def _write_openve(item: Item, output: Path, folder: Path) -> None:
    _write_mp4(output, folder / f"{item.id}_edited.mp4")


def _write_ivebench(item: Item, output: Path, folder: Path) -> None:
    for k, frame in enumerate(Clip(output)):
        _write_picture(frame, folder / item.extra["name"] / f"{k:05d}.png")


def _write_imgedit(item: Item, output: Path, folder: Path) -> None:
    _write_picture(next(iter(Clip(output))), folder / f"{item.id}.png")


def _write_video(item: Item, output: Path, folder: Path) -> None:
    _write_mp4(output, folder / f"{item.id}.mp4")


def _write_longv2v(item: Item, output: Path, folder: Path) -> None:
    place = folder / "fullset" / item.kind
    # Its scripts know an output by the source's name alone; a second edit of the same kind and source gets a name of its own.
    stem = item.extra["stem"] if item.id == f"{item.kind}-{item.extra['stem']}" else item.id
    _write_mp4(output, place / f"{stem}.mp4")
    _write_mp4(item.source, place / f"{stem}_src.mp4")
    write_text_atomically(place / f"{stem}_prompt.txt", item.instruction)


def _write_refvie(item: Item, output: Path, folder: Path) -> None:
    source = item.extra["row"]["src_video"].split("/")[-1]
    beginning = item.instruction[:10]
    if "/" in beginning:
        raise InputError(
            f"export: item {item.id}: the layout of RefVIE-Bench names files after the instruction, which can't hold {beginning!r}"
        )
    _write_mp4(output, folder / f"{item.id}_{beginning}_{source}")


def _write_vefx_table(run: SweepRun, method: str, folder: Path) -> None:
    """Write edits.csv with a row for each output; paths are absolute."""
    with atomic_path(folder / "edits.csv") as partial, partial.open("w", newline="") as out:
        lines = csv.writer(out)
        lines.writerow(["original_video", "edited_video", "instruction"])
        for item in run.sweep.benchmark.items:
            if run.outputs[method, item.id].path is not None:
                edited = (folder / f"{item.id}.mp4").absolute()
                lines.writerow([item.source.absolute(), edited, item.instruction])


def _write_editverse_scores(run: SweepRun, method: str, folder: Path) -> None:
    """Write scores.csv as the benchmark's eval.py does, but with empty cells for failed items."""
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


def _write_openve_scores(run: SweepRun, method: str, folder: Path) -> None:
    for metric, item_answers in _judge_answers(run, method):
        lines = [
            json.dumps({"scores": notes["criteria"], "prompt": i.instruction, "edited_type": i.kind, "result": notes["answers"][0]["text"]})
            for i, notes in item_answers
        ]  # fmt: skip
        write_text_atomically(folder / f"openve_{metric.judge.model}_score.jsonl", "\n".join(lines) + "\n")


def _write_imgedit_scores(run: SweepRun, method: str, folder: Path) -> None:
    for metric, item_answers in _judge_answers(run, method):
        criteria = metric.rubric.criteria
        texts = {i.id: _imgedit_answer(criteria, notes["answers"][0]) for i, notes in item_answers}
        write_text_atomically(folder / "result.json", json.dumps(texts, indent=4))


def _imgedit_answer(criteria: Sequence[str], answer: dict) -> str:
    """Return the grades, one a line, and below them the answer with no ": " in it, as a number behind one would be averaged too."""
    grades = [f"{name}: {grade}" for name, grade in zip(criteria, answer["scores"], strict=True)]
    return "\n".join([*grades, "", answer["text"].replace(": ", " - ")])


def _judge_answers(run: SweepRun, method: str) -> Iterator[tuple[JudgeMetric, list[tuple[Item, dict]]]]:
    """Iterate over the judges with the notes of their scores, which hold the answers verbatim, by item."""
    for metric in run.sweep.metrics:
        if isinstance(metric, JudgeMetric) and metric.name not in run.skipped_metrics:
            item_results = ((i, run.results[method, i.id, metric.name]) for i in run.sweep.benchmark.items)
            yield metric, [(item, result.notes) for item, result in item_results if result.status == "ok"]


LAYOUTS = {
    "EditVerseBench": Layout(_write_editverse, _write_editverse_scores),
    "OpenVE-Bench": Layout(_write_openve, _write_openve_scores),
    "IVEBench": Layout(_write_ivebench),
    "ImgEdit-Bench": Layout(_write_imgedit, _write_imgedit_scores),
    "CoVEBench": Layout(_write_video),
    "LongV2VBench": Layout(_write_longv2v),
    "RefVIE-Bench": Layout(_write_refvie),
    "VEFX-Bench": Layout(_write_video, _write_vefx_table),
}


def _write_mp4(path: Path, to: Path) -> None:
    """Copy a clip that is an MP4, encode any other."""
    if path.suffix.lower() == ".mp4":
        _copy(path, to)
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    clip = codec.read_video(path)
    clip.save(to)


def _copy(path: Path, to: Path) -> None:
    with atomic_path(to) as partial:
        shutil.copyfile(path, partial)


def _write_picture(frame: np.ndarray, to: Path) -> None:
    with atomic_path(to) as partial:
        cv2.imwrite(str(partial), frame[..., ::-1])
