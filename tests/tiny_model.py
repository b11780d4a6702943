"""A tiny model with random weights, as a folder that `--model` takes. For tests of what starts, compiles and shares."""

from pathlib import Path

import jax
import numpy as np

from v2v.checkpoints import native
from v2v.config import debug
from v2v.models.autoencoder import VAE
from v2v.models.initialization import init_adapter, init_base
from v2v.models.text_encoder import build_word_tokenizer


def write(folder: Path) -> Path:
    """Writes the folder; returns it."""
    cfg, key = debug(), jax.random.key(0)
    shapes = {"base": jax.eval_shape(lambda k: init_base(k, cfg), key)}
    shapes["vae"] = jax.eval_shape(
        VAE(cfg.vae).init, key, jax.ShapeDtypeStruct((1, 5, 32, 32, 3), np.float32)
    )["params"]
    shapes["adapter"] = jax.eval_shape(lambda k, dit: init_adapter(k, cfg, dit), key, shapes["base"]["dit"])
    rng = np.random.default_rng(0)
    trees = jax.tree.map(lambda s: rng.normal(0, 0.05, s.shape).astype(np.float32), shapes)
    native.save_config(folder / "config.json", cfg)
    native.save_parameters(folder / "base.safetensors", trees["base"])
    native.save_parameters(folder / "vae.safetensors", {"vae": trees["vae"]})
    native.save_parameters(folder / "lora.safetensors", trees["adapter"])
    build_word_tokenizer(["make", "it", "warmer", "sepia"], cfg.text.text_len, cfg.text.vocab).backend.save(
        str(folder / "tokenizer.json")
    )
    return folder
