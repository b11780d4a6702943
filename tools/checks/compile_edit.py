"""Compile what an edit runs, for absent TPUs or GPUs, and print the bytes of each program.

    python tools/checks/compile_edit.py [--devices v5e:2x4] [--mesh seq=8] [--lucy] [--weights-dtype int8] [--only sample]

Without --mesh the programs are those of `v2v edit --manifest`, one job a device; with --mesh one clip is edited by all. For a single device they are
those of the plan of memory that it would follow, which is printed too (pipeline/memory_plan.py), its tiles included. The size is that of
the 5B model, 81 frames of 832x480, or --size. TPUs need the extra [plan], GPUs (h100:8, a100:1, rtx4090:1) jax's CUDA plugin (v2v/planning/
gpus.py); no weights are needed. tests/planning/test_edit_programs.py lowers the same programs, which takes seconds; compiling the
decoder for a TPU takes half an hour.
"""

import argparse
import dataclasses
import re
import time
from typing import get_args

from v2v.checkpoints import parameter_store
from v2v.config import ConditionConfig, WeightsDtype, wan22_ti2v_5b
from v2v.pipeline import memory_plan
from v2v.pipeline.memory_plan import ClipShape
from v2v.planning import chips, edit_programs
from v2v.runtime import host_memory, sharding
from v2v.runtime.host_memory import DeviceMemory

GIB = 2**30


def main() -> None:
    """Parse the command line and print the bytes of each program on a device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", default="v5e:2x4", help="topology of TPUs, or kind and number of GPUs")
    parser.add_argument("--mesh", default="", help='axes of one clip\'s mesh, such as "data=1,seq=8"')
    parser.add_argument("--size", type=int, nargs=3, default=(81, 480, 832), metavar=("T", "H", "W"))
    parser.add_argument(
        "--lucy", action="store_true", help="the source beside the noise, as Lucy-Edit has it"
    )
    parser.add_argument(
        "--weights-dtype", choices=get_args(WeightsDtype), help="type that weights are stored in"
    )
    parser.add_argument("--only", choices=("embed", "encode", "sample", "decode"), help="one program")
    args = parser.parse_args()
    config = wan22_ti2v_5b()
    frames, height, width = args.size
    flow = dataclasses.replace(config.flow, solver="unipc", schedule="diffusers")
    config = dataclasses.replace(config, frames=frames, height=height, width=width, flow=flow)
    if args.lucy:
        dit = dataclasses.replace(config.dit, in_channels=2 * config.dit.out_channels)
        config = dataclasses.replace(config, dit=dit, condition=ConditionConfig(layout="channel"))
    chip, devices = chips.resolve_topology(args.devices)
    axes = {name: int(size) for name, size in re.findall(r"(\w+)=(-?\d+)", args.mesh)}
    if axes:
        mesh = sharding.make_mesh(**{"data": 1, **axes}, devices=devices)
        programs = edit_programs.lower_clip_edit(config, mesh, args.weights_dtype)
    elif len(devices) == 1:
        device = DeviceMemory(int(chip.hbm), host_memory.UNLIMITED, chip.platform)
        sizes = parameter_store.part_bytes(config, weights_dtype=args.weights_dtype)
        plan = memory_plan.plan_edit(
            config,
            ClipShape.of(config, rows=1),
            sizes,
            device,
            streamed_bytes=parameter_store.streamed_bytes(config, args.weights_dtype),
        )
        print("\n".join(plan.describe()), flush=True)
        mesh = sharding.make_mesh(devices=devices)
        programs = edit_programs.lower_clip_edit(config, mesh, args.weights_dtype, device)
    else:
        programs = edit_programs.lower_jobs(config, sharding.make_mesh(devices=devices))
    for program in programs:
        if args.only in (None, program.name):
            compile_program(program)


def compile_program(program: edit_programs.LoweredProgram) -> None:
    """Compile a program and print its bytes on a device."""
    start = time.time()
    memory = program.lowered.compile().memory_analysis()
    parts = {
        "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "arguments on the host": memory.host_argument_size_in_bytes,
        "results": memory.output_size_in_bytes - memory.alias_size_in_bytes,
    }
    if not memory.host_argument_size_in_bytes:  # which the peak would count too
        parts["at the peak"] = memory.peak_memory_in_bytes
    text = ", ".join(f"{part} {size / GIB:.2f}" for part, size in parts.items())
    print(f"{program.name}: {text} GiB a device, compiled in {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
