"""The commands `v2v pairs view | stats | drop | merge | split | extend | caption | export`: sets that are there already.

Imports nothing heavy before one runs, as `v2v --help` reads the functions that add arguments.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from v2v.errors import InputError

if TYPE_CHECKING:
    from data_synth.dataset.facts import PairFacts
    from data_synth.dataset.stored_set import StoredSet

_EXAMPLES = """\
  v2v pairs stats data/mine
  v2v pairs view data/mine -o look.html --recipe control --limit 100
  v2v pairs drop data/mine --out data/better --votes votes.json --area-below 0.02
  v2v pairs merge data/a data/b --out data/both
  v2v pairs split data/mine --out data/parts --parts train=0.9,held_out=0.1
  v2v pairs extend data/mine --pairs 20000 --out data/more --workers 4
  v2v pairs caption data/mine --write texts.jsonl      # change the texts by whatever you like, then
  v2v pairs caption data/mine --read texts.jsonl --out data/recaptioned
  v2v pairs export data/mine --to diffsynth --out for_diffsynth
"""
LAYOUTS = ("diffsynth", "musubi", "huggingface", "webdataset")


def list_examples(command: str) -> str:
    """Return the examples of a command of `v2v pairs`, as the end of its help."""
    lines = [line for line in _EXAMPLES.splitlines() if line.split()[2] == command]
    return "\n".join(["examples:", *lines, ""])


def _add_set(parser: argparse.ArgumentParser, out: bool = True) -> None:
    parser.add_argument("set", metavar="SET", help="folder that v2v synth wrote")
    if out:
        parser.add_argument("--out", required=True, metavar="DIR", help="new folder")


def _add_filters(parser: argparse.ArgumentParser, verb: str) -> None:
    group = parser.add_argument_group(f"which pairs to {verb} (all that match every option)")
    group.add_argument("--edit", default="", metavar="a,b", help="edits, such as sepia,remove")
    group.add_argument(
        "--recipe", default="", metavar="a,b", help="kinds of recipes, such as control,weather"
    )
    group.add_argument("--words", default="", metavar="TEXT", help="text in an instruction, any case")
    group.add_argument("--license", default="", metavar="TEXT", help="text in the licence, any case")
    group.add_argument(
        "--area-below", type=float, metavar="X", help="mask covers less than this share of the pixels"
    )
    group.add_argument(
        "--area-above", type=float, metavar="X", help="mask covers more than this share of the pixels"
    )


def _build_filter(args: argparse.Namespace) -> Callable[[PairFacts], bool] | None:
    """Return whether a pair matches what was typed; None where nothing was."""
    edits, recipes = (set(filter(None, text.split(","))) for text in (args.edit, args.recipe))
    words, license_ = args.words.lower(), args.license.lower()
    if not (
        edits or recipes or words or license_ or args.area_below is not None or args.area_above is not None
    ):
        return None

    def matches(facts: PairFacts) -> bool:
        return (
            (not edits or facts.edit in edits)
            and (not recipes or facts.recipe in recipes)
            and (not words or any(words in sentence.lower() for sentence in facts.instructions))
            and license_ in facts.license.lower()
            and (args.area_below is None or facts.area < args.area_below)
            and (args.area_above is None or facts.area > args.area_above)
        )

    return matches


def add_stats_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v pairs stats`."""
    _add_set(parser, out=False)


