"""The Euler loop of v2v beside diffusers' WanPipeline on the CPU: the part of `sampling.py` that needs another interpreter.

WanPipeline runs in a child process with torch. Weights and inputs go there as a folder in the published layout, its noise levels
and latents come back, so both sides follow the same path and the difference of their results is printed with the times.
"""

import functools
import subprocess
import tempfile
from pathlib import Path

import jax
import numpy as np

from tests.parity import tiny
from tools.bench import measurement, midsize
from v2v.checkpoints import wan
from v2v.diffusion.sampler import Sampler
from v2v.diffusion.solvers import build_solver_table

CHILD = """
import sys, time, torch, diffusers, numpy as np
torch.set_num_threads(int(sys.argv[2]))
clock = time.process_time if sys.argv[2] == "1" else time.perf_counter
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
    begin = clock()
    with torch.no_grad():
        out = pipe(prompt_embeds=x["prompt"], negative_prompt_embeds=x["null"], latents=x["noise"], num_frames=int(x["frames"]),
                   height=int(x["height"]), width=int(x["width"]), num_inference_steps=steps, guidance_scale=5.0,
                   output_type="latent").frames
    np.save(folder + "/out.npy", out.numpy())
    print(clock() - begin, flush=True)
"""


def compare(python: str, rounds: int, clock: measurement.Clock, threads: int) -> None:
    """Measure both loops in turns on the same weights, inputs and noise levels, and print seconds and difference.

    Args:
      python: Interpreter with diffusers and torch.
      rounds: Number of turns; the fastest counts.
      clock: Clock of this process.
      threads: Number of threads of the child.
    """
    x = midsize.random_inputs()
    model = midsize.MODEL
    with tempfile.TemporaryDirectory() as folder:
        tiny.write_folder(Path(folder) / "model", model)
        sizes = {"frames": model.frames, "height": model.height, "width": model.width}
        arrays = {"noise": np.moveaxis(x["noise"], -1, 1), "prompt": x["prompt"], "null": x["null"]}
        np.savez(f"{folder}/model/inputs.npz", **arrays, **sizes)
        child = subprocess.Popen([python, "-c", CHILD, f"{folder}/model", str(threads), str(midsize.STEPS)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip

        def run_diffusers() -> float:
            print(file=child.stdin, flush=True)
            return float(child.stdout.readline())

        run_diffusers()
        sigma = np.load(f"{folder}/model/sigmas.npy")[:-1]
        variables = {"params": wan.load_part("dit", f"{folder}/model/transformer", model)}
        run = functools.partial(Sampler(model).program, variables, x["noise"], x["prompt"], x["null"], {},
                                build_solver_table("euler", sigma, sigma), np.float32(5), None, None, None, None, mode="prompt", cached=False)  # fmt: skip
        latents = np.asarray(run()[0].latents)
        diffusers_latents = np.moveaxis(np.load(f"{folder}/model/out.npy"), 1, -1)
        seconds = np.array(
            [
                (measurement.measure(lambda: jax.block_until_ready(run()), clock), run_diffusers())
                for _ in range(rounds)
            ]
        )
        child.stdin.close()
        child.wait()
    ours, torch = seconds.min(0)
    print(f"T2V with guidance, {midsize.STEPS} Euler steps: ours {ours:.2f} s, diffusers {torch:.2f} s; our speed {torch / ours:.2f} x theirs "
          f"(rounds: {', '.join(f'{b / a:.2f}' for a, b in seconds)}); latents differ by {np.abs(latents - diffusers_latents).max():.1e}")  # fmt: skip
