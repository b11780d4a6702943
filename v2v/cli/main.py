"""`v2v edit | synth | pairs | train | encode | report | plan | eval | convert | words | models | doctor | app | serve | completion`: dispatches a command line to the file of its command.

Nothing heavy is imported before it is needed, so that `v2v --help` answers at once. Exit codes: 0 done; 1 it ran and a check or some of the
jobs failed; 2 bad input (one line on stderr says what, where, what was expected, and the remedy); 130 interrupted. Standard output is one
line: the path of the result, or with --json an object.
"""

import argparse
import io
import json
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from v2v.cli import app, completion, model_arguments, models, pairs, parsers, report, serve, synth
from v2v.cli import eval as evaluation
from v2v.cli.interruption import raised_signals
from v2v.errors import InputError, install_hint, suggest
from v2v.runtime import compilation_cache, devices, environment
from v2v.video.output_format import CLIPS, STILLS

if TYPE_CHECKING:
    from v2v.config import TransformerName

Command = Callable[[argparse.Namespace], dict]

# The extra that brings an optional package, by the name it is imported by.
EXTRAS = {
    "apache_beam": "beam",
    "array_record": "synth",
    "etils": "synth",
    "fastapi": "serve",
    "gcsfs": "gcs",
    "grain": "train",
    "importlib_resources": "synth",
    "libtpu": "plan",
    "mujoco": "scenes",
    "optax": "train",
    "orbax": "train",
    "pyarrow": "parquet",
    "scenedetect": "captions",
    "sqlalchemy": "serve",
    "tensorboardX": "tensorboard",
    "tensorflow_datasets": "synth",
    "tyro": "train",
    "uvicorn": "serve",
    "wandb": "wandb",
}

