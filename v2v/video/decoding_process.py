"""Decoding in child processes, so that no file can end this process, or the work on other files.

FFmpeg, PyAV and OpenCV are native code, which some broken or hostile files crash, hang, or make fill the memory. So files are decoded
by children that live as long as this process (`decoding_worker.py`): one for each pass that is going on at the same time, kept for
later passes. A child that ends takes only its own pass with it, which raises InputError; the next pass starts another.

Frames come through memory that both processes map, a few ahead of their use, everything else through a socket. The child converts
them right into that memory, so a pass costs one copy of each frame more than decoding on a thread of this process: 4.6 ms of
processor time for a frame of 1280x720 against 4.5, 0.9 to 1 times the frames a second alone and 1.5 times with a consumer that works
in between, on two busy cores (`tools/bench/decoding.py`). Starting a child takes a quarter of a second of processor time, once. The
alternative, a child that tries each file before this process decodes it, would decode every file twice, and what a child survived
once may still crash here.

This keeps accidents apart. It is no sandbox: a child may do whatever the user may.
"""

import atexit
import json
import math
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from v2v.errors import InputError, note

# Seconds that a child may work on one packet of a file, and on opening it.
TIME_LIMIT = 120
# Share of the machine's memory that a child may use, and bytes that it may in any case.
MEMORY_SHARE = 0.5
LEAST_MEMORY = 2 << 30
# Children kept for later passes: a pair's source, target, mask and reference are read side by side.
MAX_IDLE = 4
# Seconds to wait for a child that still has to give up its last pass: what starting another takes.
STOP_SECONDS = 0.25
# Endings of pictures; for messages.
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".heic", ".avif", ".bmp")
# What a child runs: the search path for modules, the socket, the shared memory, bytes it may use, seconds a packet may take.
PROGRAM = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from v2v.video.decoding_worker import serve
serve(*map(int, sys.argv[2:]))
"""


@dataclass(frozen=True)
class Request:
    """Work for a child.

    Attributes:
      function: MODULE:NAME of a function; one that gives frames is like `decoder.decode_frames`.
      name: of the file, for messages.
      arguments: of the function.
      folder: current folder of this process, to which paths may be relative.
      gives_frames: whether the function gives frames rather than a value.
    """

    function: str
    name: str
    arguments: dict[str, Any]
    folder: str
    gives_frames: bool


@dataclass(frozen=True)
class FrameTaken:
    """This process has copied the oldest frame, whose memory may be used again."""


@dataclass(frozen=True)
class Stop:
    """The pass is given up."""


@dataclass(frozen=True)
class FrameNews:
    """What is new in a pass's `StreamInfo` with a frame that isn't the first: further times, and the tail."""

    times: list[float]
    tail: float | None


@dataclass
class Reply:
    """What a child answers.

    Attributes:
      is_last: whether the request is done.
      value: the function's value; with a frame, what is new in its `StreamInfo` (a `StreamInfo` or `FrameNews`).
      offset: where the frame begins in the shared memory; None for no frame.
      shape: of the frame.
      notes: for the user.
      error: what the function raised, or None.
    """

    is_last: bool
    value: Any = None
    offset: int | None = None
    shape: tuple[int, ...] = ()
    notes: list[str] = field(default_factory=list)
    error: Exception | None = None


class NoChildError(Exception):
    """No child process can be started, or there is no memory to share with it."""


class ChildEndedError(Exception):
    """A child process has ended before it answered; the text says how."""


def stream_frames(
    function: str, path: Path, new_frame: Callable[[tuple[int, ...], Any], np.ndarray], **arguments: Any
) -> Generator[tuple[np.ndarray | None, Any], None, None]:
    """Run a generator function that decodes a file in a child.

    Args:
      function: MODULE:NAME of the function.
      path: the file, its argument `path`; for messages too.
      new_frame: called with the shape of each frame and what is new in the pass's `StreamInfo`, for the memory to copy the frame to.
      **arguments: further arguments.

    Yields:
      Frames, uint8 [H, W, 3], with what is new in the pass's `StreamInfo`; at the end None with the rest.

    Raises:
      InputError: the file can't be decoded, or the child ended.
      NoChildError: none can be started.
    """
    child = _take_child()
    is_done = False
    try:
        arguments["path"] = path
        child.send(Request(function, str(path), arguments, _current_folder(), gives_frames=True))
        while not is_done:
            reply = child.receive()
            is_done = reply.is_last
            for text in reply.notes:
                note(text)
            if reply.error is not None:
                raise reply.error
            frame = None
            if reply.offset is not None:
                frame = new_frame(reply.shape, reply.value)
                child.copy_frame(reply.offset, reply.shape, frame)
                child.send(FrameTaken())
            yield frame, reply.value
    except ChildEndedError as error:
        is_done = True
        raise InputError(_describe_end(str(path), error)) from None
    finally:
        _put_back(child, is_done)


def call_in_child(function: str, name: str, **arguments: Any) -> Any:
    """Return what a function that decodes a file returns in a child.

    Args:
      function: MODULE:NAME of the function.
      name: of the file, for messages.
      **arguments: of the function.

    Raises:
      InputError: the file can't be decoded, or the child ended.
      NoChildError: none can be started.
    """
    child = _take_child()
    is_done = False
    try:
        child.send(Request(function, name, arguments, _current_folder(), gives_frames=False))
        reply = child.receive()
        is_done = True
    except ChildEndedError as error:
        is_done = True
        raise InputError(_describe_end(name, error)) from None
    finally:
        _put_back(child, is_done)
    for text in reply.notes:
        note(text)
    if reply.error is not None:
        raise reply.error
    return reply.value


class _Child:
    """A child process that serves one request after the other."""

    def __init__(self):
        self.is_stopping = False
        self._memory = _create_shared_memory()
        self._mapping: mmap.mmap | None = None
        parent_end, child_end = socket.socketpair()
        search_path = json.dumps([os.path.abspath(folder) for folder in sys.path])
        numbers = (child_end.fileno(), self._memory, _memory_limit(), TIME_LIMIT)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, search_path, *map(str, numbers)],
                pass_fds=(child_end.fileno(), self._memory),
                # One thread of linear algebra: the child needs none of it, and each takes memory.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                # The last words of the C library aren't for the user.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Ctrl-C is for this process, which then ends its children.
                start_new_session=True,
            )
        except BaseException:
            parent_end.close()
            os.close(self._memory)
            raise
        finally:
            child_end.close()
        self.connection = Connection(parent_end.detach())

    def send(self, message: Request | FrameTaken | Stop) -> None:
        try:
            self.connection.send(message)
        except OSError:
            raise ChildEndedError(self._wait_for_end()) from None

    def receive(self) -> Reply:
        try:
            return self.connection.recv()
        except (OSError, EOFError):
            raise ChildEndedError(self._wait_for_end()) from None

    def copy_frame(self, offset: int, shape: tuple[int, ...], target: np.ndarray) -> None:
        size = math.prod(shape)
        if self._mapping is None or offset + size > len(self._mapping):
            self._mapping = mmap.mmap(self._memory, os.fstat(self._memory).st_size)
        target[...] = np.frombuffer(self._mapping, np.uint8, size, offset).reshape(shape)

    def is_ready(self, seconds: float = 0) -> bool:
        """Return whether the child can take a request, within these seconds: it lives and has given up the pass before."""
        try:
            while self.is_stopping and self.connection.poll(seconds):
                self.is_stopping = not self.receive().is_last
        except ChildEndedError:
            pass
        return not self.is_stopping and self.process.poll() is None

    def close(self) -> None:
        with suppress(OSError):
            self.connection.close()
        with suppress(OSError):
            os.close(self._memory)
        # It ends when it reads from the closed socket, unless it hangs.
        try:
            self.process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait_for_end(self) -> str:
        try:
            code = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if code == -signal.SIGALRM:
            return f"took more than {TIME_LIMIT} s for one piece of it"
        with suppress(ValueError):
            return f"crashed ({signal.Signals(-code).name})"
        return f"ended with status {code}"


_idle: list[_Child] = []
_lock = threading.Lock()
_owner = os.getpid()


def _take_child() -> _Child:
    """Return a child that waits for a request or soon will, a new one where there is none."""
    global _owner
    stopping = None
    with _lock:
        if _owner != os.getpid():
            # After a fork the children are those of the other process.
            _idle.clear()
            _owner = os.getpid()
        for child in list(_idle):
            if child.is_ready():
                _idle.remove(child)
                return child
            if child.process.poll() is not None:
                _idle.remove(child)
                child.close()
        if _idle:
            stopping = _idle.pop(0)
    if stopping is not None:
        if stopping.is_ready(STOP_SECONDS):
            return stopping
        _keep(stopping)
    try:
        return _Child()
    except OSError as error:
        raise NoChildError(str(error)) from None


def _put_back(child: _Child, is_done: bool) -> None:
    """Keep a child for later requests, unless it has ended or there are enough."""
    if not is_done:
        try:
            child.send(Stop())
            child.is_stopping = True
        except ChildEndedError:
            pass
    _keep(child)


def _keep(child: _Child) -> None:
    with _lock:
        if child.process.poll() is None and len(_idle) < MAX_IDLE:
            _idle.append(child)
            return
    child.close()


@atexit.register
def end_children() -> None:
    """End the children that wait for requests; later ones start others."""
    if _owner == os.getpid():
        while _idle:
            _idle.pop().close()


def _describe_end(name: str, error: ChildEndedError) -> str:
    target = "PNG" if name.lower().endswith(PICTURE_SUFFIXES) else "H.264 in MP4"
    return f"{name}: the decoder {error}; the file may be damaged, convert it with another program first, to {target}"


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        # It was removed.
        return os.sep


def _create_shared_memory() -> int:
    """Return the descriptor of a file without a name, in memory where the system offers that."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("v2v-frames")
    with tempfile.TemporaryFile(prefix="v2v-") as file:
        return os.dup(file.fileno())


def _memory_limit() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(LEAST_MEMORY, int(MEMORY_SHARE * memory))
