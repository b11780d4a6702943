"""The VAE a few frames at a time: memory that doesn't grow with the length of the video. vae.py → **stream**

Every temporal convolution looks only back, so a video can be coded in chunks when each layer remembers the last frames it saw:
two for a 3-tap convolution, one for a strided one. The memory is the collection `stream`, a pytree of one fixed size, and the
walk is one scan:
    chunk 0 (frame 0, latent 0) --memory--> chunk 1 (4 frames, 1 latent) --memory--> ...
The arithmetic is that of the whole sequence at once; only the order in which a backend sums may differ.
"""

import jax
import jax.numpy as jnp

from v2v.array_types import Latents, Video
from v2v.models.autoencoder import VAE


def encode_in_chunks(vae: VAE, params: dict, video: Video, chunk: int = 1) -> Latents:
    """`vae.encode`, `chunk` latent frames at a time after the first; chunk must divide t - 1."""
    _, T, H, W, _ = video.shape
    vae.cfg.latent_shape(T, H, W)
    return _walk(vae, params, video, "encode", chunk * vae.cfg.stride_t)


def decode_in_chunks(vae: VAE, params: dict, z: Latents, chunk: int = 1) -> Video:
    """`vae.decode`, `chunk` latent frames at a time after the first; chunk must divide t - 1."""
    return _walk(vae, params, z, "decode", chunk)


def code_chunk(vae: VAE, params: dict, memory: dict, piece, method: str):
    """(coded `piece`, memory after it): one step of the walk by `method`, "encode" or "decode". The first has no memory, {}."""
    return vae.apply({"params": params, **memory}, piece, method=method, mutable=["stream"])


def _walk(vae: VAE, params: dict, x, method: str, frames: int):
    def step(memory, piece):
        out, memory = code_chunk(vae, params, memory, piece, method)
        return memory, out

    memory, first = step({}, x[:, :1])
    rest = x[:, 1:]
    if rest.shape[1] % frames:
        raise ValueError(
            f"stream: chunks of {frames} don't divide the {rest.shape[1]} frames after the first; choose another chunk"
        )
    if not rest.shape[1]:
        return first
    pieces = rest.reshape(rest.shape[0], -1, frames, *rest.shape[2:]).swapaxes(0, 1)
    _, out = jax.lax.scan(step, memory, pieces)
    out = out.swapaxes(0, 1)
    return jnp.concatenate([first, out.reshape(out.shape[0], -1, *out.shape[3:])], 1)
