"""Measure every metric without weights, at 480p on one core.

    python tools/bench/metrics.py [--frames 24]

Prints frames a second by CPU time: of each metric, of all together, and of all with what this process does to read the four clips. What the
child process takes to decode them is told apart: it is FFmpeg's work, which the clips' codec and content decide, here lossless noise.
"""

import os
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import tyro

from v2v.evaluation.benchmarks.exact_truth import write_lossless_clip
from v2v.evaluation.items import Item
from v2v.evaluation.metrics.base import Case, Metric
from v2v.evaluation.metrics.builtin import BUILTIN_METRICS
from v2v.video.decoding_process import end_children


def main(frames: int = 24, height: int = 480, width: int = 832, rounds: int = 3) -> None:
    """Print frames a second by the CPU time of each metric's fastest round: other programs on the core empty its caches.

    Args:
      frames: Number of frames of the clips.
      height: Height in pixels.
      width: Width in pixels.
      rounds: Number of rounds.
    """
    cv2.setNumThreads(1)
    os.sched_setaffinity(0, {0})
    with tempfile.TemporaryDirectory() as folder:
        case = build_case(Path(folder), frames, height, width)
        start = time.process_time()
        for clip in (case.output, case.source, case.truth, case.mask(case.against_truth[1]).clip):
            assert len(clip) == frames
        total = reading = time.process_time() - start
        end_children()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        decoding = usage.ru_utime + usage.ru_stime
        print(
            f"{'decoding by the child':<30}{frames / decoding:8.1f} frames/s of four clips, its start included"
        )
        print(f"{'reading from the child':<30}{frames / reading:8.1f} frames/s of four clips")
        for metric in BUILTIN_METRICS:
            seconds = min(measure_metric(metric, case) for _ in range(rounds))
            total += seconds
            print(f"{metric.name:<30}{frames / seconds:8.1f} frames/s")
        print(f"{'all together':<30}{frames / (total - reading):8.1f} frames/s")
        print(f"{'with reading':<30}{frames / total:8.1f} frames/s")


def measure_metric(metric: Metric, case: Case) -> float:
    """Return the CPU seconds of scoring a case."""
    start = time.process_time()
    metric.score(case)
    return time.process_time() - start


def build_case(folder: Path, frames: int, height: int, width: int) -> Case:
    """Write a textured clip that drifts, its truth in other colours inside a box from half-way on, and a noisy output."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (height + 64, width + 64, 3)).astype(np.uint8), (0, 0), 2)
    source = np.stack([texture[k % 64 : k % 64 + height, k % 64 : k % 64 + width] for k in range(frames)])
    mask = np.zeros_like(source)
    mask[frames // 2 :, height // 4 : -height // 4, width // 4 : -width // 4] = 255
    truth = np.where(mask > 0, 255 - source, source)
    output = np.clip(truth + rng.normal(0, 4, truth.shape), 0, 255).astype(np.uint8)
    for name, clip in (("source", source), ("truth", truth), ("mask", mask), ("output", output)):
        write_lossless_clip(clip, folder / f"{name}.mkv")
    item = Item("a", folder / "source.mkv", "edit it", "edit", folder / "truth.mkv", folder / "mask.mkv")
    return Case(item, folder / "output.mkv")


if __name__ == "__main__":
    tyro.cli(main)
