"""`v2v train` and `v2v encode`, and the experiments that they and `v2v plan` load.

An experiment is a module with `config()` and `run(config, workdir)`. It is given as

    NAME             an experiment that comes with v2v (`v2v train --list`)
    FILE.py          a file; an existing path takes precedence over a name
    NAME:VARIANT     one of the module's VARIANTS, passed to `config(variant)`
"""

import argparse
import contextlib
import dataclasses
import inspect
import io
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from v2v.cli import user_module
from v2v.cli.interruption import raised_signals
from v2v.cli.memory_preset import resolve_memory
from v2v.errors import InputError, note, suggest

# Fields that are proposed for a mistyped one.
MAX_PROPOSALS = 5
# Code with which SIGTERM ends a program.
STOPPED = 128 + signal.SIGTERM


class ExperimentModule(Protocol):
    """What a module must offer to be an experiment.

    Attributes:
      VARIANTS: settings by name of the variant, where `config` takes one.
      config: returns the Experiment, or that of a variant.
      run: (Experiment, workdir) runs it and returns the file or folder with the result.
    """

    VARIANTS: Mapping[str, Any]
    config: Callable[..., Any]
    run: Callable[[Any, Path], Path]


@dataclass(frozen=True)
class LoadedExperiment:
    """An experiment with its configuration.

    Attributes:
      module: its module.
      config: its configuration, with the fields of the command line.
    """

    module: ExperimentModule
    config: Any


def train(args: argparse.Namespace) -> dict:
    """Run `v2v train`; return its output for `--json`."""
    if args.list:
        return {"output": format_list(), "experiments": [name for name, _ in list_experiments()]}
    if not args.experiment or not args.workdir:
        args.refuse("expected an experiment and --workdir; v2v train --list shows the experiments")
    experiment = load_experiment(args.experiment, args.extra_words, "train")
    import jax
    from etils import epath

    from v2v.runtime import sharding

    if args.distributed:
        sharding.join_processes()
    # etils' paths of buckets have the methods of pathlib's.
    workdir = cast(Path, epath.Path(args.workdir)) if "://" in args.workdir else Path(args.workdir)
    if workdir.exists() and not workdir.is_dir():
        raise InputError(
            f"--workdir {workdir}: expected a folder, or a place where one can be made, got a file"
        )
    from v2v.train.workdir_lock import locked_workdir

    # One process of a job holds the folder for all of them.
    lock = locked_workdir(workdir) if jax.process_index() == 0 else contextlib.nullcontext()
    config = resolve_memory(experiment.config, args.extra_words, jax.device_count())
    with lock:
        return {"output": _run_stoppable(lambda: experiment.module.run(config, workdir))}


def encode(args: argparse.Namespace) -> dict:
    """Run `v2v encode`; return its output for `--json`."""
    experiment = load_experiment(args.experiment, args.extra_words, "encode")
    from v2v.runtime import sharding
    from v2v.train.phases import encode_experiment

    if args.distributed:
        sharding.join_processes()
    config, run = experiment.config, experiment.module.run
    return {"output": _run_stoppable(lambda: encode_experiment(config, run))}


def _run_stoppable(function: Callable[[], Path | str]) -> str:
    """Return what a function returns; SIGTERM ends the program with code 0, as what is finished stays."""
    from v2v.runtime import interruptible

    try:
        with raised_signals():
            return str(function())
    except SystemExit as stop:
        if stop.code == STOPPED:
            note("stopped by signal; what is finished stays, run again to resume")
            stop = SystemExit(0)
        interruptible.leave(int(stop.code or 0))
        raise stop from None
    except KeyboardInterrupt:
        interruptible.leave(130, "v2v: interrupted")
        raise


def list_experiments() -> list[tuple[str, str]]:
    """Return (name, first line of the docstring) of every experiment that comes with v2v, variants included, without running any."""
    experiments = []
    for path in sorted(user_module.experiments_folder().glob("*.py")):
        text = path.read_text()
        if not re.search(r"^(def run\(|run = )", text, re.M) or "def config(" not in text:
            continue
        doc = re.match(r'"""(.*?)(?:\n|""")', text)
        experiments.append((path.stem, doc[1].strip() if doc else ""))
        if variants := re.search(r"^VARIANTS = \{(.*?)^\}", text, re.M | re.S):
            names = re.findall(r'^    "(\w+)":', variants[1], re.M)
            experiments += [(f"{path.stem}:{name}", "") for name in names]
    return experiments


