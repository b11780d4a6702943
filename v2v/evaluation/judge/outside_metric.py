"""Scores by a program or a server outside of v2v, such as a published reward model that needs packages of its own.

    vefx_reward("weights/VEFX-Reward-4B", python="/envs/vefx/bin/python")
    OutsideMetric("mine", (Column("mine: quality"),), start_program("mine", "python score.py"))
    OutsideMetric("mine", (Column("mine: quality"),), call_scorer("http://localhost:9000/score", revision="2"))

A program is started once and gets one line of JSON for each edit, {"source", "output", "instruction", "kind"} and, where the item has them,
{"truth", "mask", "reference", "start", "end", "target_prompt"}; files are absolute paths. It answers each with one line, {"scores": {NAME:
NUMBER}}, where NAME is a column without the metric's name before it, and perhaps "notes", which are kept in the results; or {"error": TEXT}.
A server gets and gives the same as one POST each. Both see the files where they lie: a server on another machine needs them under the same
paths. What they score is cached like the answers of a judge (`--fresh judge` asks again).
"""

from __future__ import annotations

import atexit
import json
import math
import os
import shlex
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from v2v.errors import InputError
from v2v.evaluation.cache import SweepCache, digest
from v2v.evaluation.code_version import package_code
from v2v.evaluation.metrics.base import Case, Column, Metric, Score, ScoringError
from v2v.runtime import text_files
from v2v.runtime.environment import cache_folder

# Bytes of an answer that are read, and characters of an unreadable one or of a program's last words that are shown.
LARGEST_ANSWER, QUOTE_LENGTH = 1 << 20, 300
VEFX_PROGRAM = Path(__file__).parent / "programs" / "vefx_reward.py"
# Weights of instruction following, render quality and edit exclusivity in the published aggregate, a geometric mean.
VEFX_WEIGHTS = {"IF": 2, "RQ": 1, "EE": 1}


class Scorer(Protocol):
    """A program or server that scores edits; called from as many threads at a time as `OutsideMetric.parallel` says."""

    @property
    def identity(self) -> dict[str, Any]:
        """Return whatever changes the scores, JSON-able."""
        ...

    def missing(self) -> str | None:
        """Return why it can't score here, or None; must be cheap."""
        ...

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request.

        Raises:
          ScoringError: there is none. Never final.
        """
        ...


@dataclass(frozen=True)
class OutsideMetric(Metric):
    """A metric whose values come from a program or a server.

    Attributes:
      name: unique in a sweep.
      columns: the numbers it gives, each called "NAME: PART", where PART is the program's name for it; `mean_column` is computed here.
      scorer: the program or server.
      required_fields: fields of `Item` without which it does not apply.
      parallel: items scored at a time.
      dollars: price of an item.
      mean_weights: weights of parts in a geometric mean, the column "NAME mean"; empty for none.
    """

    name: str
    columns: Sequence[Column]
    scorer: Scorer
    required_fields: Sequence[str] = ()
    parallel: int = 1
    dollars: float | None = 0.0
    mean_weights: dict[str, float] = field(default_factory=dict)
    calls: int = 1

    @property
    def identity(self) -> dict[str, Any]:
        """Return the name and what the scorer says of itself."""
        return {"metric": self.name, "outside": self.scorer.identity, "mean": self.mean_weights}

    @property
    def code(self) -> str:
        """Return the hash of the code that asks and reads."""
        return package_code("evaluation/judge/outside_metric.py", "evaluation/metrics/base.py")

    @property
    def mean_column(self) -> str:
        """Return the name of the column of the weighted geometric mean."""
        return f"{self.name} mean"

    def missing(self) -> str | None:
        """Return why the scorer can't be asked, or None."""
        return self.scorer.missing()

    def score(self, case: Case) -> Score:
        """Ask for the scores of one output.

        Raises:
          ScoringError: no answer, an error, or scores that lack a column or are no numbers. Never final: the next run asks again.
        """
        answer = self.scorer.ask(_describe(case))
        if "error" in answer:
            raise ScoringError(f"{self.name}: {answer['error']}")
        scores = answer.get("scores")
        if not isinstance(scores, dict):
            raise ScoringError(f"{self.name}: expected scores or an error, got {_quote(json.dumps(answer))}")
        values = {}
        for column in self.columns:
            if column.name == self.mean_column and self.mean_weights:
                continue
            value = scores.get(column.name.removeprefix(f"{self.name}: "))
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ScoringError(
                    f"{self.name}: expected a number for {column.name!r}, got {_quote(json.dumps(scores))}"
                )
            values[column.name] = float(value)
        if self.mean_weights:
            values[self.mean_column] = self._mean(values)
        notes = answer.get("notes")
        return Score(values, notes if isinstance(notes, dict) else {})

    def _mean(self, values: dict[str, float]) -> float:
        parts = [(values[f"{self.name}: {part}"], weight) for part, weight in self.mean_weights.items()]
        if any(value <= 0 for value, _ in parts):
            return 0.0
        return math.exp(sum(w * math.log(value) for value, w in parts) / sum(self.mean_weights.values()))


