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


def write(
    path: Path, tensors: dict[str, np.ndarray], quantized: bool = True, entries: bytes = b"", count: int = 2
) -> Path:
    """Write a file; matrices whose rows are whole blocks are in Q8_0 where `quantized`. `entries` are `count` more."""
    infos, data = b"", b""
    for name, x in tensors.items():
        is_matrix = quantized and x.ndim == 2 and x.shape[-1] % 32 == 0
        kind = Q8_0 if is_matrix else TYPES[x.dtype]
        data += b"\0" * (-len(data) % 32)
        infos += text(name) + struct.pack("<I", x.ndim) + struct.pack(f"<{x.ndim}Q", *x.shape[::-1])
        infos += struct.pack("<IQ", kind, len(data))
        data += (q8_0(x) if is_matrix else x).tobytes()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1 + count if entries else 1)
    head += text("general.architecture") + struct.pack("<I", 8) + text("wan") + entries + infos
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)
    return path


def llama_names(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of a text encoder under the names that they have in GGUF files."""
    names = (
        ("encoder.final_layer_norm", "enc.output_norm"),
        ("layer.0.layer_norm", "attn_norm"),
        ("layer.0.SelfAttention.relative_attention_bias", "attn_rel_b"),
        ("layer.0.SelfAttention.", "attn_"),
        ("layer.1.layer_norm", "ffn_norm"),
        ("layer.1.DenseReluDense.wi_0", "ffn_gate"),
        ("layer.1.DenseReluDense.wi_1", "ffn_up"),
        ("layer.1.DenseReluDense.wo", "ffn_down"),
        ("encoder.block.", "enc.blk."),
        ("shared", "token_embd"),
    )
    out = {}
    for name, x in tensors.items():
        for published, short in names:
            name = name.replace(published, short)
        out[name] = x
    return out


def vocabulary(pieces: list[tuple[str, float, int]]) -> bytes:
    """Four entries: the kind of a vocabulary, and texts, scores and kinds of its pieces."""
    texts, scores, kinds = zip(*pieces, strict=True)
    count = len(pieces)
    return b"".join(
        [
            text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("t5"),
            text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, count) + b"".join(map(text, texts)),
            text("tokenizer.ggml.scores") + struct.pack(f"<IIQ{count}f", 9, 6, count, *scores),
            text("tokenizer.ggml.token_type") + struct.pack(f"<IIQ{count}i", 9, 5, count, *kinds),
        ]
    )
