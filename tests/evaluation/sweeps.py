"""A tiny benchmark and editors of known quality for the tests of sweeps."""

import numpy as np

from tests.example_clips import picture
from v2v.evaluation.benchmarks.exact_truth import write_lossless_clip
from v2v.evaluation.items import Benchmark, Item
from v2v.video import video as codec


class Shift:
    """Adds to every level inside start..end (or the mask); counts its calls; fails on sentences that hold `refuse`."""

    def __init__(self, by: int = 40, refuse: str = ""):
        self.by, self.refuse, self.calls = by, refuse, 0

    def edit_video(self, video, instruction, mask=None, reference=None, start=None, end=None, strength=1.0):
        self.calls += 1
        if self.refuse and self.refuse in instruction:
            raise RuntimeError("out of luck")
        clip = codec.read_video(video)
        frames = np.clip(clip.frames.astype(int) + round(self.by * strength), 0, 255).astype(np.uint8)
        if start is not None:
            off = (clip.times < start - 1e-6) | (clip.times >= end - 1e-6)
            frames[off] = clip.frames[off]
        return codec.Video.from_array(frames, clip.fps)


def benchmark(folder, n: int = 4, T: int = 6, H: int = 32, W: int = 48) -> Benchmark:
    """n items "brighten"/"dim the video": the truth is 40 levels more; every second one is on for half of the clip."""
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for k in range(n):
        frames = picture(T, H, W, seed=k) // 2 + 20
        truth, mask = frames + 40, np.full((T, H, W, 3), 255, np.uint8)
        times = {}
        if k % 2:
            truth[: T // 2], mask[: T // 2] = frames[: T // 2], 0
            times = {"start": T // 2 / 25, "end": T / 25}
        for name, clip in (("source", frames), ("truth", truth), ("mask", mask)):
            write_lossless_clip(clip, folder / f"{name}{k}.mkv")
        kind = ("brighten", "dim")[k % 2]
        items.append(
            Item(f"item{k}", folder / f"source{k}.mkv", f"{kind} the video {k}", kind,
                 folder / f"truth{k}.mkv", folder / f"mask{k}.mkv", target_prompt="a bright video", **times)
        )  # fmt: skip
    return Benchmark("tiny", tuple(items), "1")
