"""Outlines of a repository's model: files of the right size that hold their header and zeros, which take no room on the disk.

So a model is examined and checked before its first gigabyte is fetched.
"""

import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from v2v.checkpoints import gguf_file, hub_client, hub_files, torch_file
from v2v.checkpoints.hub_client import HubFile, Repository
from v2v.checkpoints.part_files import guess_part
from v2v.errors import InputError

# Bytes read at first of a file of weights; most headers are shorter.
HEADER_GUESS = 1 << 18
# Bytes read at either end of a file of torch.save.
ARCHIVE_END = 1 << 20
# Bytes read of a GGUF file: more than the names of a transformer's tensors take.
GGUF_HEADER = 1 << 20


def model_files(repository: Repository) -> list[HubFile]:
    """Return the files of a repository that its layout needs.

    Raises:
      InputError: it holds no model.
    """
    selected = set(hub_files.select_files(list_paths(repository)))
    files = [file for file in repository.files if file.path in selected]
    has_weights = any(
        file.path.endswith(".safetensors")
        or (file.path.endswith(torch_file.SUFFIXES) and guess_part(file.path) == "dit")
        for file in files
    )
    if not has_weights and not hub_files.is_converted(selected):
        raise InputError(
            f"{repository.name}: expected a model (transformer/, vae/, text_encoder/, tokenizer/), found "
            f"{hub_files.describe_content(list_paths(repository))}; v2v models lists what is known to work"
        )
    return files


def list_paths(repository: Repository) -> list[str]:
    """Return the paths of a repository's files."""
    return [file.path for file in repository.files]


@contextmanager
def outline(
    repository: Repository, with_tokenizer: bool = True, files: Sequence[HubFile] | None = None
) -> Iterator[Path]:
    """Make a folder of outlines of a repository's model: configurations whole, of weights the headers.

    Errors that name the folder name the repository instead.

    Args:
      repository: the repository.
      with_tokenizer: fetch tokenizer.json too, some megabytes; else it is empty.
      files: those of it that are outlined; None for all that its layout needs.

    Yields:
      the folder, which is removed at the end of the block.

    Raises:
      InputError: no access, no connection, or a file that holds no tensors.
    """
    files = model_files(repository) if files is None else files
    with tempfile.TemporaryDirectory(prefix="v2v-outline-") as temporary:
        folder = Path(temporary) / repository.name.repository.rpartition("/")[2]
        for path in hub_files.select_unreadable(list_paths(repository)):
            _place(folder, path, b"")
        for file in files:
            if file.path.endswith(".safetensors"):
                _place(folder, file.path, _read_header(repository, file), file.size)
            elif file.path.endswith(gguf_file.SUFFIX):
                _place_gguf(folder, repository, file)
            elif file.path.endswith(torch_file.SUFFIXES):
                _place_ends(folder, repository, file)
            elif file.path.endswith(".json") and (with_tokenizer or not file.path.endswith("tokenizer.json")):
                _place(folder, file.path, hub_client.read_range(repository, file.path, 0, file.size))
            else:
                _place(folder, file.path, b"")
        try:
            yield folder
        except InputError as error:
            raise InputError(str(error).replace(str(folder), str(repository.name))) from error


def _read_header(repository: Repository, file: HubFile) -> bytes:
    """Read the header of a safetensors file with the 8 bytes before it; what is no header is returned as it is."""
    data = hub_client.read_range(repository, file.path, 0, min(HEADER_GUESS, file.size))
    length = 8 + struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if len(data) < length <= file.size:
        data = hub_client.read_range(repository, file.path, 0, length)
    return data[:length] if 8 < length <= len(data) else data


def _place(folder: Path, path: str, data: bytes, size: int | None = None) -> None:
    """Write a file of `size` bytes that begins with `data`."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    if size is not None and size > len(data):
        os.truncate(target, size)


def _place_ends(folder: Path, repository: Repository, file: HubFile) -> None:
    """Write a file of torch.save without its values: its index of tensors is at the beginning, the archive's directory at the end."""
    head = min(ARCHIVE_END, file.size)
    _place(folder, file.path, hub_client.read_range(repository, file.path, 0, head), file.size)
    if head < file.size:
        start = max(head, file.size - ARCHIVE_END)
        with open(folder / file.path, "r+b") as f:
            f.seek(start)
            f.write(hub_client.read_range(repository, file.path, start, file.size - start))


def _place_gguf(folder: Path, repository: Repository, file: HubFile) -> None:
    """Write a GGUF file without its values."""
    size = min(GGUF_HEADER, file.size)
    _place(folder, file.path, hub_client.read_range(repository, file.path, 0, size), file.size)
    length = gguf_file.measure_header(folder / file.path)
    if length > size:  # a long one, whose end was taken for zeros
        raise InputError(
            f"{repository.name}: the header of {file.path} is longer than {size} bytes; fetch the file and name it"
        )
