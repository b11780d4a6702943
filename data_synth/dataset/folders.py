"""Folders of a build: the finished one, the hidden one while it is unfinished, and the place of its shards.

request.py → **folders** → build.py, shards.py
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from data_synth.places import is_address
from v2v.data import pair as pr
from v2v.errors import InputError

# The file that is written last.
REPORT = "report.json"
# Files of a set but its report.
_PART_OF_SET = re.compile(
    r"part-\d+$|v2v_pairs-.*|(dataset_info|features)\.json$|pairs\.jsonl$|report\.html$|LICENSE$"
)


def publish(folder: Path, address: Path) -> None:
    """Copy the files of a set to its place in a bucket, the report last: with it the set counts as complete.

    Args:
      folder: The set, without its array_record files, which are there already.
      address: Its place.
    """
    from etils import epath

    for path in sorted(folder.iterdir(), key=lambda path: path.name == REPORT):
        if path.is_file():
            epath.Path(path).copy(address / path.name, overwrite=True)


def clear(address: Path) -> None:
    """Remove what a build that was stopped left of a set in a bucket."""
    from etils import epath

    for path in list(address.iterdir()) if address.exists() else []:
        epath.Path(path).unlink(missing_ok=True)


def create_preview_folder(preview: Path) -> None:
    """Create the folder of contact sheets. It comes before the pairs, which may take hours.

    Raises:
      InputError: It cannot be created.
    """
    try:
        preview.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--preview {preview}: expected a folder, or a place where one can be made, "
            f"got '{error.strerror}'; name another"
        ) from None


def find_finished(out: Path, table: dict) -> dict | None:
    """Return the report of a finished build of the same request, None where `out` is free.

    Args:
      out: Folder of the build.
      table: `SynthRequest.table`.

    Raises:
      InputError: The folder holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if is_address(out) and out.is_dir() and all(_PART_OF_SET.match(path.name) for path in out.iterdir()):
        return None  # of a build that was stopped while it wrote there: the report comes last
    try:
        report = json.loads((out / REPORT).read_text())
    except (OSError, ValueError):
        raise InputError(
            f"{out}: expected a new folder, got one with other contents; choose another --out or remove it"
        ) from None
    stored_table = report.get("request")
    if isinstance(stored_table, dict) and stored_table.get("schema") in pr.READABLE:
        stored_table = {**stored_table, "schema": table["schema"]}  # an older set that reads the same
    if isinstance(stored_table, dict):
        # A set made before requests said how footage and experts are treated: what is there stays what was asked for.
        for name, keys in (("sources", ("max_growth", "version")), ("versions", ("experts", "words"))):
            requested, stored = table.get(name, {}), stored_table.get(name, {})
            additions = {key: requested[key] for key in keys if key in requested and key not in stored}
            if additions and isinstance(stored, dict):
                stored_table = {**stored_table, name: {**stored, **additions}}
    if stored_table != table:
        raise InputError(f"{out}: holds pairs of another request, {_explain_difference(stored_table, table)}")
    return report


def _explain_difference(stored: object, requested: dict) -> str:
    """Return in which fields the request of a finished set differs from the one that was typed, and what to do."""
    if not isinstance(stored, dict):
        return f"{json.dumps(stored)}; choose another --out or remove it"
    names = [name for name in {**stored, **requested} if stored.get(name) != requested.get(name)]
    parts = [
        f"{'recipes' if name == 'edits' else name} {json.dumps(stored.get(name))}, not {json.dumps(requested.get(name))}"
        for name in names
    ]
    remedy = "choose another --out or remove it"
    if names == ["pairs"] and requested["pairs"] > stored["pairs"]:
        remedy += "; v2v pairs extend makes a larger set that begins with its pairs"
    return f"with {'; '.join(parts)}; {remedy}"


@contextlib.contextmanager
def lock_work_folder(work: Path) -> Iterator[None]:
    """Hold the folder of an unfinished build, which is created where it is missing, for one run at a time.

    Raises:
      InputError: It cannot be created, or another run holds it.
    """
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


def create_shard_folder(unfinished: str, name: str) -> Path:
    """Create the folder of a request's shards in a folder that the user named, and return it.

    Args:
      unfinished: The user's folder, or an address such as gs://bucket/folder.
      name: Name of the new folder.

    Raises:
      InputError: It cannot be created.
    """
    from etils import epath

    folder = cast(Path, epath.Path(unfinished) / name)  # offers the same methods
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except Exception as error:  # file systems of buckets raise what they like
        raise InputError(
            f"--unfinished {unfinished}: expected a folder, or a place where one can be made, got "
            f"'{getattr(error, 'strerror', None) or error}'; name another (for gs://, pip install 'v2v-edit[gcs]')"
        ) from None
    return folder


def remove_shard_folder(folder: Path) -> None:
    """Remove a folder that `create_shard_folder` created, with everything in it."""
    from etils import epath

    epath.Path(folder).rmtree()
