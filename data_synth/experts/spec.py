import dataclasses
import re
import tomllib
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from v2v.errors import InputError

ROLES = ("control", "edit", "remove", "mask")
KINDS = {"python": "call", "command": "command", "http": "url"}
_TYPES = {
    "name": str,
    "version": str,
    "license": str,
    "role": str,
    "noun": str,
    "prompts": list,
    "kind": str,
    "call": str,
    "command": list,
    "url": str,
    "token": str,
    "batch": int,
    "seconds": float,
    "retries": int,
}


class ExpertError(Exception):
    """One request failed; the message is the reason, short and without paths or numbers that vary."""


@dataclasses.dataclass(frozen=True)
class ExpertSpec:
    """A checked TOML file; fields as in the module docstring."""

    path: Path
    name: str
    version: str
    license: str
    role: str
    kind: str
    noun: str = ""
    prompts: tuple[str, ...] = ()
    call: str = ""
    command: tuple[str, ...] = ()
    url: str = ""
    token: str = ""
    batch: int = 1
    seconds: float = 120.0
    retries: int = 1


def load_spec(path: str | Path) -> ExpertSpec:
    """Reads and checks a TOML file.

    Raises:
      InputError: unreadable, or a field is missing, unknown, or of the wrong type.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: expected a TOML file that describes an expert, got {error}") from None
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
    if table.get("role") == "edit":
        required.append("prompts")
    if table.get("role") == "mask":
        required.append("noun")
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
    spec = ExpertSpec(path, **{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})
    if spec.batch < 1 or spec.retries < 0 or not spec.seconds > 0:
        raise InputError(
            f"{path}: expected batch >= 1, retries >= 0 and seconds > 0, "
            f"got {spec.batch}, {spec.retries} and {spec.seconds}"
        )
    _check_kind(path, table)
    check_prompts(path, spec.prompts)
    return spec


def check_prompts(path: str | Path, given: Sequence) -> tuple[str, ...]:
    """Instructions as a file gives them. Raises InputError where one says nothing."""
    for i, prompt in enumerate(given):
        if not isinstance(prompt, str) or not re.search(r"\w", prompt):
            raise InputError(f"{path}: prompts: expected sentences, got {prompt!r} as number {i + 1}")
    return tuple(given)


def _check_kind(path: Path, table: dict) -> None:
    """Raises InputError where a request could not even be sent."""
    if table["kind"] == "python" and not re.fullmatch(r"[\w.]+:\w+", table["call"]):
        raise InputError(f"{path}: call: expected package.module:function, got {table['call']!r}")
    if table["kind"] == "command":
        words = " ".join(table["command"])
        pairs = (("{jobs}", "{answers}"), ("{clip}", "{answer}"))
        if not any(all(place in words for place in pair) for pair in pairs):
            raise InputError(
                f"{path}: command: expected {{jobs}} and {{answers}}, or {{clip}} and {{answer}}, in it, got {table['command']!r}"
            )
    if table["kind"] == "http":
        try:
            parts = urllib.parse.urlsplit(table["url"])
            good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
        except ValueError:  # a port that is no number
            good = False
        if not good:
            raise InputError(f"{path}: url: expected http://HOST:PORT/PATH, got {table['url']!r}")
