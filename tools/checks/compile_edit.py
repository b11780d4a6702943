"""Compile what an edit runs, for absent TPUs or GPUs, and print the bytes of each program.

    python tools/checks/compile_edit.py [--model ORG/NAME] [--devices v5e:2x4] [--mesh seq=8] [--weights-dtype int8] [--only sample]

Without --mesh the programs are those of `v2v edit --manifest`, one job a device; with --mesh one clip is edited by all. For a single device they are
those of the plan of memory that it would follow, which is printed too (pipeline/memory_plan.py), its tiles included. --model is a published
model of the registry (v2v/checkpoints/known_models.py), at its own size or --size; without it the 5B backbone at 81 frames of 832x480. TPUs need the extra [plan], GPUs (h100:8, a100:1, rtx4090:1) jax's CUDA plugin (v2v/planning/
gpus.py); no weights are needed. What a device sends in a program, by kind of collective, is printed with the bytes, beside what the plan of a clip's
mesh predicts for the sampler (pipeline/clip_mesh.py). tests/planning/test_edit_programs.py lowers the same programs, which takes seconds; compiling the
decoder for a TPU takes half an hour.
"""

import argparse
import dataclasses
import re
import time
from typing import get_args

from v2v.checkpoints import parameter_store
from v2v.checkpoints.known_models import CONFIGURATIONS
from v2v.config import WeightsDtype
from v2v.models.conditioning import default_branches, default_conditions
from v2v.pipeline import clip_mesh, memory_plan
from v2v.pipeline.memory_plan import ClipShape
from v2v.planning import chips, edit_programs, traffic
from v2v.runtime import host_memory, sharding
from v2v.runtime.host_memory import DeviceMemory

GIB = 2**30
BACKBONE = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"


def main() -> None:
    """Parse the command line and print the bytes of each program on a device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", default="v5e:2x4", help="topology of TPUs, or kind and number of GPUs")
    parser.add_argument("--mesh", default="", help='axes of one clip\'s mesh, such as "data=1,seq=8"')
    parser.add_argument("--size", type=int, nargs=3, metavar=("T", "H", "W"))
    parser.add_argument(
        "--model",
        choices=sorted(CONFIGURATIONS),
        default=BACKBONE,
        help="a published model",
        metavar="ORG/NAME",
    )
    parser.add_argument(
        "--weights-dtype", choices=get_args(WeightsDtype), help="type that weights are stored in"
    )
    parser.add_argument("--only", choices=("embed", "encode", "sample", "decode"), help="one program")
    args = parser.parse_args()
    config = CONFIGURATIONS[args.model]()
    if args.model == BACKBONE:
        flow = dataclasses.replace(config.flow, solver="unipc", schedule="diffusers")
        config = dataclasses.replace(config, frames=81, height=480, width=832, flow=flow)
    if args.size:
        frames, height, width = args.size
        config = dataclasses.replace(config, frames=frames, height=height, width=width)
    chip, devices = chips.resolve_topology(args.devices)
    axes = {name: int(size) for name, size in re.findall(r"(\w+)=(-?\d+)", args.mesh)}
    if axes:
        mesh = sharding.make_mesh(**{"data": 1, **axes}, devices=devices)
        programs = edit_programs.lower_clip_edit(config, mesh, args.weights_dtype)
        tokens, branches = (
            ClipShape.of(config, default_conditions(config), rows=1).tokens,
            len(default_branches(config)),
        )
        step = clip_mesh.step_bytes(config, tokens, dict(mesh.shape), branches)
        print(
            f"the sampler is planned to send {step / 1e9:.3f} GB a step, {config.flow.steps * step / 1e9:.1f} GB in {config.flow.steps} steps"
        )
    elif len(devices) == 1:
        device = DeviceMemory(int(chip.hbm), host_memory.UNLIMITED, chip.platform)
        sizes = parameter_store.part_bytes(config, weights_dtype=args.weights_dtype)
        plan = memory_plan.plan_edit(
            config,
            ClipShape.of(config, default_conditions(config), rows=1),
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
    compiled = program.lowered.compile()
    memory = compiled.memory_analysis()
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
    if sent := traffic.count_sent_bytes(compiled.as_text()):
        print(
            f"{program.name} sends: {', '.join(f'{kind} {n / 1e9:.4g}' for kind, n in sent.items())} GB a device",
            flush=True,
        )


if __name__ == "__main__":
    main()
