"""The TOML file that describes an external expert: reading and checking it.

    name = "depth"                       # [a-z0-9-]: recipes to-depth and from-depth
    version = "depth-anything-v2-small"  # recorded in every pair
    license = "Apache-2.0"               # of the clips that it makes, recorded too
    role = "control"                     # control: clip -> control video, used both ways
                                         # edit: needs prompts, source -> target
                                         # remove: clip + mask -> clip without the object; NAME and NAME-insertion
                                         # mask: clip -> mask video, white = the object; no recipe of its own: it serves
                                         #       removal, insertion, replacement, grounding and role remove on --clips;
                                         #       `v2v app --mask-expert`: one frame, and in `about` "points": [[x, y]] in pixels
    follows = true                       # mask: it also follows masks that somebody has painted: frames, `mask` with the painted
                                         #       ones, and in `about` "keyframes": [0, ...], the numbers of these
                                         # Roles that write have no recipes either; one expert may have several of them,
                                         # role = ["caption", "instruct", "filter"] (answers: answers.py):
                                         # caption: clip -> caption and nouns, where no text file beside it has them
                                         # instruct: clip and edit -> instructions, of pairs and for role edit
                                         # filter: pair -> keep it or not, and the reason
    noun = "depth"                       # control: "turn this {noun} video into ..."; mask: the object, sent as prompt; without
                                         #       it a noun of the clip (NAME.object.txt, NAME.nouns.txt, role caption)
    prompts = ["make it snow", ...]      # edit: the instructions, one drawn for each clip, {object} a noun of the clip;
                                         #       the lines of NAME.prompts.txt beside a clip go before them
    kind = "python"                      # python: call = "package.module:function" in a process of its own
                                         # command: command = ["prog", "{jobs}", "{answers}"] (.npz, a batch) or
                                         #          ["prog", "{clip}", "{answer}", "{prompt}"] (.mp4, one clip;
                                         #          also {mask}, lossless FFV1 in .mkv, {reference}, {target}, {seed}, {fps},
                                         #          {frames}, {width}, {height} and {info}, a JSON file of these); roles that
                                         #          write: .json
                                         # http: url = "http://host:port/path", POST .npz -> .npz;
                                         #       token = "NAME" sends that environment variable as a bearer token
                                         # chat: url = "http://host:port/v1" of an OpenAI-compatible service that sees
                                         #       pictures, and model = "NAME", for roles that write; token as above
    batch = 4                            # jobs in one request; chat: requests at the same time
    seconds = 120.0                      # time limit of one request
    retries = 1                          # further attempts after a failed request
    devices = ["0", "1"]                 # python, command: worker k gets number k of them, round and round, in the variable
    device_variable = "CUDA_VISIBLE_DEVICES"  # named here
    frames = 4                           # chat: pictures of each clip that are sent
    cache = "chat-cache"                 # chat: folder beside this file that keeps the answers; "" for none
    price = 0.002                        # chat: of one request, in your currency: the cost is told beforehand

`wire.py` describes the arrays in a request and its answer, `base.py` the interface behind every kind.
"""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from v2v.errors import InputError
from v2v.runtime import text_files

# Roles whose answers are texts, of which one expert may have several.
TEXT_ROLES = ("caption", "instruct", "filter")
ROLES = ("control", "edit", "remove", "mask", *TEXT_ROLES)
# The field that each kind requires.
KINDS = {"python": "call", "command": "command", "http": "url", "chat": "url"}
_TYPES = {
    "name": str,
    "version": str,
    "license": str,
    "role": str,
    "noun": str,
    "follows": bool,
    "prompts": list,
    "kind": str,
    "call": str,
    "command": list,
    "url": str,
    "token": str,
    "batch": int,
    "seconds": float,
    "retries": int,
    "devices": list,
    "device_variable": str,
    "model": str,
    "frames": int,
    "cache": str,
    "price": float,
}


@dataclasses.dataclass(frozen=True)
class ExpertSpec:
    """A checked TOML file; the fields are those of the module docstring, `path` is the file, and `roles` are all roles, of which `role` is the first."""

    path: Path
    name: str
    version: str
    license: str
    role: str
    kind: str
    roles: tuple[str, ...] = ()
    noun: str = ""
    follows: bool = False
    prompts: tuple[str, ...] = ()
    call: str = ""
    command: tuple[str, ...] = ()
    url: str = ""
    token: str = ""
    batch: int = 1
    seconds: float = 120.0
    retries: int = 1
    devices: tuple[str, ...] = ()
    device_variable: str = "CUDA_VISIBLE_DEVICES"
    model: str = ""
    frames: int = 4
    cache: str = "chat-cache"
    price: float = 0.0

    @property
    def gives_text(self) -> bool:
        """Return whether its answers are texts."""
        return self.role in TEXT_ROLES


