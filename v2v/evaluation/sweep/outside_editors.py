"""Editors outside of v2v as methods of a sweep: a shell command, and an HTTP server.

    run_command("theirs", "python edit.py --in {source} --prompt {instruction} --out {output} --seed {seed}", options={"seed": 1})
    call_server("served", "http://localhost:8000/v1/videos", options={"steps": 4})

Both return an `EditingMethod`, so that their edits are timed, cached and scored like those of v2v's own editor. A folder or a table of files that
exist already is a `ResultFolder` or `ResultTable` of methods.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import string
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from v2v.errors import InputError
from v2v.evaluation.cache import digest
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.video import video as codec

# Placeholders that every edit fills; the others are the method's options, and what an item may have.
ALWAYS = ("source", "instruction", "output")
ITEM_FIELDS = ("mask", "reference", "start", "end")
# Answers of a server that is busy, tried again up to so many times.
BUSY, ATTEMPTS = (429, 502, 503, 504), 5
# Largest answer of a server in bytes.
LARGEST_ANSWER = 2 << 30
# States of a job on a server that ends without a result.
FAILED_STATES = ("failed", "error", "cancelled", "canceled", "expired")


class OutsideEditorError(Exception):
    """An editor outside of v2v gave no result: the edit failed, and the next run tries it again."""


def run_command(
    name: str,
    command: str | Sequence[str],
    *,
    options: Mapping[str, Any] | None = None,
    revision: str = "",
    use_mask: bool = False,
    use_reference: bool = False,
    timeout: float = 3600,
    suffix: str = ".mp4",
    dollars: float | None = None,
) -> EditingMethod:
    """Return a method that runs a command for every edit.

    Args:
      name: unique in a sweep.
      command: its words, or one text that is split into words as a shell does; no shell is run. {source}, {instruction}, {output}, {mask},
        {reference}, {start}, {end} and the names of options stand for their values. A word whose value an item lacks is left out
        together with the flag before it.
      options: values of further placeholders, also what `grid` varies.
      revision: raise it when the program changes. Files among the words are noticed by themselves.
      use_mask: whether the program gets an item's mask where it has one.
      use_reference: whether it gets an item's reference where the instruction does not speak of it.
      timeout: seconds until an edit is given up.
      suffix: ending of the output, ".mp4" or ".png" for one.
      dollars: price of an edit, for the plan and the report.

    Raises:
      InputError: a command without {source} and {output}, an unknown placeholder, or an option that no placeholder names.
    """
    words = tuple(shlex.split(command) if isinstance(command, str) else command)
    options = dict(options or {})
    placeholders = {field for word in words for field in _placeholders(word, name)}
    unknown = placeholders - {*ALWAYS, *ITEM_FIELDS, *options}
    if missing := [field for field in ("source", "output") if field not in placeholders]:
        raise InputError(
            f"method {name}: expected {{{missing[0]}}} in the command, got {shlex.join(words)!r}"
        )
    if unknown:
        raise InputError(
            f"method {name}: no value for {{{min(unknown)}}}; expected {', '.join([*ALWAYS, *ITEM_FIELDS])} or an option"
        )
    if idle := [option for option in options if option not in placeholders]:
        raise InputError(
            f"method {name}: option {idle[0]} would change nothing; the command lacks {{{idle[0]}}}"
        )
    files = {word: _hash_file(Path(word)) for word in words if Path(word).is_file()}
    return EditingMethod(
        name,
        options=options,
        use_mask=use_mask,
        use_reference=use_reference,
        editor=lambda: CommandEditor(words, timeout, suffix),
        revision=revision or shlex.join(words),
        code=digest({"words": words, "files": files, "suffix": suffix}),
        dollars=dollars,
    )


def call_server(
    name: str,
    url: str,
    *,
    options: Mapping[str, Any] | None = None,
    revision: str = "1",
    token_variable: str = "",
    use_mask: bool = False,
    use_reference: bool = False,
    timeout: float = 3600,
    dollars: float | None = None,
) -> EditingMethod:
    """Return a method that sends every edit to an HTTP server.

    Each edit is one POST of multipart/form-data: files `video`, `mask` and `reference`, and texts `prompt`, `start`, `end` and the options.
    The answer is the clip itself, or JSON about a job, as the videos interface of OpenAI has it: {"id", "status"}, polled at URL/ID until
    its status is "completed", with the clip at URL/ID/content. Busy answers (429, 502, 503, 504) are tried again, after Retry-After.

    Args:
      name: unique in a sweep.
      url: where edits are posted.
      options: further fields, also what `grid` varies.
      revision: raise it when the served model changes.
      token_variable: environment variable with the token, sent as "Authorization: Bearer"; "" for none.
      use_mask: whether the server gets an item's mask where it has one.
      use_reference: whether it gets an item's reference where the instruction does not speak of it.
      timeout: seconds until an edit is given up.
      dollars: price of an edit, for the plan and the report.

    Raises:
      InputError: another scheme than http and https, or an environment variable that is not set.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(
            f"method {name}: expected an address that begins with http:// or https://, got {url}"
        )
    token = os.environ.get(token_variable, "") if token_variable else ""
    if token_variable and not token:
        raise InputError(f"method {name}: expected the server's token in ${token_variable}, which is not set")
    return EditingMethod(
        name,
        options=dict(options or {}),
        use_mask=use_mask,
        use_reference=use_reference,
        editor=lambda: ServerEditor(url.rstrip("/"), token, timeout),
        # Not the address: the same model is served from another one tomorrow.
        revision=revision,
        code=digest({"served": name}),
        dollars=dollars,
    )


