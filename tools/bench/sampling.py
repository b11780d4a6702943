"""Measure a sampling step: T2V, all tokens (full), target tokens beside cached conditions; and the loop beside diffusers'.

    python tools/bench/sampling.py                        FLOPs at 5B by the compiler's count; time at a middle size on this machine
    python tools/bench/sampling.py --torch PYTHON         and against WanPipeline (sampling_torch.py), by an interpreter with diffusers

Prints TFLOP a pass and seconds a step, and their ratios. Times are of one step with one pass, from the fastest of rounds in which all
variants take turns; only their ratios mean anything. On a machine with other load take --threads 1: then the CPU time of one pinned
thread is the clock.
"""

import argparse
import dataclasses
import functools
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.bench import measurement, midsize
from v2v import config
from v2v.diffusion.sampler import Sampler
from v2v.models import kv_cache
from v2v.models.transformer import DiT
from v2v.planning.passes import count_pass_flops


def main() -> None:
    """Parse the command line and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter with diffusers and torch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    clock = measurement.pin_threads(args.threads)
    for height, width in ((480, 832), (704, 1280)):
        cost = count_pass_flops(dataclasses.replace(config.wan22_ti2v_5b(), height=height, width=width))
        print(f"5B, 81x{height}x{width}, TFLOP a pass: {format_values(cost, 1e12)}")
        print(
            f"  against T2V: {format_values(cost, cost['t2v'])}; cached / full {cost['cached'] / cost['full']:.3f}"
        )
    print(f"mid size, TFLOP a pass: {format_values(count_pass_flops(midsize.MODEL), 1e12)}")
    measure_steps(args.rounds, clock)
    if args.torch:
        from tools.bench import sampling_torch

        sampling_torch.compare(args.torch, args.rounds, clock, args.threads)


def format_values(values: dict[str, float], unit: float) -> str:
    """Return names and values in a unit."""
    return ", ".join(f"{name} {value / unit:.3f}" for name, value in values.items())


def measure_steps(rounds: int, clock: measurement.Clock) -> None:
    """Print seconds a step of T2V, all tokens, and target tokens, with the prefill counted apart."""
    x, dit_config, step_count = midsize.random_inputs(), midsize.DIT, midsize.STEPS
    conditions = {"source": x["source"], "mask": x["mask"]}
    shapes = jax.eval_shape(
        DiT(dit_config).init, jax.random.key(0), x["noise"], jnp.ones(1), x["prompt"], **conditions
    )
    rng = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda s: jnp.asarray(0.02 * rng.standard_normal(s.shape, np.float32)), dict(shapes)
    )

    def build_run(attention: str, conditions: dict):
        condition = config.ConditionConfig(attention=attention)
        sample = Sampler(dataclasses.replace(midsize.MODEL, condition=condition))
        return lambda: sample(variables, x["noise"], x["prompt"], x["null"], conditions, step_count, 1.0)

    dit = DiT(dit_config, config.ConditionConfig(attention="one_way"))
    prefill = functools.partial(
        jax.jit(functools.partial(kv_cache.prefill, dit)), variables, x["noise"], x["prompt"], conditions
    )
    runs = {
        "t2v": build_run("full", {}),
        "full": build_run("full", conditions),
        "cached": build_run("one_way", conditions),
        "prefill": prefill,
    }
    seconds = [
        {
            name: measurement.measure(lambda run=run: jax.block_until_ready(run()), clock)
            for name, run in runs.items()
        }
        for _ in range(rounds + 1)
    ][1:]  # the first round compiles
    best = {name: min(times[name] for times in seconds) for name in runs}
    step = {
        name: (best[name] - (best["prefill"] if name == "cached" else 0)) / step_count
        for name in ("t2v", "full", "cached")
    }
    print(
        f"mid size, seconds a step: {format_values(step, 1)}; against T2V: {format_values(step, step['t2v'])}"
    )
    ratios = ", ".join(f"{times['cached'] / times['full']:.2f}" for times in seconds)
    print(
        f"  cached / full {step['cached'] / step['full']:.3f}; all {step_count} steps with the prefill "
        f"{best['cached'] / best['full']:.3f}; rounds {ratios}"
    )


if __name__ == "__main__":
    main()
