"""Fresh parameters of a model: of the base, and of an adapter for it."""

import jax
import jax.numpy as jnp

from v2v.config import ModelConfig
from v2v.models import lora
from v2v.models.conditioning import build_conditioning
from v2v.models.lora import Tree
from v2v.models.text_encoder import TextEncoder
from v2v.models.transformer import DiT


def init_base(key: jax.Array, cfg: ModelConfig) -> Tree:
    """Return fresh parameters {"dit", "text"} of the transformer and the text encoder."""
    t, y, x, _ = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    keys = jax.random.split(key)
    text = jnp.zeros((1, cfg.text.text_len, cfg.text.width))
    z = jnp.zeros((1, t, y, x, cfg.dit.in_channels))
    ids, lengths = jnp.zeros((1, cfg.text.text_len), jnp.int32), jnp.ones((1,), jnp.int32)
    return {
        "dit": jax.jit(DiT(cfg.dit, cfg.condition).init)(keys[0], z, jnp.ones((1,)), text)["params"],
        "text": jax.jit(TextEncoder(cfg.text).init)(keys[1], ids, lengths)["params"],
    }


def init_adapter(key: jax.Array, cfg: ModelConfig, dit_params: Tree) -> Tree:
    """Return a fresh adapter {"lora", "embed"}: with it the model equals its base bit for bit until the first update.

    Args:
      key: random key.
      cfg: the model, with the adapter's rank and targets.
      dit_params: parameters of the transformer, arrays or ShapeDtypeStructs.
    """
    return {"lora": lora.init_lora(key, dit_params, cfg.lora), "embed": init_embed(key, cfg)}


def init_embed(key: jax.Array, cfg: ModelConfig) -> Tree:
    """Return the new embeddings of source, mask and reference, all zero."""
    t, y, x, c = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    z = jnp.zeros((1, t, y, x, c))
    conditioning = build_conditioning(cfg.dit, cfg.condition)
    mask = z[..., : conditioning.embedding_channels("mask", c)]
    args = (z, jnp.ones((1,)), jnp.zeros((1, cfg.text.text_len, cfg.text.width)), z, mask, z[:, :1])
    shapes = jax.eval_shape(DiT(cfg.dit, cfg.condition).init, key, *args).get("embed", {})
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
