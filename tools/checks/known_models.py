"""Print the table of known models: what was compared with what, the largest error, licence, bytes, memory and cost of an edit.

    python tools/checks/known_models.py [--topology h100:1] [--markdown] [--no-parity]
    python tools/checks/known_models.py --plans v5e:1x1 v5e:2x4 v6e:1x1 h100:1 h100:8 rtx4090:1

A row for each entry of the registry (v2v/checkpoints/known_models.py). Compared are tiny random models of the
same layout in the published packages (diffusers, transformers; `pip install -e ".[parity]"`), from the same files: one pass of the
transformer, encoding and decoding, and the latents of a pipeline's 20 steps. No weights are fetched and nothing is run at full size:
memory is what `v2v plan --what edit` estimates for the phase that takes most, without parts that stay beside it where there is room, and operations are counted in the
traced programs. A step is one of sampling, with all passes of its guidance; an edit is that of one window, with source, mask and reference
where the model takes them.

With --plans the table is of devices in place of comparisons: seconds and the largest memory of an edit of one window as the model was published
to do it, with weights in the first of bfloat16, int8 and nf4 with which nothing waits for the host in every step, as `v2v plan --what edit`
estimates it.
"""

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from v2v.assets import EMBEDDED
from v2v.checkpoints import native, parameter_store
from v2v.checkpoints.known_models import KNOWN_MODELS, KnownModel, find_configuration
from v2v.config import ModelConfig
from v2v.pipeline.memory_plan import GIB
from v2v.planning import edit_plan
from v2v.planning.edit_plan import EditPlan

ROOT = Path(__file__).parents[2]
PARITY_PACKAGES = ("torch", "diffusers", "transformers")
HEADER = (
    "model", "compared with", "DiT", "VAE", "20 steps", "licence", "download", "weights", "memory needed",
    "TFLOP a step", "TFLOP an edit",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """What a model's layout was compared with.

    Attributes:
      reference: the published classes, "none" where nothing was compared.
      dit: largest difference of a velocity; None where there is nothing to compare with.
      vae: largest difference of latents and of frames.
      pipeline: largest difference of latents after 20 steps.
    """

    reference: str
    dit: float | None = None
    vae: float | None = None
    pipeline: float | None = None


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--topology", default="h100:1", help="devices that memory is planned for (default: h100:1)"
    )
    parser.add_argument(
        "--plans", nargs="+", metavar="DEVICES", help="print the plans of all models on these devices instead"
    )
    parser.add_argument("--markdown", action="store_true", help="print a table in Markdown")
    parser.add_argument("--no-parity", action="store_true", help="don't compare with the published packages")
    args = parser.parse_args()
    if args.plans:
        print(
            format_table(
                [("model", "clip", "tokens", "passes", *args.plans), *plan_rows(args.plans)], args.markdown
            )
        )
        return
    absent = [name for name in PARITY_PACKAGES if importlib.util.find_spec(name) is None]
    if absent and not args.no_parity:
        print(f"not compared: {', '.join(absent)} missing (pip install -e '.[parity]')", file=sys.stderr)
    comparisons: dict[str, Comparison] = {}
    rows = [HEADER]
    for model in KNOWN_MODELS:
        config = find_configuration(model.name)
        is_published = config is not None
        config = config or native.load_config(EMBEDDED / "config.json")
        kind = kind_of(config) if is_published else "packaged"
        if kind not in comparisons:
            is_compared = is_published and not absent and not args.no_parity
            comparisons[kind] = compare(config) if is_compared else Comparison("none")
        plan = edit_plan.plan_edit(config, args.topology, model.name)
        rows.append(describe_row(model, comparisons[kind], config, plan))
    print(format_table(rows, args.markdown))


