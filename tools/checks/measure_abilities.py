"""Measure what a model can do with real clips, and write it as abilities.json, which `v2v edit` goes by.

    python tools/checks/measure_abilities.py --model runs/mine/export --choose A.mp4 B.png --judge C.mp4 D.png --rows rows.jsonl --write

Every look whose phrasings the model has words for is tried with each of them on the clips of --choose, and compared with its exact operator:
the best phrasing is what the model will be asked in. The figures are measured with that one on the clips of --judge. Pictures become clips
by panning; the colors of a reference are those of the next clip. Rows are kept in a file: a second run does what is missing. Success of edits of things is copied from --things, a JSON file
with the part "things" of abilities.json (language/abilities.py), which score_embedded.py measures.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tyro

from data_synth.language import looks as look_templates
from data_synth.language import templates
from data_synth.operators.looks import LOOKS, apply_look
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.rng import build_rng
from v2v.assets import EMBEDDED
from v2v.checkpoints import hub
from v2v.errors import InputError
from v2v.evaluation.metrics import pixel
from v2v.language.abilities import FILE_NAME, VERSION, LookAbility
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.pretrained import load_pretrained
from v2v.video import video as codec

PICTURES = (".png", ".jpg", ".jpeg")
# A clip's frames are every second one.
STRIDE = 2
PAN = 2


@dataclass
class Args:
    """The command line; the comments are its help."""

    choose: tuple[Path, ...]  # clips and pictures on which phrasings are compared
    judge: tuple[Path, ...]  # clips and pictures for the figures
    rows: Path  # measured rows, JSON lines
    model: str = "embedded"  # name or folder
    frames: int = 9  # of each clip
    height: int = 180  # of the clips in pixels when phrasings are compared
    judge_height: int = 360  # and for the figures
    looks: tuple[str, ...] = ()  # names of looks; all that the model has words for by default
    phrasings: int | None = None  # of each look; all by default
    things: Path | None = None  # JSON of edits of things
    write: bool = False  # write the model's abilities.json


def main(args: Args) -> None:
    """Measure, print a table, and write the abilities."""
    model = load_pretrained(args.model, batch=1)
    editor = EasyV2VEditor(model.with_abilities(None))
    rows = Rows(args.rows, editor)
    looks: dict[str, dict[str, Any]] = {}
    choose = {path.name: read_clip(path, args.frames, args.height) for path in args.choose}
    judge = {path.name: read_clip(path, args.frames, args.judge_height) for path in args.judge}
    for look, sentences in find_phrasings(model.tokenizer.unknown_words).items():
        if args.looks and look not in args.looks:
            continue
        means = {
            sentence: float(np.mean([rows.measure(look, sentence, name, choose)[0] for name in choose]))
            for sentence in sentences[: args.phrasings]
        }
        say = max(means, key=lambda sentence: means[sentence])
        results = [rows.measure(look, say, name, judge) for name in judge]
        psnrs, sources = zip(*results, strict=True)
        ability = LookAbility(say, float(np.mean(psnrs)), min(psnrs), float(np.mean(sources)))
        looks[look] = {"say": say, **{k: round(getattr(ability, k), 1) for k in ("psnr", "lowest", "source")}}
        worst = min(means.values())
        print(
            f"{look:20} {'can' if ability.is_able else 'can not':8} {ability.psnr:5.1f} dB (lowest {ability.lowest:.1f}, untouched "
            f'{ability.source:.1f}) "{say}"; phrasings {worst:.1f} to {means[say]:.1f}',
            flush=True,
        )
    content: dict[str, Any] = {
        "version": VERSION,
        "about": f"PSNR against the exact operator in dB, {args.frames} frames of {len(judge)} real clips, {args.judge_height} lines",
        "clips": list(judge),
        "looks": looks,
    }
    if args.things:
        content["things"] = json.loads(args.things.read_text())
    if args.write:
        folder = EMBEDDED if args.model == "embedded" else hub.resolve_model(args.model)
        (folder / FILE_NAME).write_text(json.dumps(content, indent=1) + "\n")
        print(folder / FILE_NAME)


class Rows:
    """Measured rows, in a file."""

    def __init__(self, path: Path, editor: EasyV2VEditor):
        self._path, self._editor = path, editor
        self._rows: dict[tuple[str, str, str, int], tuple[float, float]] = {}
        if path.exists():
            for row in map(json.loads, path.read_text().splitlines()):
                self._rows[row["look"], row["sentence"], row["clip"], row["height"]] = (
                    row["psnr"],
                    row["source"],
                )

    def measure(
        self, look: str, sentence: str, name: str, clips: dict[str, np.ndarray]
    ) -> tuple[float, float]:
        """Return the PSNR in dB of the model's edit of a clip, and of the untouched clip, against the exact operator."""
        clip, names = clips[name], list(clips)
        reference = None
        if look == "palette":
            reference = clips[names[(names.index(name) + 1) % len(names)]][0]
        key = look, sentence, name, clip.shape[1]
        if key not in self._rows:
            truth = apply_operator(look, clip, reference)
            edited = np.asarray(
                self._editor.edit_video(clip, sentence, reference=reference, anyway=True).frames
            )
            self._rows[key] = pixel.psnr(edited, truth), pixel.psnr(clip, truth)
            row = dict(zip(("look", "sentence", "clip", "height"), key, strict=True))
            with self._path.open("a") as file:
                file.write(
                    json.dumps({**row, "psnr": self._rows[key][0], "source": self._rows[key][1]}) + "\n"
                )
        return self._rows[key]


def find_phrasings(unknown_words) -> dict[str, list[str]]:
    """Return, for each look, those phrasings that a model has words for; looks without any are left out."""
    tables = {**templates.PHOTOMETRIC_TEMPLATES, **look_templates.TEMPLATES}
    out = defaultdict(list)
    for look in [*PHOTOMETRIC, *LOOKS]:
        slots = dict(LOOKS[look].slots) if look in LOOKS else {}
        base = next((name for name in (look, *look.split("-")[:1]) if name in tables), None)
        for template in tables[base] if base else ():
            sentence = template.format(it="the video", **slots)
            if not unknown_words(sentence):
                out[look].append(sentence)
    return dict(out)


def apply_operator(look: str, clip: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Return a clip with the exact look; what is random in it is of seed 0."""
    if look in PHOTOMETRIC:
        return PHOTOMETRIC[look](clip, reference)
    return apply_look(look, clip, build_rng(0, look))


def read_clip(path: Path, frames: int, height: int) -> np.ndarray:
    """Return frames of a clip, or a picture panned, uint8 [T, height, w, 3].

    Raises:
      InputError: a clip that is too short.
    """
    source = codec.read_video(path).frames
    if path.suffix.lower() in PICTURES:
        scale = (height + PAN * frames) / source.shape[1]
        picture = cv2.resize(source[0], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        width = (picture.shape[1] - PAN * frames) // 2 * 2
        return np.stack([picture[t : t + height, PAN * t : PAN * t + width] for t in range(frames)])
    chosen = source[: frames * STRIDE : STRIDE]
    if len(chosen) < frames:
        raise InputError(f"{path}: expected at least {frames * STRIDE} frames, got {len(source)}")
    width = round(chosen.shape[2] * height / chosen.shape[1] / 2) * 2
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in chosen])


if __name__ == "__main__":
    begin = time.perf_counter()
    try:
        main(tyro.cli(Args, description=__doc__))
    except InputError as error:
        sys.exit(f"measure_abilities: error: {error}")
    print(f"{time.perf_counter() - begin:.0f} s", file=sys.stderr)
