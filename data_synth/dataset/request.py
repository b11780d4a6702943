"""What is asked of `v2v synth`: whether it is possible, and whether it is there already. options → **request** → synth.py

A request is a JSON-able table of everything the pairs depend on, written into the finished folder's report.json: the same
request gives the same bytes, so equality of requests is all that decides whether a folder is what was asked for.

Where a build lies while it is unfinished: its hidden folder, for one run at a time, and a place elsewhere for its shards.

request.py → **places** → synth.py, shards.py
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from data_synth.operators.transition import CLASSIC_OPERATORS, OPERATORS
from data_synth.recipes import external, registry
from data_synth.recipes.sources import Sources
from v2v.data import pair as pr
from v2v.errors import InputError

# What says what is made of the videos.
TEXT_SUFFIXES = (".toml", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".py", ".parquet")
END_BYTES = 1 << 16  # bytes looked at at either end of a video: all of it would take as long as the pairs


def check_request(request: dict, sources: Sources) -> None:
    """Raises InputError where a request can't be met, or brings along what no recipe of it would use."""
    if request["pairs"] < 1:
        raise InputError(f"pairs: expected at least 1, got {request['pairs']}")
    if request["seed"] < 0:
        raise InputError(f"seed: expected a non-negative integer, got {request['seed']}")
    if request["seed"] >= 1 << 62:
        raise InputError(f"seed: expected a number below 2**62, got {request['seed']}")
    if min(request["height"], request["width"]) < 16 or request["frames"] < 1:
        raise InputError(
            "clip size: expected at least 1 frame of 16 x 16 pixels, got "
            f"{request['frames']} of {request['height']} x {request['width']}"
        )
    if not 0 <= request["transition"] <= 1:
        raise InputError(f"transition: expected a probability between 0 and 1, got {request['transition']}")
    strange = [name for name in request.get("operators", CLASSIC_OPERATORS) if name not in OPERATORS]
    if strange or not request.get("operators", CLASSIC_OPERATORS):
        raise InputError(
            f"operators: expected some of {', '.join(OPERATORS)}, got {', '.join(strange) or 'none'}"
        )
    if idle := registry.find_unused_sources(tuple(request["edits"]), sources):
        raise InputError(
            f"{', '.join(idle)}: expected a recipe that uses it, got {', '.join(request['edits'])}; "
            "leave it out, or add the recipe it is for to --recipes"
        )
    registry.recipe_names(sources)  # checks the names of experts
    for name in request["edits"]:
        if name not in registry.FAMILIES:
            registry.build_recipe(name, sources)  # says what is wrong with it
    if "image" in request["edits"] and (request["frames"] > 1 or len(request["edits"]) > 1):
        raise InputError(
            "edits: image gives one-frame pairs, which can't share a set with longer ones; "
            "ask for it alone with --frames 1, or for lift"
        )


def create_preview_folder(preview: Path) -> None:
    """The folder of contact sheets, made before the pairs, which may take hours, and not after."""
    try:
        preview.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--preview {preview}: expected a folder, or a place where one can be made, "
            f"got '{error.strerror}'; name another"
        ) from None


def parse_set(text: str) -> tuple[str, str]:
    """ "NAME=PATH" → (name, path)."""
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise InputError(f"--set: expected NAME=PATH, got {text!r}")
    return name, path


def fingerprint_sources(sources: Sources) -> dict:
    """What the sources hold now, so that a changed source is another request: texts by content, videos by name, size and both
    ends. Not by their dates: a copy on another machine is the same source."""
    digests = {}
    steps = [step for path in sources.experts for step in external.composition_files(path)]
    for path in (sources.clips, *sources.experts, *steps, *(p for _, p in sources.sets), sources.writer):
        path = Path(path)
        if str(path) == ".":
            continue
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        digest = hashlib.sha256()
        for file in files:
            name = file.relative_to(path) if file != path else file.name
            digest.update(f"{name} {_digest_file(file)}\n".encode(errors="surrogateescape"))
        digests[str(path)] = digest.hexdigest()[:16]
    return digests


def _digest_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if path.suffix.lower() in TEXT_SUFFIXES:
                return hashlib.file_digest(file, "sha256").hexdigest()
            size = file.seek(0, 2)
            file.seek(0)
            ends = file.read(END_BYTES)
            file.seek(max(0, size - END_BYTES))
            return f"{size} {hashlib.sha256(ends + file.read(END_BYTES)).hexdigest()}"
    except OSError:  # it went away just now, or may not be read: whoever needs it says so
        return "unreadable"


def find_finished(out: Path, request: dict) -> dict | None:
    """The report of an identical finished build, None when `out` is free."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        report = json.loads((out / "report.json").read_text())
    except (OSError, ValueError):
        raise InputError(
            f"{out}: expected a new folder, got one with other contents; choose another --out or remove it"
        ) from None
    stored_request = report.get("request")
    if isinstance(stored_request, dict) and stored_request.get("schema") in pr.READABLE:
        stored_request = {**stored_request, "schema": request["schema"]}  # an older set that reads the same
    if stored_request != request:
        raise InputError(
            f"{out}: holds pairs of another request ({json.dumps(report.get('request'))}); "
            "choose another --out or remove it"
        )
    return report


@contextlib.contextmanager
def lock_work_folder(work: Path) -> Iterator[None]:
    """The folder of an unfinished build, for one run at a time. Raises InputError when it can't be had."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / "lock").open("w")
    except OSError as error:
        raise InputError(
            f"{work.parent}: expected a folder for the pairs, or a place where one can be made, got '{error.strerror}'; name another --out"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{work}: another run of this very command is at work here; wait for it"
            ) from None
        yield


def create_shard_folder(unfinished: str, name: str):
    """The folder of this request's shards in the one that the caller named."""
    from etils import epath

    folder = epath.Path(unfinished) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except Exception as error:  # file systems of buckets raise what they like
        raise InputError(
            f"--unfinished {unfinished}: expected a folder, or a place where one can be made, got "
            f"'{getattr(error, 'strerror', None) or error}'; name another (for gs://, pip install 'v2v-edit[gcs]')"
        ) from None
    return folder
