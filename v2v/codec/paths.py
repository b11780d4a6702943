"""What a path alone tells: errors about files found before anything is decoded or computed. Used by `codec/video.py` and the CLI."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from v2v.errors import InputError

STILLS = (".png", ".jpg", ".jpeg")
CLIPS = (".mp4", ".m4v", ".mov")


def check_readable(path: Path) -> None:
    """Raises InputError unless `path` is a file with something in it."""
    try:
        if path.is_dir():
            raise InputError(f"{path}: expected a video file, got a folder")
        if not path.exists():
            raise InputError(f"{path}: no such file; expected a video or an image")
        if not path.is_file():
            raise InputError(
                f"{path}: expected a regular file, got a device or a pipe; save it to a file first"
            )
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({reason(error)})") from None
    if empty:
        raise InputError(f"{path}: expected a video file, got an empty file (0 bytes)")


@contextmanager
def named(role: str) -> Iterator[None]:
    """Errors about a file, which begin with its path, say what the file was to be."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{role} {error}") from None


def check_output(path: str | Path) -> Path:
    """Fails early, before any computing, where `write` would fail for the name alone."""
    path = Path(path)
    if path.suffix.lower() not in STILLS + CLIPS:
        raise InputError(
            f"{path}: output expected to end in one of {', '.join(CLIPS + STILLS)}, got '{path.suffix}'"
        )
    if path.is_dir():
        raise InputError(
            f"{path}: output expected to be a file, got a folder; name a file in it, such as {path / 'out.mp4'}"
        )
    if not path.parent.is_dir():
        raise InputError(
            f"{path.parent}: output folder doesn't exist; create it with: mkdir -p {path.parent}"
        )
    probe = path.with_name(f".{path.stem}.probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"{path.parent}: output folder can't be written ({reason(error)}); choose another with -o"
        ) from None
    return path


def reason(error: Exception) -> str:
    """What the system or FFmpeg says, fit for the middle of a line."""
    return (getattr(error, "strerror", None) or str(error)).strip().rstrip(".").lower()
