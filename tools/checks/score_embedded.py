"""Scores an editor on pairs with exact truth that no training has seen; v2v/evaluation/benchmarks/exact_truth.py and success.py define how.

    python tools/checks/score_embedded.py --pairs 256 [--json] [--sheet DIR] [--real CLIP.mp4 ...] [--model DIR] [--lora FILE]

Prints a table by edit type with 95 % bootstrap intervals and, with --json, the same numbers as a last line.
"""

import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import tyro
from tqdm import tqdm

from data_synth import generate
from data_synth.operators.photometric import PHOTOMETRIC
from v2v.errors import InputError
from v2v.evaluation.benchmarks import exact_truth, exact_truth_summary
from v2v.video import contact_sheet

CLIPS = (".mp4", ".mov", ".m4v", ".mkv", ".webm")
BANDS = 3  # edits of one type on a contact sheet


@dataclass
class Args:
    pairs: int = 256  # spread evenly over the edit types
    seed: int = generate.SCORE_SEED_BASE
    model: str = "embedded"  # name or folder
    lora: Path | None = None  # adapter, .safetensors
    flicker_pairs: int = 21  # pairs that are also edited frame by frame
    real: tuple[Path, ...] = ()  # real clips for the photometric edits, or folders of them
    real_frames: int | None = None  # of each real clip, from the start; all by default
    ceiling: bool = (
        False  # score the truth's own latents: the best that this VAE allows; no flicker, no real clips
    )
    sheet: Path | None = None  # folder for contact sheets, one a type and one a real clip
    json: bool = False  # a last line for machines


def main(args: Args) -> None:
    from v2v.pipeline.editor import EasyV2VEditor  # late, so that --help answers at once

    began, rows, bands, real = time.time(), [], defaultdict(list), defaultdict(dict)
    clips = clips_in(args.real)
    editor = EasyV2VEditor(args.model)
    if args.ceiling:
        from v2v.evaluation.benchmarks.ceiling import CeilingEditor

        editor, args.flicker_pairs, clips = CeilingEditor(editor.model), 0, []
    elif args.lora:
        editor.load_lora_weights(args.lora)
    for pair in tqdm(exact_truth.iterate_pairs(args.pairs, seed=args.seed), total=args.pairs, desc="pairs"):
        if args.ceiling:
            editor.truth = pair.target
        outcomes, outputs = exact_truth.score_pair(editor, pair)
        rows.append(
            exact_truth_summary.ScoredPair(pair.edit, "{}x{}".format(*pair.source.shape[1:3]), outcomes)
        )
        if args.sheet and len(bands[pair.edit]) < BANDS:
            bands[pair.edit].append(exact_truth.pair_band(pair, outputs, outcomes))
    still = (
        list(exact_truth.iterate_pairs(args.flicker_pairs, seed=args.seed + 10**6, transition=0.0))
        if args.flicker_pairs
        else []
    )
    flickers = [exact_truth.compare_flicker(editor, pair) for pair in tqdm(still, desc="frame by frame")]
    for path in clips:
        edits = exact_truth.score_photometric(editor, path, PHOTOMETRIC, frames=args.real_frames)
        for name, psnr, shown in tqdm(edits, total=len(PHOTOMETRIC) - 1, desc=path.name):
            real[path.name][name] = psnr
            labelled = list(zip(("source", "output", "truth"), shown, strict=True))
            bands[path.stem].append(contact_sheet.Band(f"{name}, {psnr:.1f} dB", labelled))
    if args.sheet:
        for name, made in bands.items():
            contact_sheet.write_contact_sheet(args.sheet / f"{name.replace(' ', '_')}.png", made)
    result = {**exact_truth_summary.summarize(rows, flickers, real), "seconds": time.time() - began}
    print(exact_truth_summary.format_table(result))
    if args.json:
        print(json.dumps(exact_truth_summary.to_json_values(result)))


def clips_in(paths: tuple[Path, ...]) -> list[Path]:
    """Files as they are, and of folders the clips in them, by name."""
    for missing in (p for p in paths if not p.exists()):
        raise InputError(
            f"--real {missing}: expected a clip or a folder of clips, got no such file; correct the path"
        )
    folders = [sorted(p.iterdir()) if p.is_dir() else [p] for p in paths]
    return [
        f
        for p, files in zip(paths, folders, strict=True)
        for f in files
        if f == p or f.suffix.lower() in CLIPS
    ]


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except InputError as error:
        sys.exit(f"score_embedded: error: {error}")
