"""The autoencoder a few frames at a time, with memory that doesn't grow with the length of the video.

Every temporal convolution looks back only, so a video can be coded in chunks when each layer keeps the last frames it saw: two for a
convolution of three taps, one for a strided one. This history is the collection `stream`, a pytree of fixed size, and coding is one loop
over chunks. All chunks are equal, so that the compiler sees the autoencoder once: the first, of frame 0 or latent 0, has padding in front
(autoencoder_layers.py), and the history before it is zeros:

    zeros --history--> chunk 0 (padding, then frame 0 or latent 0) --history--> chunk 1 (4 frames, 1 latent) --history--> ...

The arithmetic is that of the whole sequence at once; only the order in which a backend sums may differ.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from v2v.array_types import Array, Float, Int, Latents, Video
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
    return _code_in_chunks(vae, params, video, "encode", chunk * vae.cfg.stride_t, chunk)


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
    return _code_in_chunks(vae, params, z, "decode", chunk, chunk * vae.cfg.stride_t)


def code_chunk(
    vae: VAE, params: dict[str, Any], history: dict[str, Any], piece: Float[Array, "b _ _ _ _"], method: str
) -> tuple[Float[Array, "b _ _ _ _"], dict[str, Any]]:
    """Code one chunk.

    Args:
      vae: the autoencoder.
      params: its parameters.
      history: what the previous chunk returned; that of `initial_history` for the first.
      piece: frames or latents. In the first chunk all but the last are padding, of any values.
      method: "encode" or "decode", or a part of "decode".

    Returns:
      The coded piece, in the first chunk with padding in front, and the history for the next.
    """
    coded: Any = vae.apply({"params": params, **history}, piece, method=method, mutable=["stream"])
    return coded


def initial_history(
    vae: VAE, params: dict[str, Any], piece: jax.ShapeDtypeStruct | Array, method: str
) -> dict[str, Any]:
    """Return the history before the first chunk.

    Args:
      vae: the autoencoder.
      params: its parameters.
      piece: a chunk, or its shape.
      method: as for `code_chunk`.
    """
    shapes = jax.eval_shape(
        lambda params, piece: code_chunk(vae, params, {}, piece, method)[1], params, piece
    )
    history = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    history["stream"]["start"] = jnp.asarray(True)
    return history


def code_in_loop(
    code: Callable[[Any, Array], tuple[Array, Any]],
    history: Any,
    x: Float[Array, "b T _ _ _"],
    frames: int,
    out_frames: int,
) -> Float[Array, "b T2 _ _ _"]:
    """Code a video chunk by chunk.

    Args:
      code: of a history and a chunk, the coded chunk and the next history, as `code_chunk`.
      history: the history before the first chunk.
      x: frames or latents: one and a multiple of `frames`, at least `frames`.
      frames: frames of a chunk.
      out_frames: coded frames of a chunk.
    """
    chunks = 1 + (x.shape[1] - 1) // frames

    def step(state: tuple[Any, Array], number: Int[Array, ""]) -> tuple[tuple[Any, Array], None]:
        # The first chunk takes frame 0 to its end, and the first coded frame from there, by turning both round. What it has too many
        # is written where the next chunk's belongs.
        history, out = state
        piece = jax.lax.dynamic_slice_in_dim(x, jnp.maximum(number * frames - (frames - 1), 0), frames, 1)
        if frames > 1:
            piece = jnp.where(number == 0, jnp.roll(piece, -1, 1), piece)
        coded, history = code(history, piece)
        if out_frames > 1:
            coded = jnp.where(number == 0, jnp.roll(coded, 1, 1), coded)
        place = jnp.maximum(number * out_frames - (out_frames - 1), 0)
        return (history, jax.lax.dynamic_update_slice_in_dim(out, coded, place, 1)), None

    first = jax.ShapeDtypeStruct((x.shape[0], frames, *x.shape[2:]), x.dtype)
    coded = jax.eval_shape(lambda history, piece: code(history, piece)[0], history, first)
    total = 1 + (chunks - 1) * out_frames
    out = jnp.zeros((coded.shape[0], max(total, out_frames), *coded.shape[2:]), coded.dtype)
    (_, out), _ = jax.lax.scan(step, (history, out), jnp.arange(chunks))
    return out[:, :total]


def _code_in_chunks(
    vae: VAE, params: dict[str, Any], x: Float[Array, "b T _ _ _"], method: str, frames: int, out_frames: int
) -> Float[Array, "b T2 _ _ _"]:
    if (x.shape[1] - 1) % frames:
        raise ValueError(
            f"stream: chunks of {frames} don't divide the {x.shape[1] - 1} frames after the first; choose another chunk"
        )
    if x.shape[1] == 1:
        coded: Any = vae.apply({"params": params}, x, method=method)
        return coded
    history = initial_history(
        vae, params, jax.ShapeDtypeStruct((x.shape[0], frames, *x.shape[2:]), x.dtype), method
    )
    return code_in_loop(
        lambda history, piece: code_chunk(vae, params, history, piece, method), history, x, frames, out_frames
    )
