"""The command `v2v synth`: training pairs in a folder that `v2v train` reads.

Imports nothing heavy before it runs, as `v2v --help` reads `add_arguments`.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from v2v.cli.beam_arguments import add_beam, split_options
from v2v.errors import InputError, note

if TYPE_CHECKING:
    from data_synth.dataset.request import SynthRequest


# Frames, height and width where none are given.
DEFAULT_SIZE = (9, 64, 64)
# Reasons for which seeds gave no pair that one note names.
MAX_REASONS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v synth`."""
    parser.add_argument("--out", default="", metavar="DIR", help="folder to write; gs://BUCKET/FOLDER too")
    parser.add_argument("--pairs", type=int, metavar="N", help="number of pairs")
    parser.add_argument(
        "--recipes",
        default="",
        metavar="a,b,c",
        help="recipes to draw from, listed below; sepia=3,to-canny draws the first thrice as often",
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="number of processes (default: 1)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the first pair (default: 0)"
    )
    add_beam(parser, "run")
    parser.add_argument(
        "--storage",
        choices=("lossless", "visually-lossless"),
        default="lossless",
        help="how clips are stored: lossless, or visually-lossless at about a twentieth of the bytes; masks are exact in both",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="make some pairs, throw them away, and tell how many pairs, bytes and hours all would be",
    )
    parser.add_argument(
        "--try",
        dest="trial",
        default="",
        metavar="SHEET.png",
        help="instead of a set make one pair of each recipe (without --recipes: those of the experts) and show them on a contact sheet, with what "
        "the experts answered",
    )
    parser.add_argument(
        "--unfinished",
        default="",
        metavar="DIR",
        help="folder for pairs until all are generated (default: a hidden folder beside --out); gs://... if Beam's workers "
        "share no disk with this machine",
    )
    parser.add_argument(
        "--preview", default="", metavar="DIR", help="folder for a contact sheet of every edit"
    )
    parser.add_argument(
        "--frames", type=int, metavar="N", help=f"frames per clip (default: {DEFAULT_SIZE[0]})"
    )
    parser.add_argument(
        "--height",
        type=int,
        metavar="N",
        help=f"height of the clips in pixels (default: {DEFAULT_SIZE[1]})",
    )
    parser.add_argument(
        "--width",
        type=int,
        metavar="N",
        help=f"width of the clips in pixels (default: {DEFAULT_SIZE[2]})",
    )
    parser.add_argument(
        "--sizes",
        type=_parse_sizes,
        default=(),
        metavar="WxHxFRAMES,...",
        help="several sizes instead of one, such as 832x480x81,480x832x81,640x640x81: each clip of yours, or pair of an import, gets the one it fits best; clips "
        "that would have to grow by more than a quarter are left out",
    )
    parser.add_argument(
        "--transition",
        type=float,
        default=0.5,
        metavar="P",
        help="probability that an edit begins inside the clip (default: 0.5)",
    )
    parser.add_argument(
        "--operators",
        default="cut,blend",
        metavar="a,b",
        help="transitions of such edits: cut, blend, dissolve, wipe (default: cut,blend)",
    )
    parser.add_argument(
        "--varied-phrasing",
        action="store_true",
        help="also long, polite and descriptive instructions for every recipe; those for footage have them anyway, people's own sentences stay",
    )
    parser.add_argument(
        "--clips",
        default="",
        metavar="DIR",
        help="folder of your videos: footage for all recipes from looks on but physics and lift (default: rendered scenes); beside NAME.mp4 may stand NAME.txt (caption), NAME.mask.mp4 "
        "or .png with NAME.object.txt (an object's mask and name), NAME.nouns.txt (things in it) and NAME.prompts.txt (instructions for experts), one a line",
    )
    parser.add_argument(
        "--fps",
        type=float,
        default=0.0,
        metavar="N",
        help="frames per second to which clips are brought by repeating or leaving out frames (default: their own, which is recorded)",
    )
    parser.add_argument(
        "--references",
        type=float,
        default=0.0,
        metavar="P",
        help="probability that a pair of an expert, a caption or an imported set that has no reference picture gets a turned part of its target as "
        "one (default: 0)",
    )
    parser.add_argument(
        "--pictures",
        default="",
        metavar="DIR",
        help="folder of pictures, which camera moves turn into clips wherever --clips are used; NAME_source.png beside NAME.png and "
        "NAME.txt is a picture before and after an edit (recipe before-after)",
    )
    parser.add_argument(
        "--cutouts",
        default="",
        metavar="DIR",
        help="folder of pictures of objects with a transparent background, for the cutout recipes; an object's name is that of its file, "
        "or stands in names.csv (file,name)",
    )
    parser.add_argument(
        "--license",
        default="unknown",
        metavar="TEXT",
        help="license of your clips and pictures, and of imported pairs whose table states none; stored with each pair",
    )
    parser.add_argument(
        "--expert",
        action="append",
        default=[],
        metavar="TOML",
        help="description of an external expert; may be repeated",
    )
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="pairs=TABLE: your own pairs (v2v pairs check --help tells how); or the path of a published set or caption file; may be "
        "repeated; without --recipes the set is made of these alone",
    )
    parser.add_argument(
        "--set",
        dest="old_imports",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="old name of --import",
    )
    parser.add_argument(
        "--writer",
        default="",
        metavar="TOML",
        help="description of a language model that turns captions into instructions (default: rules)",
    )


