"""The commands `v2v pairs ...`: tables and sets of training pairs.

A command of the group is a `PairsCommand` in `COMMANDS`. Imports nothing heavy before one runs, as `v2v --help` reads `add_arguments`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from v2v.cli import pair_sets
from v2v.cli.argument_types import parse_size

if TYPE_CHECKING:
    from v2v.data.pair_table import PairTable

EXAMPLES = """\
examples:
  v2v pairs check my.csv                         what of a table would be used, cut and left out, and why
  v2v pairs check my.csv --size 832x480x81       the same for clips of that size
  v2v pairs check clips/                         a folder of NAME.mp4, NAME_source.mp4, NAME_mask.mp4, NAME.txt
"""
TABLES = """\
A table is a CSV file, JSON Lines or a JSON list (UTF-8), its paths relative to the file; a folder of Hugging Face datasets (metadata.jsonl or .csv in
it, or in train, validation, ...); or tar files of WebDataset (KEY.source.mp4, KEY.target.mp4, KEY.mask.mp4, KEY.reference.png, KEY.json or .txt): one
file, a folder of them, or a range such as pairs-{000000..000012}.tar. Columns, and other names that are read:
  source        control_path, control_file_path, vace_video, source_video, source_path, source_file_name
  target        video, video_path, file_path, path, target_path, image_path, target_file_name, file_name
  instruction   prompt, text, caption, cap, instructions; several as a list
  mask          vace_video_mask, mask_path, mask_file_name: a clip or picture, white = edited here
  reference     vace_reference_image, image_path, reference_path, reference_file_name; FILE@SECONDS is a frame of a clip
  start, end    seconds between which the edit is on
  weight, split (train or held_out), license, source_caption, target_caption, edit
"""


@dataclass(frozen=True)
class PairsCommand:
    """A command of the group.

    Attributes:
      summary: one line for the help.
      epilog: end of the help.
      add_arguments: adds its options.
      run: runs it; the second argument is whether to show progress bars. Returns what --json prints, with "output".
    """

    summary: str
    epilog: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, bool], dict]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `v2v pairs`.

    Args:
      parser: of `v2v pairs`.
    """
    group = parser.add_subparsers(
        required=True, metavar=" | ".join(COMMANDS), title="commands", dest="pairs_command"
    )
    for name, command in COMMANDS.items():
        leaf = group.add_parser(
            name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog=command.epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        leaf.register("type", "size", parse_size)
        # Suppressed defaults: what stands before the command's name counts too.
        for flag, text in (
            ("--json", "print one machine-readable line"),
            ("--quiet", "no progress bars; warnings only"),
        ):
            leaf.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=text)
        leaf.add_argument(
            "-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="show debug messages"
        )
        command.add_arguments(leaf)
        leaf.set_defaults(refuse=leaf.error)


def run(args: argparse.Namespace, bars: bool) -> dict:
    """Run one call of `v2v pairs`; return what --json prints, with "output".

    Args:
      args: what was typed.
      bars: whether to show a progress bar.
    """
    return COMMANDS[args.pairs_command].run(args, bars)


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "table", metavar="TABLE", help="CSV, JSON Lines or JSON file of pairs, or a folder of clips"
    )
    parser.add_argument(
        "--size",
        type="size",
        default={},
        metavar="WxH[xFRAMES]",
        help="size that clips are cut to, such as 832x480x81 (default: their own); with FRAMES also what v2v synth would drop",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a row is left out")


def _run_check(args: argparse.Namespace, bars: bool) -> dict:
    from tqdm import tqdm

    from v2v.data.pair_table import read_table
    from v2v.data.pair_table_check import check_table

    table = read_table(args.table)
    size = (args.size.get("frames", 0), args.size["height"], args.size["width"]) if args.size else None
    with tqdm(total=len(table.rows), unit=" pairs", disable=not bars) as bar:
        gate = _build_gate(table, size) if size and size[0] else None
        report = check_table(table, size, bar.update, gate)
    code = {"exit": 1} if args.strict and report.left_out else {}
    return {"output": report.format(), **report.to_json(), **code}


def _build_gate(table: PairTable, size: tuple[int, int, int]) -> Callable[[int], str] | None:
    """Return a function that tells why `v2v synth` drops the pair of a row's position, "" where it does not; None without any pair."""
    from data_synth import quality
    from data_synth.recipes.own_pairs import OwnPairsRecipe
    from data_synth.rejection import Rejected
    from v2v.data.pair_row import PairRow

    if not table.has_pairs:
        return None
    recipe = OwnPairsRecipe(table)

    def find_rejection(position: int) -> str:
        row = table.rows[position]
        if isinstance(row, PairRow) and row.split == "held_out":
            return ""
        outcome = recipe(position, *size)
        rejection = outcome if isinstance(outcome, Rejected) else quality.find_rejection(outcome)
        return rejection.reason if rejection else ""

    return find_rejection


COMMANDS: Mapping[str, PairsCommand] = {
    "check": PairsCommand(
        "report what of a table of pairs would be used, cut and left out, and why",
        EXAMPLES + "\n" + TABLES,
        _add_check_arguments,
        _run_check,
    ),
    **{
        name: PairsCommand(summary, pair_sets.list_examples(name), add, run_command)
        for name, summary, add, run_command in pair_sets.COMMANDS
    },
}
