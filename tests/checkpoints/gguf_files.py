"""GGUF files for tests, written without the package gguf; tests/parity/test_gguf.py reads those that it writes."""

import struct
from pathlib import Path

import ml_dtypes
import numpy as np

from v2v.checkpoints import gguf_blocks

TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(ml_dtypes.bfloat16): 30}
Q8_0 = 8
# Where the scales of 16 bits lie in a block.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}  # fmt: skip


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def random_blocks(dtype: str, count: int) -> np.ndarray:
    """Bytes of blocks, uint8 [count, size], of any numbers and of scales between 0.5 and 2; the same for the same name."""
    rng = np.random.default_rng(list(dtype.encode()))
    blocks = rng.integers(0, 256, (count, gguf_blocks.BLOCK_FORMATS[dtype].size), np.uint8)
    for place in SCALES[dtype]:
        blocks[:, place : place + 2] = rng.uniform(0.5, 2, (count, 1)).astype(np.float16).view(np.uint8)
    return blocks


def q8_0(x: np.ndarray) -> np.ndarray:
    """An array in blocks of 32 numbers of 8 bits."""
    blocks = x.reshape(-1, 32).astype(np.float32)
    scale = (np.abs(blocks).max(1, keepdims=True) / 127).astype(np.float16)
    numbers = np.rint(blocks / np.maximum(scale.astype(np.float32), 1e-12)).astype(np.int8)
    return np.concatenate([scale.view(np.uint8), numbers.view(np.uint8)], 1)


def write(path: Path, tensors: dict[str, np.ndarray], quantized: bool = True, entries: bytes = b"") -> Path:
    """Write a file; matrices whose rows are whole blocks are in Q8_0 where `quantized`. `entries` are two more."""
    infos, data = b"", b""
    for name, x in tensors.items():
        is_matrix = quantized and x.ndim == 2 and x.shape[-1] % 32 == 0
        kind = Q8_0 if is_matrix else TYPES[x.dtype]
        data += b"\0" * (-len(data) % 32)
        infos += text(name) + struct.pack("<I", x.ndim) + struct.pack(f"<{x.ndim}Q", *x.shape[::-1])
        infos += struct.pack("<IQ", kind, len(data))
        data += (q8_0(x) if is_matrix else x).tobytes()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 3 if entries else 1)
    head += text("general.architecture") + struct.pack("<I", 8) + text("wan") + entries + infos
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)
    return path