def run_stats(args: argparse.Namespace, bars: bool) -> dict:
    """Count what a set holds, without reading its pairs."""
    from data_synth.dataset.stored_set import open_set

    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("edits", "recipes", "sizes", "licenses", "fps", "masks")
    }
    words: Counter[str] = Counter()
    sentences: set[int] = set()
    sentence_count = long_count = pair_count = reference_count = size = 0
    for facts in open_set(args.set).iterate_facts():
        pair_count += 1
        reference_count += facts.reference
        size += facts.size
        counts["edits"][facts.edit] += 1
        counts["recipes"][facts.recipe] += 1
        counts["sizes"][f"{facts.width}x{facts.height}x{facts.frames}"] += 1
        counts["licenses"][facts.license] += 1
        counts["fps"]["unknown" if facts.fps is None else f"{facts.fps:g}"] += 1
        counts["masks"][
            "everywhere"
            if facts.area == 1
            else f"{int(10 * facts.area) * 10}-{int(10 * facts.area) * 10 + 10} %"
        ] += 1
        for sentence in facts.instructions:
            sentence_count += 1
            sentences.add(hash(sentence))
            parts = sentence.lower().split()
            long_count += len(parts) > 15
            words.update(part.strip('.,;:!?"()') for part in parts)
    table = {
        "pairs": pair_count,
        "bytes": size,
        "references": reference_count,
        "instructions": sentence_count,
        "different_instructions": len(sentences),
        "different_words": len(words),
        "mean_words": round(sum(words.values()) / max(1, sentence_count), 2),
        "over_15_words": long_count,
        **{name: dict(counter.most_common()) for name, counter in counts.items()},
    }
    lines = [
        f"{args.set}: {pair_count} pairs, {size / 1e6:,.1f} MB, {reference_count} with a reference",
        f"  instructions  {sentence_count}, {len(sentences)} different, {len(words)} different words, "
        f"{table['mean_words']} words in the mean, {long_count / max(1, sentence_count):.0%} over 15",
    ]
    lines += [f"  {name:<13} {_format_counts(counter)}" for name, counter in counts.items()]
    return {"output": "\n".join(lines), **table}


def _format_counts(counter: Counter[str], limit: int = 12) -> str:
    text = ", ".join(f"{name} ({n})" for name, n in counter.most_common(limit))
    return text + (f" and {len(counter) - limit} more" if len(counter) > limit else "")


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v pairs view`."""
    _add_set(parser, out=False)
    parser.add_argument("-o", "--out", required=True, metavar="FILE.html", help="page to write")
    parser.add_argument(
        "--limit", type=int, default=100, metavar="N", help="pairs on the page, evenly chosen (default: 100)"
    )
    _add_filters(parser, "show")


def run_view(args: argparse.Namespace, bars: bool) -> dict:
    """Write a page of pairs that play, with buttons to keep and drop."""
    from data_synth.dataset import view
    from data_synth.dataset.stored_set import open_set
    from v2v.data.pair import decode_pair

    if args.limit < 1:
        raise InputError(f"--limit {args.limit}: expected at least 1 pair")
    stored, matches = open_set(args.set), _build_filter(args)
    indices = [i for i, facts in enumerate(stored.iterate_facts()) if matches is None or matches(facts)]
    if not indices:
        raise InputError(f"{args.set}: expected pairs that match, none of its {len(stored)} does")
    page_indices = {
        indices[i * len(indices) // min(args.limit, len(indices))]
        for i in range(min(args.limit, len(indices)))
    }
    pairs = (
        (i, facts, decode_pair(record))
        for i, (facts, record) in enumerate(
            zip(stored.iterate_facts(), stored.iterate_records(), strict=True)
        )
        if i in page_indices
    )
    out = Path(args.out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.with_name(f".{out.name}.partial")
        partial.write_text(
            view.format_page(stored.folder.resolve().name, pairs), encoding="utf-8", errors="replace"
        )
        partial.replace(out)
    except OSError as error:
        raise InputError(
            f"{out}: can't be written ({(error.strerror or str(error)).lower()}); name another --out"
        ) from None
    return {
        "output": f"{out}: {len(page_indices)} of {len(indices)} pairs that match",
        "page": str(out),
        "pairs": len(page_indices),
    }


def add_drop_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v pairs drop`."""
    _add_set(parser)
    parser.add_argument(
        "--votes",
        default="",
        metavar="FILE",
        help="votes saved on the page of v2v pairs view: pairs voted drop are left out, pairs voted keep stay whatever the options below say",
    )
    _add_filters(parser, "drop")


def run_drop(args: argparse.Namespace, bars: bool) -> dict:
    """Write a set without some pairs of another one."""
    from data_synth.dataset import stored_set, view

    stored, matches = stored_set.open_set(args.set), _build_filter(args)
    keep, drop = view.read_votes(args.votes, len(stored)) if args.votes else (set(), set())
    if matches is None and not args.votes:
        raise InputError(
            "v2v pairs drop: expected what to drop, such as --votes votes.json or --edit to-canny, got nothing"
        )

    def is_taken(position: int, facts: PairFacts) -> bool:
        return position in keep or not (position in drop or (matches is not None and matches(facts)))

    origin = {
        "command": "v2v pairs drop",
        "sets": [str(stored.folder)],
        "requests": [stored.report.get("request")],
    }
    report = stored_set.write_subset(Path(args.out), [(stored, is_taken)], origin)
    return _summarize(args.out, report, len(stored))


def _summarize(out: str, report: dict, count: int) -> dict:
    return {"output": f"{out}: {report['pairs']} of {count} pairs", "pairs": report["pairs"], "of": count}


def add_merge_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v pairs merge`."""
    parser.add_argument("sets", nargs="+", metavar="SET", help="folders that v2v synth wrote")
    parser.add_argument("--out", required=True, metavar="DIR", help="new folder")
    parser.add_argument(
        "--keep-duplicates",
        action="store_true",
        help="keep pairs that look alike (default: the first of them)",
    )


