"""The exact-truth benchmark: generated pairs that no training uses, edited through files and scored.

Every pair is edited as a person would: its source is written to a lossless file, `edit_video` gets that path,
the result is saved as H.264 and read again, and that is compared with the pair's truth at the clip's own size.
`tools/checks/score_embedded.py` runs it. Settings differ in one thing each:

    sentence    the instruction alone. Two things are added where it presupposes them and can't say them: start
                and end second of an edit that is on for part of the clip, and the picture that a palette edit
                takes its colors from.
    masked      the same sentence with the exact mask video, which says where and when.
    reference   the same sentence with the pair's reference picture, for pairs that have one (but palette).

Clips are 17 frames of 128x128, 128x176 and 176x128 (height x width) in turn: longer, larger and of other
shapes than the embedded model's 9 frames of 64x64. Not smaller, because H.264's halved chroma alone then costs
edits: the truth itself, written and read again, succeeds in 97 % of pairs at 64x64 and 96x96 and in all at
these sizes (by the stricter `success_rms` in 91 %). Edit types take turns too: n pairs hold n / 21 of each.

Our exact-truth benchmark as files: twelve kinds of edit, twenty pairs each, every one with its truth. data_synth -> **own** -> items

Of the kinds in PHYSICS every second pair is a room with physics (MuJoCo: pip install 'v2v-edit[scenes]'), the others are planar scenes.
Clips are 17 frames of 128x128, 128x176 and 176x128 in turn (see above), seeds are ones that no training uses. Half of the edits are on
for part of the clip only; every item has a mask in space and time, and items whose edit can be shown by a picture have a reference.
What the sentence presupposes and can't say is given to every editor: start and end, and the picture that a palette edit speaks of.

    FOLDER/items.json  FOLDER/<id>/source.mkv  truth.mkv  mask.mkv (FFV1, bit for bit)  reference.png

The same arguments make the same bytes, so scores are comparable between machines.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np

from data_synth import generate
from data_synth.language import templates
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.recipes import planar
from data_synth.scenes.edits import LOCAL_EDITS
from v2v.data.pair import Pair
from v2v.errors import InputError
from v2v.evaluation.cache import atomic_path, digest, write_text_atomically
from v2v.evaluation.items import Benchmark, Item
from v2v.evaluation.metrics import pixel
from v2v.evaluation.metrics.success import Outcome, score_edit
from v2v.evaluation.metrics.temporal import Flicker, flicker
from v2v.video import contact_sheet
from v2v.video import video as codec
from v2v.video.contact_sheet import Band


def pair_band(pair: Pair, outputs: dict[str, np.ndarray], outcomes: dict[str, Outcome]) -> Band:
    """Build the contact sheet band of a scored pair, with outcomes in the title."""
    verdicts = [f"{k} {'ok' if o.success else 'FAILED'} {o.error_ratio:.2f}" for k, o in outcomes.items()]
    rows = [("source", pair.source), *outputs.items(), ("truth", pair.target)]
    if pair.reference is not None:
        rows.append(("picture", pair.reference))
    return Band(f"{pair.instructions[0]}  ({', '.join(verdicts)}; seed {pair.seed})", rows)


FRAME_SIZES = ((128, 128), (128, 176), (176, 128))  # height, width
FRAME_COUNT = 17
FPS = 25  # one frame is 40 ms, a whole number in every container, so seconds name frames exactly
EDITS = (*LOCAL_EDITS, *PHOTOMETRIC)
SETTINGS = ("sentence", "masked", "reference")


class Editor(Protocol):
    """The interface of an editor that is scored."""

    def edit_video(self, video, instruction: str, mask=None, reference=None, **options) -> codec.Video:
        """Edit a clip."""
        ...


def iterate_pairs(
    n: int,
    *,
    seed: int = generate.SCORE_SEED_BASE,
    frames: int = FRAME_COUNT,
    sizes=FRAME_SIZES,
    edits=EDITS,
    transition: float = 0.5,
) -> Iterator[Pair]:
    """Iterate over n pairs, edit types and sizes in turn; a function of its arguments.

    Raises:
      InputError: n below 1, or a seed that training may have used.
    """
    if n < 1:
        raise InputError(f"pairs: expected at least 1, got {n}")
    if seed < generate.SCORE_SEED_BASE:
        raise InputError(
            f"seed: expected {generate.SCORE_SEED_BASE} or more, which no training uses, got {seed}"
        )
    for i in range(n):
        height, width = sizes[i // len(edits) % len(sizes)]
        options = generate.PairOptions(frames, height, width, (edits[i % len(edits)],), transition)
        pair, seed = generate.find_pair(seed, options)
        yield pair


def pair_settings(pair: Pair) -> tuple[str, ...]:
    """Return the settings that apply to a pair."""
    return SETTINGS if pair.reference is not None and pair.edit != "palette" else SETTINGS[:2]


def edit_pair(editor: Editor, pair: Pair, setting: str, folder: Path, **options) -> np.ndarray:
    """Edit a pair's source in one setting and read it back from H.264: uint8 [T, H, W, 3]."""
    source = folder / f"{pair.seed}.mkv"
    if not source.exists():
        write_lossless_clip(pair.source, source)
    if pair.edit == "palette" or setting == "reference":
        options["reference"] = pair.reference
    if setting == "masked":
        options["mask"] = pair.mask
    elif pair.active != (0, len(pair.source)):
        options["start"], options["end"] = (k / FPS for k in pair.active)
    editor.edit_video(source, pair.instructions[0], **options).save(folder / "edited.mp4")
    return codec.read_video(folder / "edited.mp4").frames


