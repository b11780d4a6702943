"""What large video costs beyond the model: python tools/bench/large_frames.py CLIP.mp4 [--height 2160] [--frames 24] [--prompt ...]

Enlarges CLIP, edits it from file to file with the guided carry-over, and prints frames a second without the model's own time:
as the clock ran, and as processor time would allow on all cores (the figure to trust on a busy machine). Peak memory last.

24 frames at 4K of a real clip on one core shared with a dozen processes, processor time a frame: 0.63 and 0.70 s in two runs (2.9 to
3.2 frames/s on two cores), with a mask of a sixth of the picture 0.47 and 0.48 s (4.2); before planes and a quicker preset 0.96 s (2.1).
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from v2v import EasyV2VEditor, Video, read


class Timed:
    """A model that counts the time spent in it."""

    def __init__(self, model):
        self._model, self.wall, self.cpu = model, 0.0, 0.0

    def __getattr__(self, name: str):
        found = getattr(self._model, name)
        return self._timed(found) if name in ("encode", "decode", "sample", "embed_text") else found

    def _timed(self, function):
        def call(*words, **named):
            wall, cpu = time.perf_counter(), time.process_time()
            out = function(*words, **named)
            (out[0] if isinstance(out, tuple) else out) + 0  # wait for it
            self.wall, self.cpu = self.wall + time.perf_counter() - wall, self.cpu + time.process_time() - cpu
            return out

        return call


def main() -> None:
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
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        editor = EasyV2VEditor()
        model = editor.model = Timed(editor.model)
        wall, cpu = time.perf_counter(), time.process_time()
        editor.edit_file(Path(folder) / "in.mp4", args.prompt, Path(folder) / "out.mp4", args.mask)
        wall, cpu = time.perf_counter() - wall - model.wall, time.process_time() - cpu - model.cpu
    cores = os.cpu_count() or 1
    print(
        f"{args.frames} frames of {width}x{args.height}, beyond the model ({model.cpu:.1f} s of processor time):"
    )
    print(f"{args.frames / wall:.2f} frames/s as the clock ran; {cpu / args.frames:.3f} s of processor time a frame, "
          f"which is {cores * args.frames / cpu:.2f} frames/s on {cores} cores")  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"peak memory {after / 1024:.0f} MB ({before / 1024:.0f} MB before the edit, while the clip was made)"
    )


if __name__ == "__main__":
    main()