def format_list() -> str:
    """Return the experiments for people, one per line."""
    rows = list_experiments()
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {doc}".rstrip() for name, doc in rows)


def print_fields(name: str, command: str) -> None:
    """Print the fields of an experiment that can be set on the command line, with their defaults.

    Args:
      name: as in `load_experiment`.
      command: "train", "encode" or "plan".

    Raises:
      InputError: no such experiment.
    """
    import tyro

    default = load_experiment(name, [], command).config
    with contextlib.suppress(SystemExit):
        tyro.cli(type(default), default=default, args=["--help"], prog=f"v2v {command} {name}")


def load_experiment(name: str, fields: Sequence[str], command: str) -> LoadedExperiment:
    """Load an experiment and set the fields given on the command line.

    Args:
      name: NAME, FILE.py, or either with :VARIANT.
      fields: words such as --edit.steps 100.
      command: "train", "encode" or "plan", for messages.

    Raises:
      InputError: no such experiment or variant, a file that is none, or fields that it does not have.
    """
    stem, _, variant = name.partition(":") if not Path(name).is_file() else (name, "", "")
    path = Path(stem)
    if not path.is_file() and re.fullmatch(r"\w+", stem):
        path = user_module.experiments_folder() / f"{stem}.py"
        if not path.is_file():
            names = ", ".join(n for n, _ in list_experiments() if ":" not in n)
            raise InputError(
                f"{name}: no such experiment; expected a Python file or one of {names}{suggest(stem, names.split(', '))}"
            )
    module = _check_module(user_module.load_module(path, "experiment", "embedded"), name)
    default = _default_config(module, name, variant)
    if not dataclasses.is_dataclass(default) or isinstance(default, type):
        raise InputError(f"{name}: expected config() to return an Experiment, got {type(default).__name__}")
    # As in all other commands; the field has had its name for longer.
    words = [re.sub(r"^--model(?==|$)", "--weights", word) for word in fields]
    return LoadedExperiment(module, _with_fields(default, words, f"v2v {command} {name}"))


def _check_module(module: ModuleType, name: str) -> ExperimentModule:
    """Return the module as an experiment; raise InputError when it is none."""
    if not {"config", "run"} <= set(dir(module)):
        raise InputError(f"{name}: not an experiment; expected config() and run(config, workdir) in it")
    return cast(ExperimentModule, module)


def _default_config(module: ExperimentModule, name: str, variant: str) -> Any:
    """Return the configuration of an experiment, or that of a variant if one is given."""
    if not variant:
        return module.config()
    if not inspect.signature(module.config).parameters:
        raise InputError(f"{name}: expected an experiment with variants, {name.partition(':')[0]} has none")
    if variant not in module.VARIANTS:
        raise InputError(
            f"{name}: expected one of the variants {', '.join(module.VARIANTS)}; got {variant!r}"
        )
    return module.config(variant)


def _with_fields(default: Any, words: Sequence[str], program: str) -> Any:
    """Return the configuration with the fields in `words`; tyro's boxed error becomes one line."""
    import tyro

    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(type(default), default=default, args=words, prog=program)
    except SystemExit as exit_request:
        if not exit_request.code:  # --help
            raise
        raise InputError(_explain_box(box.getvalue())) from None


def _explain_box(box: str) -> str:
    """Return tyro's boxed error as one line: what is wrong, and of what it proposes the names alone."""
    inside = " ".join(line.strip("│|+ ") for line in box.splitlines()[1:-1])
    parts = [part.strip() for part in re.split("[─-]{3,}", inside)]
    sentences = []
    for part in filter(None, parts):
        if part.startswith("Perhaps you meant"):
            typed = parts[0].partition("--")[2].partition(",")[0]
            names = re.findall(r"(?<!\S)--[a-z0-9][\w.-]*", part)
            # Fields of several stages that are called as typed go before those whose names resemble it.
            same = [name for name in names if name.removeprefix("--").endswith(f".{typed}")] or names
            sentences.append(f"did you mean {' or '.join(same[:MAX_PROPOSALS])}?")
        elif not part.startswith("Argument helptext"):
            sentences.append(part[0].lower() + part[1:])
    return "; ".join(sentences)
