"""Metrics in the definitions of others: VBench's figures, VMAF, text that an edit should leave alone, and the documented metric in ten lines."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.sweeps import Shift, benchmark
from tests.example_clips import picture
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.metrics import base, vbench, vmaf
from v2v.evaluation.metrics.base import Case, ScoringError
from v2v.evaluation.metrics.builtin import MOTION_SMOOTHNESS, TEMPORAL_FLICKERING
from v2v.evaluation.metrics.clips import Clip, ResizedClip
from v2v.evaluation.metrics.learned import clip_consistency
from v2v.evaluation.metrics.text import TextKept
from v2v.evaluation.sweep import results, runner
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep
from v2v.video import video as codec
from v2v.video.segmentation.text_reading import TextLine


def test_temporal_flickering_is_vbench_s_formula():
    frames = picture(5, 24, 32, seed=1)
    expected = np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(frames, frames[1:], strict=False)])
    assert vbench.temporal_flickering(frames) == pytest.approx(100 * (255 - expected) / 255)
    assert vbench.temporal_flickering(np.repeat(frames[:1], 4, 0)) == 100
    assert np.isnan(vbench.temporal_flickering(frames[:1]))


def test_smooth_motion_is_smoother_than_a_jerky_one():
    base_frame = picture(1, 64, 96, seed=2)[0]
    smooth = np.stack([np.roll(base_frame, 2 * k, 1) for k in range(7)])
    jerky = np.stack([np.roll(base_frame, 2 * (k + (3 if k % 2 else 0)), 1) for k in range(7)])
    still = np.repeat(base_frame[None], 7, 0)
    assert vbench.motion_smoothness(still) == 100
    assert vbench.motion_smoothness(smooth) > vbench.motion_smoothness(jerky) + 1
    # Far better than no motion compensation at all.
    plain = 100 * (1 - np.mean(np.abs(smooth[1].astype(float) - (smooth[0] / 2.0 + smooth[2] / 2.0))) / 255)
    assert vbench.motion_smoothness(smooth[:3]) > plain


def test_consistency_of_a_clip():
    features = np.eye(3)
    assert clip_consistency(np.stack([features[0]] * 4)) == 1
    # To the first: 0, 1; to the one before: 0, 0.
    assert clip_consistency(features[[0, 1, 0]]) == pytest.approx(0.25)


def test_as_metrics_of_a_sweep(tmp_path):
    tiny = benchmark(tmp_path / "b", n=1, T=4)
    methods = [EditingMethod("by 40", editor=Shift, revision="1")]
    run = runner.run_sweep(Sweep(tiny, methods, [TEMPORAL_FLICKERING, MOTION_SMOOTHNESS]), SweepCache(tmp_path / "c"))  # fmt: skip
    summary = results.build_results(run).summary
    assert 50 < summary["temporal flickering"]["by 40"].overall.mean < 100
    assert 50 < summary["motion smoothness (DIS)"]["by 40"].overall.mean <= 100


@pytest.mark.skipif(not vmaf.find_ffmpeg(), reason="no FFmpeg with libvmaf")
def test_vmaf_falls_with_noise(tmp_path):
    frames = picture(4, 144, 192, seed=3)
    noisy = np.clip(frames + np.random.default_rng(0).normal(0, 20, frames.shape), 0, 255).astype(np.uint8)
    paths = {"same": frames, "noisy": noisy}
    clips = {}
    for name, clip in paths.items():
        codec.Video.from_array(clip, 25.0).save(tmp_path / f"{name}.mkv", codec="ffv1")
        clips[name] = ResizedClip(Clip(tmp_path / f"{name}.mkv"), 4, (144, 192))
    same, worse = (vmaf.compute_vmaf(clips[name], clips["same"]) for name in ("same", "noisy"))
    assert same > 95 and worse < same - 10


def test_vmaf_that_can_t_be_computed_says_why(monkeypatch, tmp_path):
    frames = ResizedClip(_clip(tmp_path, picture(2, 32, 32)), 2, (32, 32))
    monkeypatch.setattr(vmaf, "find_ffmpeg", lambda: "")
    assert "v2v-edit[vmaf]" in (vmaf.Vmaf().missing() or "")
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\ncat > /dev/null\necho no such filter >&2\nexit 3\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setattr(vmaf, "find_ffmpeg", lambda: str(tmp_path / "ffmpeg"))
    with pytest.raises(ScoringError, match="no such filter"):
        vmaf.compute_vmaf(frames, frames)
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(ScoringError, match="code 3"):
        vmaf.compute_vmaf(frames, frames)


def _clip(folder, frames):
    codec.Video.from_array(frames, 25.0).save(folder / "clip.mkv", codec="ffv1")
    return Clip(folder / "clip.mkv")


class PaintedReader:
    """Reads the text "EXIT 12" where a frame has its bright box, as much of it as the box is bright, and "SALE" in the lower half."""

    def __call__(self, frame):
        lines = []
        for text, (top, left) in {"EXIT 12": (2, 4), "SALE": (20, 4)}.items():
            box = frame[top : top + 8, left : left + 28, 0]
            share = (box > 200).mean()
            if share > 0.1:
                quad = np.array([[left, top], [left + 28, top], [left + 28, top + 8], [left, top + 8]], np.float32)  # fmt: skip
                lines.append(TextLine(text[: round(share * len(text))], quad))
        return lines


def test_text_outside_the_mask(tmp_path):
    frames = np.full((4, 32, 48, 3), 60, np.uint8)
    for top in (2, 20):
        frames[:, top : top + 8, 4:32] = 250
    mask = np.zeros_like(frames)
    mask[:, 16:] = 255
    item = benchmark(tmp_path / "b", n=1, T=4).items[0]
    codec.Video.from_array(frames, 25.0).save(tmp_path / "source.mkv", codec="ffv1")
    codec.Video.from_array(mask, 25.0).save(tmp_path / "mask.mkv", codec="ffv1")
    item = dataclasses.replace(item, source=tmp_path / "source.mkv", mask=tmp_path / "mask.mkv", truth=None)
    metric = TextKept(build_reader=PaintedReader)

    def score(output):
        codec.Video.from_array(output, 25.0).save(tmp_path / "output.mkv", codec="ffv1")
        return metric.score(Case(item, tmp_path / "output.mkv"))

    inside = frames.copy()
    inside[:, 16:] = 60
    assert score(inside).values == {"text kept": 1.0}, "text inside the mask may go"
    half = frames.copy()
    half[:, 2:10, 18:32] = 60
    assert score(half).values["text kept"] == pytest.approx(4 / 7)
    gone = score(np.full_like(frames, 60))
    assert gone.values == {"text kept": 0.0} and gone.notes["harmed"][0]["text"] == "EXIT 12"
    codec.Video.from_array(np.full_like(frames, 60), 25.0).save(tmp_path / "source.mkv", codec="ffv1")  # fmt: skip
    assert TextKept(build_reader=PaintedReader).score(Case(item, tmp_path / "output.mkv")).values == {}


def test_the_documented_metric_in_ten_lines_works(tmp_path):
    """The block in the docstring of metrics/base.py is code that runs."""
    text = base.__doc__ or ""
    block = re.search(r"in ten lines:\n\n((?:    .*\n|\n)+)", text)
    assert block is not None
    code = "\n".join(line[4:] for line in block[1].splitlines()).strip()
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / "mine.py").write_text(code)
    names: dict = {}
    exec(compile(code, str(tmp_path / "mine.py"), "exec"), names)
    tiny = benchmark(tmp_path / "b", n=2, T=3)
    run = runner.run_sweep(
        Sweep(tiny, [EditingMethod("by 40", editor=Shift, revision="1")], [names["CONTRAST"]]),
        SweepCache(tmp_path / "c"),  # fmt: skip
    )
    frames = list(Clip(Path(run.outputs["by 40", "item0"].path)))
    expected = np.mean([frame.std() for frame in frames])
    assert run.results["by 40", "item0", "contrast"].values["contrast"] == pytest.approx(expected)
