"""Score an editor on pairs with exact truth that no training has seen; v2v/evaluation/benchmarks and metrics/success.py define how.

    python tools/checks/score_embedded.py --pairs 256 [--json] [--sheet DIR] [--real CLIP.mp4 ...] [--model DIR] [--lora FILE] [--work DIR]

Prints a table by edit type with 95 % bootstrap intervals and, with --json, the same numbers as a last line.
"""

import contextlib
import dataclasses
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro
from tqdm import tqdm

from data_synth import generate
from v2v.errors import InputError

CLIPS = (".mp4", ".mov", ".m4v", ".mkv", ".webm")
# Number of edits of one type on a contact sheet.
BANDS = 3
# Added to the seed for the pairs that are edited frame by frame.
FLICKER_SEED = 10**6


@dataclass
class Args:
    """The command line; the comments are its help."""

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
    work: Path | None = (
        None  # folder of pairs, edits and scores; a second run goes on there. By default temporary
    )
    json: bool = False  # a last line for machines


def main(args: Args) -> None:
    """Score an editor in the folder of the command line, or a temporary one."""
    with contextlib.ExitStack() as stack:
        work = args.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        score(args, work)


def score(args: Args, work: Path) -> None:
    """Score an editor and print the table.

    Args:
      args: The command line.
      work: Folder of pairs, edits and scores.
    """
    # Late, so that --help answers at once.
    from v2v.evaluation.benchmarks import exact_truth, exact_truth_scoring, real_clips
    from v2v.evaluation.benchmarks.ceiling import CeilingEditor
    from v2v.evaluation.benchmarks.exact_truth_summary import summarize
    from v2v.evaluation.cache import SweepCache
    from v2v.evaluation.json_values import to_json_values
    from v2v.evaluation.sweep.methods import EditingMethod
    from v2v.pipeline.pretrained import load_pretrained
    from v2v.video import contact_sheet

    begin, cache, bands = time.time(), SweepCache(work / "cache"), defaultdict(list)
    clips = [] if args.ceiling else find_clips(args.real)
    benchmark = exact_truth.build_type_benchmark(work / "pairs", args.pairs, seed=args.seed)
    method = EditingMethod(model=args.model, lora=None if args.ceiling else args.lora)
    if args.ceiling:
        # The model is loaded when the first edit needs it.
        revision = f"ceiling of {method.weights(cache)['model']}"
        method = dataclasses.replace(
            method, editor=lambda: CeilingEditor(load_pretrained(args.model), benchmark), revision=revision
        )
    method = method.load(cache)
    settings = sum(len(exact_truth_scoring.item_settings(item)) for item in benchmark.items)
    with progress("edits", settings) as tick:
        pairs = exact_truth_scoring.score_settings(method, benchmark, cache, tick)
    flickers, real_psnr = [], {}
    if args.flicker_pairs and not args.ceiling:
        still = exact_truth.build_type_benchmark(
            work / "pairs", args.flicker_pairs, seed=args.seed + FLICKER_SEED, transition=0.0
        )
        with progress("frame by frame", 2 * args.flicker_pairs) as tick:
            flickers = exact_truth_scoring.compare_flicker(method, still, cache, tick)
    for path in clips:
        edits = real_clips.real_clip_benchmark(path)
        with progress(path.name, len(edits.items)) as tick:
            scores = real_clips.score_real_clip(method, edits, cache, args.real_frames, tick)
        real_psnr[path.name] = {s.item.id: s.psnr for s in scores}
        if args.sheet:
            bands[path.stem] = [real_clips.build_real_clip_band(s) for s in scores]
    if args.sheet:
        for item, pair in zip(benchmark.items, pairs, strict=True):
            if len(bands[item.kind]) < BANDS:
                bands[item.kind].append(exact_truth_scoring.build_pair_band(item, pair))
        for name, rows in bands.items():
            contact_sheet.write_contact_sheet(args.sheet / f"{name.replace(' ', '_')}.png", rows)
    summary = summarize(pairs, flickers, real_psnr)
    print(summary.format_table())
    if args.json:
        print(json.dumps(to_json_values({**summary.to_json(), "seconds": time.time() - begin})))


@contextlib.contextmanager
def progress(label: str, edits: int) -> Iterator:
    """Show a bar of finished edits."""
    with tqdm(total=edits, desc=label) as bar:
        yield lambda what: bar.update() if what == "edit" else None


def find_clips(paths: tuple[Path, ...]) -> list[Path]:
    """Return files as they are, and of folders the clips in them, by name."""
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
