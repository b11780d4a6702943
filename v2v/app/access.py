"""Who may use the server, and how much: tokens and limits."""

import hmac
import re
from dataclasses import dataclass, field
from pathlib import Path

from v2v.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,100}")
_SHORTEST = 16


@dataclass(frozen=True)
class Limits:
    """What one server takes.

    Attributes:
      upload_bytes: of one request.
      seconds: length of a clip.
      pixels: of a frame.
      frames: of a clip.
      waiting: jobs of an owner that have not ended.
      per_minute: new jobs of an owner within a minute.
      disk_bytes: of all jobs' files; nothing is accepted beyond.
      keep_seconds: jobs and their files are deleted so long after their end.
    """

    upload_bytes: int = 512 * 2**20
    seconds: float = 120.0
    pixels: int = 3840 * 2160
    frames: int = 10_000
    waiting: int = 20
    per_minute: int = 60
    disk_bytes: int = 50 * 2**30
    keep_seconds: float = 24 * 3600.0


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Tokens:
    """Tokens and the names of those who hold them.

    Attributes:
      names: token to name; empty where anyone who reaches the server may use it.
    """

    names: dict[str, str] = field(default_factory=dict, repr=False)

    def find_owner(self, authorization: str | None) -> str | None:
        """Return the name of who sent an Authorization header; None for nobody known."""
        if not self.names:
            return "anyone"
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token_bytes = token.strip().encode()
        # Every token is compared, and each in the same time.
        matches = [
            name for other, name in self.names.items() if hmac.compare_digest(other.encode(), token_bytes)
        ]
        return matches[0] if matches else None


def read_tokens(path: Path) -> Tokens:
    """Read a file of tokens: NAME TOKEN on each line; empty lines and those that begin with # are skipped.

    Raises:
      InputError: the file can't be read, a line is malformed, or two are alike.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--tokens {path}: expected a text file, got: {error}") from None
    names: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not _NAME.fullmatch(words[0]) or len(words[1]) < _SHORTEST:
            raise InputError(
                f"--tokens {path}, line {number}: expected NAME TOKEN, the token of at least {_SHORTEST} characters"
            )
        if words[1] in names or words[0] in names.values():
            raise InputError(f"--tokens {path}, line {number}: this name or token stands there already")
        names[words[1]] = words[0]
    if not names:
        raise InputError(f"--tokens {path}: expected at least one line NAME TOKEN, found none")
    return Tokens(names)
