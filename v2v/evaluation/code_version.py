"""Hashes of the code that makes edits and scores, by which a changed editor or metric is noticed.

Comments and docstrings don't count. `package_code` hashes parts of v2v; `object_code` hashes what a user wrote: a function, a class or an object
together with everything of the user's own that it refers to (functions, classes, modules, constants), and the parts of v2v that it uses.
Installed packages are left out: an editor that depends on their versions says so in its `revision`.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import hashlib
import inspect
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from v2v import __version__
from v2v.runtime.environment import cache_folder

PACKAGE = Path(__file__).parents[1]
# Parts of the package that decide what an edit gives, beside the weights and the settings.
EDITING = (
    "array_types.py", "assets", "checkpoints", "config", "diffusion", "models", "pipeline", "runtime", "video",
)  # fmt: skip
# Parts that decide what a metric gives; those that decide what a judge is asked and how its answers are read.
SCORING = ("evaluation/metrics", "video")
JUDGING = ("evaluation/judge", "evaluation/metrics/base.py", "evaluation/metrics/clips.py")
_HASH = re.compile(r"[0-9a-f]{64}")
# Python 3.11's parser fails now and then where two threads use it at once.
_parser_lock = threading.RLock()
# Objects whose code was hashed, by id: held, so that no other object gets their id.
_hashed_objects: dict[int, tuple[Any, str]] = {}


@functools.cache
def package_code(*parts: str) -> str:
    """Return the hash of parts of v2v: files, and folders with all Python files below.

    Parsing the files takes half a second, so the hash is remembered in the cache folder by their contents.
    """
    contents = hashlib.sha256(platform.python_version().encode())
    files: dict[str, bytes] = {}
    for part in parts:
        place = PACKAGE / part
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            name = str(file.relative_to(PACKAGE))
            files[name] = file.read_bytes()
            contents.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    memo = cache_folder("code") / contents.hexdigest()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if _HASH.fullmatch(text := memo.read_text()):
            return text
    total = hashlib.sha256()
    for name, content in files.items():
        with _parser_lock:
            total.update(f"{name}\0{_text_code(content.decode())}\0".encode())
    with contextlib.suppress(OSError):  # a folder that can't be written to
        partial = memo.with_name(f".{memo.name}.{os.getpid()}")
        memo.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(total.hexdigest())
        partial.replace(memo)
    return total.hexdigest()


def object_code(value: Any) -> str:
    """Return the hash of the code of a function, class, module or object, as above."""
    with _parser_lock:
        if id(value) not in _hashed_objects:
            collector = _Collector()
            collector.add(value, "")
            text = json.dumps(sorted(collector.sources.items()))
            _hashed_objects[id(value)] = value, hashlib.sha256(text.encode()).hexdigest()
        return _hashed_objects[id(value)][1]


@functools.cache
def package_commit() -> str:
    """Return the commit of the checkout that the package lies in, with "+" if files of it were changed; of an installed one its version."""
    root = PACKAGE.parent
    git = ["git", "-C", str(root)]
    try:
        if not (root / ".git").exists():
            return __version__
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--", "v2v"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return __version__
    return (commit.stdout.strip() or __version__) + ("+" if changes.stdout.strip() else "")


class _Collector:
    """Collects the sources of an object and of what it refers to.

    Attributes:
      sources: hash or text, by a name.
    """

    def __init__(self):
        self.sources: dict[str, str] = {}
        # By id, and held, so that no other object gets their id.
        self._visited: dict[int, Any] = {}

    def add(self, value: Any, name: str) -> None:
        """Add an object that is called `name` where it is used."""
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            if name:
                self.sources[f"{name} ="] = repr(value)
            return
        if id(value) in self._visited:
            return
        self._visited[id(value)] = value
        if isinstance(value, (tuple, list, set, frozenset)):
            for k, element in enumerate(
                sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
            ):
                self.add(element, f"{name}[{k}]" if name else "")
        elif isinstance(value, dict):
            for key, element in value.items():
                self.add(element, f"{name}[{key!r}]" if name else "")
        elif isinstance(value, functools.partial):
            for part in (value.func, value.args, value.keywords):
                self.add(part, name or "partial")
        elif isinstance(value, MethodType):
            self.add(value.__func__, name)
            self.add(value.__self__, name)
        elif isinstance(value, ModuleType):
            file = vars(value).get("__file__")
            self._add_file(Path(file) if file else None)
        elif isinstance(value, FunctionType):
            if self._add_file(Path(value.__code__.co_filename), is_whole=False):
                self._add_function(value)
        elif isinstance(value, type):
            self._add_class(value)
        else:
            self._add_object(value)

    def _add_file(self, file: Path | None, is_whole: bool = True) -> bool:
        """Add what stands for a file: a part of v2v, or a user's module if it is used as a whole; return whether it is a user's."""
        if file is None or _is_library(file):
            return False
        if not file.is_relative_to(PACKAGE):
            if is_whole and file.suffix == ".py" and file.is_file():
                self.sources[file.name] = _file_code(file)
            return True
        parts = file.relative_to(PACKAGE).parts
        part = "/".join(parts[: 2 if parts[0] == "evaluation" else 1])
        if part in ("pipeline", "editor.py", "__init__.py"):
            self.sources["editing"] = package_code(*EDITING)
        else:
            self.sources[part] = package_code(part)
        return False

    def _add_function(self, function: FunctionType) -> None:
        code = function.__code__
        self.sources[function.__qualname__] = _source(function)
        for name in _names(code):
            if name in function.__globals__:
                self.add(function.__globals__[name], name)
        for cell, name in zip(function.__closure__ or (), code.co_freevars, strict=True):
            try:
                self.add(cell.cell_contents, f"{function.__qualname__}.{name}")
            except ValueError:  # not yet assigned
                continue
        self.add(
            [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()],
            f"{function.__qualname__}()",
        )

    def _add_object(self, value: Any) -> None:
        """Add the class of an object and the code that it holds; its numbers and texts are settings, which its identity or revision names."""
        is_own = self._add_class(type(value))
        # An object of v2v's own classes holds foreign code in fields, such as the function of a metric.
        if is_own or (dataclasses.is_dataclass(value) and type(value).__module__.startswith("v2v.")):
            try:
                attributes = list(vars(value).values())
            except TypeError:  # an object with slots
                attributes = []
            for attribute in attributes:
                self.add(attribute, "")

    def _add_class(self, cls: type) -> bool:
        """Add a class with its bases and methods, and return whether it is a user's."""
        functions = [
            function
            for attribute in vars(cls).values()
            for function in _functions_of(attribute)
            if not _is_library(Path(function.__code__.co_filename))
        ]
        module = sys.modules.get(cls.__module__)
        file = vars(module).get("__file__") if module else None
        if file is None and functions:
            file = functions[0].__code__.co_filename
        if file is None or not self._add_file(Path(file), is_whole=False):
            return False
        name = cls.__qualname__
        if name not in self.sources:
            self.sources[name] = _source(cls)
            for part in (*cls.__bases__, *functions):
                self.add(part, "")
        return True


