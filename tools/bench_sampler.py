"""What a sampling step costs: T2V, all tokens (full), target tokens beside cached conditions; and our loop beside diffusers'.

    python tools/bench_sampler.py                        FLOPs at 5B by the compiler's count; time at a mid size on this machine
    python tools/bench_sampler.py --torch PYTHON         and against WanPipeline, run by an interpreter that has diffusers

Times are of one step with one pass, from the fastest of rounds in which all contestants take turns; only their ratios mean anything.
"""

import argparse
import dataclasses
import functools
import os
import subprocess
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from v2v import config
from v2v.flow.sampler import make_sampler
from v2v.flow.solvers import table
from v2v.model import cache
from v2v.model.dit import DiT
from v2v.model.flops import passes

STEPS = 4
DIT = config.DiTConfig(
    width=512, ffn_width=2048, heads=4, layers=4, text_width=256, text_len=64, dtype="float32"
)
MID = config.ModelConfig(
    name="mid", frames=17, height=256, width=320, dit=DIT, flow=config.FlowConfig(steps=STEPS),
    text=config.TextConfig(vocab=64, width=256, key_width=64, heads=4, ffn_width=64, layers=1, text_len=64),
    vae=config.VAEConfig(base_dim=8, decoder_base_dim=8, mean=config.WAN22_MEAN, std=config.WAN22_STD),
)  # fmt: skip

CHILD = """
import sys, time, torch, diffusers, numpy as np
torch.set_num_threads(int(sys.argv[2]))
folder, steps = sys.argv[1], int(sys.argv[3])
model = diffusers.WanTransformer3DModel.from_pretrained(folder + "/transformer", torch_dtype=torch.float32).eval()
vae = diffusers.AutoencoderKLWan.from_pretrained(folder + "/vae")
pipe = diffusers.WanPipeline(tokenizer=None, text_encoder=None, vae=vae, transformer=model, expand_timesteps=True,
                             scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0))
pipe.set_progress_bar_config(disable=True)
x = {k: torch.from_numpy(v) for k, v in np.load(folder + "/inputs.npz").items()}
pipe.scheduler.set_timesteps(steps)
np.save(folder + "/sigmas.npy", pipe.scheduler.sigmas.numpy())
for line in sys.stdin:
    begin = time.perf_counter()
    with torch.no_grad():
        out = pipe(prompt_embeds=x["prompt"], negative_prompt_embeds=x["null"], latents=x["noise"], num_frames=int(x["frames"]),
                   height=int(x["height"]), width=int(x["width"]), num_inference_steps=steps, guidance_scale=5.0,
                   output_type="latent").frames
    np.save(folder + "/out.npy", out.numpy())
    print(time.perf_counter() - begin, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter with diffusers and torch")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for height, width in ((480, 832), (704, 1280)):
        cost = passes(dataclasses.replace(config.wan22_ti2v_5b(), height=height, width=width))
        print(f"5B, 81x{height}x{width}, TFLOP a pass: {show(cost, 1e12)}")
        print(f"  against T2V: {show(cost, cost['t2v'])}; cached / full {cost['cached'] / cost['full']:.3f}")
    print(f"mid size, TFLOP a pass: {show(passes(MID), 1e12)}")
    steps(args.rounds)
    if args.torch:
        diffusers(args.torch, args.rounds)


def show(cost: dict[str, float], unit: float) -> str:
    return ", ".join(f"{name} {value / unit:.3f}" for name, value in cost.items())


def inputs() -> dict[str, np.ndarray]:
    rng, shape = np.random.default_rng(0), (1, *MID.vae.latent_shape(MID.frames, MID.height, MID.width))
    text = (1, DIT.text_len, DIT.text_width)
    drawn = {"noise": shape, "source": shape, "mask": shape, "prompt": text, "null": text}
    return {name: rng.standard_normal(s, np.float32) for name, s in drawn.items()}


def steps(rounds: int) -> None:
    """Seconds a step of our sampler on T2V, all tokens, and target tokens with the prefill counted apart."""
    x = inputs()
    shown = {"source": x["source"], "mask": x["mask"]}
    shapes = jax.eval_shape(DiT(DIT).init, jax.random.key(0), x["noise"], jnp.ones(1), x["prompt"], **shown)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda s: jnp.asarray(0.02 * rng.standard_normal(s.shape, np.float32)), dict(shapes)
    )

    def runner(attention: str, shown: dict):
        sample = make_sampler(dataclasses.replace(MID, condition=config.ConditionConfig(attention=attention)))
        return lambda: sample(variables, x["noise"], x["prompt"], x["null"], shown, STEPS, 1.0)

    dit = DiT(DIT, config.ConditionConfig(attention="one_way"))
    fill = functools.partial(
        jax.jit(functools.partial(cache.prefill, dit)), variables, x["noise"], x["prompt"], shown
    )
    runs = {
        "t2v": runner("full", {}), "full": runner("full", shown), "cached": runner("one_way", shown), "prefill": fill
    }  # fmt: skip
    took = [{name: timed(run) for name, run in runs.items()} for _ in range(rounds + 1)][
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


def diffusers(python: str, rounds: int) -> None:
    """Our Euler loop and diffusers' WanPipeline on the same weights, inputs and noise levels, taking turns."""
    from tests.parity import tiny
    from v2v.weights import wan

    x = inputs()
    with tempfile.TemporaryDirectory() as folder:
        tiny.write_folder(Path(folder) / "model", MID)
        sizes = {"frames": MID.frames, "height": MID.height, "width": MID.width}
        first = {"noise": np.moveaxis(x["noise"], -1, 1), "prompt": x["prompt"], "null": x["null"]}
        np.savez(f"{folder}/model/inputs.npz", **first, **sizes)
        child = subprocess.Popen([python, "-c", CHILD, f"{folder}/model", str(os.cpu_count()), str(STEPS)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip

        def theirs() -> float:
            print(file=child.stdin, flush=True)
            return float(child.stdout.readline())

        theirs()
        sigma = np.load(f"{folder}/model/sigmas.npy")[:-1]
        variables = {"params": wan.load("dit", f"{folder}/model/transformer", MID)}
        run = functools.partial(make_sampler(MID).compiled, variables, x["noise"], x["prompt"], x["null"], {},
                                table("euler", sigma, sigma), np.float32(5), None, None, mode="prompt", cached=False)  # fmt: skip
        out = np.asarray(run()[0])
        other = np.moveaxis(np.load(f"{folder}/model/out.npy"), 1, -1)
        took = np.array([(timed(run), theirs()) for _ in range(rounds)])
        child.stdin.close()
        child.wait()
    ours, torch = took.min(0)
    print(f"T2V with guidance, {STEPS} Euler steps: ours {ours:.2f} s, diffusers {torch:.2f} s; our speed {torch / ours:.2f} x theirs "
          f"(rounds: {', '.join(f'{b / a:.2f}' for a, b in took)}); latents differ by {np.abs(out - other).max():.1e}")  # fmt: skip


def timed(run) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
