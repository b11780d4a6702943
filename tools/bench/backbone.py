"""Measure the backbone of v2v beside that of diffusers on the CPU, float32, same weights and inputs.

    python tools/bench/backbone.py [--threads 2]

Prints seconds, speed ratio, GFLOP/s and difference of a DiT of 90M parameters on 4,096 tokens (forward, and a train step's part: the
gradient of every weight) and of a VAE of 26M both ways, in turns; a matrix product of each library in the same run tells the machine's
speed. Needs the extra [parity]. On a machine with other load take --threads 1: CPU time of one pinned thread is then the clock;
otherwise it is the wall's.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.bench import measurement

CASES = ("matmul", "forward", "train", "encode", "decode")


def main() -> None:
    """Parse the command line and print a line a case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", type=int, default=9)
    parser.add_argument("--only", nargs="*", default=CASES, choices=CASES)
    args = parser.parse_args()
    clock = measurement.pin_threads(args.threads)
    print(f"{args.threads} threads, {args.layers} layers; least (median) of {args.repeats}, {clock.__name__}")
    for name in args.only:
        ours, theirs, flops = build_case(name, args.layers, args.threads)
        a, b = np.asarray(ours()), np.asarray(theirs())  # also compiles and warms up
        error = np.abs(a - b).max() / np.abs(b).max()
        times = np.array(
            [
                [measurement.measure(lambda run=run: np.asarray(run()), clock) for run in (ours, theirs)]
                for _ in range(args.repeats)
            ]
        )
        (least, other), (median, other_median) = times.min(0), np.median(times, 0)
        print(
            f"{name:8s} ours {least:6.2f} s ({median:6.2f})  diffusers {other:6.2f} s ({other_median:6.2f})"
            f"  speed {other / least:.2f} ({other_median / median:.2f}) of theirs"
            f"  {flops / least / 1e9:.0f} and {flops / other / 1e9:.0f} GFLOP/s  difference {error:.0e}",
            flush=True,
        )


def build_case(name: str, layers: int, threads: int) -> tuple[Callable, Callable, int]:
    """Return the calls of both sides, which give the same array up to rounding, and the FLOPs of one call.

    Args:
      name: One of CASES.
      layers: Number of layers of the DiT.
      threads: Number of threads of torch.
    """
    import jax
    import torch
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

    from v2v import config as c
    from v2v.models.autoencoder import VAE
    from v2v.models.transformer import DiT
    from v2v.runtime.flops import count_flops

    torch.set_num_threads(threads)
    if name == "matmul":
        x, w = normal(4096, 768), normal(768, 3072)
        product, tx, tw = jax.jit(lambda x, w: (x @ w).sum(-1)), torch.from_numpy(x), torch.from_numpy(w)
        return (
            functools.partial(product, *jax.device_put((x, w))),
            lambda: (tx @ tw).sum(-1),
            2 * x.size * w.shape[1],
        )

    config = c.ModelConfig(
        frames=13, height=1024, width=1024,
        dit=c.DiTConfig(width=768, ffn_width=3072, heads=6, layers=layers, text_width=512, dtype="float32"),
        vae=c.VAEConfig(base_dim=32, decoder_base_dim=48), text=c.TextConfig(width=512),
    )  # fmt: skip
    if name in ("forward", "train"):
        model = DiT(config.dit)
        z, text, tau = normal(1, 4, 64, 64, 48), normal(1, 512, 512), np.float32([0.7])
        theirs = WanTransformer3DModel(
            num_attention_heads=6, attention_head_dim=128, in_channels=48, out_channels=48, text_dim=512,
            ffn_dim=3072, num_layers=layers,
        )  # fmt: skip
        params = share_weights("dit", config, theirs)
        inputs = to_channels_first(z), torch.from_numpy(1000 * tau), torch.from_numpy(text)

        def velocity(params):
            return model.apply({"params": params}, z, tau, text)

        def torch_gradient():
            theirs.zero_grad()
            theirs(*inputs).sample.square().mean().backward()
            return theirs.blocks[0].attn1.to_q.weight.grad.numpy().T

        if name == "forward":
            ours = jax.jit(velocity)
            return (
                functools.partial(ours, params),
                no_grad(lambda: to_channels_last(theirs(*inputs).sample)),
                count_flops(jax.make_jaxpr(velocity)(params)),
            )
        gradient = jax.grad(lambda params: (velocity(params) ** 2).mean())
        ours = jax.jit(gradient)

        def jax_gradient():
            return jax.block_until_ready(ours(params))["blocks"]["self_attn"]["q"]["kernel"][0]

        return jax_gradient, torch_gradient, count_flops(jax.make_jaxpr(gradient)(params))

    theirs = AutoencoderKLWan(
        base_dim=32, decoder_base_dim=48, z_dim=48, dim_mult=[1, 2, 4, 4], num_res_blocks=2,
        temperal_downsample=[False, True, True], is_residual=True, in_channels=12, out_channels=12, patch_size=2,
        scale_factor_temporal=4, scale_factor_spatial=16, latents_mean=[0.0] * 48, latents_std=[1.0] * 48,
    )  # fmt: skip
    params = share_weights("vae", config, theirs)
    x = np.tanh(normal(1, 9, 128, 192, 3)) if name == "encode" else normal(1, 3, 8, 12, 48)
    apply = functools.partial(VAE(config.vae).apply, method=name)

    def torch_pass():
        inputs = to_channels_first(x)
        out = theirs.encode(inputs).latent_dist.mode() if name == "encode" else theirs.decode(inputs).sample
        return to_channels_last(out)

    ours = functools.partial(jax.jit(apply), {"params": params}, x)
    return ours, no_grad(torch_pass), count_flops(jax.make_jaxpr(apply)({"params": params}, x))


def share_weights(part: str, config, theirs) -> dict:
    """Return random weights of "dit" or "vae", and load the same into the torch module `theirs`."""
    import flax
    import jax
    import torch

    from v2v.checkpoints import wan

    flat = {}
    for path, shape in wan.parameter_shapes(part, config).items():
        kernel, gain = path.endswith("kernel"), path.endswith(("scale", "gamma"))
        fan_in = np.prod(shape[:-1] if part == "vae" else shape[-2:-1])
        flat[path] = normal(*shape) / np.sqrt(fan_in) if kernel else gain + 0.1 * normal(*shape)
    params = flax.traverse_util.unflatten_dict({p: np.float32(x) for p, x in flat.items()}, sep="/")
    state = {n: torch.from_numpy(x) for n, x in wan.published_tensors(part, params, config).items()}
    theirs.load_state_dict(state)
    return jax.device_put(params)


def no_grad(function: Callable) -> Callable:
    """Return a torch function that records no gradient."""
    import torch

    return torch.no_grad()(function)


def normal(*shape: int) -> np.ndarray:
    """Return normal noise in float32, the same for the same shape."""
    return np.random.default_rng(shape).standard_normal(shape, np.float32)


def to_channels_first(x: np.ndarray):
    """Return a torch tensor [b, c, ...] of an array [b, ..., c]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def to_channels_last(x) -> np.ndarray:
    """Return an array [b, ..., c] of a torch tensor [b, c, ...]."""
    return np.moveaxis(x.numpy(), 1, -1)


if __name__ == "__main__":
    main()
