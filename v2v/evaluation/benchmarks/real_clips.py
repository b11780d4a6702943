"""Photometric edits of real clips, whose exact result is a formula: PSNR against it at the clip's size."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_synth.language import templates
from data_synth.operators.photometric import PHOTOMETRIC
from v2v.errors import InputError
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.items import Benchmark, Item
from v2v.evaluation.metrics import pixel
from v2v.evaluation.metrics.base import Case, Column, Metric, Score
from v2v.evaluation.sweep.methods import EditingMethod, VideoEditor
from v2v.evaluation.sweep.runner import ProgressCallback, run_sweep
from v2v.evaluation.sweep.sweep import Sweep
from v2v.video import contact_sheet
from v2v.video import video as codec
from v2v.video.contact_sheet import Band


class PhotometricPSNR(Metric):
    """PSNR in dB of the output against the exact transformation of the source, all frames pooled; the item's kind names it."""

    name = "photometric PSNR"
    columns = (Column("photometric PSNR", unit="dB", about="against the exact transformation of the source"),)
    required_fields = ("source",)

    @property
    def identity(self) -> dict:
        """Return name and version."""
        return {"metric": self.name, "version": 1}

    def score(self, case: Case) -> Score:
        """Transform the source frame by frame, so that the truth of a long clip is never held whole, and compare."""
        output, source = case.against_source
        transform = PHOTOMETRIC[case.item.kind]
        return Score({self.name: pixel.psnr(output, (transform(frame[None], None)[0] for frame in source))})


class FirstFramesEditor:
    """An editor that edits the first frames of every clip.

    Attributes:
      count: number of frames.
    """

    def __init__(self, editor: VideoEditor, count: int):
        self._editor, self.count = editor, count

    def edit_video(self, video: str | Path | codec.Video, instruction: str, **options: Any) -> codec.Video:
        """Edit the beginning of a clip."""
        source = video if isinstance(video, codec.Video) else codec.read_video(video)
        if len(source.frames) > self.count:
            frames = source.frames[: self.count].copy()
            source = codec.Video(frames, source.times[: self.count], source.fps, colour=source.colour)
        return self._editor.edit_video(source, instruction, **options)


@dataclass(frozen=True)
class RealClipScore:
    """One photometric edit of a real clip, its output, and its PSNR in dB."""

    item: Item
    output: Path
    psnr: float


def real_clip_benchmark(path: Path, names: Iterable[str] = PHOTOMETRIC) -> Benchmark:
    """Build the benchmark of one clip.

    Args:
      path: any video file.
      names: edits of PHOTOMETRIC; palette is left out, as a real clip comes with no picture of colors.
    """
    items = [
        Item(name, path, templates.PHOTOMETRIC_TEMPLATES[name][0].format(it="the video"), name)
        for name in names
        if name != "palette"
    ]
    return Benchmark(f"photometric edits of {path.name}", tuple(items), about="Exact transformations.")


def score_real_clip(
    method: EditingMethod,
    benchmark: Benchmark,
    cache: SweepCache,
    frames: int | None = None,
    tick: ProgressCallback = lambda what: None,
) -> list[RealClipScore]:
    """Edit a real clip by every item of its benchmark and compute PSNR.

    Args:
      method: the editor.
      benchmark: of `real_clip_benchmark`.
      cache: finished edits and scores.
      frames: number of frames from the start; None for all.
      tick: called as by `run_sweep`.

    Raises:
      InputError: an edit or a score failed.
    """
    if frames is not None:
        count = frames
        wrapped = method.wrap(lambda editor: FirstFramesEditor(editor, count), f"first {count} frames", cache)
        method = dataclasses.replace(wrapped, name=method.name)
    metric = PhotometricPSNR()
    run = run_sweep(Sweep(benchmark, (method,), (metric,)), cache, tick)
    scores = []
    for item in benchmark.items:
        output, result = (
            run.outputs[method.name, item.id].path,
            run.results[method.name, item.id, metric.name],
        )
        if output is None or result.status != "ok":
            raise InputError(f"{item.source}, {item.id}: could not be scored: {result.reason}")
        scores.append(RealClipScore(item, output, result.values[metric.name]))
    return scores


def build_real_clip_band(score: RealClipScore) -> Band:
    """Build the contact sheet's band of an edit: source, output and truth."""
    output = codec.read_video(score.output).frames
    source = codec.read_video(score.item.source).frames[: len(output)]
    truth = PHOTOMETRIC[score.item.kind](contact_sheet.select_columns(source), None)
    rows = [("source", source), ("output", output), ("truth", truth)]
    thumbnails = [(label, contact_sheet.make_thumbnails(clip)) for label, clip in rows]
    return Band(f"{score.item.id}, {score.psnr:.1f} dB", thumbnails)
