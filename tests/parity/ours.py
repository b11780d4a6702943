"""Our answers to the questions of tiny.py, from a folder in the published layout, in float32."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from v2v.checkpoints import model_folder as folders
from v2v.checkpoints import wan
from v2v.config import ModelConfig
from v2v.models.autoencoder import VAE
from v2v.models.text_encoder import TextEncoder
from v2v.models.transformer import DiT


def config(folder: Path) -> ModelConfig:
    cfg = folders.read_model_folder(folder).config
    return dataclasses.replace(
        cfg,
        dit=dataclasses.replace(cfg.dit, dtype="float32"),
        text=dataclasses.replace(cfg.text, dtype="float32"),
    )


def jit(fn):
    """Compiled in a third of the time: these programs run once, on almost nothing."""
    return jax.jit(fn, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def params(folder: Path, part: str) -> dict:
    return wan.load_part(part, folders.read_model_folder(folder).parts[part], config(folder))


def velocity(folder: Path, z, tau, text, first_clean: bool = False) -> np.ndarray:
    clean = jnp.ones(len(z), bool) if first_clean else None
    model = DiT(config(folder).dit)
    return np.asarray(jit(model.apply)({"params": params(folder, "dit")}, z, tau, text, first_clean=clean))


def encode(folder: Path, video) -> np.ndarray:
    apply = jit(functools.partial(VAE(config(folder).vae).apply, method="encode"))
    return np.asarray(apply({"params": params(folder, "vae")}, video))


def decode(folder: Path, z) -> np.ndarray:
    apply = jit(functools.partial(VAE(config(folder).vae).apply, method="decode"))
    return np.asarray(apply({"params": params(folder, "vae")}, z))


def embed(folder: Path, ids, lengths) -> np.ndarray:
    return np.asarray(
        jit(TextEncoder(config(folder).text).apply)({"params": params(folder, "text")}, ids, lengths)
    )