@dataclass(frozen=True)
class CommandEditor:
    """An editor that is a command; see `run_command`.

    Attributes:
      words: the command with placeholders.
      timeout: seconds until it is killed.
      suffix: ending of its output.
    """

    words: tuple[str, ...]
    timeout: float
    suffix: str

    def edit_video(self, video: Any, instruction: str, **options: Any) -> codec.Video:
        """Run the command in an empty folder and read its output.

        Raises:
          OutsideEditorError: it failed, took too long, or wrote nothing.
          InputError: its output can't be read.
        """
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / f"output{self.suffix}"
            values = {
                "source": str(_as_file(video, Path(folder))), "instruction": instruction, "output": str(output),
                **{name: _absolute(value) for name, value in options.items()},
            }  # fmt: skip
            self._run([*_fill(self.words, values)], folder)
            if not output.exists():
                raise OutsideEditorError(f"{self.words[0]} ended well but wrote no {output.name}")
            return codec.read_video(output)

    def _run(self, words: list[str], folder: str) -> None:
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
            )  # fmt: skip
        except OSError as error:
            raise OutsideEditorError(
                f"{words[0]}: can't be run ({(error.strerror or str(error)).lower()})"
            ) from None
        try:
            text, _ = process.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            raise OutsideEditorError(f"{words[0]} took more than {self.timeout:g} s") from None
        finally:
            # What it started goes with it, also where this process is interrupted.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            lines = text.decode(errors="replace").strip().splitlines() or ["it printed nothing"]
            raise OutsideEditorError(f"{words[0]} ended with {process.returncode}: {lines[-1][:300]}")


