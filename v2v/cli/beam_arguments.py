"""Options of the commands that share their work by Apache Beam: --beam, and --workers where it counts Beam's processes alone."""

import argparse
import shlex
from dataclasses import dataclass

from v2v.errors import InputError


@dataclass(frozen=True)
class BeamOptions:
    """How Apache Beam does the work.

    Attributes:
      workers: number of local processes.
      options: options of Beam, as on its command line.
    """

    workers: int = 1
    options: tuple[str, ...] = ()


def add_beam(command: argparse.ArgumentParser, action: str, shared_files: str = "") -> None:
    """Add --beam.

    Args:
      command: its parser.
      action: what Beam does, such as "run"; the help says "with Apache Beam" after it.
      shared_files: what workers must see under the same paths; "" where the help doesn't tell.
    """
    command.add_argument(
        "--beam",
        nargs="?",
        const="",
        metavar="OPTIONS",
        help=f"{action} with Apache Beam: without OPTIONS in --workers local processes, or for example "
        '--beam="--runner=FlinkRunner --flink_master=HOST:PORT"'
        + (f"; workers see {shared_files} under the same paths" if shared_files else ""),
    )


def add_workers(command: argparse.ArgumentParser) -> None:
    """Add --workers to a command that has no processes of its own."""
    command.add_argument(
        "--workers", type=int, metavar="N", help="number of local processes with --beam (default: 1)"
    )


def split_options(text: str | None) -> tuple[str, ...] | None:
    """Return the options of Beam that --beam holds; None without it.

    Raises:
      InputError: a quotation mark that nothing closes.
    """
    if text is None:
        return None
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(
            f"--beam {text}: expected options as on a command line, got: {error}; close or escape it"
        ) from None


def read_beam(args: argparse.Namespace, command: str) -> BeamOptions | None:
    """Return what `add_beam` and `add_workers` were given; None without --beam.

    Args:
      args: the parsed command line.
      command: the command's name, for errors.

    Raises:
      InputError: --workers without --beam, fewer than one, or options that can't be split.
    """
    options = split_options(args.beam)
    if options is None:
        if args.workers is not None:
            raise InputError(
                f"{command}: --workers is the number of processes of --beam; add it, or leave --workers out"
            )
        return None
    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers {args.workers}: expected a number from 1 on")
    return BeamOptions(args.workers or 1, options)
