"""The persistent compilation cache: programs that one process compiled are loaded by the next one.

JAX stores them. This module sets the folder, stores small programs too (so that a second start compiles nothing at all), and
counts what was found. Variables and settings that the user made stay as they are. `cli/main.py` calls `set_environment`,
`pipeline/editor.py` `use_compilation_cache`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from v2v.errors import note
from v2v.runtime.environment import cache_folder

CACHE_SETTINGS = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
REQUEST_EVENT = "/jax/compilation_cache/compile_requests_use_cache"
HIT_EVENT = "/jax/compilation_cache/cache_hits"


@dataclass
class CompilationCounts:
    """Counts of programs.

    Attributes:
      requests: programs that were looked up in the cache.
      hits: programs that were found there.
    """

    requests: int = 0
    hits: int = 0

    @property
    def compiled(self) -> int:
        """Return the number of programs that were not found, and so were compiled."""
        return self.requests - self.hits


def set_environment() -> None:
    """Set the cache in environment variables, for a process that has not imported JAX yet; silence XLA's own log lines."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and _is_writable(cache_folder("jax")):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache_folder("jax"))
    for name, value in CACHE_SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def use_compilation_cache() -> None:
    """Set the cache in JAX's configuration; do nothing if the user has set a folder, "" included."""
    import jax

    # JAX defines its options at import, which the stubs don't know.
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or folder:
        return
    folder = cache_folder("jax")
    if not _is_writable(folder):
        note(
            f"{folder}: compiled programs can't be kept there, so every start compiles them; set V2V_CACHE to a folder that can be written"
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    for name, value in CACHE_SETTINGS.items():
        if name not in os.environ:
            jax.config.update(name.lower(), float(value) if "SECS" in name else int(value))


def _is_writable(folder: Path) -> bool:
    """Return whether files can be stored in a folder, which is made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


@contextmanager
def count_compilations() -> Iterator[CompilationCounts]:
    """Count the compilations of a block, in all threads of the process, as far as the cache is in use.

    Yields:
      The counts, complete when the block ends.
    """
    import jax

    counts = CompilationCounts()

    def listen(event: str, **_) -> None:
        counts.requests += event == REQUEST_EVENT
        counts.hits += event == HIT_EVENT

    jax.monitoring.register_event_listener(listen)
    try:
        yield counts
    finally:
        jax.monitoring.unregister_event_listener(listen)