def start_program(
    name: str,
    command: str | Sequence[str],
    *,
    revision: str = "",
    files: Sequence[Path | str] = (),
    timeout: float = 600,
) -> Program:
    """Return a scorer that is a program of one's own.

    Args:
      name: of the program, for messages and in its identity.
      command: its words, or one text that is split into words as a shell does; no shell is run.
      revision: raise it when the program changes. Files among the words, and `files`, are noticed by themselves.
      files: files or folders that change the scores, such as weights; their contents are hashed once.
      timeout: seconds for an edit, and for the start before the first.
    """
    words = tuple(shlex.split(command) if isinstance(command, str) else command)
    if not words:
        raise InputError(f"program {name}: expected a command, got an empty one")
    return Program(name, words, revision, tuple(Path(f) for f in files), timeout)


def call_scorer(url: str, *, revision: str, token_variable: str = "", timeout: float = 600) -> ScoreServer:
    """Return a scorer that is a server.

    Args:
      url: where requests are posted.
      revision: raise it when the served model changes; the address does not count.
      token_variable: environment variable with a token, sent as "Authorization: Bearer"; "" for none.
      timeout: seconds for an edit.

    Raises:
      InputError: another scheme than http and https.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"scorer: expected an address that begins with http:// or https://, got {url}")
    return ScoreServer(url, revision, token_variable, timeout)


def vefx_reward(
    weights: Path | str,
    *,
    name: str = "VEFX",
    python: str = "python3",
    prompt: Path | str = "",
    device: str = "cuda",
    dtype: str = "bfloat16",
    timeout: float = 1800,
) -> OutsideMetric:
    """Return VEFX-Reward as a metric: instruction following, render quality, edit exclusivity, 1 to 4 each, and their weighted mean.

    The mean is the geometric one of IF, IF, RQ and EE of each item; how the published leaderboard aggregates over items is not stated with it.

    Args:
      weights: the published folder, xiangbog/VEFX-Reward-4B or the 32B one.
      name: of the metric.
      python: the Python of an environment with torch, transformers, av and numpy.
      prompt: the question; see `programs/vefx_reward.py`. "" where the published package is installed in that environment.
      device: of torch.
      dtype: of torch.
      timeout: seconds for an edit, and for loading.
    """
    words = [*shlex.split(python), str(VEFX_PROGRAM), "--model", str(weights), "--device", device, "--dtype", dtype]  # fmt: skip
    if prompt:
        words += ["--prompt", str(prompt)]
    about = {"IF": "instruction following", "RQ": "render quality", "EE": "edit exclusivity"}
    columns = [Column(f"{name}: {part}", worst=1.0, about=f"VEFX-Reward, {text}, 1 to 4") for part, text in about.items()]  # fmt: skip
    columns.append(Column(f"{name} mean", worst=1.0, about="VEFX-Reward, geometric mean of IF twice, RQ and EE, 1 to 4"))  # fmt: skip
    files = [Path(weights), *([Path(prompt)] if prompt else [])]
    program = start_program("VEFX-Reward", words, revision=f"{device} {dtype}", files=files, timeout=timeout)
    return OutsideMetric(name, tuple(columns), program, mean_weights=dict(VEFX_WEIGHTS))


@dataclass(frozen=True)
class Program:
    """A scorer that is a program; see `start_program`.

    Attributes:
      name: for messages.
      words: the command.
      revision: part of its identity.
      files: what changes its scores.
      timeout: seconds for an edit.
    """

    name: str
    words: tuple[str, ...]
    revision: str
    files: tuple[Path, ...]
    timeout: float
    _process: _Process = field(default_factory=lambda: _Process(), repr=False, compare=False)

    @property
    def identity(self) -> dict[str, Any]:
        """Return name, revision, the command without paths, and the contents of its files."""
        words = [Path(word).name if os.sep in word else word for word in self.words[1:]]
        return {
            "program": self.name,
            "revision": self.revision,
            "words": words,
            "files": digest(sorted(_content(file) for file in self._files())),
        }

    def missing(self) -> str | None:
        """Return the first file that is not there."""
        lost = [str(file) for file in self.files if not file.exists()]
        return f"{self.name} wants {lost[0]}, which isn't there" if lost else None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write a line to the program, which is started where it doesn't run, and read its answer.

        Raises:
          ScoringError: it can't be started, ended, answered nothing in time or no JSON object.
        """
        return self._process.ask(self.name, self.words, json.dumps(request) + "\n", self.timeout)

    def stop(self) -> None:
        """End the program."""
        self._process.stop()

    def _files(self) -> list[Path]:
        """Return the files whose contents count: those among the words and `files`."""
        candidates = [Path(word) for word in self.words[1:] if os.sep in word]
        return sorted({*(c for c in candidates if c.exists()), *self.files})


