"""Progress of a sampler, reported from inside its compiled program: `diffusion/sampler.py` reports, `pipeline/windowed.py` watches.

JAX's own host callbacks (`jax.debug.callback`, `io_callback`) are addresses in one process, so JAX never stores a program that
holds one in its persistent compilation cache: a progress bar would cost every start a full compilation. Here the program holds a
*name*, `v2v_progress`, an XLA FFI target that this module registers; such programs are cached like any other, and are the same
whether or not anyone watches.

The handler is a C function by XLA's stable FFI (xla/ffi/api/c_api.h), written with ctypes. It reads two integers and returns.

This works on CPUs alone, where a program runs as the host calls it. On GPUs a handler is called when work is queued, not when it
is done, and TPUs call nothing by name, only host callbacks, which would cost the cache. There `report_progress` does nothing: the
program is the same as without it (tested by lowering for both), and a bar moves once a call, that is once a batch of windows.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import jax
import jax.numpy as jnp

from v2v.array_types import Array, Float, Int

# Name of the XLA FFI target.
TARGET = "v2v_progress"
_watchers: list[Callable[[int, int], None]] = []


@contextmanager
def watch_progress(report: Callable[[int, int], None]) -> Iterator[None]:
    """Report the progress of every sampler in the process during a block. On several CPU devices each of them reports.

    Args:
      report: called as `report(done, total)` after every row of a sampler, from a thread of XLA's; what it raises is dropped.
    """
    _watchers.append(report)
    try:
        yield
    finally:
        _watchers.remove(report)


def report_progress(index: Int[Array, ""], total: int, result: Float[Array, "*x"]) -> Int[Array, ""]:
    """Report, inside a program, that a row is done once its result is known.

    Args:
      index: number of the row.
      total: number of rows.
      result: what the row computes.

    Returns:
      `index`, which the program must return too: without a use the compiler would drop the call. (A call marked as having side
      effects needs no use, but can't be partitioned over devices.)
    """

    def call(index, total, result):
        # One number of the result is enough to wait for it, and moves no shard of it.
        return jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((), jnp.int32))(index, total, result.ravel()[0])

    numbers = jnp.asarray(index, jnp.int32), jnp.asarray(total, jnp.int32)
    return jax.lax.platform_dependent(*numbers, result, cpu=call, default=lambda index, *_: index)


# Structures of XLA's FFI, as far as the handler reads them.


class _Extension(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("type", ctypes.c_int), ("next", ctypes.c_void_p)]


class _Version(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t), ("extension", ctypes.c_void_p), ("major", ctypes.c_int), ("minor", ctypes.c_int),
    ]  # fmt: skip


class _Metadata(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("version", _Version),
        ("traits", ctypes.c_uint32),
        ("state", ctypes.c_int64),
    ]


class _Query(ctypes.Structure):
    _fields_ = [("base", _Extension), ("metadata", ctypes.POINTER(_Metadata))]


class _Api(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("extension", ctypes.c_void_p), ("version", _Version)]


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t), ("extension", ctypes.c_void_p), ("dtype", ctypes.c_int),
        ("data", ctypes.POINTER(ctypes.c_int32)),
    ]  # fmt: skip


class _Buffers(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t), ("extension", ctypes.c_void_p), ("count", ctypes.c_int64), ("types", ctypes.c_void_p),
        ("buffers", ctypes.POINTER(ctypes.POINTER(_Buffer))),
    ]  # fmt: skip


class _Frame(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t), ("extension", ctypes.POINTER(_Extension)), ("api", ctypes.POINTER(_Api)),
        ("context", ctypes.c_void_p), ("stage", ctypes.c_int), ("arguments", _Buffers), ("results", _Buffers),
    ]  # fmt: skip


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_Frame))
def _handler(frame):
    """Handle a call of XLA's; return null for success, whatever happens: an error here would be the sampler's."""
    with suppress(Exception):
        _handle_call(frame.contents)


def _handle_call(frame: _Frame) -> None:
    # XLA asks which version of its interface the handler was written for.
    if frame.extension and frame.extension.contents.type == 1:
        query = ctypes.cast(frame.extension, ctypes.POINTER(_Query)).contents
        ours, theirs = query.metadata.contents.version, frame.api.contents.version
        ours.major, ours.minor = theirs.major, theirs.minor
        return
    index, total = (frame.arguments.buffers[i].contents.data[0] for i in (0, 1))
    frame.results.buffers[0].contents.data[0] = index
    for report in tuple(_watchers):
        report(index + 1, total)


jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(ctypes.cast(_handler, ctypes.c_void_p).value))