def describe_recipes() -> str:
    """Return the list of recipes for `v2v synth --help`."""
    from data_synth.recipes import registry

    return registry.format_help()


def run(args: argparse.Namespace, bars: bool) -> dict:
    """Run one call of `v2v synth`; return what --json prints, with "output".

    Args:
      args: What was typed.
      bars: Whether to show a progress bar.
    """
    from tqdm import tqdm

    from data_synth import worker
    from data_synth.dataset import build, trial
    from data_synth.dataset.estimate import estimate_build
    from data_synth.recipes import own_pairs
    from data_synth.recipes.sources import NO_SOURCES

    if args.sizes and any(value is not None for value in (args.frames, args.height, args.width)):
        raise InputError(
            "--sizes: expected instead of --frames, --height and --width, got both; leave one out"
        )
    request = parse_request(args)
    if args.trial:
        if Path(args.trial).suffix.lower() != ".png":
            raise InputError(
                f"--try {args.trial}: expected the name of a picture that ends in .png, got another; name one"
            )
        attempts = trial.try_request(request, args.trial)
        text = "\n".join(attempt.format() for attempt in attempts)
        has_pair = {attempt.recipe: bool(attempt.pair) for attempt in attempts}
        return {"output": f"{text}\n{args.trial}", "sheet": args.trial, "recipes": has_pair}
    for option, value in (("--out DIR", args.out or None), ("--pairs N", args.pairs)):
        if value is None:
            raise InputError(
                f"v2v synth: expected {option}, got none; add it, or try the recipes with --try SHEET.png"
            )
    if args.dry_run:
        estimate = estimate_build(request)
        return {"output": estimate.format(request.workers), **dataclasses.asdict(estimate)}
    table = dict(request.sources.sets).get(own_pairs.NAME)
    if args.old_imports:
        note("--set is called --import now; the old name goes away with the next release")
    has_footage = bool(request.sources.clips or request.sources.sets)
    is_default_size = not args.sizes and None in (args.frames, args.height, args.width)
    pair_count = 0
    worker.reuse_memory()
    with tqdm(total=request.pairs, unit=" pairs", disable=not bars) as bar:

        def count_pairs(n: int) -> None:
            nonlocal pair_count
            if (
                has_footage and is_default_size and not pair_count
            ):  # a request that is refused is told in one line
                note(
                    f"clips are cut to {request.frames} frames of {request.width}x{request.height} pixels, and "
                    f"{request.transition:.0%} of the edits begin inside them; --frames, --height, --width and --transition change that"
                )
            pair_count += n
            bar.update(n)

        report = build.build_dataset(request, progress=count_pairs)
    if request.sources != NO_SOURCES and (rejections := report.get("dropped")):
        ordered = sorted(rejections.items(), key=lambda item: -item[1])
        reasons = ", ".join(f"{reason} ({count})" for reason, count in ordered[:MAX_REASONS])
        more = f" and {len(ordered) - MAX_REASONS} more reasons" if len(ordered) > MAX_REASONS else ""
        where = f"v2v pairs check {table}" if table else f"{args.out}/report.html"
        note(f"no pair of {sum(rejections.values())} rows or seeds: {reasons}{more}; see {where}")
    return {"output": args.out, **report}


def parse_request(args: argparse.Namespace) -> SynthRequest:
    """Return the request that was typed.

    Raises:
      InputError: A list of sources is malformed.
    """
    from data_synth.dataset import request
    from data_synth.recipes.sources import Sources

    sources = Sources(
        args.clips,
        args.license,
        tuple(args.expert),
        tuple(request.parse_import(text) for text in (*args.imports, *args.old_imports)),
        args.writer,
        args.pictures,
        args.cutouts,
        args.fps,
    )
    return request.SynthRequest(
        args.out,
        1 if args.pairs is None else args.pairs,
        args.seed,
        args.workers,
        edits=_split(args.recipes),
        frames=DEFAULT_SIZE[0] if args.frames is None else args.frames,
        height=DEFAULT_SIZE[1] if args.height is None else args.height,
        width=DEFAULT_SIZE[2] if args.width is None else args.width,
        transition=args.transition,
        operators=_split(args.operators),
        sources=sources,
        preview=args.preview,
        beam=split_options(args.beam),
        unfinished=args.unfinished,
        storage=args.storage,
        sizes=args.sizes,
        varied_phrasing=args.varied_phrasing,
        references=args.references,
    )


def _parse_sizes(text: str) -> tuple[tuple[int, int, int], ...]:
    """Return the sizes (frames, height, width) in a list such as 832x480x81,480x832x81."""
    sizes = []
    for part in text.split(","):
        numbers = part.split("x")
        if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
            raise argparse.ArgumentTypeError(
                f"expected WIDTHxHEIGHTxFRAMES, such as 832x480x81, got {part!r}"
            )
        width, height, frames = map(int, numbers)
        sizes.append((frames, height, width))
    return tuple(sizes)


def _split(names: str) -> tuple[str, ...]:
    """Return the names in a list with commas."""
    return tuple(filter(None, names.split(",")))
