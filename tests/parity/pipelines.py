"""diffusers' pipelines and our sampler on the same tiny folder, from the same noise and embeddings; needs the extra [parity]."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

from tests.parity import ours, reference, tiny
from tests.parity.test_unipc import scheduler
from v2v.config import ModelConfig
from v2v.diffusion.sampler import LowNoise, Sampler

STEPS, GUIDANCE, LOW_GUIDANCE, FRAMES, SHIFT = 20, 5.0, 3.0, 9, 5.0
GRID = (3, 4, 6)


def write_folder(path: Path, cfg: ModelConfig) -> Path:
    """A tiny folder with the model_index.json of its pipeline."""
    folder = tiny.write_folder(path, cfg)
    index: dict[str, Any] = {"_class_name": "WanPipeline", "expand_timesteps": cfg.vae.residual}
    if cfg.flow.boundary:
        index["boundary_ratio"] = cfg.flow.boundary
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def texts() -> tuple[np.ndarray, np.ndarray]:
    return tiny.normal("prompt", 1, 9, 20), tiny.normal("negative", 1, 9, 20)


def parts(folder: Path) -> dict[str, Any]:
    """The parts of a pipeline of one transformer, without tokenizer and text encoder."""
    return {
        "tokenizer": None,
        "text_encoder": None,
        "vae": reference.strict(diffusers.AutoencoderKLWan, folder / "vae"),
        "transformer": reference.strict(diffusers.WanTransformer3DModel, folder / "transformer"),
        "scheduler": scheduler(),
        "expand_timesteps": True,
    }


def build(folder: Path, cfg: ModelConfig):
    """The pipeline that diffusers has for a folder: with two transformers, or with the source in further channels."""
    index = json.loads((folder / "model_index.json").read_text())
    everything = parts(folder) | {"expand_timesteps": index["expand_timesteps"]}
    if cfg.flow.boundary:
        everything["transformer_2"] = reference.strict(
            diffusers.WanTransformer3DModel, folder / "transformer_2"
        )
        everything["boundary_ratio"] = index["boundary_ratio"]
    wide = cfg.dit.in_channels > cfg.dit.out_channels
    pipe = (diffusers.LucyEditPipeline if wide else diffusers.WanPipeline)(**everything)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def source_clip(cfg: ModelConfig) -> np.ndarray:
    """uint8 [T, H, W, 3]."""
    height, width = (cfg.vae.stride_xy * side for side in GRID[1:])
    return np.clip(128 + 60 * tiny.normal("source", FRAMES, height, width, 3), 0, 255).astype(np.uint8)


def ask(pipe, cfg: ModelConfig, noise: np.ndarray, output: str) -> np.ndarray:
    """The pipeline's latents ("latent") or frames ("np")."""
    prompt, negative = texts()
    pixels = source_clip(cfg)
    inputs: dict[str, Any] = {"guidance_scale_2": LOW_GUIDANCE} if cfg.flow.boundary else {}
    if cfg.dit.in_channels > cfg.dit.out_channels:
        inputs["video"] = torch.from_numpy(pixels.astype(np.float32) / 255).permute(0, 3, 1, 2)[None]
    with torch.no_grad():
        out = pipe(
            prompt_embeds=torch.from_numpy(prompt), negative_prompt_embeds=torch.from_numpy(negative),
            latents=reference.channels_first(noise), num_frames=FRAMES, height=pixels.shape[1], width=pixels.shape[2],
            num_inference_steps=STEPS, guidance_scale=GUIDANCE, output_type=output, **inputs,
        )  # fmt: skip
    return out.frames


def sample(folder: Path, cfg: ModelConfig, noise: np.ndarray) -> np.ndarray:
    """Our sampler's latents."""
    config = ours.config(folder)
    flow = dataclasses.replace(config.flow, solver="unipc", schedule="diffusers", shift=SHIFT)
    sampler, (prompt, negative) = Sampler(dataclasses.replace(config, flow=flow)), texts()
    conditions = {}
    if cfg.dit.in_channels > cfg.dit.out_channels:
        conditions["source"] = ours.encode(folder, source_clip(cfg)[None].astype(np.float32) / 127.5 - 1)
    low = LowNoise(lambda: {"params": ours.params(folder, "dit_low")}, LOW_GUIDANCE) if cfg.flow.boundary else None  # fmt: skip
    variables = {"params": ours.params(folder, "dit")}
    output = sampler(variables, noise, prompt, negative, conditions, STEPS, GUIDANCE, low=low)
    return np.asarray(output.latents)
