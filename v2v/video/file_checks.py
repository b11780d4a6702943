"""Checks of paths that need no decoding: errors about files, found before anything is computed.

Readers and writers of clips call them here, the command line and the pipeline before they load a model.
"""

import errno
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from av.error import FFmpegError

from v2v.errors import InputError
from v2v.video.output_format import OutputFormat, choose_encoding

# Frames of a folder that v2v wrote.
FRAME_NAME = re.compile(r"frame_\d{6,}\.png")
DEFAULT_FORMAT = OutputFormat()
URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def check_readable(path: Path) -> None:
    """Check that a path is a readable file with something in it.

    Raises:
      InputError: it isn't.
    """
    try:
        if path.is_dir():
            raise InputError(
                f"{path}: expected a video file, got a folder; name one of its files, or list several in a manifest (--manifest)"
            )
        if not path.exists():
            raise InputError(f"{path}: no such file; expected a video or an image")
        if not path.is_file():
            raise InputError(
                f"{path}: expected a regular file, got a device or a pipe; save it to a file first"
            )
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error_reason(error)})") from None
    if is_empty:
        raise InputError(f"{path}: expected a video file, got an empty file (0 bytes)")


@contextmanager
def prefix_errors(role: str) -> Iterator[None]:
    """Put the role of a file, such as "mask", before the errors of a block, which begin with its path."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{role} {error}") from None


def check_output(
    path: str | Path, output_format: OutputFormat = DEFAULT_FORMAT, *, overwrite: bool = True
) -> Path:
    """Check, before any computation, that a clip can be written under this name.

    Args:
      path: of a file that need not exist, or of a folder of frames.
      output_format: codec, quality and pixel format.
      overwrite: allow a file that exists.

    Returns:
      The path.

    Raises:
      InputError: an empty name or a URL, an ending of no format written here, a codec or quality that doesn't go with it, a folder, a
        device or pipe, a file that exists, a folder that is missing or can't be written, or too long a name.
    """
    if not str(path):
        raise InputError("output expected to be a file, got an empty name; name one with -o, such as out.mp4")
    if URL.match(str(path)):
        raise InputError(f"output expected to be a file, got {path}; write a file and upload it")
    path = Path(path)
    encoding = choose_encoding(path, output_format)
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise InputError(
            f"{path}: output expected to be a file, got a device or a pipe; choose another with -o"
        )
    if os.path.isdir(path) and not encoding.is_folder:
        raise InputError(
            f"{path}: output expected to be a file, got a folder; name a file in it, such as {path / 'out.mp4'}"
        )
    if encoding.is_folder:
        _check_frame_folder(path)
    if not overwrite and os.path.exists(path) and not (encoding.is_folder and not os.listdir(path)):
        raise InputError(f"{path}: exists already; name another with -o, or add --overwrite")
    if os.path.isfile(path.parent):
        raise InputError(f"{path.parent}: output folder expected, got a file; choose another with -o")
    if not os.path.isdir(path.parent):
        raise InputError(
            f"{path.parent}: output folder doesn't exist; create it with: mkdir -p {shlex.quote(str(path.parent))}"
        )
    # As long as the name under which `write_video` begins.
    probe = path.with_name(f".{path.stem}.probing{path.suffix}")
    try:
        probe.touch()
        probe.unlink(missing_ok=True)
    except ValueError:
        raise InputError(
            f"{str(path)!r}: output's name holds a NUL character; choose another with -o"
        ) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"{path}: output's name is too long, as it gets 9 letters more while it is written; choose a shorter one with -o"
            ) from None
        raise InputError(
            f"{path.parent}: output folder can't be written ({error_reason(error)}); choose another with -o"
        ) from None
    return path


def _check_frame_folder(path: Path) -> None:
    """Raise InputError where a folder of frames would take the place of other files."""
    if not path.name or path.name == "..":
        raise InputError(f"{path}: output expected to be a new folder of frames; name one, such as frames")
    if os.path.exists(path) and not os.path.isdir(path):
        raise InputError(
            f"{path}: output expected to be a folder of frames, got a file; choose another with -o"
        )
    others = [name for name in os.listdir(path) if not FRAME_NAME.fullmatch(name)] if path.exists() else []
    if others:
        raise InputError(
            f"{path}: output expected to be a new folder, or one of frames, got one with {others[0]}; choose another with -o"
        )


def check_not_input(output: Path, **inputs: object) -> None:
    """Check that the output is none of the files that are read, which would be lost while it is needed, or for good.

    Args:
      output: the file to write.
      **inputs: for each role ("input", "mask") a path, "clip.mp4@2.5" (a frame of a clip), or anything else, which is no file.

    Raises:
      InputError: it is one of them.
    """
    for role, value in inputs.items():
        if not isinstance(value, str | Path):
            continue
        for path in {Path(value), Path(str(value).rpartition("@")[0] or value)}:
            # os.path.isfile takes too long a name for no file; Path.is_file raises.
            if os.path.isfile(path) and os.path.exists(output) and output.samefile(path):
                raise InputError(f"{output}: output is the {role}; name another file with -o")


def check_folder(path: str | Path, option: str) -> None:
    """Check that a folder can be made and written; a folder made for this check is removed again.

    Args:
      path: the folder.
      option: the option to name as the remedy.

    Raises:
      InputError: it can't.
    """
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
    """Return the reason that the system or FFmpeg gives, in lower case for the middle of a line."""
    reason = error.strerror if isinstance(error, OSError | FFmpegError) else None
    return (reason or str(error)).strip().rstrip(".").lower()
