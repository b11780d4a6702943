"""The autoencoder a few frames at a time, with memory that doesn't grow with the length of the video.

Every temporal convolution looks back only, so a video can be coded in chunks when each layer remembers the last frames it saw: two
for a convolution of three taps, one for a strided one. This history is the collection `stream`, a pytree of fixed size, and coding is
one scan over chunks:

    chunk 0 (frame 0, latent 0) --history--> chunk 1 (4 frames, 1 latent) --history--> ...

The arithmetic is that of the whole sequence at once; only the order in which a backend sums may differ.
"""

from typing import Any

import jax
import jax.numpy as jnp

from v2v.array_types import Array, Float, Latents, Video
from v2v.models.autoencoder import VAE


def encode_in_chunks(vae: VAE, params: dict[str, Any], video: Video, chunk: int = 1) -> Latents:
    """Encode as `vae.encode` does.

    Args:
      vae: the autoencoder.
      params: its parameters.
      video: frames in [-1, 1].
      chunk: latent frames of a chunk after the first, which is one; must divide t - 1.

    Raises:
      ValueError: the size of the video doesn't fit, or the chunks don't.
    """
    _, T, H, W, _ = video.shape
    vae.cfg.latent_shape(T, H, W)
    return _code_in_chunks(vae, params, video, "encode", chunk * vae.cfg.stride_t)


def decode_in_chunks(vae: VAE, params: dict[str, Any], z: Latents, chunk: int = 1) -> Video:
    """Decode as `vae.decode` does.

    Args:
      vae: the autoencoder.
      params: its parameters.
      z: normalized latents.
      chunk: latent frames of a chunk after the first, which is one; must divide t - 1.

    Raises:
      ValueError: the chunks don't fit.
    """
    return _code_in_chunks(vae, params, z, "decode", chunk)


def code_chunk(
    vae: VAE, params: dict[str, Any], history: dict[str, Any], piece: Float[Array, "b _ _ _ _"], method: str
) -> tuple[Float[Array, "b _ _ _ _"], dict[str, Any]]:
    """Code one chunk.

    Args:
      vae: the autoencoder.
      params: its parameters.
      history: what the previous chunk returned; {} for the first.
      piece: frames or latents.
      method: "encode" or "decode".

    Returns:
      The coded piece, and the history for the next.
    """
    coded: Any = vae.apply({"params": params, **history}, piece, method=method, mutable=["stream"])
    return coded


def _code_in_chunks(
    vae: VAE, params: dict[str, Any], x: Float[Array, "b T _ _ _"], method: str, frames: int
) -> Float[Array, "b T2 _ _ _"]:
    """Code the first frame, then `frames` at a time."""

    def step(history, piece):
        out, history = code_chunk(vae, params, history, piece, method)
        return history, out

    history, first = step({}, x[:, :1])
    remaining = x[:, 1:]
    if remaining.shape[1] % frames:
        raise ValueError(
            f"stream: chunks of {frames} don't divide the {remaining.shape[1]} frames after the first; choose another chunk"
        )
    if not remaining.shape[1]:
        return first
    pieces = remaining.reshape(remaining.shape[0], -1, frames, *remaining.shape[2:]).swapaxes(0, 1)
    _, out = jax.lax.scan(step, history, pieces)
    out = out.swapaxes(0, 1)
    return jnp.concatenate([first, out.reshape(out.shape[0], -1, *out.shape[3:])], 1)