def load_spec(path: str | Path) -> ExpertSpec:
    """Read and check a TOML file.

    Raises:
      InputError: The file is unreadable, or a field is missing, unknown, of the wrong type or out of range.
    """
    path = Path(path)
    table = text_files.read_toml(path, "an expert")
    roles = _read_roles(path, table)
    for key, value in table.items():
        if key not in _TYPES:
            raise InputError(
                f"{path}: {key}: expected one of {', '.join(_TYPES)}; remove it or correct its name"
            )
        if _TYPES[key] is float and type(value) is int:
            table[key] = value = float(value)
        if (
            type(value) is not _TYPES[key]
            or isinstance(value, list)
            and not all(isinstance(v, str) for v in value)
        ):
            raise InputError(
                f"{path}: {key}: expected {_TYPES[key].__name__}"
                f"{' of strings' if _TYPES[key] is list else ''}, got {value!r}"
            )
    required = ["name", "version", "license", "role", "kind"]
    if table.get("kind") in KINDS:
        required.append(KINDS[table["kind"]])
    if table.get("kind") == "chat":
        required.append("model")
    missing = [key for key in required if not table.get(key)]
    if missing:
        raise InputError(f"{path}: expected {', '.join(missing)}; add {'them' if len(missing) > 1 else 'it'}")
    for key, allowed in (("role", ROLES), ("kind", KINDS)):
        if table[key] not in allowed:
            raise InputError(f"{path}: {key}: expected one of {', '.join(allowed)}, got {table[key]!r}")
    if not re.fullmatch(r"[a-z0-9-]+", table["name"]):
        raise InputError(
            f"{path}: name: expected lower-case letters, digits and dashes, got {table['name']!r}"
        )
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    spec = ExpertSpec(path, roles=roles, **fields)
    if (
        spec.batch < 1
        or spec.retries < 0
        or not spec.seconds > 0
        or spec.frames < 1
        or not 0 <= spec.price < 1e9
    ):
        raise InputError(
            f"{path}: expected batch >= 1, retries >= 0, seconds > 0, frames >= 1 and price >= 0, "
            f"got {spec.batch}, {spec.retries}, {spec.seconds}, {spec.frames} and {spec.price}"
        )
    if spec.kind == "chat" and not spec.gives_text:
        raise InputError(
            f"{path}: kind: expected python, command or http for role {spec.role}, got chat, which only writes texts"
        )
    _check_kind(path, table)
    check_prompts(path, spec.prompts)
    return spec


def _read_roles(path: Path, table: dict[str, Any]) -> tuple[str, ...]:
    """Return the roles in a table, and leave the first of them in it.

    Raises:
      InputError: There are several, and one of them is not among those that write.
    """
    roles = table.get("role")
    if not isinstance(roles, list):
        return (roles,) if isinstance(roles, str) else ()
    if not roles or not all(role in TEXT_ROLES for role in roles) or len(set(roles)) < len(roles):
        raise InputError(
            f"{path}: role: expected one of {', '.join(ROLES)}, or several of {', '.join(TEXT_ROLES)}, got {roles!r}"
        )
    table["role"] = roles[0]
    return tuple(roles)


def check_prompts(path: str | Path, prompts: Sequence) -> tuple[str, ...]:
    """Return the instructions of a file.

    Args:
      path: The file, for the error.
      prompts: The instructions as the file has them.

    Raises:
      InputError: One is no string, or has no letter or digit.
    """
    for i, prompt in enumerate(prompts):
        if not isinstance(prompt, str) or not re.search(r"\w", prompt):
            raise InputError(f"{path}: prompts: expected sentences, got {prompt!r} as number {i + 1}")
    return tuple(prompts)


def _check_kind(path: Path, table: dict[str, Any]) -> None:
    """Raise InputError where the kind's own field is such that no request can be sent."""
    if table["kind"] == "python" and not re.fullmatch(r"[\w.]+:\w+", table["call"]):
        raise InputError(f"{path}: call: expected package.module:function, got {table['call']!r}")
    if table["kind"] == "command":
        words = " ".join(table["command"])
        pairs = (("{jobs}", "{answers}"), ("{clip}", "{answer}"))
        if not any(all(place in words for place in pair) for pair in pairs):
            raise InputError(
                f"{path}: command: expected {{jobs}} and {{answers}}, or {{clip}} and {{answer}}, in it, got {table['command']!r}"
            )
    if table["kind"] in ("http", "chat"):
        try:
            parts = urllib.parse.urlsplit(table["url"])
            is_valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
        except ValueError:  # a port that is no number
            is_valid = False
        if not is_valid:
            raise InputError(f"{path}: url: expected http://HOST:PORT/PATH, got {table['url']!r}")
