"""Weights in the blocks of GGUF: a row is cut into blocks of 32 or 256 values, each a few bits, with scales beside them.

    Q8_0             w = d q               Q4_1, Q5_1       w = d q + m            blocks of 32, one scale d, one minimum m
    Q4_0, Q5_0       w = d (q - half)
    Q2_K, Q4_K, Q5_K w = d s q - e t       Q3_K, Q6_K       w = d s (q - half)     blocks of 256, small scales s and minima t of each 16 or 32

They are read as float32. Bits lie as the format's definition says; each function takes the bytes of blocks [n, bytes] and returns their
values [n, values].
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from v2v.array_types import Float

# Blocks that are unpacked at a time, so that what is unpacked stays small beside the result.
PIECE = 1 << 13


@dataclass(frozen=True)
class BlockFormat:
    """A format of blocks.

    Attributes:
      values: of a block.
      size: bytes of a block.
      unpack: bytes of blocks, uint8 [n, size], to their values, float32 [n, values].
    """

    values: int
    size: int
    unpack: Callable[[np.ndarray], np.ndarray]


def dequantize(data: np.ndarray, dtype: str) -> Float[np.ndarray, "n"]:
    """Return the values of blocks, float32.

    Args:
      data: bytes of whole blocks.
      dtype: a name of `BLOCK_FORMATS`.
    """
    stored = BLOCK_FORMATS[dtype]
    blocks = data.reshape(-1, stored.size)
    out = np.empty((len(blocks), stored.values), np.float32)
    for start in range(0, len(blocks), PIECE):
        out[start : start + PIECE] = stored.unpack(blocks[start : start + PIECE])
    return out.reshape(-1)


def _half(bytes_of_two: np.ndarray) -> np.ndarray:
    """Return numbers of 16 bits [n, 1] in bytes [n, 2] as float32."""
    return np.ascontiguousarray(bytes_of_two).view(np.float16).astype(np.float32)


def _nibbles(packed: np.ndarray) -> np.ndarray:
    """Return the lower halves of bytes [..., n], and behind them the upper ones, [..., 2 n]."""
    return np.concatenate([packed & 15, packed >> 4], -1)


def _fifth_bits(packed: np.ndarray) -> np.ndarray:
    """Return the bits of four bytes [n, 4], from the lowest of the first on, shifted to the fifth place, uint8 [n, 32]."""
    return np.unpackbits(packed, axis=-1, bitorder="little") << 4


def _unpack_q4_0(blocks: np.ndarray) -> np.ndarray:
    return _half(blocks[:, :2]) * (_nibbles(blocks[:, 2:]).astype(np.int8) - 8)


def _unpack_q4_1(blocks: np.ndarray) -> np.ndarray:
    return _half(blocks[:, :2]) * _nibbles(blocks[:, 4:]) + _half(blocks[:, 2:4])


def _unpack_q5_0(blocks: np.ndarray) -> np.ndarray:
    numbers = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])
    return _half(blocks[:, :2]) * (numbers.astype(np.int8) - 16)


def _unpack_q5_1(blocks: np.ndarray) -> np.ndarray:
    numbers = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])
    return _half(blocks[:, :2]) * numbers + _half(blocks[:, 2:4])


def _unpack_q8_0(blocks: np.ndarray) -> np.ndarray:
    return _half(blocks[:, :2]) * blocks[:, 2:].view(np.int8)


def _pairs(packed: np.ndarray) -> np.ndarray:
    """Return the pairs of bits of bytes [n, 64] in halves of 32 bytes, the lowest pair of all bytes of a half first: uint8 [n, 2, 4, 32]."""
    shifts = np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    return packed.reshape(-1, 2, 1, 32) >> shifts & 3


def _unpack_q2_k(blocks: np.ndarray) -> np.ndarray:
    scales, numbers = blocks[:, :16], _pairs(blocks[:, 16:80]).reshape(-1, 16, 16)
    factors, minima = _half(blocks[:, 80:82]) * (scales & 15), _half(blocks[:, 82:84]) * (scales >> 4)
    return (factors[..., None] * numbers - minima[..., None]).reshape(-1, 256)


def _unpack_q3_k(blocks: np.ndarray) -> np.ndarray:
    high, numbers, packed = blocks[:, :32], _pairs(blocks[:, 32:96]), blocks[:, 96:108]
    low = _nibbles(packed[:, :8])
    upper = (packed[:, None, 8:] >> np.arange(0, 8, 2, dtype=np.uint8)[:, None] & 3).reshape(-1, 16)
    scales = (low | upper << 4).astype(np.int8) - 32
    bits = (high[:, None] >> np.arange(8, dtype=np.uint8)[:, None] & 1).reshape(-1, 2, 4, 32)
    numbers = (numbers | bits << 2).astype(np.int8) - 4
    factors = _half(blocks[:, 108:110]) * scales
    return (factors[..., None] * numbers.reshape(-1, 16, 16)).reshape(-1, 256)


def _scales_and_minima(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scales and minima of 6 bits each, [n, 8], in twelve bytes [n, 12]."""
    first, second, last = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, last & 15 | first >> 6 << 4], -1)
    minima = np.concatenate([second & 63, last >> 4 | second >> 6 << 4], -1)
    return scales, minima


def _unpack_scaled(blocks: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the values of numbers [n, 8, 32] with the scales and minima that begin Q4_K and Q5_K blocks."""
    scales, minima = _scales_and_minima(blocks[:, 4:16])
    factors, offsets = _half(blocks[:, :2]) * scales, _half(blocks[:, 2:4]) * minima
    return (factors[..., None] * numbers - offsets[..., None]).reshape(-1, 256)


def _unpack_q4_k(blocks: np.ndarray) -> np.ndarray:
    return _unpack_scaled(blocks, _nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32))


def _unpack_q5_k(blocks: np.ndarray) -> np.ndarray:
    fifth = blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    numbers = _nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    return _unpack_scaled(blocks, numbers | fifth << 4)


def _unpack_q6_k(blocks: np.ndarray) -> np.ndarray:
    lower = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    numbers = (lower | _pairs(blocks[:, 128:192]) << 4).astype(np.int8) - 32
    factors = _half(blocks[:, 208:]) * blocks[:, 192:208].view(np.int8)
    return (factors[..., None] * numbers.reshape(-1, 16, 16)).reshape(-1, 256)


BLOCK_FORMATS = {
    "Q4_0": BlockFormat(32, 18, _unpack_q4_0),
    "Q4_1": BlockFormat(32, 20, _unpack_q4_1),
    "Q5_0": BlockFormat(32, 22, _unpack_q5_0),
    "Q5_1": BlockFormat(32, 24, _unpack_q5_1),
    "Q8_0": BlockFormat(32, 34, _unpack_q8_0),
    "Q2_K": BlockFormat(256, 84, _unpack_q2_k),
    "Q3_K": BlockFormat(256, 110, _unpack_q3_k),
    "Q4_K": BlockFormat(256, 144, _unpack_q4_k),
    "Q5_K": BlockFormat(256, 176, _unpack_q5_k),
    "Q6_K": BlockFormat(256, 210, _unpack_q6_k),
}
