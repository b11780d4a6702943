"""The child's side of `decoding_process.py`: a loop that serves requests until its socket is closed."""

import dataclasses
import importlib
import math
import mmap
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from v2v.errors import InputError, collect_notes
from v2v.video.decoder import StreamInfo
from v2v.video.decoding_process import FrameNews, FrameTaken, NoChildError, Reply, Request, Stop

# Frames that may wait to be taken: as many as fit these bytes, within bounds.
RING_BYTES = 64 << 20
LEAST_SLOTS, MOST_SLOTS = 3, 8


class _StopError(Exception):
    """The other process gave up the pass."""


def serve(socket: int, memory: int, memory_limit: int, time_limit: int) -> None:
    """Serve requests.

    Args:
      socket: descriptor of the socket to the other process.
      memory: descriptor of the file that both processes map.
      memory_limit: bytes that requests may use.
      time_limit: seconds that a packet may take; then the system ends the process, even in native code.
    """
    _limit_memory(memory_limit)
    connection = Connection(socket)
    worker = _Worker(connection, memory, time_limit)
    # Closed, or broken because the other process has ended.
    with suppress(EOFError, OSError):
        while True:
            message = connection.recv()
            if isinstance(message, Request):
                connection.send(worker.run(message))


class _Worker:
    """Runs requests; frames go through a ring of slots in the shared memory."""

    def __init__(self, connection: Connection, memory: int, time_limit: int):
        self._connection, self._memory, self._time_limit = connection, memory, time_limit
        self._mapping: mmap.mmap | None = None

    def run(self, request: Request) -> Reply:
        """Run a request and return the last reply; that of a pass that was given up is empty."""
        with suppress(OSError):
            os.chdir(request.folder)
        with collect_notes() as notes:
            reply = Reply(is_last=True)
            try:
                self._restart_clock()
                function = _find_function(request.function)
                if request.gives_frames:
                    reply.value = self._send_frames(function, request.arguments, notes)
                else:
                    reply.value = function(**request.arguments)
            except _StopError:
                pass
            except (InputError, NoChildError) as error:
                reply.error = error
            except MemoryError:
                reply.error = InputError(f"{request.name}: needs more memory to decode than there is")
            except Exception as error:
                # Not all errors of native libraries can be sent.
                reply.error = RuntimeError(f"{type(error).__name__}: {error}")
            signal.alarm(0)
            reply.notes = notes
        return reply

    def _send_frames(self, function: Callable, arguments: dict[str, Any], notes: list[str]) -> StreamInfo:
        """Send all frames and return what is new in their `StreamInfo` after the last."""
        info, ring = StreamInfo(), _Ring(self)
        sent_times = sent_notes = 0
        for frame in function(info, new_frame=ring.new_frame, on_progress=self._restart_clock, **arguments):
            offset = ring.place(frame)
            news = FrameNews(info.times[sent_times:], info.tail)
            value = news if sent_times else dataclasses.replace(info, times=news.times)
            self._connection.send(Reply(False, value, offset, frame.shape, notes[sent_notes:]))
            sent_times, sent_notes = len(info.times), len(notes)
            self._restart_clock()
        del notes[:sent_notes]
        return dataclasses.replace(info, times=info.times[sent_times:])

    def map_memory(self, size: int) -> mmap.mmap:
        """Return the shared memory, made large enough; raise NoChildError where the system refuses it."""
        if self._mapping is None or len(self._mapping) < size:
            try:
                # Never made smaller: the other process may still read the frames of the last pass.
                os.ftruncate(self._memory, size)
                self._mapping = mmap.mmap(self._memory, size)
            except OSError as error:
                # Such as a limit of the size of files (ulimit -f); nothing was sent yet.
                raise NoChildError(str(error)) from None
        return self._mapping

    def wait_for_taken(self) -> None:
        """Wait until the other process has taken a frame; raise _StopError where it gives up the pass."""
        signal.alarm(0)
        message = self._connection.recv()
        while not isinstance(message, FrameTaken):
            if isinstance(message, Stop):
                raise _StopError
            message = self._connection.recv()
        self._restart_clock()

    def _restart_clock(self) -> None:
        signal.alarm(self._time_limit)


class _Ring:
    """Slots for the frames of one pass, which all have one size."""

    def __init__(self, worker: _Worker):
        self._worker = worker
        self._slots: list[np.ndarray] = []
        self._count = self._waiting = 0
        self._current: np.ndarray | None = None

    def new_frame(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return a slot for the next frame, as soon as one is free."""
        if not self._slots:
            size = math.prod(shape)
            count = max(LEAST_SLOTS, min(MOST_SLOTS, RING_BYTES // size))
            memory = self._worker.map_memory(count * size)
            self._slots = [
                np.frombuffer(memory, np.uint8, size, k * size).reshape(shape) for k in range(count)
            ]
        while self._waiting == len(self._slots):
            self._worker.wait_for_taken()
            self._waiting -= 1
        self._current = self._slots[self._count % len(self._slots)]
        return self._current

    def place(self, frame: np.ndarray) -> int:
        """Return where a frame begins in the shared memory; copy it there unless it is the current slot."""
        if frame is not self._current:
            self.new_frame(frame.shape)[:] = frame
        offset = self._count % len(self._slots) * frame.nbytes
        self._current = None
        self._count, self._waiting = self._count + 1, self._waiting + 1
        return offset


def _find_function(name: str) -> Callable:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _limit_memory(limit: int) -> None:
    """Bound the address space by what is in use now, the libraries, and `limit` bytes more."""
    try:
        with open("/proc/self/statm") as file:
            size_in_use = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        bound = size_in_use + limit if hard == resource.RLIM_INFINITY else min(size_in_use + limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    except (OSError, ValueError):
        # Systems without /proc, or whose limits can't be set.
        pass
