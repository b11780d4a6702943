"""How the C library's allocator treats the memory of a process that runs for weeks.

glibc gives threads up to eight arenas a core, and what is freed in one isn't used by the others: a compilation on one thread leaves hundreds of
megabytes that no other thread can use, and they stay with the process. Other C libraries have nothing of this to set.
"""

import ctypes
import functools
from typing import Any

# Of malloc.h.
_ARENA_MAX = -8
ARENAS = 2


def limit_arenas(arenas: int = ARENAS) -> bool:
    """Let all threads of this process share a few arenas; return whether the C library can.

    Call it before threads are started: arenas that exist stay.

    Args:
      arenas: most of them.
    """
    library = _load_glibc()
    return library is not None and library.mallopt(_ARENA_MAX, arenas) == 1


def return_free_memory() -> bool:
    """Give memory that was freed back to the system; return whether there was any and the C library can."""
    library = _load_glibc()
    return library is not None and library.malloc_trim(0) == 1


@functools.cache
def _load_glibc() -> Any:
    """Return the C library; None where it isn't glibc."""
    try:
        library = ctypes.CDLL(None)
    except OSError:
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
