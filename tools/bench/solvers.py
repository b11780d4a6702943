"""Compare solvers by numbers of steps: how near they come to 50 steps, and the processor time that they take.

    python tools/bench/solvers.py [--steps 2 3 4 6 8 12] [--windows 4] [--model embedded]

Windows of the sample clip are edited by a few looks. The reference is Heun with 50 steps (99 evaluations of the network), nearest to the
path itself; PSNR is that of the decoded pixels against it, the mean over windows and looks. Processor time is that of all threads, for one
window, encoding and decoding left out. Renoise follows no path: its distance tells how far other noise leads, not how good the picture is,
so the exact operator's result is a second measure for all.
"""

import argparse
import time
from collections.abc import Iterator
from typing import NamedTuple, get_args

import jax
import numpy as np

from data_synth.operators.photometric import PHOTOMETRIC
from v2v.assets import SAMPLE
from v2v.config import SamplingConfig, ScheduleName, SolverName
from v2v.diffusion import windows
from v2v.diffusion.schedule import sampling_levels
from v2v.diffusion.solvers import build_solver_table
from v2v.pipeline.model import SampleRequest
from v2v.pipeline.pretrained import load_pretrained
from v2v.pipeline.pretrained_model import Pretrained
from v2v.video import inputs

LOOKS = {"greyscale": "make it black and white", "sepia": "make it sepia", "night": "make it night", "winter": "make it look like winter"}  # fmt: skip
# UniPC is published with tables of its own; the others have linear levels.
SCHEDULES: dict[SolverName, ScheduleName] = {"unipc": "diffusers"}


class Measurement(NamedTuple):
    """Pixels of every edit, float32 [edits, T, H, W, 3], and seconds of one."""

    pixels: np.ndarray
    seconds: float
    evaluations: int


def main() -> None:
    """Parse the command line and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 3, 4, 6, 8, 12])
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--model", default="embedded")
    args = parser.parse_args()
    model = load_pretrained(args.model)
    clips = read_windows(model, args.windows)
    truth = {name: np.stack([PHOTOMETRIC[name](clip, None) for clip in clips]) for name in LOOKS}
    flow = model.config.flow
    guidance = flow.guidance
    reference = edit(args.model, clips, SamplingConfig("heun", 50, guidance, "linear", flow.shift))
    print(f"{args.model}, {len(clips)} windows x {len(LOOKS)} looks, guidance {guidance:g}, {jax.devices()[0].device_kind}")  # fmt: skip
    print(f"reference: heun, 50 steps, {reference.seconds:.2f} s; to the exact operators of {', '.join(truth)}: {against_truth(reference.pixels, truth, clips):.2f} dB")  # fmt: skip
    print(
        f"{'solver':<8} {'steps':>5} {'evaluations':>11} {'seconds':>8} {'to 50 steps':>12} {'to operator':>12}"
    )
    for solver in get_args(SolverName):
        for steps in args.steps:
            sampling = SamplingConfig(solver, steps, guidance, SCHEDULES.get(solver, "linear"), flow.shift)
            result = edit(args.model, clips, sampling)
            print(
                f"{solver:<8} {steps:>5} {result.evaluations:>11} {result.seconds:>8.3f} {psnr(result.pixels, reference.pixels):>9.2f} dB "
                f"{against_truth(result.pixels, truth, clips):>9.2f} dB",
                flush=True,
            )


def read_windows(model: Pretrained, count: int) -> list[np.ndarray]:
    """Return windows spread over the sample clip, uint8 [T, H, W, 3] each, at the model's size."""
    config, frames = model.config, []
    inputs.open_clip(SAMPLE, 25, lambda frame: frames.append(inputs.resize_frame(frame, config.height, config.width)))  # fmt: skip
    starts = np.linspace(0, len(frames) - config.frames, count).astype(int)
    return [np.stack(frames[start : start + config.frames]) for start in starts]


def edit(name: str, clips: list[np.ndarray], sampling: SamplingConfig) -> Measurement:
    """Edit every window by every look."""
    model = load_pretrained(name, **vars(sampling))
    pixels, seconds = [], []
    for number, request in enumerate(build_requests(model, clips)):
        if number == 0:
            jax.block_until_ready(model.sample(request).latents)  # compiles
        start = time.process_time()
        latents = np.asarray(model.sample(request).latents)
        seconds.append(time.process_time() - start)
        pixels.append(model.decode(latents)[0])
    flow = model.config.flow
    rows = build_solver_table(flow.solver, *sampling_levels(flow, flow.steps))
    return Measurement(np.stack(pixels), float(np.median(seconds)), len(rows.sigma))


def build_requests(model: Pretrained, clips: list[np.ndarray]) -> Iterator[SampleRequest]:
    """Yield a request for every look and window, in this order."""
    flow = model.config.flow
    for words in LOOKS.values():
        text = model.embed_text([words]).rows
        for seed, clip in enumerate(clips):
            source = model.encode(clip[None])
            mask = model.encode_mask(np.full_like(clip[None], 255))
            t, *shape = source.shape[1:]
            noise = windows.window_noise(seed, 0, t, tuple(shape))[None]
            seeds = windows.noise_seeds(seed, 0, t)[None]
            yield SampleRequest(source, mask, None, text, noise, flow.steps, flow.guidance, seeds=seeds)


def against_truth(pixels: np.ndarray, truth: dict[str, np.ndarray], clips: list[np.ndarray]) -> float:
    """Return the PSNR against the exact operators."""
    by_look = pixels.reshape(len(LOOKS), len(clips), *pixels.shape[1:])
    return float(np.mean([psnr(edits, truth[name]) for edits, name in zip(by_look, LOOKS, strict=True)]))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean PSNR of clips, [n, ...] in levels of 255."""
    errors = ((a.astype(np.float32).clip(0, 255) - b) ** 2).reshape(len(a), -1).mean(1)
    return float(np.mean(10 * np.log10(255**2 / np.maximum(errors, 1e-3))))


if __name__ == "__main__":
    main()
