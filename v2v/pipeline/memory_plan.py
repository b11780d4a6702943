"""The plan of memory of an edit: what lies on a device in each phase, what waits on the host, and what is read again.

    text     text encoder                        once for each new sentence
    encode   autoencoder                         all windows, before they are sampled
    sample   transformer
    sample_low                                   the low-noise transformer of a model of two, after the other in each batch of windows
    decode   autoencoder                         all windows

Each phase needs one part of the model and the working memory of its program. Other parts stay beside it as far as there is room; the rest
makes room, on accelerators by waiting in the host's memory. Where the transformer doesn't fit even alone, its blocks stay in the host's memory and
each is moved to the device as it runs (runtime/host_memory.py). Where the decoder doesn't fit even alone, it decodes frames in tiles
(models/autoencoder_tiling.py); where cached keys and values of conditions don't fit, they are computed in every step.

The plan is made from shapes and the device's memory, so it can be told before anything is loaded, also for devices that are not there.
`Pretrained` keeps it: at the beginning of a phase it frees what the plan doesn't keep.

Working memory is estimated from above, by what compilers report for the 5B model (libtpu for v5e and v6e, XLA for H100 and RTX 4090):
GiB of temporaries          v5e / v6e                   GPU
    decode 81x480x832       6.00; in 2x2 tiles 4.69     8.80; in 2x2 tiles 5.30
    decode 121x704x1280     in 2x2 tiles 9.82           17.03; in 2x2 tiles 10.88
    encode                  5.09                        3.46; 7.50 at 121x704x1280
    sample 8,190 tokens     1.90                        0.65; 55,440 tokens 3.85
    sample 16,770 tokens    2.49; int8 2.18; nf4 1.51   1.20
The autoencoder of Wan2.1 folds no pixels into channels, so its maps are four times as large, of fewer channels. XLA for H100 reports
    decode 81x480x832       7.30
    encode 81x480x832       6.07
Those of TPUs, and in tiles, are taken in proportion, with channels padded to the 128 lanes of a TPU; libtpu was not asked about them.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from v2v.config import ModelConfig
from v2v.models.autoencoder_tiling import TileAxis, feature_scale, tile_margin
from v2v.models.conditioning import build_conditioning
from v2v.pipeline.model_programs import STREAMING_PIXELS
from v2v.runtime.host_memory import DeviceMemory

PhaseName = Literal["text", "encode", "sample", "sample_low", "decode"]
# A phase of a part that a model doesn't have is left out.
PHASE_PARTS: Mapping[PhaseName, str] = {
    "text": "text",
    "encode": "vae",
    "sample": "dit",
    "sample_low": "dit_low",
    "decode": "vae",
}
PART_NAMES = {
    "text": "text encoder",
    "vae": "autoencoder",
    "dit": "transformer",
    "dit_low": "low-noise transformer",
}
# Parts that stay beside that of a phase as far as there is room, in this order.
STAYING_PARTS = ("vae", "dit", "dit_low")
# Rows and columns of tiles to decode in, tried in this order; more would cost more in margins than they save.
TILINGS = ((1, 1), (1, 2), (2, 2))
GIB = 2**30
# Of the text encoder, for one sentence.
TEXT_BYTES = 1 << 28


@dataclass(frozen=True)
class _MapCosts:
    """Maps of an autoencoder's first width and largest size that are in memory at the same time.

    Attributes:
      encoder: in the encoder.
      decoder: in the decoder.
      tiles: in a decoder in tiles: for each frame's worth of windows, for a window's share of the frame.
    """

    encoder: float
    decoder: float
    tiles: tuple[float, float]


@dataclass(frozen=True)
class _Costs:
    """What a platform's programs take.

    Attributes:
      folded_maps: of the autoencoder of Wan2.2, which folds pixels into channels.
      plain_maps: of that of Wan2.1.
      token_arrays: float32 arrays of all tokens at the transformer's width.
      sampler_bytes: what the sampler takes beside them.
      channels: multiple to which the last axis of latents is padded.
    """

    folded_maps: _MapCosts
    plain_maps: _MapCosts
    token_arrays: float
    sampler_bytes: int
    channels: int


# CPUs' programs are not calibrated: between the two.
COSTS = {
    "tpu": _Costs(_MapCosts(5.6, 4.1, (1.2, 5.2)), _MapCosts(4, 5.7, (1.6, 3.5)), 9, int(1.2 * GIB), 128),
    "gpu": _Costs(_MapCosts(3.8, 6, (1.95, 4.3)), _MapCosts(2.75, 3.3, (1.1, 2.4)), 7.5, 1 << 26, 1),
    "cpu": _Costs(_MapCosts(5.6, 7.9, (2.5, 5.4)), _MapCosts(4, 5.7, (1.8, 3.9)), 9, 1 << 26, 1),
}


@dataclass(frozen=True)
class ClipShape:
    """The clips that one device works on at a time.

    Attributes:
      rows: clips.
      frames: frames of each.
      height: in pixels.
      width: in pixels.
      tokens: joint tokens of the transformer, over all clips.
      condition_tokens: those of them that are conditions'.
      steps: sampling steps.
    """

    rows: int
    frames: int
    height: int
    width: int
    tokens: int
    condition_tokens: int
    steps: int

    @classmethod
    def of(
        cls,
        config: ModelConfig,
        conditions: tuple[str, ...] = ("source", "mask", "reference"),
        rows: int | None = None,
        frames: int | None = None,
        steps: int | None = None,
    ) -> "ClipShape":
        """Return the shape of a model's windows.

        Args:
          config: the model.
          conditions: which conditions it is shown.
          rows: clips at a time; None for the model's batch.
          frames: of a window; None for the model's.
          steps: sampling steps; None for the model's.
        """
        rows, frames = rows or config.batch, frames or config.frames
        t, y, x, _ = config.vae.latent_shape(frames, config.height, config.width)
        _, py, px = config.dit.patch
        clip, picture = (t // config.dit.patch[0], y // py, x // px), (1, y // py, x // px)
        grids = {name: picture if name == "reference" else clip for name in ("target", *conditions)}
        layout = build_conditioning(config.dit, config.condition).layout(grids)
        tokens = rows * layout.length
        return cls(
            rows,
            frames,
            config.height,
            config.width,
            tokens,
            tokens - rows * math.prod(clip),
            steps or config.flow.steps,
        )


@dataclass(frozen=True)
class Phase:
    """What a device holds during a phase.

    Attributes:
      name: the phase.
      part: the part that it computes with.
      weight_bytes: of that part.
      working_bytes: of its program, estimated.
      beside: other parts that stay.
      beside_bytes: of those.
    """

    name: PhaseName
    part: str
    weight_bytes: int
    working_bytes: int
    beside: tuple[str, ...] = ()
    beside_bytes: int = 0

    @property
    def peak_bytes(self) -> int:
        """Return the bytes on the device at the same time."""
        return self.weight_bytes + self.working_bytes + self.beside_bytes


@dataclass(frozen=True)
class MemoryPlan:
    """What lies where in each phase of an edit.

    Attributes:
      device_bytes: memory of a device.
      waits_on_host: whether parts that make room wait in the host's memory; else they are read again.
      phases: in order.
      tiles: rows and columns of tiles that frames are decoded in.
      caches_keys: whether keys and values of conditions may be cached.
      streams: whether the transformer's blocks are taken from the host's memory in every pass.
    """

    device_bytes: int
    waits_on_host: bool
    phases: tuple[Phase, ...]
    tiles: tuple[int, int]
    caches_keys: bool
    streams: bool = False

    def phase(self, name: PhaseName) -> Phase:
        """Return a phase by its name."""
        return next(phase for phase in self.phases if phase.name == name)

    @property
    def peak(self) -> Phase:
        """Return the phase that takes most."""
        return max(self.phases, key=lambda phase: phase.peak_bytes)

    @property
    def fits(self) -> bool:
        """Return whether every phase fits."""
        return self.peak.peak_bytes <= self.device_bytes

    @property
    def makes_room(self) -> bool:
        """Return whether a transformer or the autoencoder must make room in a phase, or frames are decoded in tiles."""
        stay = {p.part for p in self.phases} - {"text"}
        return self.streams or self.tiles != (1, 1) or any(stay - {p.part, *p.beside} for p in self.phases)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "device_gib": round(self.device_bytes / GIB, 2),
            "fits": self.fits,
            "peak_gib": round(self.peak.peak_bytes / GIB, 2),
            "tiles": list(self.tiles),
            "caches_keys": self.caches_keys,
            "streams": self.streams,
            "waits_on_host": self.waits_on_host,
            "phases": {
                phase.name: {
                    "part": phase.part,
                    "weights_gib": round(phase.weight_bytes / GIB, 2),
                    "working_gib": round(phase.working_bytes / GIB, 2),
                    "beside": list(phase.beside),
                    "peak_gib": round(phase.peak_bytes / GIB, 2),
                }
                for phase in self.phases
            },
        }

    def describe(self) -> list[str]:
        """Return the plan for people, a line for each phase and one for what is unusual."""
        absent = "waits on the host" if self.waits_on_host else "is read again"
        lines = []
        for phase in self.phases:
            parts = {p.part for p in self.phases} - {"text", phase.part, *phase.beside}
            others = [part for part in STAYING_PARTS if part in parts]
            away = "".join(f"; {PART_NAMES[part]} {absent}" for part in others)
            beside = "".join(f" + {PART_NAMES[part]}" for part in phase.beside)
            tiles = f" in {self.tiles[0]}x{self.tiles[1]} tiles" if self.tiles != (1, 1) else ""
            if phase.name in ("sample", "sample_low") and self.streams:
                away += "; blocks from the host's memory"
            lines.append(
                f"{phase.name:10} {PART_NAMES[phase.part]} {phase.weight_bytes / GIB:.2f}{beside}, working memory "
                f"{phase.working_bytes / GIB:.2f}{tiles if phase.name == 'decode' else ''}: {phase.peak_bytes / GIB:.2f} of "
                f"{self.device_bytes / GIB:.2f} GiB{'' if phase.peak_bytes <= self.device_bytes else ', TOO MUCH'}{away}"
            )
        return lines

    def summary(self) -> str:
        """Return the plan in one line."""
        text = f"about {self.peak.peak_bytes / GIB:.1f} of {self.device_bytes / GIB:.1f} GiB at most ({self.peak.name})"
        if not self.makes_room:
            return f"{text}, transformer and autoencoder stay loaded"
        tiles = f", frames decoded in {self.tiles[0]}x{self.tiles[1]} tiles" if self.tiles != (1, 1) else ""
        tiles += (
            ", the transformer's blocks taken from the host's memory in every pass" if self.streams else ""
        )
        place = "in the host's memory" if self.waits_on_host else "on the disk"
        return f"{text}, parts wait {place} while others work{tiles}"


@functools.lru_cache(maxsize=64)
def _plan(
    config: ModelConfig,
    shape: ClipShape,
    sizes: tuple[tuple[str, int], ...],
    device: DeviceMemory,
    devices: int,
    sampling_devices: int,
    tileable: bool,
    streamed_bytes: int | None,
) -> MemoryPlan:
    parts, device_bytes, platform = dict(sizes), device.device_bytes, device.platform
    stays = sum(parts.values()) <= device_bytes / 2  # everything, also the text encoder

    def share(size: float) -> int:
        return int(size) // devices

    decoding = {tiles: share(decoding_bytes(config, shape, platform, tiles)) for tiles in TILINGS}
    tilings = TILINGS if tileable and _streams(config, shape) else TILINGS[:1]
    tiles = next((t for t in tilings if parts["vae"] + decoding[t] <= device_bytes), tilings[-1])
    sampling = sampling_bytes(config, shape, platform, sampling_devices)
    with_cache = sampling + cache_bytes(config, shape) // sampling_devices
    caches_keys = parts["dit"] + with_cache <= device_bytes
    transformers = [part for part in ("dit", "dit_low") if part in parts]
    host_has_room = (
        device.host_bytes >= parts["dit"] + sum(parts[part] for part in transformers) and platform != "cpu"
    )
    streams = False
    if streamed_bytes is not None and streamed_bytes < parts["dit"] and host_has_room:
        streams = parts["dit"] + sampling > device_bytes
    if streams:
        parts |= dict.fromkeys(transformers, streamed_bytes or 0)
    is_cached = caches_keys and build_conditioning(config.dit, config.condition).cacheable
    working: dict[PhaseName, int] = {
        "text": TEXT_BYTES,
        "encode": share(encoding_bytes(config, shape, platform)),
        "sample": with_cache if is_cached else sampling,
        "sample_low": with_cache if is_cached else sampling,
        "decode": decoding[tiles],
    }
    phases = []
    for name, part in PHASE_PARTS.items():
        if part not in parts:
            continue
        total, beside = parts[part] + working[name], []
        for other in (*STAYING_PARTS, *(["text"] if stays else [])):
            if other != part and other in parts and total + parts[other] <= device_bytes:
                total, beside = total + parts[other], [*beside, other]
        beside_bytes = sum(parts[other] for other in beside)
        phases.append(Phase(name, part, parts[part], working[name], tuple(beside), beside_bytes))
    waiting = sum(parts[part] for part in transformers[1:])
    waits_on_host = device.host_bytes >= 2 * max(parts.values()) + waiting
    return MemoryPlan(device_bytes, waits_on_host, tuple(phases), tiles, caches_keys, streams)


def plan_edit(
    config: ModelConfig,
    shape: ClipShape,
    sizes: Mapping[str, int],
    device: DeviceMemory,
    devices: int = 1,
    tileable: bool = True,
    streamed_bytes: int | None = None,
    sampling_devices: int | None = None,
) -> MemoryPlan:
    """Plan the memory of an edit.

    Args:
      config: the model.
      shape: the clips that `devices` devices work on at a time.
      sizes: bytes of the model's parts on each device.
      device: the memory of a device and of its host.
      devices: number of devices that share a program's working memory.
      tileable: whether frames may be decoded in tiles; not where devices split frames.
      streamed_bytes: of the transformer on a device while its blocks are streamed from the host; None where they can't be.
      sampling_devices: number of devices that share the sampler's, where fewer do than share the autoencoder's.
    """
    parts = tuple(sorted(sizes.items()))
    sharing = devices if sampling_devices is None else sampling_devices
    return _plan(config, shape, parts, device, devices, sharing, tileable, streamed_bytes)


def encoding_bytes(config: ModelConfig, shape: ClipShape, platform: str) -> int:
    """Return the bytes that encoding takes beside the weights."""
    maps = _map_costs(config, platform).encoder * config.vae.base_dim
    return int(4 * maps * _map_scale(config) * _pixels_at_a_time(config, shape))


def decoding_bytes(
    config: ModelConfig, shape: ClipShape, platform: str, tiles: tuple[int, int] = (1, 1)
) -> int:
    """Return the bytes that decoding takes beside the weights, its result included.

    Args:
      config: the model.
      shape: the clips.
      platform: "tpu", "gpu" or "cpu".
      tiles: rows and columns of tiles.
    """
    costs = _map_costs(config, platform)
    maps = costs.decoder
    if tiles != (1, 1):
        scale, margin = feature_scale(config.vae), tile_margin(config.vae)
        share = math.prod(
            TileAxis.of(side // scale, count, margin).window / (side // scale)
            for side, count in zip((shape.height, shape.width), tiles, strict=True)
        )
        maps = costs.tiles[0] * share * math.prod(tiles) + costs.tiles[1] * share
    result = 12 * shape.rows * shape.frames * shape.height * shape.width
    return (
        int(4 * maps * _map_scale(config) * config.vae.decoder_base_dim * _pixels_at_a_time(config, shape))
        + result
    )


def sampling_bytes(config: ModelConfig, shape: ClipShape, platform: str, devices: int = 1) -> int:
    """Return the bytes that sampling takes beside the weights on each device, where keys and values are not cached.

    Args:
      config: the model.
      shape: the clips.
      platform: "tpu", "gpu" or "cpu".
      devices: number of devices over which tokens, heads or clips are split.
    """
    costs = COSTS[platform]
    t, y, x, c = config.vae.latent_shape(shape.frames, shape.height, shape.width)
    # Predictions of a clip's last window at every step, given and returned; each device has them whole.
    past = 2 * 4 * shape.steps * t * y * x * (math.ceil(c / costs.channels) * costs.channels)
    is_small = shape.tokens * config.dit.width < 1 << 22
    arrays = 4 * costs.token_arrays * config.dit.width * shape.tokens
    return int((arrays + (0 if is_small else costs.sampler_bytes)) / devices + past)


def cache_bytes(config: ModelConfig, shape: ClipShape, branches: int = 2) -> int:
    """Return the bytes of cached keys and values of the conditions' tokens, in each branch of guidance."""
    width = np.dtype(np.float32).itemsize if config.dit.dtype == "float32" else 2
    return 2 * config.dit.layers * shape.condition_tokens * config.dit.width * width * branches


def _map_costs(config: ModelConfig, platform: str) -> _MapCosts:
    costs = COSTS[platform]
    return costs.plain_maps if config.vae.patch == 1 else costs.folded_maps


def _map_scale(config: ModelConfig) -> int:
    """Return how many times larger an autoencoder's largest maps are than those at half the height and width of the pixels."""
    return 4 if config.vae.patch == 1 else 1


def _streams(config: ModelConfig, shape: ClipShape) -> bool:
    """Return whether the decoder works on a latent frame at a time."""
    t = (shape.frames - 1) // config.vae.stride_t + 1
    return shape.rows * t * config.vae.stride_t * shape.height * shape.width >= STREAMING_PIXELS


def _pixels_at_a_time(config: ModelConfig, shape: ClipShape) -> int:
    """Return the pixels that the autoencoder works on at once: those of a latent frame where it streams."""
    area = shape.rows * shape.height * shape.width
    t = (shape.frames - 1) // config.vae.stride_t + 1
    return area * config.vae.stride_t * (1 if _streams(config, shape) else t)
