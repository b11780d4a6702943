"""Frames decoded per second in a child process and on a thread of this one, side by side.

    python tools/bench/decoding.py [--clip FILE] [--rounds 5]

Without a clip, one of 1280x720 is made. Each round measures both ways, so that other work on the machine slows both; what is printed is
the median over the rounds, alone and with a consumer that reduces every frame for the model.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from v2v.video.decoder import StreamInfo, decode_frames, iterate_frames, prefetch
from v2v.video.inputs import resize_frame
from v2v.video.video import Video


def make_clip(path: Path, frames: int = 200) -> Path:
    """Write a clip of 1280x720 with moving detail."""
    coarse = np.random.default_rng(0).integers(0, 256, (180, 420, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (1680, 720), interpolation=cv2.INTER_CUBIC)
    return Video.from_array(np.stack([picture[:, 2 * t : 2 * t + 1280] for t in range(frames)])).save(path)


def in_child(path: Path) -> Iterator[np.ndarray]:
    """Decode as v2v does."""
    return iterate_frames(path, StreamInfo())


def on_thread(path: Path) -> Iterator[np.ndarray]:
    """Decode in this process."""
    return prefetch(decode_frames(StreamInfo(), path, with_audio=True, is_first_pass=True, skip=0, start=0.0))


def measure(frames: Iterator[np.ndarray], use: Callable[[np.ndarray], object]) -> float:
    """Return the frames per second of a pass."""
    start, count = time.perf_counter(), 0
    for frame in frames:
        use(frame)
        count += 1
    return count / (time.perf_counter() - start)


def main() -> None:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = args.clip or make_clip(Path(folder) / "clip.mp4")
        start = time.perf_counter()
        next(iter(in_child(clip)))
        print(f"first frame, with the start of a child: {time.perf_counter() - start:.2f} s")
        for name, use in (
            ("alone", lambda frame: None),
            ("with resizing", lambda frame: resize_frame(frame, 480, 832)),
        ):
            rates = [
                (measure(on_thread(clip), use), measure(in_child(clip), use)) for _ in range(args.rounds)
            ]
            thread, child = (statistics.median(column) for column in zip(*rates, strict=True))
            ratio = statistics.median(b / a for a, b in rates)
            print(f"{name}: thread {thread:.0f} frames/s, child {child:.0f} frames/s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