@dataclass(frozen=True)
class ServerEditor:
    """An editor behind HTTP; see `call_server`.

    Attributes:
      url: where edits are posted.
      token: sent as a bearer token; "" for none.
      timeout: seconds of an edit.
    """

    url: str
    token: str
    timeout: float

    def edit_video(self, video: Any, instruction: str, **options: Any) -> codec.Video:
        """Send the edit and wait for its clip.

        Raises:
          OutsideEditorError: the server can't be reached, refuses, fails or takes too long.
          InputError: its clip can't be read.
        """
        deadline = time.monotonic() + self.timeout
        with tempfile.TemporaryDirectory() as folder:
            files = {"video": _as_file(video, Path(folder))}
            files |= {name: Path(options.pop(name)) for name in ("mask", "reference") if name in options}
            body, content_type = _encode_form({"prompt": instruction, **options}, files)
            data, kind = self._ask(self.url, deadline, body, content_type)
            if kind == "application/json":
                data, kind = self._wait(_parse_job(data), deadline)
            output = Path(folder) / f"output{'.png' if kind.startswith('image/') else '.mp4'}"
            output.write_bytes(data)
            return codec.read_video(output)

    def _wait(self, job: dict[str, Any], deadline: float) -> tuple[bytes, str]:
        pause = 0.2
        while job.get("status") != "completed":
            if job.get("status") in FAILED_STATES:
                reason = job.get("error")
                text = reason.get("message", reason) if isinstance(reason, dict) else reason
                raise OutsideEditorError(f"the server's job {job['status']}: {text or 'no reason given'}")
            if time.monotonic() + pause > deadline:
                raise OutsideEditorError(f"the server took more than {self.timeout:g} s")
            time.sleep(pause)
            pause = min(5.0, 1.5 * pause)
            job = _parse_job(self._ask(f"{self.url}/{job['id']}", deadline)[0])
        return self._ask(f"{self.url}/{job['id']}/content", deadline)

    def _ask(
        self, url: str, deadline: float, body: bytes | None = None, content_type: str = ""
    ) -> tuple[bytes, str]:
        """Return the body of the answer and its type; busy servers are asked again."""
        headers = {"Content-Type": content_type} if body is not None else {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        for attempt in range(ATTEMPTS):
            request = urllib.request.Request(url, body, headers)
            try:
                with urllib.request.urlopen(request, timeout=max(1.0, deadline - time.monotonic())) as answer:
                    data = answer.read(LARGEST_ANSWER + 1)
                    if len(data) > LARGEST_ANSWER:
                        raise OutsideEditorError(f"{url}: the answer has more than {LARGEST_ANSWER} bytes")
                    return data, answer.headers.get_content_type()
            except urllib.error.HTTPError as error:
                text = " ".join(error.read(500).decode(errors="replace").split())
                reason = f"{url}: HTTP {error.code}" + (f": {text[:300]}" if text else "")
                if error.code not in BUSY:
                    raise OutsideEditorError(reason) from None
                pause = _retry_after(error.headers.get("Retry-After"), attempt)
            except OSError as error:
                reason, pause = f"{url}: {getattr(error, 'reason', None) or error}", 2.0**attempt
            if attempt + 1 == ATTEMPTS or time.monotonic() + pause > deadline:
                raise OutsideEditorError(reason)
            time.sleep(pause)
        raise AssertionError("unreachable")


def _placeholders(word: str, method: str) -> set[str]:
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(word) if field is not None}
    except ValueError as error:
        raise InputError(f"method {method}: {word}: {error}; write {{{{ and }}}} for braces") from None
    if wrong := [field for field in fields if not re.fullmatch(r"\w+", field)]:
        raise InputError(f"method {method}: {word}: expected a name in braces, got {{{wrong[0]}}}")
    return fields


def _fill(words: Sequence[str], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words with their values; one without a value is left out, together with the flag before it."""
    flag: str | None = None
    for word in words:
        fields = {field for _, field, _, _ in string.Formatter().parse(word) if field is not None}
        has_values = fields <= values.keys()
        if flag is not None and (has_values or not fields):
            yield flag
        flag = None
        if not fields and word.startswith("-"):
            flag = word
        elif has_values:
            yield word.format(**values)
    if flag is not None:
        yield flag


def _as_file(video: Any, folder: Path) -> Path:
    """Return the path of a clip; frames of a folder of pictures are written first."""
    if isinstance(video, codec.Video):
        path = folder / ("source.png" if len(video.frames) == 1 else "source.mp4")
        video.save(path)
        return path
    return Path(video).absolute()


def _absolute(value: Any) -> Any:
    return value.absolute() if isinstance(value, Path) else value


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def _encode_form(texts: Mapping[str, Any], files: Mapping[str, Path]) -> tuple[bytes, str]:
    """Return the body of multipart/form-data and its content type."""
    boundary = uuid.uuid4().hex
    parts = []
    for name, value in texts.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        parts.append(head.encode() + str(value).encode() + b"\r\n")
    for name, path in files.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}{path.suffix}"\r\n'
        parts.append(
            head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + path.read_bytes() + b"\r\n"
        )
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _parse_job(data: bytes) -> dict[str, Any]:
    try:
        job = json.loads(data)
    except ValueError:
        job = None
    if not isinstance(job, dict) or not isinstance(job.get("id"), str):
        text = " ".join(data[:200].decode(errors="replace").split())
        raise OutsideEditorError(f'expected a clip, or JSON with the "id" of a job, got {text}')
    return job


def _retry_after(value: str | None, attempt: int) -> float:
    return min(60.0, float(value)) if value and value.isdigit() else 2.0**attempt
