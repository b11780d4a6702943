"""What a path alone tells: errors about files found before anything is decoded or computed. Used by `video/video.py` and the CLI."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        raise InputError(f"{path}: can't be read ({error_reason(error)})") from None
    if empty:
        raise InputError(f"{path}: expected a video file, got an empty file (0 bytes)")


@contextmanager
def prefix_errors(role: str) -> Iterator[None]:
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
    if os.path.isdir(path):
        raise InputError(
            f"{path}: output expected to be a file, got a folder; name a file in it, such as {path / 'out.mp4'}"
        )
    if not os.path.isdir(path.parent):
        raise InputError(
            f"{path.parent}: output folder doesn't exist; create it with: mkdir -p {path.parent}"
        )
    probe = path.with_name(f".{path.stem}.probing{path.suffix}")  # as long as the name `write` begins under
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"{path}: output's name is too long, as it gets 9 letters more while it is written; choose a shorter one with -o"
            ) from None
        raise InputError(
            f"{path.parent}: output folder can't be written ({error_reason(error)}); choose another with -o"
        ) from None
    return path


def check_not_input(output: Path, **read: object) -> None:
    """Raises InputError when the output is one of the files that are read: it would be lost while it is needed, or for good.

    Args:
      read: what each is → a path, "clip.mp4@2.5" (a frame of a clip), or anything else, which is no file.
    """
    for what, given in read.items():
        if not isinstance(given, str | Path):
            continue
        for path in {Path(given), Path(str(given).rpartition("@")[0] or given)}:
            if (
                os.path.isfile(path) and output.exists() and output.samefile(path)
            ):  # of too long a name: no file
                raise InputError(f"{output}: output is the {what}; name another file with -o")


def check_folder(path: str | Path, option: str) -> None:
    """Fails early where a folder can't be made, or written: makes it, and takes away again what wasn't there."""
    path = Path(path)
    missing = [folder for folder in (path, *path.parents) if not os.path.exists(folder)]
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"{path}: expected a folder, or a place where one can be made and written, got: {error_reason(error)}; choose another with "
            f"{option}"
        ) from None
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def error_reason(error: Exception) -> str:
    """What the system or FFmpeg says, fit for the middle of a line."""
    return (getattr(error, "strerror", None) or str(error)).strip().rstrip(".").lower()
