"""From the same noise and text embeddings to the same video as diffusers' pipelines, 20 steps with guidance; needs [parity].

WanPipeline for the plain backbone, LucyEditPipeline for the one conditioned by 96-type (twice as wide) channel concatenation.
"""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from tests.parity import ours, reference, tiny
from tests.parity.test_unipc import scheduler
from v2v.diffusion.schedule import noise_levels
from v2v.diffusion.solvers import build_solver_table, integrate
from v2v.models.transformer import DiT

STEPS, GUIDANCE, FRAMES, HEIGHT, WIDTH = 20, 5.0, 9, 64, 96
GRID = (3, 4, 6)


def parts(folder) -> dict:
    return {
        "tokenizer": None,
        "text_encoder": None,
        "vae": reference.strict(diffusers.AutoencoderKLWan, folder / "vae"),
        "transformer": reference.strict(diffusers.WanTransformer3DModel, folder / "transformer"),
        "scheduler": scheduler(),
        "expand_timesteps": True,
    }


def texts() -> tuple[np.ndarray, np.ndarray]:
    return tiny.normal("prompt", 1, 9, 20), tiny.normal("negative", 1, 9, 20)


def sample(folder, noise, source=None) -> np.ndarray:
    """Our loop: both branches of guidance in one batch, UniPC on the table diffusers uses."""
    model, text = DiT(ours.config(folder).dit), jnp.concatenate(texts())
    variables = {"params": ours.params(folder, "dit")}

    def velocity(x, tau):
        z = x if source is None else jnp.concatenate([x, source], -1)
        cond, uncond = model.apply(variables, jnp.tile(z, (2, 1, 1, 1, 1)), jnp.full(2, tau), text)
        return (uncond + GUIDANCE * (cond - uncond))[None]

    steps = build_solver_table("unipc", *noise_levels("diffusers", STEPS, 5.0))
    return np.asarray(ours.jit(functools.partial(integrate, velocity, steps=steps))(noise))


def ask(pipe, noise, output, **inputs):
    prompt, negative = texts()
    with torch.no_grad():
        out = pipe(
            prompt_embeds=torch.from_numpy(prompt), negative_prompt_embeds=torch.from_numpy(negative),
            latents=reference.channels_first(noise), num_frames=FRAMES, height=HEIGHT, width=WIDTH,
            num_inference_steps=STEPS, guidance_scale=GUIDANCE, output_type=output, **inputs,
        )  # fmt: skip
    return out.frames


def test_text_to_video(tmp_path):
    folder = tiny.write_folder(tmp_path / "model", tiny.config())
    noise = tiny.normal("noise", 1, *GRID, tiny.Z)
    pipe = diffusers.WanPipeline(**parts(folder))
    pipe.set_progress_bar_config(disable=True)
    theirs = reference.channels_last(ask(pipe, noise, "latent"))
    z = sample(folder, noise)
    assert np.abs(z - theirs).max() <= 1e-4
    video = ours.decode(folder, z)
    theirs = ask(pipe, noise, "np")
    assert np.abs((video + 1) / 2 - theirs).max() <= 1e-4


def test_channel_conditioned_editing(tmp_path):
    folder = tiny.write_folder(tmp_path / "model", tiny.config(2 * tiny.Z))
    noise = tiny.normal("noise", 1, *GRID, tiny.Z)
    pixels = np.clip(128 + 60 * tiny.normal("source", FRAMES, HEIGHT, WIDTH, 3), 0, 255).astype(np.uint8)
    pipe = diffusers.LucyEditPipeline(**parts(folder))
    pipe.set_progress_bar_config(disable=True)
    video = torch.from_numpy(pixels.astype(np.float32) / 255).permute(0, 3, 1, 2)
    theirs = reference.channels_last(ask(pipe, noise, "latent", video=video[None]))
    source = ours.encode(folder, pixels[None].astype(np.float32) / 127.5 - 1)
    assert np.abs(sample(folder, noise, source) - theirs).max() <= 1e-4
