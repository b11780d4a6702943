"""What every test runs under, settled before JAX starts; how files are shared out; and the command line as a fixture.

Eight CPU devices. Programs are compiled quickly rather than well (a tiny train step takes a third of the processor time), since most
of the suite's time goes into the compiler; tests whose bounds are close to rounding ask for `well_compiled`. With
JAX_DISABLE_MOST_OPTIMIZATIONS=0 all run what a user's process runs. What is compiled is kept for the session, so that other files,
workers and processes find it.

`pytest -q` runs a worker a core, up to four, each on cores of its own; one file alone, or -n 0, runs in one process.
"""

import gc
import importlib.util
import os
import subprocess
import sys
import tempfile

import pytest

from v2v.runtime import compilation_cache

# A process that has imported everything holds millions of objects: Python's thresholds would have it look through them every few moments,
# a quarter of the time that collecting the tests takes.
gc.set_threshold(100_000, 50, 100)
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# No test reaches the internet; tests/loopback_hub.py is the hub of those that need one.
os.environ.setdefault("HF_ENDPOINT", "http://127.0.0.1:9")
# XLA's code generators of fusions take three times as long as those they replaced, and threads that compile parts of a program gain
# nothing beside other workers.
QUICK_COMPILATION = {"xla_cpu_use_fusion_emitters": "false", "xla_cpu_parallel_codegen_split_count": "1"}


def _known_flags() -> str:
    """Return XLA's list of its flags: each version has others, and ends a process that is given one it doesn't know."""
    read_flags = (
        "from jaxlib import xla_client; xla_client.CompileOptions().executable_build_options.debug_options"
    )
    words, environment = [sys.executable, "-c", read_flags], os.environ | {"XLA_FLAGS": "--help"}
    listing = subprocess.run(words, env=environment, capture_output=True, text=True)
    return listing.stdout + listing.stderr


if "PYTEST_XDIST_WORKER" not in os.environ:  # workers and child processes inherit the folder and the flags
    _CACHE = tempfile.TemporaryDirectory(prefix="v2v-tests-", ignore_cleanup_errors=True)
    os.environ["XDG_CACHE_HOME"] = _CACHE.name
    compilation_cache.set_environment()
    # libtpu, which tests of planning load into the same process, reads the variable too and knows other flags.
    if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1" and importlib.util.find_spec("libtpu") is None:
        _KNOWN = _known_flags()
        _FLAGS = [f"--{name}={value}" for name, value in QUICK_COMPILATION.items() if f"--{name}=" in _KNOWN]
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_FLAGS])

from v2v.runtime import sharding

sharding.request_cpu_devices(8)


def _own_cores() -> None:
    """Thread pools take their size from the cores a process may use: workers that share cores wait for one another."""
    name, count = os.environ.get("PYTEST_XDIST_WORKER"), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    cores = _cores()
    if name and len(cores) >= count > 1:
        os.sched_setaffinity(0, cores[int(name.removeprefix("gw")) :: count])


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


_own_cores()


# Files that take longest begin, so that workers end together.
LONGEST = (
    "test_end_to_end.py",
    "train/test_resume.py",
    "checkpoints/test_editing.py",
    "train/test_step.py",
    "test_batched_model.py",
    "train/test_loop.py",
)


def pytest_collection_modifyitems(items) -> None:
    def rank(item):
        return next((i for i, name in enumerate(LONGEST) if str(item.path).endswith(name)), len(LONGEST))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """What is imported stays: no collection needs to look at it."""
    gc.freeze()


def pytest_xdist_auto_num_workers(config) -> int:
    """0 is this process alone: where there is one core, or one file to run."""
    one = len(config.args) == 1 and config.args[0].partition("::")[0].endswith(".py")
    cores = min(4, len(_cores()))
    return 0 if one or cores < 2 else cores


@pytest.fixture(scope="module")
def well_compiled():
    """Programs optimized as in a user's process, for bounds close to what float32 can hold."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    jax.clear_caches()


@pytest.fixture(autouse=True)
def _same_search_path(monkeypatch):
    """A user's module puts folders on the search path; a package in one of them must not hide ours in a later test's processes."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def v2v(monkeypatch, tmp_path):
    """Runs a command line in an empty folder, with the stand-in model unless another is asked for."""
    from tests.fake_model import FakePretrained
    from v2v.cli import main
    from v2v.pipeline import editor

    monkeypatch.chdir(tmp_path)
    real = editor.EasyV2VEditor

    def build(name="embedded"):
        return real(FakePretrained() if name == "embedded" else name)

    monkeypatch.setattr(editor, "EasyV2VEditor", build)

    def run(*words):
        try:
            return main.main([str(word) for word in words])
        except SystemExit as stopped:
            return stopped.code

    return run
