"""Checksums of the files of a folder, recorded when it is complete and compared before it is read.

checkpointing.py -> **checksums**
"""

import json
import zlib
from pathlib import Path

CHECKSUMS_FILE = "checksums.json"
# Bytes that are read at a time.
CHUNK = 1 << 22


class ChangedFileError(Exception):
    """A file is not what it was when its checksum was recorded."""


def record_checksums(folder: Path) -> None:
    """Write size and CRC-32 of every file of a folder to `CHECKSUMS_FILE` in it; a folder that can't be read or written gets none.

    Args:
      folder: a complete folder, which is changed no more.
    """
    try:
        sums = {
            str(path.relative_to(folder)): [path.stat().st_size, _checksum(path)]
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        partial = folder / f".{CHECKSUMS_FILE}.partial"
        partial.write_text(json.dumps(sums, indent=1))
        partial.rename(folder / CHECKSUMS_FILE)
    except OSError:  # a full disk, or a save that was removed: it stays readable without
        return


def check_checksums(folder: Path) -> None:
    """Compare the files of a folder with their checksums; one without, of an earlier version or not finished, is taken as it is.

    Raises:
      ChangedFileError: names a file that is missing or has changed.
    """
    try:
        sums = json.loads((folder / CHECKSUMS_FILE).read_text())
    except OSError:
        return
    except ValueError:
        raise ChangedFileError(f"{CHECKSUMS_FILE} is damaged") from None
    for name, (size, checksum) in sums.items():
        path = folder / name
        if not path.is_file():
            raise ChangedFileError(f"{name} is missing")
        if path.stat().st_size != size:
            raise ChangedFileError(f"{name} has {path.stat().st_size} bytes, expected {size}")
        if _checksum(path) != checksum:
            raise ChangedFileError(f"{name} has changed since it was written")


def _checksum(path: Path) -> int:
    """Return the CRC-32 of a file."""
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
