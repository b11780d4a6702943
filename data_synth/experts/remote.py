"""Three kinds of external expert: a Python callable in a child process, a command, an HTTP service. A fourth is `chat.py`.

`ExpertSpec` → **expert** → `protocol.run_expert`. Each class implements `base.Expert`, enforces the time limit of a request itself,
and leaves no process running after it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
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
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

import numpy as np

import data_synth
from data_synth.experts import child, wire
from data_synth.experts.base import Answer, ExpertError, FailureKind
from data_synth.experts.http_errors import find_http_failure, find_url_failure
from data_synth.experts.spec import ExpertSpec
from data_synth.experts.wire import Job
from data_synth.worker import worker_index
from v2v.errors import InputError
from v2v.video import video as codec
from v2v.video.streams import DEFAULT_FPS

# Replaces itself by the command, once Linux is asked to kill it when this process is killed (PR_SET_PDEATHSIG): a killed process
# cannot clean up. Arguments: process id of the parent, file for the error of a command that cannot be started, the command.
LAUNCHER = """import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
try:
    os.execvp(sys.argv[3], sys.argv[3:])
except OSError as error:
    with open(sys.argv[2], "w") as file:
        file.write(error.strerror.lower())
    os._exit(125)
"""
# An answer is as large as the clips of its request. A service that sends more than twice as much, and a little, is cut off.
MAX_ANSWER_RATIO, MAX_ANSWER_EXTRA = 2, 1 << 20
_READ_BYTES = 1 << 20


class _ExternalExpert:
    """The members that all kinds take from the TOML file."""

    def __init__(self, spec: ExpertSpec):
        self.spec = spec
        self.name, self.version = spec.name, spec.version
        self.batch, self.retries = spec.batch, spec.retries

    def close(self) -> None:
        """Stop what the expert has started; nothing outlives a request here."""

    def environment(self) -> dict[str, str]:
        """Return the environment of what the expert starts, with the device of this worker."""
        devices = self.spec.devices
        device = {self.spec.device_variable: devices[worker_index() % len(devices)]} if devices else {}
        return {**os.environ, **device}

    def _decode(self, data: bytes, n: int) -> list[Answer]:
        """Return the n clips or texts in an answer.

        Raises:
          ExpertError: There are none.
        """
        try:
            return wire.unpack_texts(data, n) if self.spec.gives_text else list(wire.unpack_clips(data, n))
        except ValueError as error:
            raise ExpertError(str(error), FailureKind.ANSWER) from None

    def _timeout_error(self) -> ExpertError:
        return ExpertError(f"took more than {self.spec.seconds:g} s", FailureKind.TIMEOUT)


class ChildExpert(_ExternalExpert):
    """A function `call = "package.module:function"` in one child process, which is kept so that weights load once.

    The function takes a list of `wire.Job` and returns a list of clips, or of what the role writes. The folder of the TOML file is importable.
    A child that crashes or runs out of time is replaced for the next request; one whose parent dies ends by itself.
    """

    process: subprocess.Popen | None = None
    pipe: Connection | None = None

    def __call__(self, jobs: Sequence[Job]) -> list[Answer]:
        """Run one request in the child, which is started where none runs.

        Raises:
          ExpertError: The function raised an exception, the child crashed or ran out of time, or the answer is no list of clips.
        """
        if self.process is None or self.pipe is None:
            self.process, self.pipe = self._start()
        process, pipe = self.process, self.pipe
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            _kill_group(process)

        timer = threading.Timer(self.spec.seconds, stop)  # covers a child that does not even read its request
        timer.start()
        try:
            pipe.send_bytes(wire.pack_jobs(jobs))
            data = pipe.recv_bytes()
        except (EOFError, OSError):
            code = process.wait()
            self.close()
            if timed_out.is_set():
                raise self._timeout_error() from None
            raise ExpertError(f"crashed ({_format_exit(code)})", FailureKind.CRASH) from None
        finally:
            timer.cancel()
            timer.join()
        tag, content = data[:1], data[1:]
        if tag == child.ERROR_TAG:
            raise ExpertError(f"raised {content.decode(errors='replace')}", FailureKind.EXCEPTION)
        return self._decode(content, len(jobs))

    def close(self) -> None:
        """Kill the child with all that it has started."""
        if self.process is not None:
            _kill_group(self.process)
            self.process.wait()
            self.process = None
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None

    def _start(self) -> tuple[subprocess.Popen, Connection]:
        parent_end, child_end = socket.socketpair()
        folders = [str(self.spec.path.parent.resolve()), str(Path(data_synth.__file__).resolve().parents[1])]
        environment = {
            **self.environment(),
            "PYTHONPATH": os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")]),
        }
        arguments = [self.spec.call, str(child_end.fileno()), str(os.getpid())]
        process = subprocess.Popen(
            [sys.executable, "-m", "data_synth.experts.child", *arguments],
            pass_fds=(child_end.fileno(),),
            env=environment,
            stdin=subprocess.DEVNULL,
            # Standard output of this process is reserved for --json.
            stdout=sys.stderr.fileno() if _has_fileno(sys.stderr) else subprocess.DEVNULL,
            start_new_session=True,
        )
        child_end.close()
        return process, Connection(parent_end.detach())


class CommandExpert(_ExternalExpert):
    """A program, started anew for each request in the folder of the TOML file and killed with its process group."""

    def __call__(self, jobs: Sequence[Job]) -> list[Answer]:
        """Run the program once, or once a job where it takes single clips.

        Raises:
          ExpertError: The program cannot be started, crashed, ran out of time, or wrote no clips.
        """
        words = " ".join(self.spec.command)
        with tempfile.TemporaryDirectory(prefix="v2v-expert-") as folder:
            if "{jobs}" in words:
                return self._run_batch(jobs, Path(folder))
            return [self._run_single(job, Path(folder), i) for i, job in enumerate(jobs)]

    def _run_batch(self, jobs: Sequence[Job], folder: Path) -> list[Answer]:
        """Exchange .npz files: one request, one answer."""
        jobs_path, answers_path = (
            folder / "jobs.npz",
            folder / f"answers.{'json' if self.spec.gives_text else 'npz'}",
        )
        jobs_path.write_bytes(wire.pack_jobs(jobs))
        self._execute({"jobs": jobs_path, "answers": answers_path}, folder)
        if not answers_path.is_file():
            raise ExpertError("wrote no answer", FailureKind.ANSWER)
        return self._decode(answers_path.read_bytes(), len(jobs))

    def _run_single(self, job: Job, folder: Path, i: int) -> Answer:
        """Exchange files: one clip, one answer."""
        clip_path, answer_path = (
            folder / f"{i}.mp4",
            folder / f"{i}.answer.{'json' if self.spec.gives_text else 'mp4'}",
        )
        # Exact, as what lies outside a mask must stay.
        mask_path, reference_path = folder / f"{i}.mask.mkv", folder / f"{i}.reference.png"
        target_path, info_path = folder / f"{i}.target.mp4", folder / f"{i}.info.json"
        fps = job.fps or float(DEFAULT_FPS)
        codec.write_video(codec.Video.from_array(job.clip, fps), clip_path)
        if job.mask is not None:
            mask = codec.Video.from_array(np.repeat(job.mask[..., None], 3, -1), fps)
            codec.write_video(mask, mask_path, codec="ffv1")
        if job.target is not None:
            codec.write_video(codec.Video.from_array(job.target, fps), target_path)
        if job.reference is not None:
            codec.write_video(codec.Video.from_array(job.reference), reference_path)
        info_path.write_text(json.dumps({"prompt": job.prompt, **job.info}), encoding="utf-8")
        numbers = {name: f"{job.info[name]}" for name in ("seed", "frames", "width", "height")}
        placeholders: dict[str, Path | str] = {
            "clip": clip_path,
            "answer": answer_path,
            "prompt": job.prompt,
            "mask": mask_path,
            "reference": reference_path,
            "target": target_path,
            "info": info_path,
            "fps": f"{fps:g}",
            **numbers,
        }
        self._execute(placeholders, folder)
        if not answer_path.is_file():
            raise ExpertError("wrote no answer", FailureKind.ANSWER)
        if self.spec.gives_text:
            (text,) = self._decode(b"[" + answer_path.read_bytes() + b"]", 1)
            return text
        try:
            return codec.read_video(answer_path).frames
        except InputError:
            raise ExpertError("wrote an answer that is no video", FailureKind.ANSWER) from None

    def _execute(self, placeholders: Mapping[str, Path | str], folder: Path) -> None:
        """Run the command until it ends; its output goes to a file in `folder`, whose last line an error quotes."""
        command = [_fill_placeholders(word, placeholders) for word in self.spec.command]
        log, start_error = folder / "log.txt", folder / "start_error.txt"
        try:
            with log.open("wb") as file:
                process = subprocess.Popen(
                    [
                        sys.executable,
                        "-I",
                        "-S",
                        "-c",
                        LAUNCHER,
                        str(os.getpid()),
                        str(start_error),
                        *command,
                    ],
                    cwd=self.spec.path.parent,
                    env=self.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                )
        except OSError as error:
            cause = (error.strerror or str(error)).lower()
            raise ExpertError(f"cannot be started: {cause}", FailureKind.UNREACHABLE) from None
        try:
            code = process.wait(self.spec.seconds)
        except subprocess.TimeoutExpired:
            raise self._timeout_error() from None
        finally:
            _kill_group(process)
            process.wait()
        if start_error.is_file():
            raise ExpertError(f"cannot be started: {start_error.read_text()}", FailureKind.UNREACHABLE)
        if code:
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
            raise ExpertError(f"crashed ({_format_exit(code)}): {last[0][:160]}", FailureKind.CRASH)


class HttpExpert(_ExternalExpert):
    """A service: POST the request's .npz, get the answer's. The time limit covers the whole exchange, not one read."""

    def __call__(self, jobs: Sequence[Job]) -> list[Answer]:
        """Send one request to the service.

        Raises:
          ExpertError: The service cannot be reached, ran out of time, answered an HTTP error, or sent no clips.
          InputError: The environment variable of the token is not set.
        """
        deadline = time.monotonic() + self.spec.seconds
        request = urllib.request.Request(self.spec.url, wire.pack_jobs(jobs), self._headers(), method="POST")
        max_bytes = MAX_ANSWER_RATIO * sum(job.clip.nbytes for job in jobs) + MAX_ANSWER_EXTRA
        parts, size = [], 0
        try:
            with urllib.request.urlopen(request, timeout=self.spec.seconds) as answer:
                while part := answer.read1(_READ_BYTES):
                    parts.append(part)
                    size += len(part)
                    if time.monotonic() > deadline:
                        raise TimeoutError
                    if size > max_bytes:
                        raise ExpertError("answered far more than the clips asked for", FailureKind.ANSWER)
        except urllib.error.HTTPError as error:
            raise find_http_failure(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise find_url_failure(error, self.spec.seconds) from None
        return self._decode(b"".join(parts), len(jobs))

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/octet-stream"}
        if self.spec.token:
            if self.spec.token not in os.environ:
                raise InputError(
                    f"{self.spec.path}: token: expected an environment variable {self.spec.token}, "
                    "which is not set; set it"
                )
            headers["Authorization"] = f"Bearer {os.environ[self.spec.token]}"
        return headers


def _kill_group(process: subprocess.Popen) -> None:
    """Kill a process with all that it left behind in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _has_fileno(stream: TextIO) -> bool:
    """Return whether a child process can write there: under tests and notebooks standard error may be no file."""
    try:
        return stream.fileno() >= 0
    except (AttributeError, OSError, ValueError):
        return False


def _fill_placeholders(word: str, placeholders: Mapping[str, Path | str]) -> str:
    """Replace the {placeholders} in a word; other braces (JSON arguments) stay."""
    for name, value in placeholders.items():
        word = word.replace("{" + name + "}", str(value))
    return word


def _format_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit {code}"
