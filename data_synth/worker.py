"""This process among the workers of a build: its number, by which each takes a device of its own, how it holds memory, and when it ends."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable

_index = 0
# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Bytes; larger than any array of a pair.
_REUSED_BYTES = 1 << 30
_OLD_LIMIT = 32 << 20
# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1


def set_worker_index(index: int) -> None:
    """State the number of this process, from 0."""
    global _index  # noqa: PLW0603
    _index = index


def worker_index() -> int:
    """Return the number of this process; 0 where nobody stated one."""
    return _index


def end_with_parent() -> None:
    """Let Linux send this process SIGTERM when its parent is killed; else it would go on until nobody takes its result, and tell of that."""
    prctl = _find_c_function("prctl")
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def reuse_memory() -> None:
    """Let this process use the memory of large arrays again, in place of giving it back at once; without effect but with glibc.

    The C library returns arrays above 32 MB to the system as soon as they are freed, and the system clears each page anew: a tenth of the
    time of a pair at 480p, for which the workers of a machine wait in turns.
    """
    mallopt = _find_c_function("mallopt")
    if mallopt is not None:
        if not mallopt(_M_MMAP_THRESHOLD, _REUSED_BYTES):  # as glibc had it before 2.35
            mallopt(_M_MMAP_THRESHOLD, _OLD_LIMIT)
        mallopt(_M_TRIM_THRESHOLD, _REUSED_BYTES)


def _find_c_function(name: str) -> Callable[..., int] | None:
    """Return a function of the C library, None on systems other than Linux and where the library lacks it."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None)[name]
    except AttributeError:
        return None
