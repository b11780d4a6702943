"""Where the recipes that need footage get it: rendered scenes, or a folder of video files.

seed → **clip** → experts, lifting, removal. A clip source is a function (seed, T, H, W) → Clip, or a `Rejected` where
this seed gives none: one unreadable file costs the seeds that draw it and is named, nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from data_synth.recipes.result import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import draw
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from v2v.errors import InputError
from v2v.video import decoder
from v2v.video import video as codec

MAX_DECODED_BYTES = 600 << 20  # bytes of a decoded clip
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")


@dataclasses.dataclass(frozen=True)
class Clip:
    """Footage. video uint8 [T, H, W, 3]; caption "" when unknown; origin is what a pair's provenance says of it."""

    video: np.ndarray
    caption: str
    origin: dict


ClipSource = Callable[[int, int, int, int], Clip | Rejected]


def render_clip(seed: int, T: int, H: int, W: int) -> Clip:
    """A photograph-like scene: textured or a landscape, with up to three objects."""
    rng = build_rng(seed, "footage")
    scene = draw.sample_scene(rng, aspect=W / H, objects=(0, 3), rich=True)
    return Clip(
        rn.render_scene(scene, T, H, W),
        sc.format_caption(scene),
        {"clip": "rendered", "license": "Apache-2.0"},
    )


@dataclasses.dataclass(frozen=True)
class ClipFolder:
    """The video files under a folder; seed s shows T successive frames of a file drawn by s, from a random frame on.

    A text file of the same name beside a video (`walk.mp4`, `walk.txt`) is its caption. `license` goes into every
    pair's provenance; it is the user's word, as a folder of files carries none.
    """

    root: str
    files: tuple[str, ...]
    license: str = "unknown"

    def __call__(self, seed: int, T: int, H: int, W: int) -> Clip | Rejected:
        rng = build_rng(seed, "footage")
        name = self.files[int(rng.integers(len(self.files)))]
        path = Path(self.root) / name
        try:
            video = decode_clip(str(path))
        except InputError as error:
            return Rejected(f"unreadable clip {name}: {short_cause(error)}")
        if len(video.frames) < T:
            return Rejected(f"clip {name} is shorter than {T} frames")
        first = int(rng.integers(len(video.frames) - T + 1))
        note = path.with_suffix(".txt")
        caption = note.read_text().strip() if note.is_file() else ""
        return Clip(
            select_frames(video, range(first, first + T), H, W),
            caption,
            {"clip": name, "first_frame": first, "license": self.license},
        )


def read_clip_folder(root: str | Path, license: str = "unknown") -> ClipFolder:
    """All videos under `root`, in alphabetical order.

    Raises:
      InputError: `root` is not a readable folder, or holds no video.
    """
    root = Path(root)
    try:
        files = tuple(
            sorted(
                str(p.relative_to(root))
                for p in _iterate_files(root)
                if p.suffix.lower() in VIDEO_SUFFIXES and not p.stem.endswith(".mask")
            )
        )
    except OSError as error:
        raise InputError(
            f"{root}: expected a readable folder of clips, got {error.strerror.lower()}; "
            "correct the path or its permissions"
        ) from None
    if not files:
        raise InputError(f"{root}: expected at least one video ({', '.join(VIDEO_SUFFIXES)}), found none")
    return ClipFolder(str(root), files, license)


def fit_frames(video: np.ndarray, H: int, W: int) -> np.ndarray:
    """[T, h, w, 3] → [T, H, W, 3]: scaled to cover the frame, then cropped at the centre."""
    T, h, w, _ = video.shape
    if (h, w) == (H, W):
        return np.ascontiguousarray(video)
    scale = max(H / h, W / w)
    size = max(W, round(w * scale)), max(H, round(h * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    top, left = (size[1] - H) // 2, (size[0] - W) // 2
    frames = np.empty((T, H, W, 3), np.uint8)
    for k in range(T):
        frames[k] = cv2.resize(video[k], size, interpolation=method)[top : top + H, left : left + W]
    return frames


@functools.lru_cache(maxsize=2)
def decode_clip(path: str) -> codec.Video:
    """A file's silent clip, held in memory (the last two: successive rows of a set often share one) unless it is larger than
    `HELD`: then its `frames` decode the file again, and `picked` takes from them what it needs.

    Raises:
      InputError: as `v2v.video.video.read_video`.
    """
    facts, frames = decoder.StreamInfo(), []
    for frame in decoder.iterate_frames(Path(path), facts, with_audio=False):
        frames.append(frame)
        # Some containers don't say how many frames they have.
        if max(facts.frame_count, len(frames)) * frame.nbytes > MAX_DECODED_BYTES:
            return _open_large(path)
    return _clip(path, facts, np.stack(frames))


def select_frames(video: codec.Video, index: Sequence[int], H: int, W: int) -> np.ndarray:
    """Frames `index`, in rising order, at one size: uint8 [len(index), H, W, 3]."""
    if isinstance(video.frames, np.ndarray):
        return fit_frames(video.frames[np.asarray(index)], H, W)
    first, last = int(index[0]), int(index[-1])
    for start in ({"start": float(video.times[first])}, {"skip": first}):  # the second is slow and sure
        frames = _between(video, first, last, set(map(int, index)), (H, W), start)
        if frames:
            return np.stack([frames[int(n)] for n in index])
    raise InputError(f"{video.path}: expected frames {first} to {last} as before; did it change meanwhile?")


def _between(
    video: codec.Video, first: int, last: int, indices: set[int], size: tuple[int, int], start: dict
) -> dict[int, np.ndarray] | None:
    """Frames by number; None where a walk that starts so gives other frames than the first, whole one."""
    facts, selected = decoder.StreamInfo(), {}
    try:
        frames = decoder.iterate_frames(video.path, facts, with_audio=False, is_first_pass=False, **start)
        for n, frame in zip(range(first, last + 1), frames, strict=False):
            if frame.shape != video.frames.shape[1:]:
                return None
            if n in indices:
                selected[n] = fit_frames(frame[None], *size)[0]
    except InputError:
        return None
    times = facts.times[start.get("skip", 0) :][: last - first + 1]  # the walk may be some frames ahead
    return selected if np.array_equal(times, video.times[first : last + 1]) else None


def short_cause(error: InputError) -> str:
    """What of a message fits into a reason: without the path before it and the remedy after."""
    return str(error).partition(": ")[2].partition("; ")[0]


@functools.lru_cache(maxsize=1024)
def _open_large(path: str) -> codec.Video:
    """Its frames are counted and timed once, and none but the first is converted."""
    facts = decoder.StreamInfo()
    for _ in decoder.iterate_frames(Path(path), facts, with_audio=False, skip=sys.maxsize):
        pass
    return _clip(path, facts, decoder.FileFrames(Path(path), (len(facts.times), *facts.size, 3)))


def _clip(path: str, facts: decoder.StreamInfo, frames: np.ndarray | decoder.FileFrames) -> codec.Video:
    return codec.Video(frames, np.array(facts.times), facts.fps, path=Path(path), tail=facts.tail)


def _iterate_files(root: Path):
    """Every file below root; unlike Path.rglob this does not hide an unreadable folder."""
    for path in sorted(root.iterdir()):
        if path.is_dir():
            yield from _iterate_files(path)
        else:
            yield path
