"""A Python file of the user's as a module: experiments (cli.py) and sweeps (evaluation/sweep.py)."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from v2v.errors import InputError


def load(path: str | Path, kind: str, example: str) -> ModuleType:
    """Runs the file.

    Args:
      kind, example: what the file should be, such as "sweep", and one that is; for the error.

    Raises:
      InputError: no such file, or not Python. What its lines raise when they run is the author's to see whole.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such {kind}; expected a Python file, such as {example}")
    sys.path.insert(0, str(path.resolve().parent.parent))  # so that one experiment can import another
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None:
        raise InputError(f"{path}: expected a Python file, such as {example}")
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)  # tyro looks classes up there
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(f"{path}: expected Python, got {error}") from None
    return module