def run_merge(args: argparse.Namespace, bars: bool) -> dict:
    """Write a set of the pairs of several ones."""
    from data_synth.dataset import stored_set

    if len(args.sets) < 2:
        raise InputError(f"v2v pairs merge: expected at least two sets, got {len(args.sets)}")
    sets = [stored_set.open_set(path) for path in args.sets]
    origin = {
        "command": "v2v pairs merge",
        "sets": args.sets,
        "requests": [s.report.get("request") for s in sets],
    }
    parts = [(stored, lambda position, facts: True) for stored in sets]
    report = stored_set.write_subset(Path(args.out), parts, origin, not args.keep_duplicates)
    return _summarize(args.out, report, sum(map(len, sets)))


def add_split_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v pairs split`."""
    _add_set(parser)
    parser.add_argument(
        "--parts",
        default="train=0.9,held_out=0.1",
        metavar="a=X,b=Y",
        help="names and shares (default: train=0.9,held_out=0.1); pairs of one clip stay together",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another division (default: 0)")


def run_split(args: argparse.Namespace, bars: bool) -> dict:
    """Write the parts of a set as sets."""
    from data_synth.dataset import stored_set

    shares = _parse_shares(args.parts)
    stored = stored_set.open_set(args.set)
    counts = Counter(stored_set.assign_part(facts, shares, args.seed) for facts in stored.iterate_facts())
    if empty := [name for name in shares if not counts[name]]:
        raise InputError(
            f"--parts {args.parts}: expected pairs in every part, none fall into {', '.join(empty)}; change the shares or --seed"
        )
    with stored_set.new_folder(Path(args.out)) as folder:
        for name in shares:
            origin = {
                "command": "v2v pairs split",
                "sets": [str(stored.folder)],
                "part": name,
                "requests": [stored.report.get("request")],
            }

            def is_taken(position: int, facts: PairFacts, name: str = name) -> bool:
                return stored_set.assign_part(facts, shares, args.seed) == name

            stored_set.write_subset(folder / name, [(stored, is_taken)], origin)
    return {
        "output": f"{args.out}: {', '.join(f'{name} {counts[name]}' for name in shares)} pairs",
        "parts": dict(counts),
    }


def _parse_shares(text: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            shares[name] = float(value)
        except ValueError:
            shares[name] = 0.0
        if not name or Path(name).name != name or not 0 < shares[name] < float("inf"):
            raise InputError(
                f"--parts {text}: expected names with shares above 0, such as train=0.9,held_out=0.1"
            )
    if len(shares) < 2:
        raise InputError(f"--parts {text}: expected at least two different names")
    return shares


def add_extend_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v pairs extend`."""
    _add_set(parser)
    parser.add_argument(
        "--pairs", required=True, type=int, metavar="N", help="number of pairs, those that are there included"
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="number of processes (default: 1)"
    )


def run_extend(args: argparse.Namespace, bars: bool) -> dict:
    """Build a larger set of the same request, which begins with the pairs that are there."""
    from tqdm import tqdm

    from data_synth.dataset.build import extend_dataset

    with tqdm(unit=" pairs", disable=not bars) as bar:
        report = extend_dataset(args.set, args.out, args.pairs, args.workers, bar.update)
    return {"output": f"{args.out}: {report['pairs']} pairs", **report}


def add_caption_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v pairs caption`."""
    _add_set(parser, out=False)
    parser.add_argument(
        "--write", default="", metavar="FILE", help="write the texts of all pairs as JSON Lines"
    )
    parser.add_argument(
        "--read",
        default="",
        metavar="FILE",
        help="write a set with the texts of such a file: lines that are missing, and fields that a line lacks, stay as they are",
    )
    parser.add_argument("--out", default="", metavar="DIR", help="new folder, with --read")


