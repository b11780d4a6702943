"""Footage for recipes: rendered scenes, or a folder of video files.

seed → **clip** → control videos, experts, removal. A clip source is a function (seed, T, H, W) → Clip, or a `Rejected` where
this seed gives none: an unreadable file costs the seeds that draw it, is named in the reason, and stops nothing.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np

from data_synth.file_cache import cached_by_file
from data_synth.language.captions import tidy
from data_synth.places import local_copy, open_place
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import draw
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from v2v.errors import InputError
from v2v.runtime import text_files
from v2v.video import decoder
from v2v.video import video as codec
from v2v.video.frame_sequence import FrameSequence

# A clip that would have to grow by more than this gives no pair: it would be blurred.
MAX_GROWTH = 1.25
# A decoded clip above this many bytes is not held in memory.
MAX_DECODED_BYTES = 600 << 20
# Text files beside clips, as errors call them.
_NOTE_NAMES = {".txt": "caption", ".object.txt": "name", ".nouns.txt": "nouns", ".prompts.txt": "prompts"}
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")


# Frames, height, width.
Size = tuple[int, int, int]
FolderType = TypeVar("FolderType", bound="Folder")


@dataclasses.dataclass(frozen=True)
class Clip:
    """Footage of one seed.

    Attributes:
      video: uint8 [T, H, W, 3].
      caption: "" when unknown.
      origin: Entries for the provenance of a pair.
      fps: Frames per second; 0 where they are not known.
      numbers: Numbers of the frames in their file; none where there is no such file.
      nouns: Names of things in it, such as "dog".
      prompts: Instructions that people wrote for this clip.
      object_name: Name of the object that a mask beside it shows, "" where none is stated.
    """

    video: np.ndarray
    caption: str
    origin: dict
    fps: float = 0.0
    numbers: tuple[int, ...] = ()
    nouns: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    object_name: str = ""


# Version of what is done with clips of people's own: 2 records their rate, and tidies captions so that they fit into sentences.
VERSION = "2"
# (clip, seed) → the clip with a caption and nouns, or a rejection.
Describer = Callable[[Clip, int], Clip | Rejected]
# (seed, T, H, W) → clip or rejection.
ClipSource = Callable[[int, int, int, int], Clip | Rejected]


def render_clip(seed: int, T: int, H: int, W: int) -> Clip:
    """Render a photograph-like scene: textured or a landscape, with up to three objects."""
    rng = build_rng(seed, "footage")
    scene = draw.sample_scene(rng, aspect=W / H, objects=(0, 3), rich=True)
    return Clip(
        rn.render_scene(scene, T, H, W),
        sc.format_caption(scene),
        {"clip": "rendered", "license": "Apache-2.0"},
    )


@dataclasses.dataclass(frozen=True)
class ClipFolder:
    """The video files under a folder; a seed draws a file and the first of T successive frames.

    Text files of the same name beside a video (`walk.mp4`) say what is in it: `walk.txt` is its caption, `walk.nouns.txt` lists things in it and
    `walk.prompts.txt` instructions for experts, one a line, and `walk.object.txt` names what a mask shows.

    Attributes:
      root: The folder.
      files: Paths of the videos below it.
      license: License of the videos as the user states it; it goes into every pair's provenance.
      fps: Frames per second to which clips are brought, by repeating or leaving out frames; 0 for their own.
      describe: Captions clips that have no caption; None for nobody.
    """

    root: str
    files: tuple[str, ...]
    license: str = "unknown"
    fps: float = 0.0
    describe: Describer | None = None

    def choose(self, seed: int) -> str:
        """Return the name of the file that a seed draws."""
        return self.files[int(build_rng(seed, "footage").integers(len(self.files)))]

    def __call__(self, seed: int, T: int, H: int, W: int) -> Clip | Rejected:
        """Return the clip of a seed at a size, or the rejection of a file that is unreadable or too short."""
        rng = build_rng(seed, "footage")
        name = self.files[int(rng.integers(len(self.files)))]
        path = open_place(self.root) / name
        try:
            video = decode_clip(str(path))
        except InputError as error:
            return Rejected(f"unreadable clip {name}: {short_cause(error)}")
        at_fps = (
            resample_indices(video.times, video.duration, self.fps)
            if self.fps
            else np.arange(len(video.frames))
        )
        if len(at_fps) < T:
            rate = f" at {self.fps:g} frames a second" if self.fps else ""
            return Rejected(f"clip {name} is shorter than {T} frames{rate}")
        height, width = video.frames.shape[1:3]
        if max(H / height, W / width) > MAX_GROWTH:
            return Rejected(f"clip {name} is smaller than the pairs")
        first = int(rng.integers(len(at_fps) - T + 1))
        numbers = tuple(at_fps[first : first + T].tolist())
        fps = round(self.fps or video.fps, 6)
        origin = {"clip": name, "first_frame": numbers[0], "fps": fps, "license": self.license}
        clip = Clip(select_frames(video, numbers, H, W), "", origin, fps, numbers)
        return add_texts(clip, path, self.describe, seed)


def add_texts(clip: Clip, path: Path, describe: Describer | None, seed: int) -> Clip | Rejected:
    """Return a clip with the texts beside its file, and with a caption from elsewhere where there is none.

    Args:
      clip: The clip.
      path: Its file.
      describe: Captions clips; None for nobody.
      seed: The clip's seed.
    """
    texts: dict[str, str] = {}
    for ending in (".txt", ".object.txt", ".nouns.txt", ".prompts.txt"):
        text = read_note(path, ending)
        if isinstance(text, Rejected):
            return text
        texts[ending] = text
    lines = {ending: tuple(filter(None, map(str.strip, text.splitlines()))) for ending, text in texts.items()}
    object_name = tidy(texts[".object.txt"])
    clip = dataclasses.replace(
        clip,
        caption=tidy(texts[".txt"]),
        nouns=lines[".nouns.txt"] or ((object_name,) if object_name else ()),
        prompts=lines[".prompts.txt"],
        object_name=object_name,
    )
    return describe(clip, seed) if describe and not (clip.caption and clip.nouns) else clip


def read_clip_folder(
    root: str | Path, license: str = "unknown", fps: float = 0.0, describe: Describer | None = None
) -> ClipFolder:
    """Find all videos under a folder, in alphabetical order.

    Args:
      root: The folder.
      license: License of the videos, for the provenance of pairs.
      fps: Frames per second to which clips are brought; 0 for their own.
      describe: Captions clips that have no caption; None for nobody.

    Raises:
      InputError: `root` is not a readable folder, or holds no video.
    """
    root = open_place(root)
    try:
        files = tuple(
            sorted(
                str(p.relative_to(root))
                for p in iterate_files(root)
                if p.suffix.lower() in VIDEO_SUFFIXES and not p.stem.endswith(".mask")
            )
        )
    except OSError as error:
        raise InputError(
            f"{root}: expected a readable folder of clips, got {(error.strerror or str(error)).lower()}; "
            "correct the path or its permissions"
        ) from None
    if not files:
        raise InputError(f"{root}: expected at least one video ({', '.join(VIDEO_SUFFIXES)}), found none")
    return ClipFolder(str(root), files, license, fps, describe)


class Folder(Protocol):
    """A folder of footage."""

    @property
    def root(self) -> str:
        """The folder."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """The files among which seeds draw."""
        ...

    def choose(self, seed: int) -> str:
        """Return the name of the file that a seed draws."""
        ...

    def __call__(self, seed: int, T: int, H: int, W: int) -> Clip | Rejected:
        """Return the clip of a seed."""
        ...


def draw_folder(folders: Sequence[FolderType], seed: int) -> FolderType:
    """Return the folder from which a seed takes its footage: each as often as it has files; a single one draws nothing."""
    if len(folders) == 1:
        return folders[0]
    ends = np.cumsum([len(folder.files) for folder in folders])
    return folders[int(np.searchsorted(ends, build_rng(seed, "folder").integers(ends[-1]), side="right"))]


def draw_from(folders: Sequence[Folder]) -> ClipSource:
    """Return the source of footage that draws from several folders."""
    if len(folders) == 1:
        return folders[0]
    return lambda seed, T, H, W: draw_folder(folders, seed)(seed, T, H, W)


def choose_size(path: str | Path, sizes: Sequence[Size]) -> Size:
    """Return the size that a clip or picture fits best: one that it fills, of which the least is cut off, the largest of such.

    Args:
      path: The file, of which the header is read; one that can't be read fits the first size.
      sizes: Sizes to choose from.
    """
    try:
        count, height, width = _read_header(str(path))
    except InputError:
        return sizes[0]

    def rate(size: Size) -> tuple[bool, bool, float, int]:
        frames, H, W = size
        growth = max(H / height, W / width)
        visible_share = H * W / (height * width * growth**2)
        # Of a picture that is lifted any number of frames can be made.
        return count == 1 or frames <= count, growth <= MAX_GROWTH, round(visible_share, 2), frames * H * W

    return max(sizes, key=rate)


def _fetch(path: str) -> Path:
    """Return the file of a clip on this machine.

    Raises:
      InputError: It is in a bucket and can't be fetched.
    """
    try:
        return local_copy(path)
    except OSError as error:
        raise InputError(
            f"{path}: can't be fetched ({error.strerror or error}); see that it is there"
        ) from None


@cached_by_file(size=1 << 16)
def _read_header(path: str) -> Size:
    return decoder.estimate_size(_fetch(path))


def read_note(path: Path, ending: str) -> str | Rejected:
    """Return what a text file beside a clip or picture says, "" without one.

    Args:
      path: The clip or picture.
      ending: What the text file has instead of its ending: .txt is the caption.
    """
    note = path.with_suffix(ending)
    try:
        return text_files.read_text(local_copy(note)).strip() if note.is_file() else ""
    except InputError as error:
        return Rejected(
            f"unreadable {_NOTE_NAMES[ending]} {note.name}: {short_cause(error)}, save it as UTF-8"
        )


def resample_indices(times: np.ndarray, duration: float, fps: float) -> np.ndarray:
    """Return the index of the frame on screen at times 0, 1 / fps, 2 / fps, ... before the end: int [n].

    Args:
      times: [T] seconds at which frames appear, increasing.
      duration: Seconds from the beginning of the first frame to the end of the last.
      fps: Frames per second of the result.
    """
    n = int(np.floor(duration * fps + 1e-6))
    at = times[0] + np.arange(max(n, 1)) / fps
    return np.clip(np.searchsorted(times, at + 1e-6, side="right") - 1, 0, len(times) - 1)


def fit_frames(video: np.ndarray, H: int, W: int) -> np.ndarray:
    """Scale frames [T, h, w, 3] so that they cover H x W, and crop them at the centre to [T, H, W, 3]."""
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


@cached_by_file(size=2)
def decode_clip(path: str) -> codec.Video:
    """Decode a file without its audio.

    The last two files stay in memory, as successive rows of a set often share one. The frames of a file larger than
    `MAX_DECODED_BYTES` are not held: they decode the file again, and `select_frames` takes the needed ones from it.

    Raises:
      InputError: As `v2v.video.video.read_video`, or the file is damaged.
    """
    info, frames, file = decoder.StreamInfo(), [], _fetch(path)
    for frame in decoder.iterate_frames(file, info, with_audio=False):
        frames.append(frame)
        # Some containers do not state how many frames they have.
        if max(info.frame_count, len(frames)) * frame.nbytes > MAX_DECODED_BYTES:
            return _open_large(str(file))
    return _build_video(str(file), info, np.stack(frames))


def select_frames(video: codec.Video, index: Sequence[int], H: int, W: int) -> np.ndarray:
    """Return some frames of a clip at one size.

    Args:
      video: A clip of `decode_clip`.
      index: Numbers of the frames, in rising order.
      H: Height in pixels.
      W: Width in pixels.

    Returns:
      uint8 [len(index), H, W, 3].

    Raises:
      InputError: The file has changed since it was decoded.
    """
    if isinstance(video.frames, np.ndarray):
        return fit_frames(video.frames[np.asarray(index)], H, W)
    first, last = int(index[0]), int(index[-1])
    for seek in (True, False):  # without seeking it is slow and certain
        frames = _read_range(video, first, last, set(map(int, index)), (H, W), seek)
        if frames:
            return np.stack([frames[int(n)] for n in index])
    raise InputError(f"{video.path}: expected frames {first} to {last} as before; did it change meanwhile?")


def _read_range(
    video: codec.Video, first: int, last: int, indices: set[int], size: tuple[int, int], seek: bool
) -> dict[int, np.ndarray] | None:
    """Decode frames `first` to `last` and return those of `indices` by number.

    Args:
      video: A clip whose file is decoded again.
      first: Number of the first frame to decode.
      last: Number of the last frame to decode.
      indices: Numbers of the frames to return.
      size: (H, W) of the returned frames.
      seek: Begin at the key frame before `first`, rather than at the beginning of the file.

    Returns:
      The frames; None where this pass gives other frames than the first, complete one.
    """
    assert video.path is not None
    info, selected = decoder.StreamInfo(), {}
    skip, start = (0, float(video.times[first])) if seek else (first, 0.0)
    try:
        frames = decoder.iterate_frames(
            video.path, info, with_audio=False, is_first_pass=False, skip=skip, start=start
        )
        for n, frame in zip(range(first, last + 1), frames, strict=False):
            if frame.shape != video.frames.shape[1:]:
                return None
            if n in indices:
                selected[n] = fit_frames(frame[None], *size)[0]
    except InputError:
        return None
    times = info.times[skip:][: last - first + 1]  # the decoder may be some frames ahead
    return selected if np.array_equal(times, video.times[first : last + 1]) else None


def short_cause(error: InputError) -> str:
    """Return the part of a message that fits into a reason: without the path before it and the remedy after."""
    return str(error).partition(": ")[2].partition("; ")[0]


@cached_by_file(size=1024)
def _open_large(path: str) -> codec.Video:
    """Open a file whose frames are not held: count and time them once, and convert none but the first."""
    info = decoder.StreamInfo()
    for _ in decoder.iterate_frames(Path(path), info, with_audio=False, skip=sys.maxsize):
        pass
    return _build_video(path, info, decoder.FileFrames(Path(path), (len(info.times), *info.size, 3)))


def _build_video(path: str, info: decoder.StreamInfo, frames: FrameSequence) -> codec.Video:
    if info.damage_count:
        raise InputError(
            f"{path}: expected a sound video, got damage in {info.damage_count} of {len(info.times)} frames; replace it"
        )
    return codec.Video(frames, np.array(info.times), info.fps, path=Path(path), tail=info.tail)


def iterate_files(root: Path) -> Iterator[Path]:
    """Yield every file below a folder; unlike `Path.rglob` this does not hide an unreadable folder."""
    for path in sorted(root.iterdir()):
        if path.is_dir():
            yield from iterate_files(path)
        else:
            yield path
