"""Python files as modules: experiments and sweeps, a user's and those that come with v2v."""

import hashlib
import importlib.machinery
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from v2v.errors import InputError, suggest


def experiments_folder() -> Path:
    """Return the folder of the experiments that come with v2v: installed as v2v.experiments, or beside v2v in a clone."""
    clone = Path(__file__).parents[2] / "experiments"
    if (clone / "embedded.py").is_file():
        return clone
    spec = importlib.util.find_spec("v2v.experiments")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("experiments: expected them beside the package v2v, found none; install v2v again")
    return Path(spec.submodule_search_locations[0])


def find_sweep(file: str | Path) -> Path:
    """Return the file of a sweep: an existing one, or that of a sweep that comes with v2v, by its name.

    Raises:
      InputError: neither.
    """
    if Path(file).is_file() or not re.fullmatch(r"\w+", str(file)):
        return Path(file)
    path = experiments_folder() / f"{file}.py"
    if not path.is_file():
        names = [file.stem for file in sorted(path.parent.glob("sweep_*.py"))]
        raise InputError(
            f"{file}: no such sweep; expected a Python file or one of {', '.join(names)}{suggest(str(file), names)}"
        )
    return path


def load_module(path: str | Path, kind: str, example: str) -> ModuleType:
    """Run a Python file and return it as a module.

    The module's name is private to the file, so that one called `json.py` replaces nothing. Its folder is a package under a private name:
    `from . import other` finds the files beside it. The folder above is put last on `sys.path`, for absolute imports of the folder.

    Args:
      path: the file.
      kind: what the file should be, such as "sweep", for the error.
      example: a name of one that comes with v2v, for the error.

    Raises:
      InputError: no such file, or not Python. What its lines raise when they run is passed on unchanged.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such {kind}; expected a Python file, or a name such as {example}")
    folder = path.resolve().parent
    if str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))
    name = f"{_package_of(folder)}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: expected a Python file, or a name such as {example}")
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
