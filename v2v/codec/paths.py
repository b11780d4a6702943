"""What a path alone tells: errors about files found before anything is decoded or computed. Used by `codec/video.py` and the CLI."""

from pathlib import Path

from v2v.errors import InputError

STILLS = (".png", ".jpg", ".jpeg")
CLIPS = (".mp4", ".m4v", ".mov")


def check_readable(path: Path, what: str = "") -> None:
    """Raises InputError unless `path` is a file with something in it; `what` it is for, such as "mask ", begins the line."""
    try:
        if path.is_dir():
            raise InputError(f"{what}{path}: expected a video file, got a folder")
        if not path.exists():
            raise InputError(f"{what}{path}: no such file; expected a video or an image")
        if not path.is_file():
            raise InputError(
                f"{what}{path}: expected a regular file, got a device or a pipe; save it to a file first"
            )
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise InputError(f"{what}{path}: can't be read ({reason(error)})") from None
    if empty:
        raise InputError(f"{what}{path}: expected a video file, got an empty file (0 bytes)")


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
    probe = path.with_name(f".{path.stem}.probing{path.suffix}")  # as long a name as is written to
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"{path.parent}: output folder can't be written ({reason(error)}); choose another with -o"
        ) from None
    return path


def check_apart(output: Path, **read: object) -> None:
    """Raises InputError when the output is one of the files that are read: it would be lost while it is needed, or for good.

    Args:
      read: what each is → a path, "clip.mp4@2.5" (a frame of a clip), or anything else, which is no file.
    """
    for what, given in read.items():
        if not isinstance(given, str | Path):
            continue
        for path in {Path(given), Path(str(given).rpartition("@")[0] or given)}:
            if path.is_file() and output.exists() and output.samefile(path):
                raise InputError(f"{output}: output is the {what}; name another file with -o")


def reason(error: Exception) -> str:
    """What the system or FFmpeg says, fit for the middle of a line."""
    return (getattr(error, "strerror", None) or str(error)).strip().rstrip(".").lower()
