"""The jitted functions of a model: pixels to latents and back, token ids to embeddings, and the sampler.

Weights are arguments, so all models of one configuration share them. `Pretrained` calls them with weights of its store; tools that lower or
compile for absent devices put functions of their own in their place (planning/edit_programs.py).
"""

import functools
from dataclasses import dataclass
from typing import Any, Protocol, cast

import jax

from v2v.array_types import AnyArray
from v2v.config import ModelConfig, TextConfig, VAEConfig
from v2v.diffusion.sampler import Sampler
from v2v.models import autoencoder_streaming, autoencoder_tiling
from v2v.models.autoencoder import VAE
from v2v.models.text_encoder import TextEncoder
from v2v.runtime import compiler_options
from v2v.runtime.platform import target_platform
from v2v.video.pixels import denormalize_pixels, normalize_pixels

# From this many pixels per call on, the autoencoder works on one latent frame at a time, in memory that does not grow with length.
STREAMING_PIXELS = 1 << 22


class Program(Protocol):
    """A jitted function of a part's weights and arrays."""

    def __call__(self, params: dict[str, Any], *arrays: AnyArray) -> Any:
        """Compute."""
        ...


class DecodeProgram(Protocol):
    """The jitted decoder."""

    def __call__(self, params: dict[str, Any], z: AnyArray, *, tiles: tuple[int, int] = (1, 1)) -> Any:
        """Decode; in rows and columns of tiles where frames are too large for the device's memory."""
        ...


@dataclass(frozen=True)
class ModelPrograms:
    """The jitted functions of a model.

    Attributes:
      encode: of the autoencoder's weights and uint8 frames [b, T, H, W, 3]; latents, float32 [b, t, y, x, c].
      decode: of the autoencoder's weights and latents; frames, float32 [b, T, H, W, 3] in 0..255.
      embed: of the text encoder's weights, token ids [b, m] and lengths [b]; embeddings, float32 [b, m, width].
      sampler: the sampler.
    """

    encode: Program
    decode: DecodeProgram
    embed: Program
    sampler: Sampler


class ProgramBuilder(Protocol):
    """Builds the jitted functions of a configuration."""

    def __call__(self, cfg: ModelConfig, streams: bool = False, /) -> ModelPrograms:
        """Build; `streams` as for `build_programs`."""
        ...


def build_programs(cfg: ModelConfig, streams: bool = False, /) -> ModelPrograms:
    """Return the functions of a configuration; the same for equal configurations on the same platform.

    Call it in the mesh that they are compiled for (`jax.set_mesh`) where its devices are not this process's.

    Args:
      cfg: the configuration.
      streams: whether the kernels of the transformer's blocks are in the host's memory.
    """
    return ModelPrograms(
        *_build_codec(cfg.vae, target_platform()), _build_text_encoder(cfg.text), _build_sampler(cfg, streams)
    )


@functools.lru_cache(maxsize=4)
def _build_codec(cfg: VAEConfig, platform: str) -> tuple[Program, DecodeProgram]:
    """Return `encode` and `decode`, with the compiler's options for the platform that they are compiled for."""
    vae = VAE(cfg)
    options = compiler_options.autoencoder_options(platform)

    @functools.partial(jax.jit, compiler_options=options)
    def encode(params, video):
        video = normalize_pixels(video)
        if video.size // 3 >= STREAMING_PIXELS:
            return autoencoder_streaming.encode_in_chunks(vae, params, video)
        return vae.apply({"params": params}, video, method="encode")

    @functools.partial(jax.jit, static_argnames="tiles", compiler_options=options)
    def decode(params, z, tiles=(1, 1)):
        if tiles != (1, 1):
            return denormalize_pixels(autoencoder_tiling.decode_in_tiles(vae, params, z, tiles))
        pixels = z[..., 0].size * cfg.stride_t * cfg.stride_xy**2
        if pixels >= STREAMING_PIXELS:
            return denormalize_pixels(autoencoder_streaming.decode_in_chunks(vae, params, z))
        return denormalize_pixels(cast(jax.Array, vae.apply({"params": params}, z, method="decode")))

    return encode, decode


@functools.lru_cache(maxsize=4)
def _build_text_encoder(cfg: TextConfig) -> Program:
    encoder = TextEncoder(cfg)

    @jax.jit
    def embed(params, ids, lengths):
        return encoder.apply({"params": params}, ids, lengths)

    return embed


@functools.lru_cache(maxsize=4)
def _build_sampler(cfg: ModelConfig, streams: bool) -> Sampler:
    return Sampler(cfg, streams)
