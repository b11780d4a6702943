"""Measure what skipping steps costs: error against sampling without it, beside sampling with as few steps.

    python tools/bench/step_skipping.py [--steps 32] [--instruction "make it look like winter"]

Uses the packaged model and sample clip. Prints for each tolerance the evaluated steps, the share of time, and errors in dB: standard
deviation of the exact latents over the root mean square of the difference; more is better.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from v2v.assets import SAMPLE
from v2v.diffusion import step_skipping, windows
from v2v.diffusion.sampler import Sampler
from v2v.pipeline.pretrained import load_pretrained
from v2v.video import inputs


def main() -> None:
    """Parse the command line and print a line a tolerance."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--instruction", default="make it look like winter")
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    model, frames = load_pretrained("embedded"), []
    config = model.config
    inputs.open_clip(
        SAMPLE, 25, lambda frame: frames.append(inputs.resize_frame(frame, config.height, config.width))
    )
    clip = np.stack(frames[: config.frames])[None]
    source, mask = model.encode(clip), model.encode(np.full_like(clip, 255))
    conditions = {name: jnp.repeat(z, args.seeds, 0) for name, z in (("source", source), ("mask", mask))}
    noise = np.stack(
        [windows.window_noise(seed, 0, source.shape[1], source.shape[2:]) for seed in range(args.seeds)]
    )
    text, null = (model.embed_text([words]).rows for words in (args.instruction, ""))
    variables = model.variables()
    sample = Sampler(config)

    def run(steps: int, **options):
        texts = jnp.repeat(text, args.seeds, 0)

        def call():
            guidance = config.flow.guidance
            return jax.block_until_ready(
                sample(variables, noise, texts, null, conditions, steps, guidance, **options)
            )

        output = call()
        start = time.perf_counter()
        call()
        return np.asarray(output.latents), np.asarray(output.ratios), time.perf_counter() - start

    exact, ratios, exact_seconds = run(args.steps, measure_ratios=True)
    print(
        f"{args.steps} steps, {args.seeds} seeds; ratios from {ratios[1:].min():.3f} to {ratios[1:].max():.3f}"
    )

    def decibels(z: np.ndarray) -> float:
        return 20 * np.log10(exact.std() / np.sqrt(((z - exact) ** 2).mean()))

    for tolerance in (0.02, 0.05, 0.1, 0.2):
        evaluated = step_skipping.select_evaluated_steps(ratios, tolerance)
        if evaluated.all():
            print(f"tolerance {tolerance}: nothing skipped")
            continue
        count = int(evaluated.sum())
        z, _, seconds = run(args.steps, evaluated=evaluated)
        fewer, _, _ = run(count, measure_ratios=True)
        print(f"tolerance {tolerance}: {count} of {args.steps} evaluated, {seconds / exact_seconds:.2f} of the time, {decibels(z):.1f} dB; "
              f"{count} steps without skipping {decibels(fewer):.1f} dB")  # fmt: skip


if __name__ == "__main__":
    main()