def run_caption(args: argparse.Namespace, bars: bool) -> dict:
    """Give the texts of a set out, or take them back changed."""
    from data_synth.dataset import stored_set, texts

    if bool(args.write) == bool(args.read) or bool(args.read) != bool(args.out):
        raise InputError("v2v pairs caption: expected --write FILE, or --read FILE with --out DIR")
    stored = stored_set.open_set(args.set)
    if args.write:
        count = texts.write_texts(stored, Path(args.write))
        return {"output": f"{args.write}: texts of {count} pairs", "pairs": count}
    changes = texts.read_texts(Path(args.read), len(stored))
    origin = {
        "command": "v2v pairs caption",
        "sets": [str(stored.folder)],
        "requests": [stored.report.get("request")],
    }
    report = stored_set.rewrite_set(
        Path(args.out),
        stored,
        lambda position, record: texts.change_record(record, changes.get(position)),
        origin,
    )
    return {
        "output": f"{args.out}: {report['pairs']} pairs, {len(changes)} with other texts",
        "pairs": report["pairs"],
        "changed": len(changes),
    }


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v pairs export`."""
    _add_set(parser)
    parser.add_argument(
        "--to",
        required=True,
        choices=LAYOUTS,
        help="DiffSynth-Studio's CSV, musubi-tuner's TOML, a folder of Hugging Face datasets, or WebDataset",
    )
    parser.add_argument(
        "--fps",
        type=float,
        default=24.0,
        metavar="X",
        help="frames per second of clips whose own rate is not known (default: 24)",
    )
    _add_filters(parser, "export")


def run_export(args: argparse.Namespace, bars: bool) -> dict:
    """Write a set as another program reads it."""
    from tqdm import tqdm

    from data_synth.dataset import export, stored_set

    if not 0 < args.fps < 1000:
        raise InputError(f"--fps {args.fps:g}: expected frames per second above 0")
    stored, matches = stored_set.open_set(args.set), _build_filter(args)
    with stored_set.new_folder(Path(args.out)) as folder, tqdm(unit=" pairs", disable=not bars) as bar:
        pairs = _iterate_matching(stored, matches, bar.update)
        count = export.export_pairs(pairs, folder, args.to, args.fps, Path(args.out))
        if not count:
            raise InputError(f"{args.set}: expected pairs that match, none of its {len(stored)} does")
    return {"output": f"{args.out}: {count} pairs", "pairs": count}


def _iterate_matching(
    stored: StoredSet, matches: Callable[[PairFacts], bool] | None, progress: Callable[[int], object]
) -> Iterator:
    """Yield the pairs that match, with their frames per second."""
    from v2v.data.pair import decode_pair

    for facts, record in zip(stored.iterate_facts(), stored.iterate_records(), strict=True):
        progress(1)
        if matches is None or matches(facts):
            yield decode_pair(record), facts.fps


# Name, summary, the function that adds its options, and that which runs it.
COMMANDS = (
    (
        "view",
        "write a page of pairs that play, with a filter and buttons to keep and drop",
        add_view_arguments,
        run_view,
    ),
    ("stats", "count what a set holds", add_stats_arguments, run_stats),
    ("drop", "write a set without some pairs of another one", add_drop_arguments, run_drop),
    ("merge", "write a set of the pairs of several ones", add_merge_arguments, run_merge),
    ("split", "divide a set into sets for training and testing", add_split_arguments, run_split),
    (
        "extend",
        "build a larger set that begins with the pairs of another one",
        add_extend_arguments,
        run_extend,
    ),
    (
        "caption",
        "write the texts of a set to a file, or a set with the texts of such a file",
        add_caption_arguments,
        run_caption,
    ),
    (
        "export",
        "write a set as DiffSynth-Studio, musubi-tuner, Hugging Face datasets or WebDataset read it",
        add_export_arguments,
        run_export,
    ),
)
