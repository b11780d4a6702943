"""Judge what a model makes of people's own sentences, as read by v2v and as typed: a table with a verdict each.

    python tools/checks/score_sentences.py tests/language/sentences.tsv clip.mp4 --out table.tsv [--model DIR] [--rows rows.jsonl]

The input has a sentence a line and, after a tab, what it means: looks by their names with "+" between them, "*0.5" for an amount, "@left half"
or "@not person" for a place, "-" for what must be refused. Further columns are written anew: what it is read as, the verdict (done,
refused, wrong), and PSNR in dB against the exact operators of the edit as read, of the sentence as typed, and of the untouched clip.
An edit is done as meant if it was read as meant and its PSNR is that of an ability or, for one that changes little, above the clip's by
as much. Rows are kept: a second run edits what is missing.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from measure_abilities import apply_operator, read_clip

from v2v.errors import InputError, collect_notes
from v2v.evaluation.metrics import pixel
from v2v.language.abilities import LEAST_GAIN, LEAST_PSNR
from v2v.language.places import Place, draw_region
from v2v.language.reading import read_instruction
from v2v.language.request import Step, format_steps
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.pretrained import load_pretrained
from v2v.pipeline.settings import EditRequest

STEP = re.compile(r"(?P<look>[^*@]+)(?:\*(?P<amount>[\d.]+))?(?:@(?P<no>not )?(?P<place>.+))?")
HEADER = "sentence\tmeant\tread\tverdict\tdB\tas typed\tuntouched"


def main() -> None:
    """Judge every sentence and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sentences", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--rows", type=Path, default=Path("sentences.jsonl"), help="measured rows")
    args = parser.parse_args()
    clip = read_clip(args.clip, 9, 180)
    model = load_pretrained(args.model, batch=1)
    known = EasyV2VEditor(model)
    typed = EasyV2VEditor(model.with_abilities(None))
    rows = (
        {row["key"]: row for row in map(json.loads, args.rows.read_text().splitlines())}
        if args.rows.exists()
        else {}
    )
    lines, counts = [HEADER], Counter()
    results: dict[str, np.ndarray] = {}
    abilities = model.abilities
    assert abilities is not None, "the model brings no abilities.json"
    for line in args.sentences.read_text().splitlines():
        sentence, meant = line.split("\t")[:2]
        if sentence == "sentence":
            continue
        read = format_steps(read_instruction(sentence, abilities.names, abilities.words).steps)
        key = json.dumps([sentence, meant, read])
        if key not in rows:
            steps = parse_steps(meant)
            is_able = all(step.look in abilities.able_looks for step in steps)
            truth = apply_steps(steps, clip) if is_able else None
            rows[key] = {
                "key": key,
                "dB": run(known, clip, sentence, truth, results),
                "typed": run(typed, clip, sentence, truth, {}),
                "untouched": None if truth is None else pixel.psnr(clip, truth),
            }
            with args.rows.open("a") as file:
                file.write(json.dumps(rows[key]) + "\n")
        row = rows[key]
        verdict = judge(row["dB"], row["untouched"], set(read.split(" + ")) == set(meant.split(" + ")))
        before = judge(row["typed"], row["untouched"], True)
        counts["as read", verdict] += 1
        counts["as typed", before] += 1
        numbers = [
            "" if value in (None, "refused") else f"{value:.1f}"
            for value in (row["dB"], row["typed"], row["untouched"])
        ]
        lines.append("\t".join([sentence, meant, read, verdict, *numbers]))
    args.out.write_text("\n".join(lines) + "\n")
    for (how, verdict), count in sorted(counts.items()):
        print(f"{how:9} {verdict:8} {count}")


def run(
    editor: EasyV2VEditor,
    clip: np.ndarray,
    sentence: str,
    truth: np.ndarray | None,
    results: dict[str, np.ndarray],
) -> float | str | None:
    """Return the PSNR of an edit, "refused", or None for an edit without a truth, which is not computed.

    Args:
      editor: the editor.
      clip: the source.
      sentence: the instruction.
      truth: the exact result.
      results: edits by what the model is given, to which this one is added.
    """
    try:
        with collect_notes():
            steps = editor.plan(EditRequest(clip, sentence))
            if truth is None and any(step.mask_source for step in steps):
                editor.edit_video(clip, sentence)  # refuses where it finds nothing
            if truth is None:
                words = re.findall(r"\w+", sentence)
                embedding = editor.model.embed_text([sentence])
                return "refused" if steps[0].title == "" and len(embedding.unknown) >= len(words) else None
            key = repr(steps)
            if key not in results:
                results[key] = np.asarray(editor.edit_video(clip, sentence).frames)
    except InputError:
        return "refused"
    return pixel.psnr(results[key], truth)


def judge(psnr: float | str | None, untouched: float | None, is_read: bool) -> str:
    """Return the verdict on an edit."""
    if psnr == "refused":
        return "refused"
    if psnr is None or untouched is None or not is_read or isinstance(psnr, str):
        return "wrong"
    return "done" if psnr >= LEAST_PSNR and psnr - untouched >= LEAST_GAIN else "wrong"


def parse_steps(meant: str) -> list[Step]:
    """Parse the notation of the module's docstring; "-" is no steps."""
    steps = []
    for part in meant.split(" + ") if meant != "-" else ():
        match = STEP.fullmatch(part)
        assert match is not None, part
        name = match["place"]
        place = name and Place(
            "region" if " " in name or name == "center" else "thing", name, "", bool(match["no"])
        )
        steps.append(Step(match["look"], float(match["amount"] or 1), place or None))
    return steps


def apply_steps(steps: list[Step], clip: np.ndarray) -> np.ndarray | None:
    """Return the exact result of steps; None where there is none, and for places that have no exact mask."""
    if not steps:
        return None
    for step in steps:
        edited = apply_operator(step.look, clip)
        if step.place is not None and step.place.kind == "thing":
            return None
        edited = np.stack(
            [
                cv2.addWeighted(e, step.amount, c, 1 - step.amount, 0)
                for e, c in zip(edited, clip, strict=True)
            ]
        )
        if step.place is not None:
            edited = np.where(draw_region(step.place, *clip.shape[1:3])[..., None] > 0, edited, clip)
        clip = edited
    return clip


if __name__ == "__main__":
    main()
