"""Measure the processor time that compiling the full-size autoencoder for an absent TPU takes, and print the memory of the program.

    python tools/bench/compile_time.py [--topology v5e:1x1] [--size 81 480 832] [--tiles 2 2] [--encode] [--dtype bfloat16] [--z16]

Processor time, user and system, of this process: it hardly depends on what else the machine does, unlike the time on the clock. Needs the
extra [plan], no weights. Run it in two checkouts to compare them.

The compiler's time grows with the number of large convolutions that it sees: those of the 5B model's decoder were 80 as long as the first chunk of a
video was decoded by code of its own and every block by itself; 20 are left. For each the compiler (libtpu 0.0.52) searches for the best way to compute
it, alone up to half a minute, unless it may end at one that is good enough (runtime/compiler_options.py). Processor seconds on a machine busy with
other work, where each figure is above that of a quiet one, and the compiler's estimate of a convolution's cycles:
                                            whole search                97 %                    90 %
    3x3x3, 1024 to 1024, 30x52              26 s, 736,000               3.4 s, 753,304          1.9 s, 821,000
    3x3, 1024 to 1024, 2 frames 60x104      33 s, 1,959,039             5.1 s, 2,009,239        5.8 s, 2,183,036
    decoder, 81x480x832                     226 s                       174 s
Of those 174 s half is in generating code, which grows with the bundles of each fusion, 55 s still in the search: a convolution fused with what
follows it may miss the target however it is computed. Convolutions behind enlargements cost the same in bfloat16.
"""

import argparse
import dataclasses
import re
import resource
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).parents[2]))
from v2v.checkpoints import parameter_store
from v2v.config import ModelConfig, wan21_t2v_1_3b, wan22_ti2v_5b
from v2v.pipeline import model_programs
from v2v.planning import chips
from v2v.runtime import sharding

GIB = 2**30


def main() -> None:
    """Parse the command line, compile and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topology", default="v5e:1x1", help="chip and arrangement; one clip on one chip")
    parser.add_argument("--size", type=int, nargs=3, default=(81, 480, 832), metavar=("T", "H", "W"))
    parser.add_argument("--tiles", type=int, nargs=2, default=(1, 1), help="rows and columns, of the decoder")
    parser.add_argument("--encode", action="store_true", help="the encoder in place of the decoder")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--z16", action="store_true", help="the autoencoder of Wan2.1")
    parser.add_argument("--lower", action="store_true", help="count convolutions alone, which takes seconds")
    args = parser.parse_args()
    frames, height, width = args.size
    config = (wan21_t2v_1_3b if args.z16 else wan22_ti2v_5b)()
    vae = dataclasses.replace(config.vae, dtype=args.dtype)
    config = dataclasses.replace(config, vae=vae, frames=frames, height=height, width=width)
    lowered = lower(config, args.topology, args.encode, tuple(args.tiles))
    shapes = re.findall(r"stablehlo\.convolution.*?: \((.*?)\) -> (\S+)", lowered.as_text())
    method = "encode" if args.encode else "decode"
    size = "x".join(map(str, args.size))
    print(
        f"{method} {size} {args.dtype}: {len(shapes)} convolutions of {len(set(shapes))} shapes", flush=True
    )
    if args.lower:
        return
    start = processor_seconds()
    memory: Any = lowered.compile().memory_analysis()
    print(
        f"compiled in {processor_seconds() - start:.0f} s of processor time; temporaries {memory.temp_size_in_bytes / GIB:.2f}, "
        f"at the peak {memory.peak_memory_in_bytes / GIB:.2f} GiB"
    )


def lower(config: ModelConfig, topology: str, encodes: bool, tiles: tuple[int, ...]) -> jax.stages.Lowered:
    """Return the program that an edit runs, lowered for the first chip of a topology."""
    mesh = sharding.make_mesh(devices=chips.resolve_topology(topology)[1])
    place = sharding.replicated_sharding(mesh)
    params = parameter_store.abstract_parameters("vae", config, mesh)
    size = (config.frames, config.height, config.width)
    with jax.set_mesh(mesh):  # which also chooses the compiler's options
        programs: Any = model_programs.build_programs(config)
        if encodes:
            return programs.encode.lower(
                params, jax.ShapeDtypeStruct((1, *size, 3), jnp.uint8, sharding=place)
            )
        z = jax.ShapeDtypeStruct((1, *config.vae.latent_shape(*size)), jnp.float32, sharding=place)
        return programs.decode.lower(params, z, tiles=tiles)


def processor_seconds() -> float:
    """Return the processor time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
