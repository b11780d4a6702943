"""Compile the full-size VAE for TPUs that aren't there and print the bytes: python tools/plan_vae.py [--topology v5e:2x4]

704x1280x121 through the streaming decoder (or, with --encode, the encoder), frames shared over the chips of the topology
(`codec/spatial.py`). Needs the extra [plan]; one minute to several of compilation, no weights.
"""

import argparse
import dataclasses
import functools
import time

import flax
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from v2v import sharding
from v2v.codec import spatial, stream
from v2v.codec.vae import VAE
from v2v.config import wan22_ti2v_5b
from v2v.plan.chips import topology
from v2v.weights import wan

GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--topology", default="v5e:2x4", help="chip and arrangement")
    parser.add_argument("--size", type=int, nargs=3, default=(121, 704, 1280), metavar=("T", "H", "W"))
    parser.add_argument("--encode", action="store_true")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    args = parser.parse_args()
    chip, devices = topology(args.topology)
    mesh = sharding.make_mesh(data=1, seq=-1, devices=devices)
    config = wan22_ti2v_5b()
    cfg = dataclasses.replace(config.vae, dtype=args.dtype)
    weights = params(dataclasses.replace(config, vae=cfg), mesh)
    video, latents = (1, *args.size, 3), (1, *cfg.latent_shape(*args.size))
    method = "encode" if args.encode else "decode"
    start = time.time()
    with jax.set_mesh(mesh):
        shape = video if args.encode else latents
        x = jax.ShapeDtypeStruct(
            shape, jnp.float32, sharding=NamedSharding(mesh, spatial.spec(shape, mesh.shape))
        )
        compiled = jax.jit(functools.partial(getattr(stream, method), VAE(cfg))).lower(weights, x)
        memory = compiled.compile().memory_analysis()
    parts = {
        "weights and input": memory.argument_size_in_bytes,
        "output": memory.output_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
    }
    peak = max(sum(parts.values()), memory.peak_memory_in_bytes)
    print(
        f"{method} {'x'.join(map(str, args.size))} {args.dtype} on {len(devices)} {chip.name} chips: {peak:,} bytes a chip"
    )
    print("  " + ", ".join(f"{name} {size / GIB:.2f} GiB" for name, size in parts.items()))
    print(
        f"  a chip has {chip.hbm / GIB:.2f} GiB: {'fits' if peak <= chip.hbm else 'does not fit'} ({time.time() - start:.0f} s)"
    )


def params(config, mesh):
    """Shapes of the weights, in the dtype they are computed in, whole on every chip."""
    dtype, place = jnp.dtype(config.vae.dtype), NamedSharding(mesh, PartitionSpec())
    shapes = wan.shapes("vae", config).items()
    flat = {path: jax.ShapeDtypeStruct(shape, dtype, sharding=place) for path, shape in shapes}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


if __name__ == "__main__":
    main()
