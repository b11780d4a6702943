"""Compile the full-size VAE for absent TPUs and print the bytes.

    python tools/checks/plan_autoencoder.py [--topology v5e:2x4] [--encode] [--scan]

704x1280x121 through the streaming decoder (or, with --encode, the encoder), frames sharded over the chips of the topology
(v2v/models/autoencoder.py). Needs the extra [plan], no weights. Compiles two steps of the streaming pass
(v2v/models/autoencoder_streaming.py), the first and the one that all others repeat, each a program of its own whose memory is donated
to the next; the whole clip, in and out, is counted beside them. --scan compiles the pass as one program, as the sampler runs it.

Decoding on v5e:2x4: at its peak 3,157,176,320 bytes a chip, with the clip beside it 3,323,348,480 (3.10 GiB) of 15.75 GiB; compiling
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
from v2v.models import autoencoder_layers, autoencoder_streaming
from v2v.models.autoencoder import VAE
from v2v.planning.chips import resolve_topology
from v2v.runtime import sharding

GIB = 2**30


def main() -> None:
    """Parse the command line and print the bytes a chip."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topology", default="v5e:2x4", help="chip and arrangement")
    parser.add_argument("--size", type=int, nargs=3, default=(121, 704, 1280), metavar=("T", "H", "W"))
    parser.add_argument("--encode", action="store_true")
    parser.add_argument("--scan", action="store_true", help="the whole pass as one program")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    args = parser.parse_args()
    chip, devices = resolve_topology(args.topology)
    mesh = sharding.make_mesh(data=1, seq=-1, devices=devices)
    config = wan22_ti2v_5b()
    cfg = dataclasses.replace(config.vae, dtype=args.dtype)
    weights, vae = weight_shapes(dataclasses.replace(config, vae=cfg), mesh), VAE(cfg)
    video, latents = (1, *args.size, 3), (1, *cfg.latent_shape(*args.size))
    method, x, out = ("encode", video, latents) if args.encode else ("decode", latents, video)
    print(
        f"{method} {'x'.join(map(str, args.size))} {args.dtype}, {len(devices)} {chip.name} chips; a chip:",
        flush=True,
    )
    with jax.set_mesh(mesh):
        if args.scan:
            code = (
                autoencoder_streaming.encode_in_chunks
                if args.encode
                else autoencoder_streaming.decode_in_chunks
            )
            program = jax.jit(functools.partial(code, vae))
            peak, clip_bytes = (
                compile_program("the whole pass", program.lower(weights, frame_shape(mesh, x))),
                0,
            )
        else:
            steps = lower_steps(vae, method, weights, x, mesh)
            peak = max(compile_program(name, program) for name, program in steps)
            clip_bytes = sum(chip_bytes(mesh, shape) for shape in (x, out))
            print(f"  the clip, in and out: {clip_bytes:,} bytes")
    total = peak + clip_bytes
    fits = "fits" if total <= chip.hbm else "does not fit"
    print(f"  {total:,} bytes ({total / GIB:.2f} GiB) of {chip.hbm / GIB:.2f} GiB: {fits}")


def lower_steps(vae: VAE, method: str, weights, shape, mesh):
    """Yield name and lowered program of the streaming pass's first step and of a later one."""
    frames = 1 if method == "decode" else vae.cfg.stride_t
    first, later = (frame_shape(mesh, (shape[0], n, *shape[2:])) for n in (1, frames))
    step = functools.partial(autoencoder_streaming.code_chunk, vae, method=method)
    memory = jax.eval_shape(lambda weights, piece: step(weights, {}, piece)[1], weights, first)
    memory = jax.tree.map(lambda m: frame_shape(mesh, m.shape, m.dtype), memory)
    yield "first step", jax.jit(lambda weights, piece: step(weights, {}, piece)).lower(weights, first)
    yield "later step", jax.jit(step, donate_argnums=1).lower(weights, memory, later)


def compile_program(name: str, program) -> int:
    """Compile a program, print its peak bytes a chip with their parts, and return them."""
    start = time.time()
    memory = program.compile().memory_analysis()
    parts = {
        "arguments": memory.argument_size_in_bytes,
        "new output": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
    }
    peak = max(sum(parts.values()), memory.peak_memory_in_bytes)
    text = ", ".join(f"{part} {size / GIB:.2f} GiB" for part, size in parts.items())
    print(f"  {name}: {peak:,} bytes ({text}), compiled in {time.time() - start:.0f} s", flush=True)
    return peak


def frame_shape(mesh, shape, dtype=jnp.float32):
    """Return shape, dtype and sharding of frames as the VAE shards them."""
    return jax.ShapeDtypeStruct(
        shape, dtype, sharding=NamedSharding(mesh, autoencoder_layers.video_partition_spec(shape, mesh.shape))
    )


def chip_bytes(mesh, shape) -> int:
    """Return the bytes of float32 frames on one chip."""
    return 4 * int(np.prod(frame_shape(mesh, shape).sharding.shard_shape(shape)))


def weight_shapes(config, mesh):
    """Return the shapes of the weights in the dtype of the computation, replicated on every chip."""
    dtype, place = jnp.dtype(config.vae.dtype), NamedSharding(mesh, PartitionSpec())
    shapes = wan.parameter_shapes("vae", config).items()
    flat = {path: jax.ShapeDtypeStruct(shape, dtype, sharding=place) for path, shape in shapes}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


if __name__ == "__main__":
    main()
