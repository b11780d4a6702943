"""The number of this process among the workers of a build, by which each takes a device of its own."""

from __future__ import annotations

_index = 0


def set_worker_index(index: int) -> None:
    """State the number of this process, from 0."""
    global _index  # noqa: PLW0603
    _index = index


def worker_index() -> int:
    """Return the number of this process; 0 where nobody stated one."""
    return _index
