"""Pairs in WebDataset tar files: the files of a pair share a key, and what follows it tells which is which.

KEY.source.mp4, KEY.target.mp4, KEY.mask.mp4, KEY.reference.png, KEY.json, KEY.txt → **unpack_tars** → folder with metadata.jsonl → `pair_table`

Tars are unpacked once, to the cache folder: clips are sought in, and decoders seek in files. The names of members become no paths.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from v2v.errors import InputError, note
from v2v.runtime.environment import cache_folder
from v2v.runtime.text_files import parse_json

SUFFIX = ".tar"
# What the first part of a member's extension says it is; "" is one without such a part.
ROLES = {
    **dict.fromkeys(("source", "src", "input", "control", "before", "original"), "source"),
    **dict.fromkeys(("target", "tgt", "output", "edited", "after", ""), "target"),
    "mask": "mask",
    **dict.fromkeys(("reference", "ref"), "reference"),
}
_MEDIA = (
    "mp4",
    "m4v",
    "mov",
    "mkv",
    "webm",
    "avi",
    "gif",
    "png",
    "jpg",
    "jpeg",
    "webp",
    "bmp",
    "tif",
    "tiff",
)
_TEXTS = ("txt", "caption", "instruction", "prompt")
# Fields of KEY.json that are columns of a table.
_COLUMNS = (
    *("instruction", "instructions", "prompt", "text", "caption", "source_caption", "target_caption", "edit"),
    *("license", "start", "end", "split", "weight"),
)
# Largest text that is read of a member.
_MAX_TEXT = 1 << 22
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def find_tars(path: str | Path) -> list[Path]:
    """Return the tar files that a path stands for: a file, those in a folder without a table, or a range as in pairs-{000000..000012}.tar."""
    path = Path(path)
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix.lower() == SUFFIX and file.is_file())
    if path.suffix.lower() != SUFFIX:
        return []
    span = _RANGE.search(path.name)
    if not span or path.exists():
        return [path]
    first, last = span.groups()
    numbers = range(int(first), int(last) + 1)
    return [
        path.with_name(f"{path.name[: span.start()]}{n:0{len(first)}d}{path.name[span.end() :]}")
        for n in numbers
    ]


def unpack_tars(tars: list[Path]) -> Path:
    """Return the table of the pairs in tar files, which are unpacked where the cache folder doesn't hold them.

    Raises:
      InputError: A file can't be read, is no tar, or there is no space for its content.
    """
    try:
        states = [(str(tar.resolve()), tar.stat().st_size, tar.stat().st_mtime_ns) for tar in tars]
    except OSError as error:
        raise InputError(
            f"{error.filename}: can't be read ({(error.strerror or str(error)).lower()})"
        ) from None
    folder = cache_folder("webdataset") / hashlib.sha256(json.dumps(states).encode()).hexdigest()[:24]
    table = folder / "metadata.jsonl"
    if table.is_file():
        return table
    size = sum(size for _, size, _ in states)
    note(
        f"{tars[0].parent}: {len(tars)} tar {'file is' if len(tars) == 1 else 'files are'} unpacked to {folder}, {size / 1e6:,.0f} MB"
    )
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        with (partial / table.name).open("w", encoding="utf-8") as lines:
            for number, tar in enumerate(tars):
                for fields in _unpack(tar, partial, number):
                    lines.write(json.dumps(fields) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: tar files can't be unpacked there ({(error.strerror or str(error)).lower()}); set V2V_CACHE to another folder"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return table


def _unpack(tar: Path, folder: Path, number: int) -> Iterator[dict[str, Any]]:
    """Write the clips of a tar file, and yield a row for each key. The files of a key follow each other, as WebDataset demands."""
    key, fields, count = None, {}, 0
    try:
        with tarfile.open(tar) as archive:
            for member in archive:
                if not member.isfile():
                    continue
                folder_part, _, name = member.name.rpartition("/")
                stem, _, extension = name.partition(".")
                if (folder_part, stem) != key:
                    if fields:
                        yield fields
                    key, fields, count = (folder_part, stem), {}, count + 1
                _take_member(archive, member, extension.lower(), fields, folder, f"{number:05d}_{count:07d}")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise InputError(
            f"{tar}: expected a tar file of pairs, got one that can't be read ({error}); get it again"
        ) from None
    if fields:
        yield fields


def _take_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    extension: str,
    fields: dict[str, Any],
    folder: Path,
    name: str,
) -> None:
    """Write one file of a pair, or read its text into the row."""
    *roles, kind = extension.split(".")
    role = ROLES.get(".".join(roles))
    content = archive.extractfile(member)
    if content is None:
        return
    if kind in _MEDIA and role:
        file = f"{name}.{role}.{kind}"
        with (folder / file).open("wb") as out:
            shutil.copyfileobj(content, out)
        fields[role] = file
    elif kind in ("json", *_TEXTS) and not roles:
        text = content.read(_MAX_TEXT).decode("utf-8", errors="replace")
        if kind == "json":
            fields |= _read_facts(text)
        else:
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            fields.setdefault("instruction", lines)


def _read_facts(text: str) -> dict[str, Any]:
    """Return the columns in KEY.json."""
    try:
        facts = parse_json(text)
    except ValueError:
        return {}
    if not isinstance(facts, dict):
        return {}
    fields = {name: facts[name] for name in _COLUMNS if facts.get(name) is not None}
    provenance = facts.get("provenance")
    if (
        "license" not in fields
        and isinstance(provenance, dict)
        and isinstance(provenance.get("license"), str)
    ):
        fields["license"] = provenance["license"]
    return fields
