"""Measure the cost of large video beyond the model.

    python tools/bench/large_frames.py CLIP.mp4 [--height 2160] [--frames 24] [--prompt ...]

Enlarges CLIP, edits it from file to file with detail transfer, and prints frames a second without the model's own time:
by the wall's clock, and as processor time would allow on all cores (the figure to trust on a busy machine). Peak memory last.

24 frames at 4K of a real clip on one core shared with a dozen processes, processor time a frame: 0.63 and 0.70 s in two runs (2.9 to
3.2 frames/s on two cores), with a mask of a sixth of the picture 0.47 and 0.48 s (4.2); before planes and a quicker preset 0.96 s (2.1).
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np

from v2v import EasyV2VEditor, Video, read
from v2v.pipeline.model import EditingModel, SampleRequest


class TimedModel:
    """An `EditingModel` that counts the seconds spent in another one.

    Attributes:
      wall: Seconds by the wall's clock.
      cpu: Seconds of processor time.
    """

    def __init__(self, model: EditingModel):
        self._model, self.config = model, model.config
        self.conditions, self.skipping = model.conditions, model.skipping
        self.wall = self.cpu = 0.0

    def encode(self, video):
        """Time `EditingModel.encode`."""
        return self._measure(lambda: self._model.encode(video))

    def encode_mask(self, mask):
        """Time `EditingModel.encode_mask`."""
        return self._measure(lambda: self._model.encode_mask(mask))

    def decode(self, z):
        """Time `EditingModel.decode`."""
        return self._measure(lambda: self._model.decode(z))

    def embed_text(self, texts: list[str]):
        """Time `EditingModel.embed_text`."""
        return self._measure(lambda: self._model.embed_text(texts))

    def sample(self, request: SampleRequest):
        """Time `EditingModel.sample`."""
        return self._measure(lambda: self._model.sample(request))

    def for_clip(self, height: int, width: int) -> "TimedModel":
        """Return this model, which has one size."""
        return self

    def release(self) -> None:
        """Release the other model."""
        self._model.release()

    def _measure(self, call: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = jax.block_until_ready(call())
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        return result


def main() -> None:
    """Parse the command line and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip")
    parser.add_argument("--height", type=int, default=2160)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--prompt", default="make it look like winter")
    parser.add_argument("--mask", help="such as 400,300,1200,900")
    args = parser.parse_args()
    small = read(args.clip)
    width = round(args.height * small.frames.shape[2] / small.frames.shape[1] / 2) * 2
    with tempfile.TemporaryDirectory() as folder:
        large = [
            cv2.resize(f, (width, args.height), interpolation=cv2.INTER_CUBIC)
            for f in small.frames[: args.frames]
        ]
        Video.from_array(np.stack(large), small.fps).save(Path(folder) / "in.mp4")
        del large, small
        initial_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        editor = EasyV2VEditor()
        model = editor.model = TimedModel(editor.model)
        wall, cpu = time.perf_counter(), time.process_time()
        editor.edit_file(Path(folder) / "in.mp4", args.prompt, Path(folder) / "out.mp4", args.mask)
        wall, cpu = time.perf_counter() - wall - model.wall, time.process_time() - cpu - model.cpu
    cores = os.cpu_count() or 1
    print(
        f"{args.frames} frames of {width}x{args.height}, beyond the model ({model.cpu:.1f} s of processor time):"
    )
    print(f"{args.frames / wall:.2f} frames/s as the clock ran; {cpu / args.frames:.3f} s of processor time a frame, "
          f"which is {cores * args.frames / cpu:.2f} frames/s on {cores} cores")  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"peak memory {peak / 1024:.0f} MB ({initial_peak / 1024:.0f} MB before the edit, while the clip was made)"
    )


if __name__ == "__main__":
    main()
