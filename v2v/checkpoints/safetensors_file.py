"""safetensors files, read one tensor at a time and written under a temporary name first.

A file is an 8-byte little-endian length n, n bytes of JSON header {name: {dtype, shape, data_offsets}, "__metadata__": {...}}, then
the raw little-endian data. Everything a broken download can do to it shows in the header and the file's size, so a checkpoint is
checked in full when it is opened, before a single tensor is read. A sharded checkpoint is an index {"weight_map": {name: file}}.
"""

import contextlib
import json
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from v2v.errors import InputError
from v2v.runtime import text_files

FLOAT_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
OTHER_DTYPES = {
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
INDEX_SUFFIX = ".safetensors.index.json"
# The format's own limit.
MAX_HEADER_BYTES = 100 << 20


@dataclass(frozen=True)
class TensorSlot:
    """The place of one tensor in a file.

    Attributes:
      file: the file.
      dtype: the format's own code, such as "BF16".
      shape: the tensor's shape.
      start: byte offset in the file.
      size: length in bytes.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


class TensorFiles:
    """The tensors of one checkpoint by name, read one at a time.

    Attributes:
      path: the file, or the index of a sharded checkpoint.
      slots: the place of every tensor, by name.
      metadata: entries of the headers' "__metadata__".
    """

    def __init__(self, path: Path, slots: dict[str, TensorSlot], metadata: dict[str, str]):
        self.path, self.slots, self.metadata = path, slots, metadata

    @classmethod
    def open(cls, path: str | Path) -> "TensorFiles":
        """Open a `.safetensors` file, an index file, or a folder that holds one of either; reads headers only.

        Raises:
          InputError: missing or truncated files, an index with missing files or tensors, or pickles.
        """
        path = _find_file(Path(path))
        if not path.name.endswith(INDEX_SUFFIX):
            slots, metadata = _read_header(path)
            return cls(path, slots, metadata)
        text = text_files.read_text(path)
        try:
            weight_map = text_files.parse_json(text)["weight_map"]
            files = sorted(set(weight_map.values()))
            if not all(isinstance(name, str) for name in files):
                raise TypeError("names of files must be texts")
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise InputError(
                f"{path}: expected an index with a weight_map of names to files ({err}); fetch it again"
            ) from err
        absent = [name for name in files if not (path.parent / name).is_file()]
        if absent:
            raise InputError(
                f"{path}: names {len(files)} files, {len(absent)} not there: {', '.join(absent)}; fetch them into {path.parent}"
            )
        slots, metadata = {}, {}
        for name in files:
            file_slots, file_metadata = _read_header(path.parent / name)
            slots.update(file_slots)
            metadata.update(file_metadata)
        missing = sorted(set(weight_map) - set(slots))
        if missing:
            raise InputError(
                f"{path}: {len(missing)} tensors of the index are in none of its files, first {missing[0]}; fetch the shards again"
            )
        return cls(path, slots, metadata)

    def read(self, name: str) -> np.ndarray:
        """Read one tensor in the file's own type: floats of 16 to 64 bits, or a scalar integer (the alpha of some LoRA files).

        Raises:
          InputError: another type, NaN or infinite values, or a file that ends early.
        """
        slot = self.slots[name]
        if slot.dtype in OTHER_DTYPES and slot.shape in ((), (1,)):
            return np.fromfile(slot.file, OTHER_DTYPES[slot.dtype], 1, offset=slot.start).reshape(slot.shape)
        if slot.dtype not in FLOAT_DTYPES:
            raise InputError(
                f"{slot.file}: {name} is {slot.dtype}, expected one of {', '.join(FLOAT_DTYPES)}; use the unquantized checkpoint"
            )
        with open(slot.file, "rb") as f:
            f.seek(slot.start)
            data = np.fromfile(f, np.uint8, slot.size)
        if data.size != slot.size:
            raise InputError(f"{slot.file}: ends inside {name}; fetch the file again")
        x = data.view(FLOAT_DTYPES[slot.dtype]).reshape(slot.shape)
        if not _is_finite(x):
            raise InputError(
                f"{slot.file}: {name} holds NaN or infinite values; the file is damaged, fetch it again"
            )
        return x


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


def _find_file(path: Path) -> Path:
    """Return the index or the only safetensors file at `path`."""
    if path.suffix in (".pth", ".pt", ".bin", ".ckpt"):
        raise _pickle_error(path)
    if path.suffix == ".gguf":
        raise InputError(
            f"{path}: is quantized GGUF, which is not read; use the weights from Wan-AI/Wan2.2-TI2V-5B-Diffusers"
        )
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{path}: expected a .safetensors file or a folder with one, found nothing")
    indices = sorted(path.glob(f"*{INDEX_SUFFIX}"))
    if len(indices) == 1:
        return indices[0]
    files = sorted(path.glob("*.safetensors"))
    if not indices and len(files) == 1:
        return files[0]
    pickles = sorted(p for p in path.iterdir() if p.suffix in (".pth", ".pt", ".bin", ".ckpt"))
    if not indices and not files and pickles:
        raise _pickle_error(pickles[0])
    names = ", ".join(p.name for p in indices or files) or "neither"
    raise InputError(
        f"{path}: expected one *{INDEX_SUFFIX} or one .safetensors file, found {names}; pass the file itself"
    )


def _pickle_error(path: Path) -> InputError:
    """Return the error that refuses a pickle."""
    return InputError(
        f"{path}: expected safetensors, got a pickle, which can run code when opened and is never read; use the same weights from "
        "Wan-AI/Wan2.2-TI2V-5B-Diffusers (folders transformer, vae, text_encoder)"
    )


def _read_header(path: Path) -> tuple[dict[str, TensorSlot], dict[str, str]]:
    """Read the places of a file's tensors and its metadata; raise InputError for a damaged or truncated file."""
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
    dtypes = {**FLOAT_DTYPES, **OTHER_DTYPES}
    for name, s in slots.items():
        if s.dtype in dtypes and math.prod(s.shape) * np.dtype(dtypes[s.dtype]).itemsize != s.size:
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


# All exponent bits set means NaN or infinity; integer tests are quick where NumPy's isfinite on bfloat16 is not.
_EXPONENT_BITS = {
    2: {"bfloat16": 0x7F80, "float16": 0x7C00},
    4: {"float32": 0x7F800000},
    8: {"float64": 0x7FF0000000000000},
}


def _is_finite(x: np.ndarray) -> bool:
    """Return whether no value of a float array is NaN or infinite."""
    bits = _EXPONENT_BITS[x.dtype.itemsize][x.dtype.name]
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    flat = x.reshape(-1).view(unsigned)
    step = 1 << 24  # in pieces, so that the test's own memory stays small
    return all(
        not ((flat[i : i + step] & unsigned.type(bits)) == bits).any() for i in range(0, flat.size, step)
    )
