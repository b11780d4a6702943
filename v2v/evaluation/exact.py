"""The exact-truth benchmark: pairs that no training has seen -> editor -> file -> **scores**.

Every pair is edited as a person would: its source is written to a lossless file, `edit_video` gets that path,
the result is saved as H.264 and read again, and that is compared with the pair's truth at the clip's own size.
`tools/score_embedded.py` runs it. Settings differ in one thing each:

    sentence    the instruction alone. Two things are added where it presupposes them and can't say them: start
                and end second of an edit that is on for part of the clip, and the picture that a palette edit
                takes its colours from.
    masked      the same sentence with the exact mask video, which says where and when.
    reference   the same sentence with the pair's reference picture, for pairs that have one (but palette).

Clips are 17 frames of 128x128, 128x176 and 176x128 (height x width) in turn: longer, larger and of other
shapes than the embedded model's 9 frames of 64x64. Not smaller, because H.264's halved chroma alone then costs
edits: the truth itself, written and read again, succeeds in 97 % of pairs at 64x64 and 96x96 and in all at
these sizes (by the stricter `success_rms` in 91 %). Edit types take turns too: n pairs hold n / 21 of each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np

from data_synth import instruct, pipeline
from data_synth.experts.photometric import PHOTOMETRIC
from data_synth.scenes.edits import LOCAL
from v2v.codec import video as codec
from v2v.data.pairs import Pair
from v2v.errors import InputError
from v2v.evaluation import metrics, sheet
from v2v.evaluation.success import Outcome, judge
from v2v.evaluation.temporal import Flicker, flicker

SIZES = ((128, 128), (128, 176), (176, 128))  # height, width
FRAMES = 17
FPS = 25  # one frame is 40 ms, a whole number in every container, so seconds name frames exactly
EDITS = (*LOCAL, *PHOTOMETRIC)
SETTINGS = ("sentence", "masked", "reference")


class Editor(Protocol):
    """What is scored: `v2v.editor.EasyV2VEditor`, or anything that edits."""

    def edit_video(self, video, instruction: str, mask=None, reference=None, **options) -> codec.Video: ...


def pairs(
    n: int,
    *,
    seed: int = pipeline.SCORE_SEED_BASE,
    frames: int = FRAMES,
    sizes=SIZES,
    edits=EDITS,
    transition: float = 0.5,
) -> Iterator[Pair]:
    """n pairs, edit types and sizes in turn; a function of its arguments.

    Raises:
      InputError: n below 1, or a seed that training may have used.
    """
    if n < 1:
        raise InputError(f"pairs: expected at least 1, got {n}")
    if seed < pipeline.SCORE_SEED_BASE:
        raise InputError(
            f"seed: expected {pipeline.SCORE_SEED_BASE} or more, which no training uses, got {seed}"
        )
    for i in range(n):
        height, width = sizes[i // len(edits) % len(sizes)]
        made = None
        while made is None:
            made, _ = pipeline.make_pair(
                seed, T=frames, H=height, W=width, edits=(edits[i % len(edits)],), transition=transition
            )
            seed += 1
        yield made


def settings_of(pair: Pair) -> tuple[str, ...]:
    """The settings that exist for a pair."""
    return SETTINGS if pair.reference is not None and pair.edit != "palette" else SETTINGS[:2]


def edit(editor: Editor, pair: Pair, setting: str, folder: Path, **options) -> np.ndarray:
    """The pair's source, edited in one setting, as read back from the H.264 file: uint8 [T, H, W, 3]."""
    source = folder / f"{pair.seed}.mkv"
    if not source.exists():
        write_lossless(pair.source, source)
    if pair.edit == "palette" or setting == "reference":
        options["reference"] = pair.reference
    if setting == "masked":
        options["mask"] = pair.mask
    elif pair.active != (0, len(pair.source)):
        options["start"], options["end"] = (k / FPS for k in pair.active)
    editor.edit_video(source, pair.instructions[0], **options).save(folder / "edited.mp4")
    return codec.read(folder / "edited.mp4").frames


def score(editor: Editor, pair: Pair, **options) -> tuple[dict[str, Outcome], dict[str, np.ndarray]]:
    """Outcomes and output clips of one pair by setting."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = {
            setting: edit(editor, pair, setting, Path(folder), **options) for setting in settings_of(pair)
        }
    return {k: judge(v, pair.source, pair.target, pair.mask) for k, v in outputs.items()}, outputs


def flicker_against_frames(editor: Editor, pair: Pair, **options) -> tuple[Flicker, Flicker]:
    """Flicker of the clip edited as a whole, and frame by frame: every frame a one-frame clip, same options.

    Both are joined, saved and read the same way. The pair's edit must be on throughout (transition=0 in
    `pairs`): a one-frame clip has no before and after.
    """
    options = {"reference": pair.reference, **options} if pair.edit == "palette" else options

    def run(frames: np.ndarray) -> np.ndarray:
        return editor.edit_video(codec.Video.from_array(frames, FPS), pair.instructions[0], **options).frames

    whole = run(pair.source)
    single = np.concatenate([run(frame[None]) for frame in pair.source])
    with tempfile.TemporaryDirectory() as folder:
        path, results = Path(folder) / "edited.mp4", []
        for frames in (whole, single):
            codec.Video.from_array(frames, FPS).save(path)
            results.append(flicker(codec.read(path).frames, pair.target))
    return results[0], results[1]


def photometric(
    editor: Editor, path: Path, names: Iterable[str], *, frames: int | None = None, **options
) -> Iterator[tuple[str, float, list[np.ndarray]]]:
    """PSNR of photometric edits of a real clip against the exact transformation, at the clip's own size.

    Args:
      editor: what is scored.
      path: any video file.
      names: of PHOTOMETRIC edits; palette is left out, as a real clip comes with no picture of colours.
      frames: how many frames from the start, all of them by default.

    Yields:
      name, PSNR in dB over all frames pooled, and [source, output, truth] as thumbnails uint8 [<= 6, h, w, 3]
      for a sheet.
    """
    source = codec.read(path)
    if frames is not None and len(source.frames) > frames:
        source = codec.Video(
            source.frames[:frames].copy(), source.times[:frames], source.fps, colour=source.colour
        )
    with tempfile.TemporaryDirectory() as folder:
        for name in (n for n in names if n != "palette"):
            sentence = instruct.PHOTOMETRIC_TEMPLATES[name][0].format(it="the video")
            editor.edit_video(source, sentence, **options).save(Path(folder) / "edited.mp4")
            output = codec.read(Path(folder) / "edited.mp4").frames
            # Frame by frame: the truth of a long 720p clip is never held whole.
            score = metrics.psnr(output, (PHOTOMETRIC[name](frame[None], None)[0] for frame in source.frames))
            small = [sheet.thumbnails(clip) for clip in (source.frames, output)]
            truth = PHOTOMETRIC[name](sheet.pick(source.frames), None)
            yield name, score, [*small, sheet.thumbnails(truth)]


def write_lossless(frames: np.ndarray, path: Path) -> None:
    """FFV1 in Matroska, RGB: read back bit for bit. uint8 [T, H, W, 3] at FPS frames a second."""
    with av.open(
        str(path), "w", options={"fflags": "+bitexact"}
    ) as out:  # no random ids: same frames, same bytes
        stream = out.add_stream("ffv1", rate=Fraction(FPS))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
