"""The rules of the layout, read from the syntax trees: which package may import which, no circles, no hidden imports, a short root."""

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

# From top to bottom: a package imports only from rows below its own, and nothing from its own row but itself.
ROWS = (
    ("experiments",),
    ("v2v/cli",),
    ("v2v/app",),
    ("v2v/evaluation", "v2v/planning"),
    ("v2v/train",),
    ("v2v/pipeline",),
    ("v2v/data", "v2v/checkpoints", "v2v/diffusion"),
    ("v2v/models",),
    ("v2v/video", "v2v/runtime", "v2v/language"),
    ("v2v/config", "v2v/errors.py", "v2v/array_types.py", "v2v/assets", "v2v/__init__.py"),
)
RANK = {package: rank for rank, row in enumerate(ROWS) for package in row}
# Entry points: they import from the top and nothing imports them.
ENTRIES = ("v2v/__main__.py", "v2v/editor.py")
# What data_synth may take from v2v, and who may take from data_synth.
OPEN_TO_DATA_SYNTH = (
    "v2v/errors.py",
    "v2v/data/pair.py",
    "v2v/data/pair_row.py",
    "v2v/data/pair_table.py",
    "v2v/video/",
    "v2v/runtime/distributed_jobs.py",
    "v2v/runtime/environment.py",
    "v2v/runtime/text_files.py",
    "v2v/__init__.py",
)
USERS_OF_DATA_SYNTH = ("v2v/evaluation/benchmarks/", "v2v/cli/", "experiments/")
# Third-party packages that take long to import or are optional: only these may be imported inside a function.
HEAVY = {
    "ai_edge_litert",
    "apache_beam",
    "array_record",
    "cloudpickle",
    "etils",
    "uvicorn",
    "data_synth.v2v_pairs",  # a builder of TFDS, which takes seconds to import
    "v2v.evaluation.sweep.own_editor",  # with JAX, which a sweep whose work is finished doesn't need
    "grain",
    "httpx",  # with huggingface_hub
    "huggingface_hub",
    "imageio_ffmpeg",
    "jax",
    "libtpu",
    "mujoco",
    "onnxruntime",
    "OpenGL",
    "orbax",
    "pyarrow",
    "rapidocr",
    "scenedetect",
    "tensorboardX",
    "tensorflow_datasets",
    "tokenizers",
    "torch",  # of programs that run in an environment of their own
    "transformers",  # likewise
    "tyro",
    "wandb",
}


def sources() -> list[str]:
    """Return the paths of all modules of the library, relative to the repository."""
    return sorted(
        path.relative_to(ROOT).as_posix()
        for top in ("v2v", "data_synth", "experiments")
        for path in (ROOT / top).rglob("*.py")
    )


def module_path(name: str) -> str | None:
    """Return the file of a module of ours, None for a module of someone else."""
    for candidate in (name.replace(".", "/") + ".py", name.replace(".", "/") + "/__init__.py"):
        if (ROOT / candidate).exists():
            return candidate
    return None


