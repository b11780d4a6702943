"""The settings of the exact-truth benchmark as methods of sweeps, and their scores.

Every item is edited as a person would: the editor gets the path of a lossless source, its result is saved as H.264 and read again, and that
is compared with the truth at the clip's own size. Settings differ in one thing each:

    sentence    the instruction alone, with start and end where the edit is on for part of the clip
    masked      the same sentence with the exact mask video, which says where and when
    reference   the same sentence with the item's reference picture, for items whose picture is optional
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from v2v.errors import InputError
from v2v.evaluation.benchmarks.exact_truth_summary import FlickerComparison, ScoredPair
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.counts import format_count
from v2v.evaluation.items import Benchmark, Item
from v2v.evaluation.metrics.base import Metric
from v2v.evaluation.metrics.builtin import FLICKER_ALONG_TRUTH, PSNR_REGIONS, STRICT_SUCCESS, SUCCESS
from v2v.evaluation.metrics.clips import Clip
from v2v.evaluation.metrics.success import Outcome
from v2v.evaluation.metrics.temporal import Flicker
from v2v.evaluation.sweep.methods import EditingMethod, VideoEditor
from v2v.evaluation.sweep.runner import ProgressCallback, SweepRun, run_sweep
from v2v.evaluation.sweep.sweep import Sweep
from v2v.video import video as codec
from v2v.video.contact_sheet import Band

Setting = Literal["sentence", "masked", "reference"]
SETTINGS: tuple[Setting, ...] = get_args(Setting)
OUTCOME_METRICS = (SUCCESS, STRICT_SUCCESS, PSNR_REGIONS)


class FrameByFrameEditor:
    """An editor that edits every frame as a clip of its own and joins the results."""

    def __init__(self, editor: VideoEditor):
        self._editor = editor

    def edit_video(self, video: str | Path | codec.Video, instruction: str, **options: Any) -> codec.Video:
        """Edit a clip whose edit is on everywhere and throughout.

        Args:
          video: the clip.
          instruction: the edit.
          **options: of the editor, without mask, start and end, which a clip of one frame does not have.
        """
        source = video if isinstance(video, codec.Video) else codec.read_video(video)
        frames = [
            self._editor.edit_video(
                codec.Video.from_array(frame[None], source.fps), instruction, **options
            ).frames
            for frame in source.frames
        ]
        return codec.Video.from_array(np.concatenate(frames), source.fps)


def setting_method(method: EditingMethod, setting: Setting) -> EditingMethod:
    """Return the method in one setting, named by it."""
    return dataclasses.replace(
        method, name=setting, use_mask=setting == "masked", use_reference=setting == "reference"
    )


def item_settings(item: Item) -> tuple[Setting, ...]:
    """Return the settings that apply to an item."""
    return SETTINGS if item.reference is not None and not item.reference_is_asked else SETTINGS[:2]


def score_settings(
    method: EditingMethod,
    benchmark: Benchmark,
    cache: SweepCache,
    tick: ProgressCallback = lambda what: None,
) -> list[ScoredPair]:
    """Edit and score every item in all its settings.

    Args:
      method: the editor; its name and what it is given are replaced by the settings.
      benchmark: items of exact_truth.py.
      cache: finished edits and scores; a second call does only what is missing.
      tick: called as by `run_sweep`.

    Returns:
      the scores in the order of items.

    Raises:
      InputError: an edit or a score failed.
    """
    outcomes: dict[str, dict[str, Outcome]] = {item.id: {} for item in benchmark.items}
    outputs: dict[str, dict[str, Path]] = {item.id: {} for item in benchmark.items}
    # One setting after the other, as each applies to items of its own.
    for setting in SETTINGS:
        items = tuple(item for item in benchmark.items if setting in item_settings(item))
        if not items:
            continue
        run = _run(benchmark, items, (setting_method(method, setting),), OUTCOME_METRICS, cache, tick)
        for item in items:
            outcomes[item.id][setting] = _outcome(run, setting, item)
            outputs[item.id][setting] = _output(run, setting, item)
    return [
        ScoredPair(
            item.kind,
            "{}x{}".format(*Clip(item.source).size),
            outcomes[item.id],
            outputs[item.id],
        )
        for item in benchmark.items
    ]


def compare_flicker(
    method: EditingMethod,
    benchmark: Benchmark,
    cache: SweepCache,
    tick: ProgressCallback = lambda what: None,
) -> list[FlickerComparison]:
    """Compute the flicker of every item edited as a clip and frame by frame, both saved and read the same way.

    Args:
      method: the editor.
      benchmark: items of exact_truth.py whose edits are on throughout (transition 0).
      cache: finished edits and scores.
      tick: called as by `run_sweep`.

    Raises:
      InputError: an edit or a score failed.
    """
    as_clip = dataclasses.replace(method, name="clip")
    by_frame = dataclasses.replace(method.wrap(FrameByFrameEditor, "frame by frame", cache), name="frames")
    run = _run(benchmark, benchmark.items, (as_clip, by_frame), (FLICKER_ALONG_TRUTH,), cache, tick)
    return [
        FlickerComparison(_flicker(run, as_clip.name, item), _flicker(run, by_frame.name, item))
        for item in benchmark.items
    ]


def build_pair_band(item: Item, scored: ScoredPair) -> Band:
    """Build the contact sheet's band of a scored item, with its outcomes in the title."""
    verdicts = [
        f"{k} {'ok' if o.success else 'FAILED'} {o.error_ratio:.2f}" for k, o in scored.outcomes.items()
    ]
    rows = [
        ("source", item.source),
        *scored.outputs.items(),
        ("truth", item.truth),
        ("picture", item.reference),
    ]
    title = f"{item.instruction}  ({', '.join(verdicts)}; seed {item.extra['seed']})"
    return Band(title, [(label, codec.read_video(path).frames) for label, path in rows if path is not None])


def _run(
    benchmark: Benchmark,
    items: tuple[Item, ...],
    methods: Sequence[EditingMethod],
    metrics: Sequence[Metric],
    cache: SweepCache,
    tick: ProgressCallback,
) -> SweepRun:
    sweep = Sweep(dataclasses.replace(benchmark, items=items), methods, metrics)
    run = run_sweep(sweep, cache, tick)
    failures = [
        f"{method}, item {item}, {metric}: {result.reason}"
        for (method, item, metric), result in run.results.items()
        if result.status in ("failed", "unscored")
    ]
    if failures:
        raise InputError(
            f"exact truth: {format_count(len(failures), 'score')} failed; the first is {failures[0]}"
        )
    return run


def _outcome(run: SweepRun, method: str, item: Item) -> Outcome:
    values: dict[str, float] = {}
    for metric in OUTCOME_METRICS:
        values |= run.results[method, item.id, metric.name].values
    return Outcome(
        success=bool(values["success"]),
        success_rms=bool(values["strict success"]),
        error_ratio=values["error ratio"],
        psnr_inside=values["PSNR inside"],
        psnr_outside=values.get("PSNR outside", float("nan")),
    )


def _output(run: SweepRun, method: str, item: Item) -> Path:
    path = run.outputs[method, item.id].path
    assert path is not None, "a run without failures has all outputs"
    return path


def _flicker(run: SweepRun, method: str, item: Item) -> Flicker:
    values = run.results[method, item.id, FLICKER_ALONG_TRUTH.name].values
    return Flicker(*(values[column.name] for column in FLICKER_ALONG_TRUTH.columns))
