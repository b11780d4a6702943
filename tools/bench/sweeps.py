"""Measure the bars of evaluation: what an unchanged sweep takes to run again, the rate of the metrics, and a small sweep with the packaged model.

    python tools/bench/sweeps.py                    rerun and metrics, about a minute of processor time
    python tools/bench/sweeps.py --edits            also 3 methods x 24 clips with the packaged model, some minutes

Prints a line for each bar: what was measured, the bar, and their ratio; 1 or less is kept. Figures are processor time (user and system) of the
processes, so that a busy machine counts little; on an idle machine of two cores the wall time of the edits is at most as long.

    rerun      an unchanged sweep of 24 clips again: at most 1.3 x the time of `v2v eval --help`, plus one second
    metrics    metrics without networks on a clip of 480x832, its decoding included: at least 30 frames a second (metrics.py: each metric by itself)
    edits      3 methods x 24 clips of the packaged model, edits, scores and report: less than 5 minutes on two cores, 600 s of both together

On 30 November 2026, two cores at loads of 20 to 40, which cost caches and memory rate too: rerun 0.90 to 1.02 s, bar 1.21 to 1.24 s (0.75 to 0.82 of
it; 1.19 to 1.25 s in the same hour before files that would say the same were left as they are); metrics 24 to 28 frames a second, bar 30 (1.07 to 1.27
of its time). Decoding is done by processes that live as long as this one, so that only its share in this process counts in the rate; the line
after it tells theirs.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.example_clips import picture
from v2v.evaluation.benchmarks.exact_truth import write_lossless_clip
from v2v.evaluation.items import Item
from v2v.evaluation.metrics.base import Case
from v2v.evaluation.metrics.builtin import BUILTIN_METRICS
from v2v.video import decoding_process

ROOT = Path(__file__).parents[2]
FRAMES, HEIGHT, WIDTH = 48, 480, 832
CLIPS = ("source", "truth", "mask", "output")
SWEEP = """
from v2v.evaluation.benchmarks.exact_truth import build_benchmark
from v2v.evaluation.metrics.builtin import BUILTIN_METRICS
from v2v.evaluation.sweep.methods import {imports}
from v2v.evaluation.sweep.sweep import Sweep

def sweep(folder):
    bench = build_benchmark(folder, per_kind=2, kinds=("recolour", "remove", "insert", "replace", "background", "greyscale",
        "sepia", "night", "warmer", "colder", "negative", "brighter"))
    return Sweep(bench, {methods}, BUILTIN_METRICS)
"""
IDLE = """
from v2v.video import video as codec

class Idle:
    def edit_video(self, video, instruction, **options):
        clip = codec.read_video(video)
        return codec.Video.from_array(clip.frames, clip.fps)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edits", action="store_true", help="also edit with the packaged model")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure_rerun(folder / "rerun")
        measure_metrics(folder / "clips")
        if args.edits:
            measure_edits(folder / "edits")


def measure_rerun(folder: Path) -> None:
    """Compare the second run of a sweep with `v2v eval --help`."""
    folder.mkdir()
    methods = '[EditingMethod("idle", editor=Idle, revision="1")]'
    (folder / "sweep.py").write_text(IDLE + SWEEP.format(imports="EditingMethod", methods=methods))
    words = ["eval", str(folder / "sweep.py"), "--out", str(folder / "out"), "--quiet"]
    run_command(words)
    again, _ = min(run_command(words) for _ in range(2))
    usual, _ = min(run_command(["eval", "--help"]) for _ in range(2))
    bar = 1.3 * usual + 1
    print(f"rerun    {again:.2f} s of processor time; --help {usual:.2f} s, bar {bar:.2f} s: {again / bar:.2f} of it", flush=True)  # fmt: skip


def measure_metrics(folder: Path) -> None:
    """Measure the metrics without networks on one output, decoding included."""
    folder.mkdir()
    source = picture(FRAMES, HEIGHT, WIDTH, seed=1)
    truth = source // 2 + 40
    mask = source * 0
    mask[:, HEIGHT // 4 : HEIGHT // 2] = 255
    for name, frames in zip(CLIPS, (source, truth, mask, truth + 3), strict=True):
        write_lossless_clip(frames, folder / f"{name}.mkv")
    item = Item("1", folder / "source.mkv", "x", "x", folder / "truth.mkv", folder / "mask.mkv")
    begin = time.process_time()
    case = Case(item, folder / "output.mkv")
    for metric in BUILTIN_METRICS:
        metric.score(case)
    seconds = time.process_time() - begin
    rate = FRAMES / seconds
    print(f"metrics  {rate:.1f} frames a second of processor time at {HEIGHT}x{WIDTH}, {len(BUILTIN_METRICS)} metrics, bar 30: {30 / rate:.2f} of its time", flush=True)  # fmt: skip
    decoding_process.end_children()
    print(f"         and {child_seconds():.2f} s of the processes that decoded {len(CLIPS)} lossless clips, their start included", flush=True)  # fmt: skip


def measure_edits(folder: Path) -> None:
    """Measure a sweep of three settings of the packaged model."""
    folder.mkdir()
    (folder / "sweep.py").write_text(SWEEP.format(imports="grid", methods="grid(guidance=(1.0, 2.0, 4.0))"))
    words = ["eval", str(folder / "sweep.py"), "--out", str(folder / "out"), "--quiet"]
    seconds, wall = run_command(words)
    print(f"edits    {seconds:.0f} s of processor time ({wall:.0f} s here), bar 600 s of two cores: {seconds / 600:.2f} of it", flush=True)  # fmt: skip


_counted_seconds = 0.0


def child_seconds() -> float:
    """Return the processor time of child processes that ended since the last call."""
    global _counted_seconds
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = usage.ru_utime + usage.ru_stime
    seconds, _counted_seconds = total - _counted_seconds, total
    return seconds


def run_command(words: list[str]) -> tuple[float, float]:
    """Run v2v, and return its processor time and its wall time in seconds."""
    child_seconds()
    begin = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-m", "v2v", *words], env=environment, capture_output=True, text=True
    )
    if run.returncode:
        sys.exit(f"v2v {' '.join(words)} ended with {run.returncode}: {run.stderr[-500:]}")
    return child_seconds(), time.monotonic() - begin


if __name__ == "__main__":
    main()