def plan_rows(topologies: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each published model: its clip, joint tokens, passes of an edit, and its plan on each of some devices."""
    for model in KNOWN_MODELS:
        config = find_configuration(model.name)
        if config is None:
            continue
        plans = [plan_cheapest(config, topology, model.name) for topology in topologies]
        passes = " + ".join(f"{n}" for n in edit_plan.count_passes(config).values())
        yield model.name, plans[0].clip, f"{plans[0].tokens:,}", passes, *map(describe_plan, plans)


def plan_cheapest(config: ModelConfig, topology: str, name: str) -> EditPlan:
    """Return the plan with the first type of weights with which they fit, and needn't come from the host in every step; else the last."""
    plans = (
        edit_plan.plan_edit(config, topology, name, weights_dtype=dtype) for dtype in (None, "int8", "nf4")
    )
    plan = next(plans)
    while plan.memory.streams or not plan.memory.fits:
        following = next(plans, None)
        if following is None:
            break
        plan = following
    return plan


def describe_plan(plan: EditPlan) -> str:
    """Return a plan in a few words: seconds, memory, type of weights and mesh."""
    if not plan.memory.fits:
        return f"{plan.memory.peak.peak_bytes / GIB:.1f} GiB: too much"
    mesh = ",".join(f"{axis}={n}" for axis, n in plan.mesh.items() if n > 1)
    more = [plan.weights_dtype or "", mesh, "from host" if plan.memory.streams else ""]
    return " ".join(
        [f"{plan.seconds:,.0f} s {plan.memory.peak.peak_bytes / GIB:.1f} GiB", *filter(None, more)]
    )


def kind_of(config: ModelConfig) -> str:
    """Return what tells layouts apart that are compared once: autoencoder, channels in, and number of transformers."""
    return f"{config.vae.residual} {config.dit.in_channels // config.dit.out_channels} {len(config.transformers)}"


def compare(config: ModelConfig) -> Comparison:
    """Compare a tiny random model of a layout with diffusers."""
    sys.path.insert(0, str(ROOT))
    import numpy as np

    from tests.parity import ours, pipelines, reference, tiny

    vae = None if config.vae.residual else tiny.wan21_vae()
    factor = config.dit.in_channels // config.dit.out_channels
    boundary = 0.6 if config.flow.boundary else 0.0
    small = tiny.config(factor * tiny.Z, vae=vae, boundary=boundary)

    def largest(a, b) -> float:
        return float(np.abs(a - b).max())

    with tempfile.TemporaryDirectory() as temporary:
        folder = pipelines.write_folder(Path(temporary) / "model", small)
        inputs = tiny.dit_inputs(factor * tiny.Z)
        dit = largest(ours.velocity(folder, **inputs), reference.velocity(folder, **inputs))
        stride = small.vae.stride_xy
        video, z = tiny.clip(9, 3 * stride, 5 * stride), tiny.latents(3, 3, 5)
        autoencoder = max(
            largest(ours.encode(folder, video), reference.encode(folder, video)),
            largest(ours.decode(folder, z), reference.decode(folder, z)),
        )
        noise, pipe = tiny.normal("noise", 1, *pipelines.GRID, tiny.Z), pipelines.build(folder, small)
        theirs = reference.channels_last(pipelines.ask(pipe, small, noise, "latent"))
        latents = largest(pipelines.sample(folder, small, noise), theirs)
    return Comparison(f"diffusers {type(pipe).__name__}", dit, autoencoder, latents)


def describe_row(
    model: KnownModel, comparison: Comparison, config: ModelConfig, plan: EditPlan
) -> tuple[str, ...]:
    """Return a row of the table."""

    def error(value: float | None) -> str:
        return "-" if value is None else f"{value:.1e}"

    cells = [model.name, comparison.reference, error(comparison.dit), error(comparison.vae), error(comparison.pipeline), model.licence]  # fmt: skip
    cells.append(f"{model.download_bytes / 1e9:.1f} GB" if model.download_bytes else "in the package")
    sampling = [plan.phases[phase].tflop for phase in edit_plan.count_passes(config)]
    largest = max(plan.memory.phases, key=lambda phase: phase.weight_bytes + phase.working_bytes)
    return (
        *cells,
        f"{sum(parameter_store.part_bytes(config).values()) / 1e9:.1f} GB",
        f"{(largest.weight_bytes + largest.working_bytes) / GIB:.1f} GiB ({largest.name})",
        f"{sum(sampling) / config.flow.steps:,.4g}",
        f"{sum(cost.tflop for cost in plan.phases.values()):,.5g}",
    )


def format_table(rows: list[tuple[str, ...]], markdown: bool) -> str:
    """Return the rows as a table, in columns or in Markdown."""
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


if __name__ == "__main__":
    main()
