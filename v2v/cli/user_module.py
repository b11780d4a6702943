"""Python files of a user's as modules: experiments and sweeps."""

import hashlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from v2v.errors import InputError


def load_module(path: str | Path, kind: str, example: str) -> ModuleType:
    """Run a Python file and return it as a module.

    The module's name is private to the file, so that one called `json.py` replaces nothing. Its folder is a package under a private name:
    `from . import other` finds the files beside it. The folder above is put last on `sys.path`, for absolute imports of the folder.

    Args:
      path: the file.
      kind: what the file should be, such as "sweep", for the error.
      example: a file that is one, for the error.

    Raises:
      InputError: no such file, or not Python. What its lines raise when they run is passed on unchanged.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such {kind}; expected a Python file, such as {example}")
    folder = path.resolve().parent
    if str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))
    name = f"{_package_of(folder)}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: expected a Python file, such as {example}")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # tyro looks classes up there
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(f"{path}: expected Python, got {error}") from None
    return module


def _package_of(folder: Path) -> str:
    """Return the name of a package whose modules are the files of a folder; it is made on the first call."""
    name = f"_v2v_user_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[name] = importlib.util.module_from_spec(spec)
    return name
