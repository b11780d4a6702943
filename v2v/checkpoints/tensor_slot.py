"""Where the tensors of a file lie, and how one is read: the same for every format that stores them as raw bytes."""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from v2v.checkpoints import gguf_blocks
from v2v.checkpoints.gguf_blocks import BLOCK_FORMATS
from v2v.errors import InputError

FLOAT_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
OTHER_DTYPES = {
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
READABLE_DTYPES = (*FLOAT_DTYPES, *BLOCK_FORMATS)
# A member of a ZIP archive begins with this many bytes, of which the last four are the lengths of its name and of an extra field.
ZIP_HEADER = struct.Struct("<4s22xHH")


@dataclass(frozen=True)
class TensorSlot:
    """The place of one tensor in a file.

    Attributes:
      file: the file.
      dtype: the code of safetensors, such as "BF16", or of GGUF's blocks, such as "Q4_K".
      shape: the tensor's shape.
      start: byte offset in the file; in a ZIP archive of the header of the member that holds it.
      size: length in bytes.
      strides: in values, where they are not those of C order; then `size` covers all that they reach.
      member_offset: where the tensor begins in its member of a ZIP archive; None outside of archives.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int
    strides: tuple[int, ...] | None = None
    member_offset: int | None = None


def read_slot(slot: TensorSlot, name: str) -> np.ndarray:
    """Read one tensor in the file's own type: floats of 8 to 64 bits, or a scalar integer (the alpha of some LoRA files); blocks of GGUF in float32.

    Args:
      slot: its place.
      name: its name, for messages.

    Raises:
      InputError: another type, NaN or infinite values, or a file that ends early.
    """
    if slot.dtype in BLOCK_FORMATS:
        return _read_blocks(slot, name)
    is_scalar = slot.dtype in OTHER_DTYPES and slot.shape in ((), (1,))
    if not is_scalar and slot.dtype not in FLOAT_DTYPES:
        raise InputError(
            f"{slot.file}: {name} is {slot.dtype}, expected one of {', '.join(FLOAT_DTYPES)}; use the unquantized checkpoint"
        )
    data = read_bytes(slot, name)
    x = data.view({**FLOAT_DTYPES, **OTHER_DTYPES}[slot.dtype])
    if slot.strides is None:
        x = x.reshape(slot.shape)
    else:
        x = np.lib.stride_tricks.as_strided(x, slot.shape, [n * x.itemsize for n in slot.strides]).copy()
    if not is_scalar and not _is_finite(x):
        raise InputError(
            f"{slot.file}: {name} holds NaN or infinite values; the file is damaged, fetch it again"
        )
    return x


def _read_blocks(slot: TensorSlot, name: str) -> np.ndarray:
    """Read a tensor in blocks of GGUF, float32."""
    stored = BLOCK_FORMATS[slot.dtype]
    count, remainder = divmod(math.prod(slot.shape), stored.values)
    if remainder or slot.size != count * stored.size:
        raise InputError(
            f"{slot.file}: {name} {list(slot.shape)} has {slot.size} bytes, which are no {slot.dtype} of that shape; fetch it again"
        )
    x = gguf_blocks.dequantize(read_bytes(slot, name), slot.dtype).reshape(slot.shape)
    if not _is_finite(x):
        raise InputError(
            f"{slot.file}: {name} holds NaN or infinite values; the file is damaged, fetch it again"
        )
    return x


def read_bytes(slot: TensorSlot, name: str) -> np.ndarray:
    """Read the bytes of a tensor, uint8; `name` is for messages.

    Raises:
      InputError: a file that ends early or has changed.
    """
    with open(slot.file, "rb") as f:
        f.seek(slot.start)
        if slot.member_offset is not None:
            header = f.read(ZIP_HEADER.size)
            signature, *lengths = ZIP_HEADER.unpack(header) if len(header) == ZIP_HEADER.size else (b"", 0)
            if signature != b"PK\3\4":
                raise InputError(f"{slot.file}: {name} is not where its index says; fetch the file again")
            f.seek(sum(lengths) + slot.member_offset, 1)
        data = np.fromfile(f, np.uint8, slot.size)
    if data.size != slot.size:
        raise InputError(f"{slot.file}: ends inside {name}; fetch the file again")
    return data


# All exponent bits set means NaN or infinity (E4M3 has no infinity, and NaN is all ones); integer tests are quick where NumPy's isfinite on
# bfloat16 is not.
_EXPONENT_BITS = {
    "float8_e4m3fn": 0x7F,
    "float8_e5m2": 0x7C,
    "bfloat16": 0x7F80,
    "float16": 0x7C00,
    "float32": 0x7F800000,
    "float64": 0x7FF0000000000000,
}


def _is_finite(x: np.ndarray) -> bool:
    """Return whether no value of a float array is NaN or infinite."""
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    bits = unsigned.type(_EXPONENT_BITS[x.dtype.name])
    flat = x.reshape(-1).view(unsigned)
    step = 1 << 24  # in pieces, so that the test's own memory stays small
    return all(not ((flat[i : i + step] & bits) == bits).any() for i in range(0, flat.size, step))


def count_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of a tensor of a known type in C order."""
    return math.prod(shape) * np.dtype({**FLOAT_DTYPES, **OTHER_DTYPES}[dtype]).itemsize
