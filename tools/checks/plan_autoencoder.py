"""Compile the full-size VAE for TPUs that aren't there and print the bytes: python tools/checks/plan_autoencoder.py [--topology v5e:2x4]

704x1280x121 through the streaming decoder (or, with --encode, the encoder), frames shared over the chips of the topology
(`codec/spatial.py`). Needs the extra [plan], no weights. What is compiled are the walk's two steps (`codec/stream.py`), the first and
the one that all others repeat, each a program of its own with the memory between them given up to the next; the whole clip, in and
out, is counted beside them. --scan compiles the walk as one program, as the sampler runs it.

Decoding on v5e:2x4: at its peak 3,157,176,320 bytes a chip, with the clip beside it 3,323,348,480 (3.10 GiB) of 15.75 GiB; to compile
each of the two steps took seven and a half minutes of one core shared with other work.
"""

import argparse
import dataclasses
import functools
import time

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from v2v.checkpoints import wan
from v2v.config import wan22_ti2v_5b
from v2v.models import autoencoder, autoencoder_streaming
from v2v.models.autoencoder import VAE
from v2v.planning.chips import resolve_topology
from v2v.runtime import sharding

GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--topology", default="v5e:2x4", help="chip and arrangement")
    parser.add_argument("--size", type=int, nargs=3, default=(121, 704, 1280), metavar=("T", "H", "W"))
    parser.add_argument("--encode", action="store_true")
    parser.add_argument("--scan", action="store_true", help="the walk as one program")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    args = parser.parse_args()
    chip, devices = resolve_topology(args.topology)
    mesh = sharding.make_mesh(data=1, seq=-1, devices=devices)
    config = wan22_ti2v_5b()
    cfg = dataclasses.replace(config.vae, dtype=args.dtype)
    weights, vae = params(dataclasses.replace(config, vae=cfg), mesh), VAE(cfg)
    video, latents = (1, *args.size, 3), (1, *cfg.latent_shape(*args.size))
    method, x, out = ("encode", video, latents) if args.encode else ("decode", latents, video)
    print(
        f"{method} {'x'.join(map(str, args.size))} {args.dtype}, {len(devices)} {chip.name} chips; a chip:",
        flush=True,
    )
    with jax.set_mesh(mesh):
        if args.scan:
            walk = jax.jit(functools.partial(getattr(autoencoder_streaming, method), vae))
            peak, beside = compiled("the walk", walk.lower(weights, placed(mesh, x))), 0
        else:
            peak = max(compiled(name, program) for name, program in steps(vae, method, weights, x, mesh))
            beside = sum(share(mesh, shape) for shape in (x, out))
            print(f"  the clip, in and out: {beside:,} bytes")
    total = peak + beside
    fits = "fits" if total <= chip.hbm else "does not fit"
    print(f"  {total:,} bytes ({total / GIB:.2f} GiB) of {chip.hbm / GIB:.2f} GiB: {fits}")


def steps(vae: VAE, method: str, weights, shape, mesh):
    """(name, lowered program) of the walk's first step and of a later one."""
    frames = 1 if method == "decode" else vae.cfg.stride_t
    first, later = (placed(mesh, (shape[0], n, *shape[2:])) for n in (1, frames))
    step = functools.partial(autoencoder_streaming.code_chunk, vae, method=method)
    memory = jax.eval_shape(lambda weights, piece: step(weights, {}, piece)[1], weights, first)
    memory = jax.tree.map(lambda m: placed(mesh, m.shape, m.dtype), memory)
    yield "first step", jax.jit(lambda weights, piece: step(weights, {}, piece)).lower(weights, first)
    yield "later step", jax.jit(step, donate_argnums=1).lower(weights, memory, later)


def compiled(name: str, program) -> int:
    """Peak bytes a chip; prints them with their parts."""
    start = time.time()
    memory = program.compile().memory_analysis()
    parts = {
        "arguments": memory.argument_size_in_bytes,
        "new output": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
    }
    peak = max(sum(parts.values()), memory.peak_memory_in_bytes)
    listed = ", ".join(f"{part} {size / GIB:.2f} GiB" for part, size in parts.items())
    print(f"  {name}: {peak:,} bytes ({listed}), compiled in {time.time() - start:.0f} s", flush=True)
    return peak


def placed(mesh, shape, dtype=jnp.float32):
    """Frames laid over the mesh as the VAE lays them."""
    return jax.ShapeDtypeStruct(
        shape, dtype, sharding=NamedSharding(mesh, autoencoder.video_partition_spec(shape, mesh.shape))
    )


def share(mesh, shape) -> int:
    """Bytes of float32 frames on one chip."""
    return 4 * int(np.prod(placed(mesh, shape).sharding.shard_shape(shape)))


def params(config, mesh):
    """Shapes of the weights, in the dtype they are computed in, whole on every chip."""
    dtype, place = jnp.dtype(config.vae.dtype), NamedSharding(mesh, PartitionSpec())
    shapes = wan.parameter_shapes("vae", config).items()
    flat = {path: jax.ShapeDtypeStruct(shape, dtype, sharding=place) for path, shape in shapes}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


if __name__ == "__main__":
    main()
