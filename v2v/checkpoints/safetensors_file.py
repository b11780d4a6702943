"""safetensors files: their header is read and checked, and they are written under a temporary name first.

A file is an 8-byte little-endian length n, n bytes of JSON header {name: {dtype, shape, data_offsets}, "__metadata__": {...}}, then
the raw little-endian data. Everything a broken download can do to it shows in the header and the file's size, so a file is checked in
full before a single tensor is read.
"""

import contextlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from v2v.checkpoints.tensor_slot import FLOAT_DTYPES, OTHER_DTYPES, TensorSlot, count_bytes
from v2v.errors import InputError
from v2v.runtime import text_files

# The format's own limit.
MAX_HEADER_BYTES = 100 << 20


def write_safetensors(
    path: str | Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """Write one file under a temporary name, then rename it.

    Args:
      path: the file to write.
      tensors: arrays by name.
      metadata: entries of the header's "__metadata__".
    """
    path = Path(path)
    codes = {np.dtype(t): code for code, t in {**FLOAT_DTYPES, **OTHER_DTYPES}.items()}
    header: dict[str, dict[str, Any]] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    offset = 0
    for name, x in tensors.items():
        size = int(x.size) * x.dtype.itemsize
        header[name] = {
            "dtype": codes[x.dtype],
            "shape": list(x.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text)
            for x in tensors.values():
                f.write(np.ascontiguousarray(x).tobytes())
        os.replace(partial, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def read_header(path: Path) -> tuple[dict[str, TensorSlot], dict[str, str]]:
    """Read the places of a file's tensors and its metadata.

    Raises:
      InputError: a damaged or truncated file.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as f:
            start = f.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            text = f.read(length) if 0 < length <= min(MAX_HEADER_BYTES, size - 8) else b""
    except OSError as err:
        raise InputError(
            f"{path}: expected a safetensors file, got {(err.strerror or str(err)).lower()}; check its permissions"
        ) from err
    try:
        header = text_files.parse_json(text)
        metadata = header.pop("__metadata__", None)
        metadata = {} if metadata is None else metadata  # some tools write null
        slots = {name: _parse_slot(path, entry, 8 + length) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise InputError(
            f"{path}: expected a safetensors file, its header can't be read; fetch it again"
        ) from err
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputError(
            f"{path}: expected __metadata__ to map names to texts, got other values; export the file again"
        )
    need = max((s.start + s.size for s in slots.values()), default=8 + length)
    if size < need:
        raise InputError(
            f"{path}: truncated: its header promises {need:,} bytes, got {size:,}; fetch it again"
        )
    for name, s in slots.items():
        if s.dtype in (*FLOAT_DTYPES, *OTHER_DTYPES) and count_bytes(s.dtype, s.shape) != s.size:
            raise InputError(
                f"{path}: {name} of shape {list(s.shape)} {s.dtype} doesn't fill its {s.size} bytes; fetch it again"
            )
    return slots, metadata


def _parse_slot(path: Path, entry: dict[str, Any], data_start: int) -> TensorSlot:
    """Return the place of a tensor from its entry in the header; raise ValueError, KeyError or TypeError where it is none."""
    dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not isinstance(shape, list):
        raise TypeError("expected the name of a type and a list of sizes")
    # Python's own bool is an int, and no size.
    if not all(type(n) is int and 0 <= n < 1 << 63 for n in (*shape, start, end)) or end < start:
        raise ValueError("expected sizes and offsets as integers from 0 on")
    return TensorSlot(path, dtype, tuple(shape), data_start + start, end - start)
