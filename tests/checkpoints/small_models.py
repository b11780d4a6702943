"""A folder as small as every part can be, in the published layout and complete, and adapters for it: what editing is tested on."""

import dataclasses
import json
import shutil
from pathlib import Path

import flax
import jax
import numpy as np

from tests.parity import tiny
from v2v.checkpoints import adapters, wan
from v2v.config import LoRAConfig, ModelConfig, VAEConfig
from v2v.models import lora
from v2v.models.conditioning import CONDITION_NAMES

SIZE = {"frames": 5, "height": 32, "width": 32}
TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenizer.json"
SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler",
    "_diffusers_version": "0.37.0",
    "flow_shift": 3.0,
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
}


def config(in_channels: int = tiny.Z) -> ModelConfig:
    base = tiny.config(in_channels)
    return dataclasses.replace(
        base,
        **SIZE,
        dit=dataclasses.replace(base.dit, layers=1 if in_channels > tiny.Z else 2),
        vae=VAEConfig(
            base_dim=4, decoder_base_dim=4, z_dim=tiny.Z, dim_mult=(1, 2, 2), num_res_blocks=0,
            temporal_downsample=(True, True), **tiny.STATS,
        ),
        text=dataclasses.replace(base.text, vocab=400, layers=1),
    )  # fmt: skip


def two_transformers(boundary: float = 0.7) -> ModelConfig:
    """As Wan2.2-A14B: two transformers, and the autoencoder of Wan2.1."""
    small = config()
    vae = dataclasses.replace(small.vae, patch=1, residual=False)
    return dataclasses.replace(small, vae=vae, flow=dataclasses.replace(small.flow, boundary=boundary))


def write(
    path: Path, in_channels: int = tiny.Z, layout: str = "diffusers", cfg: ModelConfig | None = None
) -> Path:
    """The whole folder: weights, tokenizer, scheduler, model_index.json."""
    cfg = cfg or config(in_channels)
    tiny.write_folder(path, cfg, layout)
    for name in ("tokenizer", "scheduler"):
        (path / name).mkdir()
    shutil.copy(TOKENIZER, path / "tokenizer" / "tokenizer.json")
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    index: dict = {"_class_name": "WanPipeline", "expand_timesteps": cfg.vae.residual}
    if cfg.flow.boundary:
        index["boundary_ratio"] = cfg.flow.boundary
    (path / "model_index.json").write_text(json.dumps(index))
    return path


def adapter(cfg: ModelConfig, rank: int = 3, strength: float = 0.3) -> adapters.Adapter:
    """Random low-rank updates of every target, and embeddings of source, mask and reference."""
    shapes = flax.traverse_util.unflatten_dict(
        {p: np.zeros(s, np.float32) for p, s in wan.parameter_shapes("dit", cfg).items()}, sep="/"
    )

    low = lora.init_lora(jax.random.key(0), shapes, LoRAConfig(rank))
    low = {
        p: tiny.normal(p, *x.shape) * strength if p.endswith("/b") else np.asarray(x)
        for p, x in flax.traverse_util.flatten_dict(low, sep="/").items()
    }
    size, width = int(np.prod(cfg.dit.patch)) * cfg.dit.out_channels, cfg.dit.width
    embed = {
        n: {"kernel": 0.2 * tiny.normal(n, size, width), "bias": 0.2 * tiny.normal(n + "b", width)}
        for n in CONDITION_NAMES
    }
    return adapters.Adapter(flax.traverse_util.unflatten_dict(low, sep="/"), embed=embed)