# Packages that no command's own extra holds.
OPTIONAL = ("apache_beam", "gcsfs", "mujoco", "pyarrow", "scenedetect", "tensorboardX", "wandb")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["help"], ["version"]):
        words = [*words[1:], "--help"] if words[0] == "help" else ["--version"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path that the terminal can't print must not end in a traceback after the work is done.
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = parsers.build_parser(COMMANDS)
    completion.answer_shell(parser)
    args, extra_words = parser.parse_known_args(words)
    args.extra_words = extra_words
    is_help = args.command in parsers.WITH_EXPERIMENT and args.help
    # What follows an experiment's own options are its fields.
    if extra_words and args.command not in parsers.WITH_EXPERIMENT:
        args.refuse(_explain_extra_words(args, extra_words))
    compilation_cache.set_environment()
    devices.skip_absent_tpu()
    try:
        configure_logging(quiet=args.quiet, verbose=args.verbose)
        answer = _print_fields(args) if is_help else args.run(args)
    except InputError as error:
        line = " ".join(str(error).split())
        print(f"v2v: error: {line}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        # A command's own extra brings all that it needs; its first missing package may belong to a smaller one.
        extra = (
            {"encode": "train"}.get(args.command, args.command)
            if args.command in (*parsers.WITH_EXPERIMENT, "app") and package not in OPTIONAL
            else EXTRAS[package]
        )
        print(
            f"v2v: error: v2v {args.command} needs the package {package}, which isn't installed; "
            f"{install_hint(extra)}",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("v2v: interrupted", file=sys.stderr)
        return 130
    code = answer.pop("exit", 0)
    if not is_help:
        _print_result(json.dumps(answer) if args.json else answer["output"])
    return code


def _print_result(text: str) -> None:
    """Print the result; a reader that has seen enough, such as `head`, is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What is left in the buffer would raise again when Python closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain_extra_words(args: argparse.Namespace, extra_words: list[str]) -> str:
    """Return the message about words that no option takes."""
    message = f"unrecognized arguments: {' '.join(extra_words)}"
    if option := next((word for word in extra_words if word.startswith("-")), ""):
        if os.path.exists(option):
            return f"{message}; write ./{option} for the file of that name"
        return message + suggest(option.partition("=")[0], args.list_options())
    if args.command != "edit":
        return message
    if args.output is None and pathlib.PurePath(extra_words[-1]).suffix.lower() in (*CLIPS, *STILLS):
        return f"{message}; name the output with -o {extra_words[-1]}"
    if not args.instruction:
        return message
    if os.path.exists(args.instruction):
        message += (
            "; v2v edit takes one clip; list several in a manifest, one JSON object a line (--manifest)"
        )
    else:
        sentence = " ".join([args.instruction, *extra_words])
        message += f'; put the instruction into quotes: "{sentence}"'
    return message


def _print_fields(args: argparse.Namespace) -> dict:
    """Print the help of a command that takes an experiment, and the fields of an experiment if one is named; return an empty answer."""
    from v2v.cli import train

    args.print_help()
    if args.experiment:
        print()
        train.print_fields(args.experiment, args.command)
    return {}


class _Format(logging.Formatter):
    """Notes as `v2v: note: ...`; what is logged while a program runs as it is; debug lines with their module."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno >= logging.WARNING:
            return f"v2v: note: {text}"
        return f"{record.name}: {text}" if record.levelno < logging.INFO else text


class _Stderr(logging.StreamHandler):
    """Writes to what sys.stderr is now, not to what it was when logging was configured."""

    def __init__(self):
        logging.Handler.__init__(self)

    @property
    def stream(self):
        return sys.stderr


def configure_logging(quiet: bool = False, verbose: bool = False) -> None:
    """Show the log records of v2v and data_synth on stderr.

    Args:
      quiet: warnings alone.
      verbose: debug messages too.

    Raises:
      InputError: V2V_LOG_LEVEL is no level.
    """
    name = "warning" if quiet else "debug" if verbose else environment.LOG_LEVEL.get()
    levels = logging.getLevelNamesMapping()
    if name.upper() not in levels:
        raise InputError(f"V2V_LOG_LEVEL: expected debug, info, warning or error, got {name!r}")
    handler = _Stderr()
    handler.setFormatter(_Format("%(message)s"))
    for package in ("v2v", "data_synth"):
        logger = logging.getLogger(package)
        logger.handlers = [handler]
        # absl, which training imports, prints the root logger's records too.
        logger.propagate = False
        logger.setLevel(levels[name.upper()])


def _edit(args: argparse.Namespace) -> dict:
    # Imports take a second or more, in which an exception may be dropped too.
    with raised_signals():
        from v2v.cli import edit

        return edit.run(args)


def _convert(args: argparse.Namespace) -> dict:
    from v2v.cli.convert import run_convert

    options = {
        "model": args.model, "lora": args.lora, "style": args.format, "dtype": args.dtype, "weights_dtype": args.weights_dtype,
        "preset": args.preset,
        "pairs": model_arguments.read_transformer_adapters(args),
    }  # fmt: skip
    return run_convert(args.source, args.target, **options, progress=_bars(args))


def _words(args: argparse.Namespace) -> dict:
    from v2v.pipeline.pretrained import load_pretrained

    words = load_pretrained(args.model).tokenizer.words
    if words is None:
        return {"output": "any: its vocabulary is made of pieces of words", "words": None}
    return {"output": "\n".join(words), "words": words}


def _models(args: argparse.Namespace) -> dict:
    return models.run(args, _bars(args))


def _doctor(args: argparse.Namespace) -> dict:
    from v2v.cli.doctor import run_doctor

    adapter_files: dict[TransformerName | None, str] = {None: args.lora} if args.lora else {}
    adapter_files |= model_arguments.read_transformer_adapters(args)
    return run_doctor(args.model, adapter_files, args.values, args.effect)


def _app(args: argparse.Namespace) -> dict:
    return app.run(args)


def _serve(args: argparse.Namespace) -> dict:
    return serve.run(args)


def _completion(args: argparse.Namespace) -> dict:
    return completion.run(args)


def _synth(args: argparse.Namespace) -> dict:
    return synth.run(args, _bars(args))


def _pairs(args: argparse.Namespace) -> dict:
    return pairs.run(args, _bars(args))


def _train(args: argparse.Namespace) -> dict:
    from v2v.cli import train

    return train.train(args)


def _encode(args: argparse.Namespace) -> dict:
    from v2v.cli import train

    return train.encode(args)


def _report(args: argparse.Namespace) -> dict:
    return report.run(args)


def _plan(args: argparse.Namespace) -> dict:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing runs; a chip at hand stays free
    from v2v.cli import plan

    return plan.run_plan(plan.parse_request(args))


def _eval(args: argparse.Namespace) -> dict:
    return evaluation.run_eval(evaluation.parse_request(args, _bars(args)))


def _bars(args: argparse.Namespace) -> bool:
    return sys.stderr.isatty() and not args.quiet


COMMANDS: dict[str, Command] = {
    "edit": _edit,
    "synth": _synth,
    "pairs": _pairs,
    "train": _train,
    "encode": _encode,
    "report": _report,
    "plan": _plan,
    "eval": _eval,
    "convert": _convert,
    "words": _words,
    "models": _models,
    "doctor": _doctor,
    "app": _app,
    "serve": _serve,
    "completion": _completion,
}


if __name__ == "__main__":
    sys.exit(main())
