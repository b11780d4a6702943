"""What a sampling step costs: T2V, all tokens (full), target tokens beside cached conditions; and our loop beside diffusers'.

    python tools/bench/sampling.py                        FLOPs at 5B by the compiler's count; time at a mid size on this machine
    PYTHONPATH=. python tools/bench/sampling.py --torch PYTHON      and against WanPipeline (tools/bench/editing.py), by an interpreter with diffusers

Times are of one step with one pass, from the fastest of rounds in which all contestants take turns; only their ratios mean
anything. Where others use the machine too take --threads 1: then the CPU time of one pinned thread is the clock.
"""

import argparse
import dataclasses
import functools
import os
import time

import jax
import jax.numpy as jnp
import numpy as np

from v2v import config
from v2v.diffusion.sampler import build_sampler
from v2v.models import kv_cache
from v2v.models.transformer import DiT
from v2v.planning.passes import count_pass_flops

STEPS = 4
DIT = config.DiTConfig(
    width=512, ffn_width=2048, heads=4, layers=4, text_width=256, text_len=64, dtype="float32"
)
MID = config.ModelConfig(
    name="mid", frames=17, height=256, width=320, dit=DIT, flow=config.FlowConfig(steps=STEPS),
    text=config.TextConfig(vocab=64, width=256, key_width=64, heads=4, ffn_width=64, layers=1, text_len=64),
    vae=config.VAEConfig(base_dim=8, decoder_base_dim=8, mean=config.WAN22_MEAN, std=config.WAN22_STD),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter with diffusers and torch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-args.threads :])  # before JAX counts CPUs
    if args.threads == 1:  # a pool of one thread beside the main one would only wait, on the clock
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false " + os.environ.get("XLA_FLAGS", "")
    clock = time.process_time if args.threads == 1 else time.perf_counter
    for height, width in ((480, 832), (704, 1280)):
        cost = count_pass_flops(dataclasses.replace(config.wan22_ti2v_5b(), height=height, width=width))
        print(f"5B, 81x{height}x{width}, TFLOP a pass: {show(cost, 1e12)}")
        print(f"  against T2V: {show(cost, cost['t2v'])}; cached / full {cost['cached'] / cost['full']:.3f}")
    print(f"mid size, TFLOP a pass: {show(count_pass_flops(MID), 1e12)}")
    steps(args.rounds, clock)
    if args.torch:
        import editing

        editing.beside(args.torch, args.rounds, clock, args.threads)


def show(cost: dict[str, float], unit: float) -> str:
    return ", ".join(f"{name} {value / unit:.3f}" for name, value in cost.items())


def inputs() -> dict[str, np.ndarray]:
    rng, shape = np.random.default_rng(0), (1, *MID.vae.latent_shape(MID.frames, MID.height, MID.width))
    text = (1, DIT.text_len, DIT.text_width)
    drawn = {"noise": shape, "source": shape, "mask": shape, "prompt": text, "null": text}
    return {name: rng.standard_normal(s, np.float32) for name, s in drawn.items()}


def steps(rounds: int, clock) -> None:
    """Seconds a step of our sampler on T2V, all tokens, and target tokens with the prefill counted apart."""
    x = inputs()
    shown = {"source": x["source"], "mask": x["mask"]}
    shapes = jax.eval_shape(DiT(DIT).init, jax.random.key(0), x["noise"], jnp.ones(1), x["prompt"], **shown)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda s: jnp.asarray(0.02 * rng.standard_normal(s.shape, np.float32)), dict(shapes)
    )

    def runner(attention: str, shown: dict):
        sample = build_sampler(
            dataclasses.replace(MID, condition=config.ConditionConfig(attention=attention))
        )
        return lambda: sample(variables, x["noise"], x["prompt"], x["null"], shown, STEPS, 1.0)

    dit = DiT(DIT, config.ConditionConfig(attention="one_way"))
    fill = functools.partial(
        jax.jit(functools.partial(kv_cache.prefill, dit)), variables, x["noise"], x["prompt"], shown
    )
    runs = {
        "t2v": runner("full", {}), "full": runner("full", shown), "cached": runner("one_way", shown), "prefill": fill
    }  # fmt: skip
    took = [{name: timed(clock, run) for name, run in runs.items()} for _ in range(rounds + 1)][
        1:
    ]  # the first compiles
    best = {name: min(t[name] for t in took) for name in runs}
    step = {
        name: (best[name] - (best["prefill"] if name == "cached" else 0)) / STEPS
        for name in ("t2v", "full", "cached")
    }
    print(f"mid size, seconds a step: {show(step, 1)}; against T2V: {show(step, step['t2v'])}")
    rounded = ", ".join(f"{t['cached'] / t['full']:.2f}" for t in took)
    print(f"  cached / full {step['cached'] / step['full']:.3f}; all {STEPS} steps with the prefill "
          f"{best['cached'] / best['full']:.3f}; rounds {rounded}")  # fmt: skip


def timed(clock, run) -> float:
    begin = clock()
    jax.block_until_ready(run())
    return clock() - begin


if __name__ == "__main__":
    main()
