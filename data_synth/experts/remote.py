"""The three kinds of external expert: a Python callable in a child process, a command, an HTTP service.

protocol.Spec → **expert** → protocol.run. Each enforces its own time limit, and leaves nothing running when it is over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import data_synth
from data_synth.experts import wire
from data_synth.experts.spec import ExpertError, ExpertSpec
from data_synth.experts.wire import Job
from v2v.errors import InputError
from v2v.video import video as codec

# Becomes the command, once Linux is asked to kill it when we are killed (PR_SET_PDEATHSIG): no clean-up of ours would outlive that.
LAUNCHER = """import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    print("cannot be started:", error.strerror.lower(), flush=True)
    os._exit(125)
"""


class _ExternalExpert:
    """What the kinds share: the fields of `protocol.Expert`, from the TOML file."""

    def __init__(self, spec: ExpertSpec):
        self.spec, self.name, self.version = spec, spec.name, spec.version
        self.batch, self.retries = spec.batch, spec.retries

    def close(self) -> None:
        pass


class ChildExpert(_ExternalExpert):
    """`call = "package.module:function"`, kept in one child process so that weights load once.

    The function takes a list of `wire.Job` and gives a list of clips. The folder of the TOML file is importable.
    A child that crashes or runs out of time is replaced for the next request; one whose parent dies ends by itself.
    """

    process: subprocess.Popen | None = None

    def __call__(self, jobs: Sequence[Job]) -> list[np.ndarray]:
        if self.process is None:
            self._start()
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            os.killpg(self.process.pid, signal.SIGKILL)

        timer = threading.Timer(self.spec.seconds, stop)  # covers a child that does not even read its request
        timer.start()
        try:
            self.pipe.send_bytes(wire.pack_jobs(jobs))
            data = self.pipe.recv_bytes()
        except (EOFError, OSError):
            code = self.process.wait()
            self.close()
            raise ExpertError(
                f"took more than {self.spec.seconds:g} s"
                if timed_out.is_set()
                else f"crashed ({_format_exit(code)})"
            ) from None
        finally:
            timer.cancel()
            timer.join()
        if data[:1] == b"E":
            raise ExpertError(f"raised {data[1:].decode(errors='replace')}")
        return _clips(data[1:], len(jobs))

    def close(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.pipe.close()
            self.process = None

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        places = [str(self.spec.path.parent.resolve()), str(Path(data_synth.__file__).resolve().parents[1])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*places, os.environ.get("PYTHONPATH", "")]),
        }
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "data_synth.experts.child",
                self.spec.call,
                str(theirs.fileno()),
                str(os.getpid()),
            ],
            pass_fds=(theirs.fileno(),),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno()
            if _has_fileno(sys.stderr)
            else subprocess.DEVNULL,  # ours is for --json
            start_new_session=True,
        )
        theirs.close()
        self.pipe = Connection(ours.detach())


def _has_fileno(stream) -> bool:
    """Whether a process of its own can write there: under tests and notebooks standard error may be no file."""
    try:
        return stream.fileno() >= 0
    except (AttributeError, OSError, ValueError):
        return False


class CommandExpert(_ExternalExpert):
    """A program, started anew for each request in the folder of the TOML file and killed with its whole group."""

    def __call__(self, jobs: Sequence[Job]) -> list[np.ndarray]:
        words = " ".join(self.spec.command)
        with tempfile.TemporaryDirectory(prefix="v2v-expert-") as folder:
            if "{jobs}" in words:
                return self._batch(jobs, Path(folder))
            return [self._single(job, Path(folder), i) for i, job in enumerate(jobs)]

    def _batch(self, jobs: Sequence[Job], folder: Path) -> list[np.ndarray]:
        places = {"jobs": folder / "jobs.npz", "answers": folder / "answers.npz"}
        places["jobs"].write_bytes(wire.pack_jobs(jobs))
        self._execute(places, folder)
        if not places["answers"].is_file():
            raise ExpertError("wrote no answer")
        return _clips(places["answers"].read_bytes(), len(jobs))

    def _single(self, job: Job, folder: Path, i: int) -> np.ndarray:
        places = {
            "clip": folder / f"{i}.mp4",
            "answer": folder / f"{i}.answer.mp4",
            "prompt": job.prompt,
            "mask": folder / f"{i}.mask.mp4",
            "reference": folder / f"{i}.reference.png",
        }
        codec.write_video(codec.Video.from_array(job.clip), places["clip"])
        if job.mask is not None:
            codec.write_video(codec.Video.from_array(np.repeat(job.mask[..., None], 3, -1)), places["mask"])
        if job.reference is not None:
            codec.write_video(codec.Video.from_array(job.reference), places["reference"])
        self._execute(places, folder)
        if not places["answer"].is_file():
            raise ExpertError("wrote no answer")
        try:
            return codec.read_video(places["answer"]).frames
        except InputError:
            raise ExpertError("wrote an answer that is no video") from None

    def _execute(self, places: dict, folder: Path) -> None:
        command = [_fill_placeholders(word, places) for word in self.spec.command]
        log = folder / "log.txt"
        try:
            with log.open("wb") as file:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), *command],
                    cwd=self.spec.path.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                )
        except OSError as error:
            raise ExpertError(f"cannot be started: {error.strerror.lower()}") from None
        try:
            code = process.wait(self.spec.seconds)
        except subprocess.TimeoutExpired:
            raise ExpertError(f"took more than {self.spec.seconds:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):  # also what it left behind in its group
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if code:
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
            never = code == 125 and last[0].startswith("cannot be started")
            raise ExpertError(last[0] if never else f"crashed ({_format_exit(code)}): {last[0][:160]}")


class HttpExpert(_ExternalExpert):
    """A service: POST the request's .npz, get the answer's. The limit covers the whole exchange, not one read."""

    def __call__(self, jobs: Sequence[Job]) -> list[np.ndarray]:
        deadline = time.monotonic() + self.spec.seconds
        headers = {"Content-Type": "application/octet-stream"}
        if self.spec.token:
            if self.spec.token not in os.environ:
                raise InputError(
                    f"{self.spec.path}: token: expected an environment variable {self.spec.token}, "
                    "which is not set; set it"
                )
            headers["Authorization"] = f"Bearer {os.environ[self.spec.token]}"
        request = urllib.request.Request(self.spec.url, wire.pack_jobs(jobs), headers, method="POST")
        max_bytes = 2 * sum(job.clip.nbytes for job in jobs) + (
            1 << 20
        )  # an answer is as large as the clips were
        parts, size = [], 0
        try:
            with urllib.request.urlopen(request, timeout=self.spec.seconds) as answer:
                while part := answer.read1(1 << 20):
                    parts.append(part)
                    size += len(part)
                    if time.monotonic() > deadline:
                        raise TimeoutError
                    if size > max_bytes:
                        raise ExpertError("answered far more than the clips asked for")
        except urllib.error.HTTPError as error:
            raise ExpertError(f"answered HTTP {error.code}") from None
        except TimeoutError:
            raise ExpertError(f"took more than {self.spec.seconds:g} s") from None
        except (urllib.error.URLError, OSError) as error:
            if isinstance(getattr(error, "reason", None), TimeoutError):
                raise ExpertError(f"took more than {self.spec.seconds:g} s") from None
            raise ExpertError("cannot be reached, or hung up") from None
        return _clips(b"".join(parts), len(jobs))


def _clips(data: bytes, n: int) -> list[np.ndarray]:
    try:
        return wire.unpack_clips(data, n)
    except ValueError as error:
        raise ExpertError(str(error)) from None


def _fill_placeholders(word: str, places: dict) -> str:
    """The word with {placeholders} replaced; other braces (JSON arguments) stay."""
    for key, value in places.items():
        word = word.replace("{" + key + "}", str(value))
    return word


def _format_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit {code}"
