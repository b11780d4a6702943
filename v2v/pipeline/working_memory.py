"""Estimates of the memory that a model's computations take beside its weights.

They decide which parts stay on the device meanwhile (`ParameterStore.make_room`). Fitted to what the compilers report for the 5B model, from
above: the decoder at 81 frames of 480x832 takes 11.5 GiB on a v5e and 8.8 GiB on an H100, at 121 frames of 704x1280 23.9 GiB on a v6e; the
encoder 5.1 and 3.5 GiB; the sampler 3.3 GiB with its results on a v5e.
"""

import numpy as np

from v2v.config import ModelConfig
from v2v.pipeline.model_programs import STREAMING_PIXELS

# Float32 maps of the autoencoder's first width and full resolution that are in memory at the same time.
ENCODER_MAPS, DECODER_MAPS = 6, 8
# Float32 arrays of all tokens at the transformer's width, of which each token's MLP is a few.
SAMPLER_ARRAYS = 20
# Of the text encoder, for one sentence.
TEXT_BYTES = 1 << 28


def encoding_bytes(config: ModelConfig, video: tuple[int, ...]) -> int:
    """Return the bytes that encoding frames [b, T, H, W, 3] takes."""
    return 4 * ENCODER_MAPS * config.vae.base_dim * _pixels_at_a_time(config, *video[:4])


def decoding_bytes(config: ModelConfig, z: tuple[int, ...]) -> int:
    """Return the bytes that decoding latents [b, t, y, x, c] takes."""
    scale, frames = config.vae.stride_xy, config.vae.stride_t * z[1]
    pixels = _pixels_at_a_time(config, z[0], frames, scale * z[2], scale * z[3])
    return 4 * DECODER_MAPS * config.vae.decoder_base_dim * pixels


def sampling_bytes(config: ModelConfig, z: tuple[int, ...], conditions: int) -> int:
    """Return the bytes that sampling latents [b, t, y, x, c] takes, where keys and values are not cached.

    Args:
      config: the model.
      z: shape of the latents.
      conditions: number of conditions that are tokens of their own beside the target's.
    """
    return 4 * SAMPLER_ARRAYS * config.dit.width * z[0] * (1 + conditions) * _tokens(config, z)


def cache_bytes(config: ModelConfig, z: tuple[int, ...], conditions: int, branches: int = 2) -> int:
    """Return the bytes of the cached keys and values of `conditions` conditions, in each branch of guidance."""
    width = np.dtype(np.float32).itemsize if config.dit.dtype == "float32" else 2
    tokens = z[0] * conditions * _tokens(config, z)
    return 2 * config.dit.layers * tokens * config.dit.width * width * branches


def _tokens(config: ModelConfig, z: tuple[int, ...]) -> int:
    return int(np.prod([n // p for n, p in zip(z[1:4], config.dit.patch, strict=True)]))


def _pixels_at_a_time(config: ModelConfig, rows: int, frames: int, height: int, width: int) -> int:
    """Return the pixels that the autoencoder works on at once: those of a latent frame where it streams."""
    pixels = rows * frames * height * width
    return pixels if pixels < STREAMING_PIXELS else rows * config.vae.stride_t * height * width
