"""What `--memory` chooses for `wan22_lora`, and how far its predictions are from the compilers' reports.

    python tools/checks/training_memory.py                          the table of presets, by shapes: seconds
    python tools/checks/training_memory.py --write                  puts it into experiments/wan22_lora.py
    python tools/checks/training_memory.py --operations             what each --model.dit.remat of a step for v5p computes, traced: a minute
    python tools/checks/training_memory.py --compile rtx4090:1 v5e:1x1    compiles each topology's preset too: minutes each, needs [plan], for GPUs
                                                                           jax's CUDA plugin; exit code 1 where a prediction is over 10 % off

One clip of 81x480x832 with source, mask and reference at a time, rank 32.
"""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
EXPERIMENT = ROOT / "experiments" / "wan22_lora.py"
HEADING = "Presets of --memory"
# How far a prediction may be from a compiler's report.
TOLERANCE = 0.1


def preset_table() -> list[str]:
    """Return a line for each name of `--memory`."""
    from v2v.cli.train import load_experiment
    from v2v.config import MemoryName
    from v2v.errors import InputError
    from v2v.planning import report, train_memory
    from v2v.planning.chips import GIB

    setting = report.build_setting(load_experiment("wan22_lora", [], "plan").config, "train")
    rows = [f"{'':6} {'of GiB':>6} {'device':>6} {'host':>5} {'s/step':>6}  remat, weights, moments"]
    for name in get_args(MemoryName):
        chip = train_memory.chip_of_memory(name)
        try:
            preset = train_memory.choose_preset(setting, chip)
        except InputError as error:
            rows.append(f"{name:6} {chip.hbm / GIB:6.1f} {error}")
            continue
        s, memory = preset.setting, preset.memory
        weights = f"{s.weights_dtype or 'bfloat16'} on the {s.weights_memory}"
        rows.append(
            f"{name:6} {chip.hbm / GIB:6.1f} {memory.total / GIB:6.1f} {memory.host / GIB:5.1f} {preset.seconds:6.3g}  "
            f"{s.model.dit.remat}, {weights}, {s.optim.moments}"
        )
    return rows


def write_table(rows: list[str]) -> None:
    """Put the table at the end of the experiment's docstring, in place of the one that is there."""
    text = EXPERIMENT.read_text()
    head, rest = text.split('"""\n', 1)
    head = re.sub(rf"\n*{HEADING}.*", "", head, flags=re.S).rstrip()
    title = f"{HEADING}, predicted by shapes for one clip of 81x480x832 at a time, batch 4 (tools/checks/training_memory.py --write):"
    EXPERIMENT.write_text(
        "\n".join([head, "", title, *(f"    {row}".rstrip() for row in rows), '"""\n']) + rest
    )


def compare(topology: str) -> bool:
    """Print the predicted and the compiler's memory of a topology's preset; return whether they agree."""
    import dataclasses

    import jax

    from v2v.cli.train import load_experiment
    from v2v.planning import chips, compile, programs, report, train_memory
    from v2v.planning.chips import GIB

    jax.config.update("jax_enable_compilation_cache", False)
    chip, devices = chips.resolve_topology(topology)
    setting = report.build_setting(load_experiment("wan22_lora", [], "plan").config, "train")
    mesh = dataclasses.replace(setting.mesh, data=1)
    setting = dataclasses.replace(setting, batch=len(devices), mesh=mesh)
    preset = train_memory.choose_preset(setting, chip, devices=len(devices))
    cost = compile.compile_program(programs.build_program(preset.setting, devices), chip.hbm)
    ratio = preset.memory.total / cost.peak
    print(
        f"{topology}: {train_memory.describe_preset(preset)}; the compiler's: {cost.peak / GIB:.2f} GiB and "
        f"{cost.host_bytes / GIB:.2f} of the host's; ratio {ratio:.3f}",
        flush=True,
    )
    return abs(ratio - 1) <= TOLERANCE


def compare_operations(topology: str = "v5p:2x2x1") -> bool:
    """Print the operations of a chip for each policy; return whether each computes over 5 % less than the one after it."""
    import dataclasses

    import jax

    from v2v.cli.train import load_experiment
    from v2v.planning import chips, programs, report, search
    from v2v.runtime import flops

    _, devices = chips.resolve_topology(topology)
    setting = report.build_setting(load_experiment("wan22_lora", [], "plan").config, "train")
    counts = []
    for policy in search.REMAT_POLICIES:
        dit = dataclasses.replace(setting.model.dit, remat=policy)
        changed = dataclasses.replace(
            setting,
            model=dataclasses.replace(setting.model, dit=dit),
            batch=len(devices),
            mesh=dataclasses.replace(setting.mesh, data=1),
        )
        program = programs.build_program(changed, devices)
        with jax.set_mesh(program.mesh):
            jaxpr = flops.remove_dead_code(program.jitted.trace(*program.args).jaxpr)
        counts.append(flops.count_flops(jaxpr) / len(devices))
        step = (
            f"  {1 - counts[-2] / counts[-1]:.1%} less in {search.REMAT_POLICIES[len(counts) - 2]}"
            if counts[1:]
            else ""
        )
        print(f"{topology} {policy:8} {counts[-1] / 1e12:8.1f} TFLOP a chip and step{step}", flush=True)
    return all(less < 0.95 * more for less, more in zip(counts, counts[1:], strict=False))


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="put the table into the experiment")
    parser.add_argument("--operations", action="store_true", help="count what each policy computes")
    parser.add_argument("--compile", nargs="*", default=[], metavar="TOPOLOGY")
    args = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if args.compile:
        return 0 if all([compare(topology) for topology in args.compile]) else 1
    if args.operations:
        return 0 if compare_operations() else 1
    rows = preset_table()
    print("\n".join(rows))
    if args.write:
        write_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
