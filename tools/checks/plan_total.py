"""The memory that `v2v plan` tells of a run beside what the run takes: its compiled step's and its live arrays', on CPU devices.

    python tools/checks/plan_total.py [--folder DIR] [--meshes fsdp=2 data=2,fsdp=2 ...]

Each mesh trains a tiny Wan2.2 for a few steps by `v2v train`'s own function, in a process of its own with as many devices. Planned is the total of
`v2v plan`: arguments, temporaries, results, and the batches that a run holds. Measured is what lives on the first device between two steps, base,
state and batches, with temporaries and results of the step that the run compiled, by the compiler's `memory_analysis`. Prints a line for each mesh;
exit code 1 where they differ by over 10 %. What compilers for TPUs and GPUs need at full size, training_memory.py compares.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

MESHES = ("data=1", "data=2", "fsdp=2", "data=2,fsdp=2", "fsdp=4", "data=4")
# How far a plan may be off.
TOLERANCE = 0.1
SIZE = ("--model.frames", "5", "--model.height", "64", "--model.width", "64")
RUN = (
    "--edit.batch",
    "8",
    "--edit.steps",
    "4",
    "--data.reference",
    "1",
    "--data.drop-text",
    "0",
    "--model.lora.rank",
    "8",
)
HELD_OUT = ("--log.held-out-every", "2", "--data.held-out", "0.5", "--log.every", "1")


def write_inputs(folder: Path) -> None:
    """Write the tiny model, and pairs with references."""
    from data_synth.dataset.build import build_dataset
    from data_synth.dataset.request import SynthRequest
    from tests.checkpoints import small_models

    small_models.write(folder / "wan")
    build_dataset(SynthRequest(folder / "pairs", 64, frames=5, height=64, width=64, edits=("palette",)))


def measure(folder: Path, mesh: str) -> dict[str, Any]:
    """Plan and train on a mesh, whose devices are all of this process; return bytes of the plan and of the run on the first device."""
    import jax

    from v2v.checkpoints import model_folder
    from v2v.cli.train import load_experiment
    from v2v.planning import compile as compiling
    from v2v.planning import programs, report
    from v2v.planning import search as searching
    from v2v.train import fine_tuning, stage

    axes = dict(axis.split("=") for axis in mesh.split(","))
    words = [*SIZE, *RUN, *HELD_OUT, "--weights", str(folder / "wan"), "--sets", str(folder / "pairs")]
    words += [word for axis in ("data", "fsdp", "seq") for word in (f"--mesh.{axis}", axes.get(axis, "1"))]
    cfg = load_experiment("wan22_ti2v_5b", [*words, "--latents", str(folder / "latents")], "train").config
    analyses, lives = [], []

    def compile_step(step: Any, mesh: Any, state: Any, data: Any, frozen: Any) -> None:
        batch = stage._place_rows(mesh, stage.split_records(data.kinds[0][0])[0])  # noqa: SLF001  the run's own
        analyses.append(step.lower(state, batch, frozen).compile().memory_analysis())

    class Lives:
        every = 1

        def __call__(self, state: Any, step: int, writer: Any) -> dict[str, float]:
            jax.block_until_ready(state)
            first = jax.devices()[0]
            shards = {
                (shard.data.unsafe_buffer_pointer(), shard.data.nbytes)
                for array in jax.live_arrays()
                for shard in array.addressable_shards
                if shard.device == first
            }
            lives.append(sum(size for _, size in shards))
            return {}

    real = fine_tuning.fit_stage

    def fit_stage(*args: Any, hooks: Any = (), **options: Any) -> Any:
        return real(*args, hooks=(*hooks, Lives()), **options)

    with (
        mock.patch.object(stage, "compile_step", compile_step),
        mock.patch.object(fine_tuning, "fit_stage", fit_stage),
    ):
        fine_tuning.fine_tune(cfg, folder / "runs" / re.sub(r"\W", "-", mesh))
    published = model_folder.read_model_folder(folder / "wan").require()
    model = fine_tuning.with_published_sizes(cfg.model, published.config)
    setting = report.build_setting(dataclasses.replace(cfg, model=model), "train")
    program = programs.build_program(setting, jax.devices())
    cost = compiling.compile_program(program, 1e18, searching.held_bytes(program, setting.held_batches))
    analysis = analyses[0]
    results = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return {
        "planned": cost.peak, "planned_live": cost.arguments + cost.held_bytes, "live": max(lives),
        "planned_program": cost.peak - cost.arguments - cost.held_bytes, "program": analysis.temp_size_in_bytes + results,
    }  # fmt: skip


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--meshes", nargs="*", default=MESHES, metavar="AXIS=N,...")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(measure(args.folder, args.worker)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        if not (folder / "pairs").exists():
            write_inputs(folder)
        print(
            f"{'mesh':16} {'planned':>10} {'measured':>10} ratio   of it live arrays: planned, measured; the step's own: planned, measured (kB)"
        )
        right = True
        for mesh in args.meshes:
            devices = 1
            for size in re.findall(r"\d+", mesh):
                devices *= int(size)
            flags = {
                "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
                "JAX_PLATFORMS": "cpu",
                "PYTHONPATH": str(ROOT),
            }
            command = [sys.executable, __file__, "--folder", str(folder), "--worker", mesh]
            out = subprocess.run(
                command, env=os.environ | flags, stdout=subprocess.PIPE, text=True, check=True
            ).stdout
            row = json.loads(out.splitlines()[-1])
            measured = row["live"] + row["program"]
            ratio = row["planned"] / measured
            right &= abs(ratio - 1) <= TOLERANCE
            kb = {name: size / 1e3 for name, size in row.items()}
            print(
                f"{mesh:16} {kb['planned']:10.1f} {measured / 1e3:10.1f} {ratio:.3f}   {kb['planned_live']:.1f}, {kb['live']:.1f}; "
                f"{kb['planned_program']:.1f}, {kb['program']:.1f}",
                flush=True,
            )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
