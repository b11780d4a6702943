"""Measure block sizes of the attention kernel for TPUs on the chip at hand, and print what the table of splash.py should say.

    python tools/bench/splash_blocks.py [--tokens 8190 16770 55440] [--heads 24] [--blocks 512 1024 2048 3072] [--backward]

The lengths are those of edits by the 5B model: Lucy-Edit and EasyV2V at 81x480x832, EasyV2V at 121x704x1280, over a chip's share of the
heads. Times are medians of calls that wait for their result; each is printed with its share of the chip's peak rate. Sizes that the compiler
refuses for want of memory are listed as such.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.bench import measurement
from v2v.models.attention_kernels import splash
from v2v.models.attention_kernels.splash import BlockLimits
from v2v.runtime import platform

HEAD_WIDTH = 128


def main() -> None:
    """Parse the command line, measure, print a line for each size and the best."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[8190, 16770, 55440])
    parser.add_argument("--heads", type=int, default=24, help="heads on the chip; 3 of 24 on each of eight")
    parser.add_argument("--blocks", type=int, nargs="+", default=[512, 1024, 2048, 3072])
    parser.add_argument("--backward", action="store_true", help="measure the gradient as well")
    parser.add_argument("--interpret", action="store_true", help="run without a TPU, to try this program")
    args = parser.parse_args()
    if platform.local_platform() != "tpu" and not args.interpret:
        parser.error(f"expected a TPU, got {jax.local_devices()[0].device_kind}; run it there")
    for tokens in args.tokens:
        seconds = {}
        for queries, keys in itertools.product(args.blocks, args.blocks):
            limits = BlockLimits(queries, keys)
            try:
                seconds[limits] = measure(limits, tokens, args.heads, args.backward, args.interpret)
            except jax.errors.JaxRuntimeError as error:
                print(
                    f"{tokens} tokens, {queries} x {keys}: refused, {str(error).splitlines()[0][:100]}",
                    flush=True,
                )
                continue
            rate = 4 * tokens**2 * args.heads * HEAD_WIDTH * (3.5 if args.backward else 1) / seconds[limits]
            text = f"{tokens} tokens, {queries} x {keys}: {1e3 * seconds[limits]:.2f} ms, {rate / 1e12:.1f} TFLOP/s"
            print(text, flush=True)
        if seconds:
            best = min(seconds, key=lambda limits: seconds[limits])
            print(f"{tokens} tokens on {platform.target_kind()}: best {best}", flush=True)


def measure(limits: BlockLimits, tokens: int, heads: int, backward: bool, interpret: bool) -> float:
    """Return the seconds of attention of all tokens to all, bfloat16, with blocks up to these limits."""
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, v = (jax.random.normal(key, (1, tokens, heads, HEAD_WIDTH), jnp.bfloat16) for key in keys)
    attend: Callable[..., jax.Array] = partial(splash.attend, limits=limits, interpret=interpret)

    def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attend(q, k, v).astype(jnp.float32).sum()

    run = jax.jit(jax.grad(loss, (0, 1, 2)) if backward else attend)
    return measurement.median_seconds(lambda: jax.block_until_ready(run(q, k, v)))


if __name__ == "__main__":
    main()