def imported_modules(node: ast.AST) -> Iterator[str]:
    """Yield the dotted names of the modules that an import statement loads."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if module_path(inner) else node.module


@functools.cache
def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


@functools.cache
def edges() -> dict[str, set[str]]:
    """Return, for every module, those of ours that it imports anywhere, in functions too."""
    graph = {}
    for path in sources():
        names = (name for node in ast.walk(tree(path)) for name in imported_modules(node))
        graph[path] = {target for name in names if (target := module_path(name))} - {path}
    return graph


def package(path: str) -> str:
    parts = path.split("/")
    return parts[0] if parts[0] in ("data_synth", "experiments") else "/".join(parts[:2])


def test_every_package_stands_in_a_row():
    packages = {package(path) for path in sources()} - {"data_synth", *ENTRIES}
    assert packages <= set(RANK), f"add to ROWS: {sorted(packages - set(RANK))}"


def test_at_most_six_files_at_the_root():
    assert len([path for path in sources() if path.startswith("v2v/") and path.count("/") == 1]) <= 6


def test_every_folder_of_modules_is_a_package():
    """A folder without an `__init__.py` would be missing from an installation."""
    folders = {Path(path).parent.as_posix() for path in sources()}
    assert not [folder for folder in sorted(folders) if not (ROOT / folder / "__init__.py").exists()]


def test_imports_go_down():
    wrong = []
    for source, targets in edges().items():
        for target in targets:
            origin, goal = package(source), package(target)
            if origin == goal or "data_synth" in (origin, goal) or source in ENTRIES:
                continue
            if goal not in RANK or RANK[goal] <= RANK[origin]:
                wrong.append(f"{source} imports {target}")
    assert not wrong, "\n".join(sorted(wrong))


def test_data_synth_stands_apart():
    wrong = []
    for source, targets in edges().items():
        for target in targets:
            if package(source) == "data_synth" != package(target) and not target.startswith(
                OPEN_TO_DATA_SYNTH
            ):
                wrong.append(f"{source} imports {target}")
            if package(target) == "data_synth" != package(source) and not source.startswith(
                USERS_OF_DATA_SYNTH
            ):
                wrong.append(f"{source} imports {target}")
    assert not wrong, "\n".join(sorted(wrong))


def test_no_circles():
    assert not (circles := list(strongly_connected(edges()))), circles


def test_no_circles_of_packages():
    """Those of v2v stand in `ROWS`; those of data_synth in no order, but in one that exists."""
    graph: dict[str, set[str]] = {}
    for source, targets in edges().items():
        if source not in ENTRIES:
            graph.setdefault(place(source), set()).update(map(place, targets))
    assert not (circles := list(strongly_connected(graph))), circles


def place(path: str) -> str:
    """Return the package of a module, or the module itself where it stands beside packages."""
    return "/".join(path.split("/")[:2])


def strongly_connected(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yield the groups of modules that import one another (Tarjan 1972)."""
    index, low, stack, on_stack = {}, {}, [], set()

    def visit(node: str) -> Iterator[list[str]]:
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        for target in sorted(graph.get(node, ())):
            if target not in index:
                yield from visit(target)
                low[node] = min(low[node], low[target])
            elif target in on_stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
                on_stack.discard(group[-1])
            if len(group) > 1:
                yield sorted(group)

    for node in sorted(graph):
        if node not in index:
            yield from visit(node)


def test_no_import_is_hidden_in_a_function():
    wrong = []
    for path in sources():
        if path.startswith("v2v/cli/"):
            continue
        for function in ast.walk(tree(path)):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            for node in ast.walk(function):
                for name in imported_modules(node):
                    if not any(name == heavy or name.startswith(f"{heavy}.") for heavy in HEAVY):
                        wrong.append(f"{path}:{node.lineno} imports {name} inside a function")
    assert not wrong, "\n".join(sorted(set(wrong)))


def test_the_rules_can_fail():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert list(strongly_connected(graph)) == [["a", "b", "c"]]
    statement = ast.parse("from v2v.video import mask").body[0]
    assert list(imported_modules(statement)) == ["v2v.video.mask"]
    assert module_path("numpy") is None and "json" in sys.stdlib_module_names


# Words that name nothing: what was done with a value, or where it stood, not what it is.
VAGUE = frozenset(
    """made kept said told shown asked chosen found given gone taken drawn held seen known written sent begun got before after own lay laid
    walk walked together alone whole wanted needed used unused needs wants asks replies answered answers added entered writes watch watched
    guess fresh saying joined named settled described carried carry finish finished plugged stood put picked counted placed missed dropped
    skipped failed spoken heard meant lent owned so such rest much many most few some thing things way here there then now once
    again""".split()
)
# Keys of files, names of options and terms of libraries (a scan's carry) keep theirs.
MOST_VAGUE_NAMES = 50


def bound_name(node: ast.AST) -> str:
    """Return the name that a node binds, "" for none."""
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
        return node.id if isinstance(node, ast.Name) else node.attr
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    return node.arg if isinstance(node, ast.arg) else ""


def test_names_tell_what_they_hold():
    vague = [
        f"{path}:{getattr(node, 'lineno', 0)}: {name}"
        for path in sources()
        if not path.startswith("experiments/")
        for node in ast.walk(tree(path))
        if (name := bound_name(node)).strip("_").lower() in VAGUE
    ]
    assert len(vague) <= MOST_VAGUE_NAMES, "rename some of these to nouns:\n" + "\n".join(vague)