class _Process:
    """A running program; one request at a time."""

    def __init__(self):
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def ask(self, name: str, words: Sequence[str], line: str, timeout: float) -> dict[str, Any]:
        with self._lock:
            process = self._start(name, words)
            assert process.stdin is not None and process.stdout is not None
            # A program that hangs is ended, so that the read below ends.
            timer = threading.Timer(timeout, process.kill)
            timer.start()
            try:
                process.stdin.write(line.encode())
                process.stdin.flush()
                answer = process.stdout.readline(LARGEST_ANSWER)
            except OSError:
                answer = b""
            finally:
                is_late = not timer.is_alive()
                timer.cancel()
            if not answer.endswith(b"\n"):
                self._stop()
                reason = f"took more than {timeout:g} s" if is_late else self._last_words()
                raise ScoringError(f"{name}: {reason}")
        return _parse_answer(name, answer)

    def stop(self) -> None:
        with self._lock:
            self._stop()

    def _start(self, name: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        if self._running is not None and self._running.poll() is None:
            return self._running
        self._stop()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the program
        try:
            self._running = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True
            )  # fmt: skip
        except OSError as error:
            raise ScoringError(
                f"{name}: {words[0]} can't be run ({(error.strerror or str(error)).lower()})"
            ) from None
        atexit.register(self.stop)
        return self._running

    def _stop(self) -> None:
        process, self._running = self._running, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:
                        continue
            atexit.unregister(self.stop)

    def _last_words(self) -> str:
        text = b""
        if self._errors is not None:
            self._errors.seek(0)
            text = self._errors.read()
        lines = text.decode(errors="replace").strip().splitlines()
        return (
            f"the program ended: {lines[-1][:QUOTE_LENGTH]}"
            if lines
            else "the program ended and printed nothing"
        )


@dataclass(frozen=True)
class ScoreServer:
    """A scorer that is a server; see `call_scorer`.

    Attributes:
      url: where requests are posted.
      revision: its identity.
      token_variable: environment variable of its token; "" for none.
      timeout: seconds for an edit.
    """

    url: str
    revision: str
    token_variable: str
    timeout: float

    @property
    def identity(self) -> dict[str, Any]:
        """Return the revision."""
        return {"server": self.revision}

    def missing(self) -> str | None:
        """Return what is not set."""
        if self.token_variable and not os.environ.get(self.token_variable):
            return f"wants the server's token in ${self.token_variable}, which is not set"
        return None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Post a request.

        Raises:
          ScoringError: the server can't be reached, refuses, or answers no JSON object.
        """
        headers = {"Content-Type": "application/json"}
        if self.token_variable:
            headers["Authorization"] = f"Bearer {os.environ.get(self.token_variable, '')}"
        post = urllib.request.Request(self.url, json.dumps(request).encode(), headers, method="POST")
        try:
            with urllib.request.urlopen(post, timeout=self.timeout) as response:
                answer = response.read(LARGEST_ANSWER)
        except urllib.error.HTTPError as error:
            text = error.read(QUOTE_LENGTH).decode(errors="replace")
            raise ScoringError(
                f"scorer at {self.url}: HTTP {error.code} {' '.join(text.split())}".rstrip()
            ) from None
        except OSError as error:
            raise ScoringError(f"scorer at {self.url}: {getattr(error, 'reason', None) or error}") from None
        return _parse_answer(f"scorer at {self.url}", answer)


def _describe(case: Case) -> dict[str, Any]:
    """Return the request about an output."""
    item = case.item
    paths = {"truth": item.truth, "mask": item.mask, "reference": item.reference}
    optional = {
        **{name: str(path.absolute()) for name, path in paths.items() if path},
        **{name: second for name, second in (("start", item.start), ("end", item.end)) if second is not None},
        **({"target_prompt": item.target_prompt} if item.target_prompt else {}),
    }
    files = {"source": str(item.source.absolute()), "output": str(case.path.absolute())}
    return {**files, "instruction": item.instruction, "kind": item.kind, **optional}


def _parse_answer(name: str, answer: bytes) -> dict[str, Any]:
    try:
        value = text_files.parse_json(answer)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ScoringError(
            f"{name}: expected an object of JSON, got {_quote(answer.decode(errors='replace'))}"
        )
    return value


def _quote(text: str) -> str:
    line = " ".join(text.split())
    return f"{line[:QUOTE_LENGTH]}{'...' if len(line) > QUOTE_LENGTH else ''}" or "nothing"


def _content(file: Path) -> str:
    """Return the hash of a file or folder, remembered in the user's cache."""
    return SweepCache(cache_folder()).hash_of(file) if file.exists() else ""
