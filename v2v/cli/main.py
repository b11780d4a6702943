"""`v2v edit | synth | train | plan | eval | convert | doctor`: what a person types, turned into one call each, and every error of theirs into one line.

Nothing heavy is imported before it is needed, so that `v2v --help` answers at once. Exit codes: 0 done, 2 bad input (one line on
stderr says what, where, what was expected and the remedy), 130 interrupted, 1 from `eval --strict` when anything failed. Standard
output is one line: the path made, or with --json an object.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import re
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from v2v.cli import eval as evaluation
from v2v.cli import parsers, user_module
from v2v.errors import InputError
from v2v.runtime import compilation_cache

Action = Callable[[argparse.Namespace], dict]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; returns the exit code."""
    parser = parsers.parser(ACTIONS)
    args, rest = parser.parse_known_args(argv)
    if rest and args.run not in (_train, _plan):  # what follows an experiment's own options are its fields
        args.refuse(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    compilation_cache.environment()
    warnings.showwarning = _show_note
    warnings.simplefilter("default", UserWarning)
    try:
        report = args.run(args)
    except InputError as error:
        line = " ".join(str(error).split())
        print(f"v2v: error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("v2v: interrupted", file=sys.stderr)
        return 130
    code = report.pop("exit", 0)
    print(json.dumps(report) if args.json else report["output"])
    return code


def _edit(args: argparse.Namespace) -> dict:
    from v2v.cli import edit

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)
    return edit.edit(args, lambda: _model(args), _bars(args))


def _stop(*_) -> None:
    """Job managers end a job by SIGTERM: what cleans up after an error cleans up then, too."""
    raise SystemExit(128 + signal.SIGTERM)


def _model(args: argparse.Namespace):
    """The model asked for: its name when that is all, so that the packaged one needs no more."""
    settings = {**args.size, "solver": args.solver, "schedule": args.schedule}
    if args.model == "embedded" and not any(settings.values()):
        return args.model
    from v2v.pipeline.pretrained import load_pretrained

    return load_pretrained(args.model, progress=_bars(args), **settings)


def _convert(args: argparse.Namespace) -> dict:
    from v2v.cli.convert import convert

    made = {"model": args.model, "lora": args.lora, "style": args.format, "dtype": args.dtype}
    return convert(args.source, args.target, **made, progress=_bars(args))


def _doctor(args: argparse.Namespace) -> dict:
    from v2v.cli.doctor import doctor

    return doctor(args.model, args.lora, args.values)


def _synth(args: argparse.Namespace) -> dict:
    from tqdm import tqdm

    from data_synth.dataset.build import synth

    with tqdm(total=args.pairs, unit=" pairs", disable=not _bars(args)) as bar:
        names = tuple(filter(None, args.recipes.split(",")))
        report = synth(
            args.out,
            args.pairs,
            args.seed,
            args.workers,
            edits=names,
            frames=args.frames,
            height=args.height,
            width=args.width,
            transition=args.transition,
            operators=tuple(filter(None, args.operators.split(","))),
            clips=args.clips,
            license=args.license,
            experts=args.expert,
            sets=args.set,
            writer=args.writer,
            preview=args.preview,
            beam=None if args.beam is None else shlex.split(args.beam),
            unfinished=args.unfinished,
            progress=bar.update,
        )
    return {"output": args.out, **report}


def _train(args: argparse.Namespace) -> dict:
    experiment, config = _experiment(args, "train")
    from etils import epath

    from v2v.runtime import sharding

    if args.distributed:
        sharding.join_processes()
    workdir = (epath.Path if "://" in args.workdir else Path)(args.workdir)
    if workdir.exists() and not workdir.is_dir():
        raise InputError(
            f"--workdir {workdir}: expected a folder, or a place where one can be made, got a file"
        )
    return {"output": str(experiment.run(config, workdir))}


def _plan(args: argparse.Namespace) -> dict:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing runs; a chip at hand stays free
    from v2v.planning import report

    _, config = _experiment(args, "plan")
    made = report.plan(
        report.setting_of(config, args.what), args.topology, config.name, args.utilisation, not args.no_search
    )
    text = made.pop("text")
    return made if args.json else {"output": text}


def _experiment(args: argparse.Namespace, command: str):
    """The module of an experiment's file and its configuration with the fields given on the command line."""
    path = args.experiment
    experiment = user_module.load(path, "experiment", "experiments/embedded.py")
    if not (hasattr(experiment, "config") and hasattr(experiment, "run")):
        raise InputError(f"{path}: not an experiment; expected config() and run(config, workdir) in it")
    default = experiment.config()
    if not dataclasses.is_dataclass(default):
        raise InputError(f"{path}: expected config() to return an Experiment, got {type(default).__name__}")
    return experiment, _fields(default, args.rest, f"v2v {command} {path}")


def _fields(default, words: Sequence[str], program: str):
    """The configuration with its fields as given; what tyro says of them in a box becomes one line."""
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(type(default), default=default, args=words, prog=program)
    except SystemExit as stopped:
        if not stopped.code:  # --help
            raise
        inside = " ".join(line.strip("│|+ ") for line in said.getvalue().splitlines()[1:-1])
        parts = [part.strip() for part in re.split("[─-]{3,}", inside)]
        raise InputError("; ".join(p for p in parts if not p.startswith("Argument helptext"))) from None


def _eval(args: argparse.Namespace) -> dict:
    return evaluation.run(args, _bars(args))


def _bars(args: argparse.Namespace) -> bool:
    return sys.stderr.isatty() and not args.quiet


def _show_note(message, category, filename, lineno, file=None, line=None) -> None:
    if issubclass(category, UserWarning):
        print(f"v2v: note: {message}", file=sys.stderr)


ACTIONS: dict[str, Action] = {
    "edit": _edit,
    "synth": _synth,
    "train": _train,
    "plan": _plan,
    "eval": _eval,
    "convert": _convert,
    "doctor": _doctor,
}


if __name__ == "__main__":
    sys.exit(main())