def score_pair(editor: Editor, pair: Pair, **options) -> tuple[dict[str, Outcome], dict[str, np.ndarray]]:
    """Return outcomes and output clips of one pair by setting."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = {
            setting: edit_pair(editor, pair, setting, Path(folder), **options)
            for setting in pair_settings(pair)
        }
    return {k: score_edit(v, pair.source, pair.target, pair.mask) for k, v in outputs.items()}, outputs


def compare_flicker(editor: Editor, pair: Pair, **options) -> tuple[Flicker, Flicker]:
    """Compute the flicker of a clip edited as a whole, and frame by frame, with the same options.

    Both are joined, saved and read the same way. The pair's edit must be on throughout (transition=0 in
    `pairs`): a one-frame clip has no before and after.
    """
    options = {"reference": pair.reference, **options} if pair.edit == "palette" else options

    def run(frames: np.ndarray) -> np.ndarray:
        return editor.edit_video(codec.Video.from_array(frames, FPS), pair.instructions[0], **options).frames

    clip_output = run(pair.source)
    frame_output = np.concatenate([run(frame[None]) for frame in pair.source])
    with tempfile.TemporaryDirectory() as folder:
        path, results = Path(folder) / "edited.mp4", []
        for frames in (clip_output, frame_output):
            codec.Video.from_array(frames, FPS).save(path)
            results.append(flicker(codec.read_video(path).frames, pair.target))
    return results[0], results[1]


def score_photometric(
    editor: Editor, path: Path, names: Iterable[str], *, frames: int | None = None, **options
) -> Iterator[tuple[str, float, list[np.ndarray]]]:
    """Compute PSNR of photometric edits of a real clip against the exact transformation, at the clip's size.

    Args:
      editor: what is scored.
      path: any video file.
      names: of PHOTOMETRIC edits; palette is left out, as a real clip comes with no picture of colors.
      frames: how many frames from the start, all of them by default.
      **options: of `edit_video`.

    Yields:
      name, PSNR in dB over all frames pooled, and [source, output, truth] as thumbnails uint8 [<= 6, h, w, 3]
      for a sheet.
    """
    source = codec.read_video(path)
    if frames is not None and len(source.frames) > frames:
        source = codec.Video(
            source.frames[:frames].copy(), source.times[:frames], source.fps, colour=source.colour
        )
    with tempfile.TemporaryDirectory() as folder:
        for name in (n for n in names if n != "palette"):
            sentence = templates.PHOTOMETRIC_TEMPLATES[name][0].format(it="the video")
            editor.edit_video(source, sentence, **options).save(Path(folder) / "edited.mp4")
            output = codec.read_video(Path(folder) / "edited.mp4").frames
            # Frame by frame: the truth of a long 720p clip is never held whole.
            score = pixel.psnr(output, (PHOTOMETRIC[name](frame[None], None)[0] for frame in source.frames))
            small = [contact_sheet.make_thumbnails(clip) for clip in (source.frames, output)]
            truth = PHOTOMETRIC[name](contact_sheet.select_columns(source.frames), None)
            yield name, score, [*small, contact_sheet.make_thumbnails(truth)]


def write_lossless_clip(frames: np.ndarray, path: Path) -> None:
    """Write uint8 [T, H, W, 3] as FFV1 in Matroska at FPS frames a second; read back bit for bit."""
    with av.open(
        str(path), "w", options={"fflags": "+bitexact"}
    ) as out:  # no random ids: same frames, same bytes
        stream = out.add_stream("ffv1", rate=Fraction(FPS))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))


VERSION = "3"  # 2: replaced things in rooms have their own height; 3: no dots of shadow on their floors
KINDS = (
    "recolour", "remove", "insert", "replace", "background",
    "greyscale", "night", "warmer", "darker", "negative", "winter", "palette",
)  # fmt: skip
PHYSICS = ("recolour", "remove", "insert", "replace", "background")
FIRST_SEED = generate.SCORE_SEED_BASE + 2 * 10**6
_FILES = ("source", "truth", "mask", "reference")


def build_benchmark(
    folder: Path, *, per_kind: int = 20, kinds: tuple[str, ...] = KINDS, physics: bool = True,
    seed: int = FIRST_SEED, frames: int = FRAME_COUNT, sizes=FRAME_SIZES,
) -> Benchmark:  # fmt: skip
    """Build the benchmark in a folder of its own below `folder` unless it exists.

    Args:
      folder: any folder.
      per_kind: items of each kind; a smaller number is the beginning of a larger one's.
      kinds: names of data_synth's recipes.
      physics: False for planar scenes alone.
      seed: of the first kind; each kind has a range of its own.
      frames: length of the clips.
      sizes: heights and widths of the clips, in turn.
    """
    content = {
        "version": VERSION, "kinds": list(kinds), "physics": physics, "seed": seed, "frames": frames, "sizes": [list(s) for s in sizes],
        "renderer": planar.VERSION,
    }  # fmt: skip
    root = Path(folder) / f"exact-truth-{digest(content)[:12]}"
    items = []
    for row, kind in enumerate(kinds):
        at = seed + row * 10_000
        for k in range(per_kind):
            name = f"{kind.replace(' ', '-')}-{k:02d}"
            record_path = root / name / "item.json"
            if not record_path.exists():
                room = physics and k % 2 and kind in PHYSICS
                pair, next_seed = _pair(
                    f"physics-{kind}" if room else kind, at, frames, sizes[(row + k) % len(sizes)]
                )
                _write(pair, name, kind, next_seed, root / name)
            record = json.loads(record_path.read_text())
            at = record.pop("next_seed")
            items.append(read_item(record, root / name))
    write_text_atomically(root / "README.txt", __doc__)
    is_full = per_kind == 20 and kinds == KINDS and physics
    about = f"Rendered pairs with exact truth, {len(kinds)} kinds x {per_kind}, {frames} frames."
    return Benchmark(
        "exact truth", tuple(items), VERSION if is_full else f"{VERSION} ({per_kind} a kind)", about
    )


def read_item(record: dict, folder: Path) -> Item:
    """Build an item from its record; files are relative to the folder."""
    files = {k: folder / record[k] if record.get(k) else None for k in _FILES}
    return Item(**{**record, **files})


def _pair(kind: str, seed: int, frames: int, size: tuple[int, int]) -> tuple[Pair, int]:
    """Return the first seed's pair that passes the gates, and the seed after it."""
    return generate.find_pair(seed, generate.PairOptions(frames, *size, (kind,)))


def _write(pair: Pair, name: str, kind: str, next_seed: int, folder: Path) -> None:
    clips = {
        "source": pair.source,
        "truth": pair.target,
        "mask": np.repeat(pair.mask[..., None], 3, -1),
    }
    record: dict = {"id": name, "kind": kind, "instruction": pair.instructions[0], "next_seed": next_seed}
    for part, frames in clips.items():
        with atomic_path(folder / f"{part}.mkv") as partial:
            write_lossless_clip(frames, partial)
        record[part] = f"{part}.mkv"
    if pair.reference is not None:
        with atomic_path(folder / "reference.png") as partial:
            cv2.imwrite(str(partial), pair.reference[..., ::-1])
        record["reference"], record["reference_is_asked"] = "reference.png", pair.edit == "palette"
    if pair.active != (0, len(pair.source)):
        record["start"], record["end"] = (k / FPS for k in pair.active)
    record["source_prompt"], record["target_prompt"] = pair.source_caption, pair.target_caption
    write_text_atomically(folder / "item.json", json.dumps(record, indent=1))
