"""Splash attention, Pallas' flash attention for TPUs, with padding to its blocks.

Within 2e-5 of the plain kernel in float32, 2e-2 in bfloat16.

A block is a multiple of 128 tokens and divides the padded length; among the multiples from half of the chip's limit to the limit the one
that pads least is used (54,560 tokens: 61 blocks of 896, 0.2 % padding). Limits by chip (`BLOCK_LIMITS`):

    chip      queries  keys  at a time    VMEM's logits
    v6e          2048  2048       1024          8 MiB      twice the queries: keys and values are read half as often; fewer, longer steps
    v5p          1024  2048       1024          4 MiB      a kernel may take 16 MiB there, and training's, which also writes statistics, takes more
                                                           from 1,536 queries on
    others       1024  1024       1024          4 MiB      v5e and v4, whose kernels get half of that memory
    backward     1024  1024       1024                     on every chip: two more blocks of logits are held

A block of queries stays in VMEM while all keys pass it, so keys are read l / queries times; "at a time" bounds the logits in VMEM, queries x
keys x 4 bytes. The rates of v6e and v5p are not measured here; tuned sizes that others publish for them are 3024, 2048 and 1024 (MaxDiffusion,
Wan 14B, heads of 128 too). `tools/bench/splash_blocks.py` measures the choices on the chip at hand.

Padded keys belong to another segment than the queries;
without padding no segments are passed, which is faster. Heads narrower than 128 are padded with zero channels, which change no logit.
The kernel doesn't scale its logits, so q is scaled before.
"""

from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp

from v2v.array_types import Array, Float
from v2v.runtime import platform

# Width of a TPU's vector registers.
LANES = 128
# Largest number of queries or keys in a block of the backward kernels, and of the forward one where the table has no more.
MAX_BLOCK = 1024


@dataclass(frozen=True)
class BlockLimits:
    """The largest blocks of the forward kernel.

    Attributes:
      queries: tokens of a block of queries.
      keys: tokens of a block of keys and values in VMEM; where it is more than `MAX_BLOCK`, logits are computed for a half of it at a time.
    """

    queries: int = MAX_BLOCK
    keys: int = MAX_BLOCK


# By kind of device.
BLOCK_LIMITS = {
    **{kind: BlockLimits(2048, 2048) for kind in ("TPU v6 lite", "TPU v6e")},
    **{kind: BlockLimits(MAX_BLOCK, 2048) for kind in ("TPU v5", "TPU v5p")},
}


def attend(
    q: Float[Array, "b l h k"],
    k: Float[Array, "b s h k"],
    v: Float[Array, "b s h k"],
    length: int | None = None,
    limits: BlockLimits | None = None,
    interpret: bool = False,
    *,
    tensor: str = "self_attention",
) -> Float[Array, "b l h k"]:
    """Attend (see `Kernel`).

    Args:
      q: queries.
      k: keys.
      v: values.
      length: number of keys that count; None for all.
      limits: largest blocks; None for those of the chip.
      interpret: whether to run the kernel without a TPU, slowly: for tests.
      tensor: as in `Kernel`.
    """
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    lq, heads, width = q.shape[1:]
    length = k.shape[1] if length is None else length
    if limits is None:
        limits = BLOCK_LIMITS.get(platform.target_kind(), BlockLimits())
    bq, bkv = block_size(lq, limits.queries), block_size(k.shape[1], limits.keys)
    at_a_time = bkv // 2 if bkv > MAX_BLOCK else bkv
    # Blocks of the backward kernels divide the same padded lengths.
    bq_back, bkv_back = (b // 2 if b > MAX_BLOCK else b for b in (bq, bkv))
    scale = jnp.asarray(width**-0.5, q.dtype)
    q, k, v = _pad_to_blocks(q * scale, bq), _pad_to_blocks(k, bkv), _pad_to_blocks(v, bkv)
    queries, keys = q.shape[2], k.shape[2]

    sizes = splash.BlockSizes(
        block_q=bq, block_kv=bkv, block_kv_compute=at_a_time, block_q_dkv=bq_back, block_kv_dkv=bkv_back,
        block_kv_dkv_compute=bkv_back, block_q_dq=bq_back, block_kv_dq=bkv_back,
    )  # fmt: skip
    mask = splash.MultiHeadMask([splash.FullMask((queries, keys))] * heads)
    kernel = splash.make_splash_mha(
        mask,
        block_sizes=sizes,
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
        residual_checkpoint_name=tensor,
    )
    segments = None
    if length < keys:
        segments = splash.SegmentIds(
            q=jnp.zeros(queries, jnp.int32), kv=(jnp.arange(keys) >= length).astype(jnp.int32)
        )
    # Without residuals to save, the kernel returns one array.
    out = jax.vmap(lambda q, k, v: cast(jax.Array, kernel(q, k, v, segments)))(q, k, v)
    return out.swapaxes(1, 2)[:, :lq, :, :width]


def block_size(length: int, largest: int = MAX_BLOCK) -> int:
    """Return the multiple of 128 up to `largest` that pads `length` least; the larger of two that pad the same.

    Args:
      length: number of tokens.
      largest: tokens of a block.
    """
    # Blocks larger than `MAX_BLOCK` are halved.
    step = LANES if largest <= MAX_BLOCK else 2 * LANES
    padded = -(-length // step) * step
    if padded <= largest:
        return padded
    candidates = range(largest, largest // 2 - 1, -step)
    return min(candidates, key=lambda b: -(-length // b) * b)


def _pad_to_blocks(x: Float[Array, "b l h k"], block: int) -> Float[Array, "b h l2 k2"]:
    """Move heads before tokens; pad tokens to whole blocks and channels to whole lanes."""
    x = x.swapaxes(1, 2)
    return jnp.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % block), (0, -x.shape[3] % LANES)))
