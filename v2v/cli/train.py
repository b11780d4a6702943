"""`v2v train`, and how `v2v train` and `v2v plan` find experiments and read their fields.

An experiment is a module with `config()` and `run(config, workdir)`. It is given as

    NAME             one that comes with v2v, as `v2v train --list` shows them
    FILE.py          a file; an existing path goes before a name
    NAME:VARIANT     one of the module's VARIANTS, passed to `config(variant)`
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import inspect
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from v2v.cli import user_module
from v2v.errors import InputError


@dataclass(frozen=True)
class LoadedExperiment:
    """An experiment that was found.

    Attributes:
      module: its module.
      config: its configuration, with the fields of the command line.
    """

    module: ModuleType
    config: Any


def train(args: argparse.Namespace) -> dict:
    """Run `v2v train`."""
    if args.list:
        return {"output": format_list(), "experiments": [name for name, _ in list_experiments()]}
    if not args.experiment or not args.workdir:
        args.refuse("expected an experiment and --workdir; v2v train --list shows the experiments")
    experiment = load_experiment(args.experiment, args.rest, "train")
    from etils import epath

    from v2v.runtime import sharding

    if args.distributed:
        sharding.join_processes()
    workdir = (epath.Path if "://" in args.workdir else Path)(args.workdir)
    if workdir.exists() and not workdir.is_dir():
        raise InputError(
            f"--workdir {workdir}: expected a folder, or a place where one can be made, got a file"
        )
    return {"output": str(experiment.module.run(experiment.config, workdir))}


def experiments_folder() -> Path:
    """Return the folder of the experiments that come with v2v: installed as v2v.experiments, or beside v2v in a clone."""
    clone = Path(__file__).parents[2] / "experiments"
    if (clone / "embedded.py").is_file():
        return clone
    spec = importlib.util.find_spec("v2v.experiments")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("experiments: expected them beside the package v2v, found none; install v2v again")
    return Path(spec.submodule_search_locations[0])


def list_experiments() -> list[tuple[str, str]]:
    """Return (name, first line of the docstring) of every experiment that comes with v2v, variants included; nothing is run."""
    found = []
    for path in sorted(experiments_folder().glob("*.py")):
        text = path.read_text()
        if not re.search(r"^(def run\(|run = )", text, re.M) or "def config(" not in text:
            continue
        doc = re.match(r'"""(.*?)(?:\n|""")', text)
        found.append((path.stem, doc[1].strip() if doc else ""))
        if variants := re.search(r"^VARIANTS = \{(.*?)^\}", text, re.M | re.S):
            found += [(f"{path.stem}:{name}", "") for name in re.findall(r'^    "(\w+)":', variants[1], re.M)]
    return found


def format_list() -> str:
    """Return the experiments for people, one a line."""
    rows = list_experiments()
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {doc}".rstrip() for name, doc in rows)


def load_experiment(name: str, fields: Sequence[str], command: str) -> LoadedExperiment:
    """Load an experiment and set the fields given on the command line.

    Args:
      name: NAME, FILE.py, or either with :VARIANT.
      fields: words such as --edit.steps 100.
      command: "train" or "plan", for messages.

    Raises:
      InputError: no such experiment or variant, a file that is none, or fields that it does not have.
    """
    stem, _, variant = name.partition(":") if not Path(name).is_file() else (name, "", "")
    path = Path(stem)
    if not path.is_file() and re.fullmatch(r"\w+", stem):
        path = experiments_folder() / f"{stem}.py"
        if not path.is_file():
            names = ", ".join(n for n, _ in list_experiments() if ":" not in n)
            raise InputError(f"{name}: no such experiment; expected a Python file or one of {names}")
    module = user_module.load_module(path, "experiment", "experiments/embedded.py")
    if not (hasattr(module, "config") and hasattr(module, "run")):
        raise InputError(f"{name}: not an experiment; expected config() and run(config, workdir) in it")
    default = _default_config(module, name, variant)
    if not dataclasses.is_dataclass(default) or isinstance(default, type):
        raise InputError(f"{name}: expected config() to return an Experiment, got {type(default).__name__}")
    return LoadedExperiment(module, _with_fields(default, fields, f"v2v {command} {name}"))


def _default_config(module: ModuleType, name: str, variant: str) -> Any:
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
    except SystemExit as stopped:
        if not stopped.code:  # --help
            raise
        inside = " ".join(line.strip("│|+ ") for line in box.getvalue().splitlines()[1:-1])
        parts = [part.strip() for part in re.split("[─-]{3,}", inside)]
        raise InputError("; ".join(p for p in parts if not p.startswith("Argument helptext"))) from None
