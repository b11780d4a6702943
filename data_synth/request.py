"""What is asked of `v2v synth`: whether it is possible, and whether it is there already. options → **request** → synth.py

A request is a JSON-able table of everything the pairs depend on, written into the finished folder's report.json: the same
request gives the same bytes, so equality of requests is all that decides whether a folder is what was asked for.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from data_synth import pipeline, plugged, recipes
from data_synth.recipes import Sources
from data_synth.transition import CLASSIC, OPERATORS
from v2v.data import pairs as pr
from v2v.errors import InputError

TEXTS = (".toml", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".py")  # what says what is made of the videos


def check(request: dict, sources: Sources) -> None:
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
    strange = [name for name in request.get("operators", CLASSIC) if name not in OPERATORS]
    if strange or not request.get("operators", CLASSIC):
        raise InputError(
            f"operators: expected some of {', '.join(OPERATORS)}, got {', '.join(strange) or 'none'}"
        )
    if idle := recipes.unused(tuple(request["edits"]), sources):
        raise InputError(
            f"{', '.join(idle)}: expected a recipe that uses it, got {', '.join(request['edits'])}; "
            "leave it out, or add the recipe it is for to --recipes"
        )
    known = recipes.names(sources)
    for name in request["edits"]:
        if name not in known or name not in recipes.FAMILIES and name not in pipeline.EDITS:
            recipes.recipe(name, sources)  # says what is wrong with it
    if "image" in request["edits"] and (request["frames"] > 1 or len(request["edits"]) > 1):
        raise InputError(
            "edits: image gives one-frame pairs, which can't share a set with longer ones; "
            "ask for it alone with --frames 1, or for lift"
        )


def folder(preview: Path) -> None:
    """The folder of contact sheets, made before the pairs, which may take hours, and not after."""
    try:
        preview.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--preview {preview}: expected a folder, or a place where one can be made, "
            f"got '{error.strerror}'; name another"
        ) from None


def named(text: str) -> tuple[str, str]:
    """ "NAME=PATH" → (name, path)."""
    name, found, path = text.partition("=")
    if not found or not name or not path:
        raise InputError(f"--set: expected NAME=PATH, got {text!r}")
    return name, path


def fingerprint(sources: Sources) -> dict:
    """What the sources hold now, texts by content, videos by name and size, so that a changed source is another request."""
    out = {}
    steps = [step for path in sources.experts for step in plugged.files(path)]
    for path in (sources.clips, *sources.experts, *steps, *(p for _, p in sources.sets), sources.writer):
        path = Path(path)
        if str(path) == ".":
            continue
        found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        listing = "\n".join(f"{p.relative_to(path) if p != path else p.name} {_size(p)}" for p in found)
        digest = hashlib.sha256(listing.encode())
        for file in found:
            if file.suffix.lower() in TEXTS:
                digest.update(file.read_bytes())
        out[str(path)] = digest.hexdigest()[:16]
    return out


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it went away just now
        return -1


def finished(out: Path, request: dict) -> dict | None:
    """The report of an identical finished build, None when `out` is free."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        report = json.loads((out / "report.json").read_text())
    except (OSError, ValueError):
        raise InputError(
            f"{out}: expected a new folder, got one with other contents; choose another --out or remove it"
        ) from None
    found = report.get("request")
    if isinstance(found, dict) and found.get("schema") in pr.READABLE:
        found = {**found, "schema": request["schema"]}  # an older set that reads the same
    if found != request:
        raise InputError(
            f"{out}: holds pairs of another request ({json.dumps(report.get('request'))}); "
            "choose another --out or remove it"
        )
    return report