def _functions_of(attribute: Any) -> Iterator[FunctionType]:
    """Iterate over the functions of an attribute of a class."""
    if isinstance(attribute, FunctionType):
        yield attribute
    elif isinstance(attribute, (staticmethod, classmethod)):
        yield from _functions_of(attribute.__func__)
    elif isinstance(attribute, functools.cached_property):
        yield from _functions_of(attribute.func)
    elif isinstance(attribute, property):
        yield from _functions_of(attribute.fget)


def _names(code: CodeType) -> Iterator[str]:
    """Iterate over the names that code and the functions inside it look up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _source(value: FunctionType | type) -> str:
    """Return the source of a function or class without comments and docstrings; of a lambda its byte code, as it has no lines of its own."""
    if isinstance(value, FunctionType) and value.__name__ == "<lambda>":
        return _byte_code(value.__code__)
    try:
        return _plain(textwrap.dedent(inspect.getsource(value)))
    except (OSError, TypeError, SyntaxError):
        return _byte_code(value.__code__) if isinstance(value, FunctionType) else value.__qualname__


def _byte_code(code: CodeType) -> str:
    constants = [_byte_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return json.dumps([code.co_code.hex(), constants, code.co_names])


@functools.cache
def _file_code(file: Path) -> str:
    return _text_code(file.read_text(encoding="utf-8"))


def _text_code(source: str) -> str:
    return hashlib.sha256(_plain(source).encode()).hexdigest()


def _plain(source: str) -> str:
    """Return a form of Python source that comments, docstrings and line breaks don't change."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return ast.dump(tree)


def _is_text(statement: ast.AST) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


@functools.cache
def _is_library(file: Path) -> bool:
    """Return whether a file is part of Python or of an installed package other than v2v."""
    if file.is_relative_to(PACKAGE):
        return False
    paths = sysconfig.get_paths()
    if {"site-packages", "dist-packages"} & set(file.parts) or not file.is_absolute():
        return True
    return any(file.is_relative_to(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
