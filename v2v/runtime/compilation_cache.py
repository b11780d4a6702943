"""Fast starts: compiled programs are kept in the user's cache folder and found again by the next process. main.py, editor.py

JAX's persistent compilation cache does the keeping; here is where it lies, that it keeps small programs too (so that a second
start compiles nothing at all), and a counter that shows it. Variables and settings of the user's own are left as they are.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from v2v.runtime.environment import cache_folder

CACHE_SETTINGS = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
REQUEST_EVENT = "/jax/compilation_cache/compile_requests_use_cache"
HIT_EVENT = "/jax/compilation_cache/cache_hits"


@dataclass
class CompilationCounts:
    """Programs asked for, and of these found in the cache; the rest were compiled."""

    asked: int = 0
    found: int = 0

    @property
    def made(self) -> int:
        return self.asked - self.found


def set_environment() -> None:
    """What must be set before jax is imported: for the command line."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder("jax")))
    for name, value in CACHE_SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA's own log lines


def use_compilation_cache() -> None:
    """The same from Python, where jax may be imported already; nothing if the user has set a folder, "" included."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" in os.environ or jax.config.jax_compilation_cache_dir:
        return
    jax.config.update("jax_compilation_cache_dir", str(cache_folder("jax")))
    for name, value in CACHE_SETTINGS.items():
        if name not in os.environ:
            jax.config.update(name.lower(), float(value) if "SECS" in name else int(value))


@contextmanager
def count_compilations() -> Iterator[CompilationCounts]:
    """`with counted() as compiles: ...`; counts only while the cache is in use, across all threads of the process."""
    import jax

    compiles = CompilationCounts()

    def listen(event: str, **_) -> None:
        compiles.asked += event == REQUEST_EVENT
        compiles.found += event == HIT_EVENT

    jax.monitoring.register_event_listener(listen)
    try:
        yield compiles
    finally:
        jax.monitoring.unregister_event_listener(listen)
