"""The plan of `v2v encode`: what its two programs take on devices that need not be there, compiled as they will run.

compile.py, train/encode_dataset.py -> **encode_plan** -> cli/plan.py

Sentences are embedded first, one at a time on one device; then the text encoder makes way for the autoencoder's encoder, of which each device
encodes a clip of its own. So the phases' peaks don't add up. The devices of several hosts work on their own pairs, and nothing is sent.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from v2v.checkpoints import parameter_store
from v2v.config import ModelConfig
from v2v.planning import chips
from v2v.planning.chips import Chip
from v2v.planning.compile import GIB, ProgramCost, compile_program
from v2v.planning.edit_plan import Rates
from v2v.planning.programs import Program
from v2v.train.encode_dataset import build_clip_encoder, build_sentence_encoder, clips_mesh, encoder_weights

# Clips of a pair that go through the autoencoder: source and target, and the mask where it differs from place to place.
CLIPS_OF_PAIR = (2, 3)
# Pairs whose time and size are told.
PAIRS = 1000


@dataclass(frozen=True)
class EncodingPhase:
    """One program of the encoding; the field names are keys of `v2v plan --json`.

    Attributes:
      fits: whether its peak fits into a device's memory.
      weights_gib: its weights and inputs.
      temporaries_gib: its temporaries; None where it did not compile.
      peak_gib: memory at the peak.
      tflop: operations of a call on one device: a clip or a sentence.
      seconds: of a call, at the assumed share of the peak rate.
    """

    fits: bool
    weights_gib: float
    temporaries_gib: float | None
    peak_gib: float
    tflop: float
    seconds: float


@dataclass(frozen=True)
class EncodePlan:
    """The cost of latents.

    Attributes:
      name: of the experiment or model.
      topology: name of the devices.
      chip: their kind.
      devices: number of them.
      clip: frames x height x width.
      phases: programs by name, "text" and "clips"; no text for models that read stored contexts.
      hours: of a thousand pairs on all devices, without a mask of a place and with one.
      gigabytes: size of the latents of a thousand pairs, likewise.
    """

    name: str
    topology: str
    chip: Chip
    devices: int
    clip: str
    phases: dict[str, EncodingPhase]
    hours: tuple[float, ...]
    gigabytes: tuple[float, ...]

    @property
    def fits(self) -> bool:
        """Return whether all programs fit."""
        return all(phase.fits for phase in self.phases.values())

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "experiment": self.name,
            "what": "encode",
            "topology": self.topology,
            "chips": self.devices,
            "clip": self.clip,
            "hbm_gib": round(self.chip.hbm / GIB, 2),
            "fits": self.fits,
            "phases": {name: dataclasses.asdict(phase) for name, phase in self.phases.items()},
            "hours_of_1000_pairs": list(self.hours),
            "gb_of_1000_pairs": list(self.gigabytes),
        }

    def describe(self) -> str:
        """Return the plan for people, several lines."""
        lines = [
            f"{self.name}: encoding of clips of {self.clip} on {self.topology} ({self.devices} of {self.chip.hbm / GIB:.4g} GiB), one phase after the other"
        ]
        for name, phase in self.phases.items():
            temporaries = "-" if phase.temporaries_gib is None else f"{phase.temporaries_gib:.3g}"
            unit = "clip, one a device" if name == "clips" else "sentence, on one device"
            lines.append(
                f"{name:6} weights {phase.weights_gib:.3g} GiB, temporaries {temporaries}, peak {phase.peak_gib:.3g}"
                f"{'' if phase.fits else ', TOO MUCH'}; {phase.tflop:.3g} TFLOP and {phase.seconds:.2g} s a {unit}"
            )
        lines.append(
            f"{PAIRS:,} pairs: {self.hours[0]:.2g} hours and {self.gigabytes[0]:.2g} GB of latents, with a mask of a place in each {self.hours[1]:.2g}"
            f" and up to {self.gigabytes[1]:.2g}; decoding of clips beside it, reference pictures and sentences not counted"
        )
        if not self.fits:
            lines.append("IT DOES NOT FIT: a device with more memory or a smaller clip is needed")
        return "\n".join(lines)


def plan_encoding(config: ModelConfig, topology: str, name: str, utilisation: float = 0.4) -> EncodePlan:
    """Compile the programs of `v2v encode` for devices that need not be there.

    Args:
      config: the model.
      topology: "v5e:2x4", "h100:8" and so on (chips.py).
      name: of the experiment or model.
      utilisation: share of the peak rate that the text encoder reaches; the autoencoder reaches that of `Rates.convolution`.

    Raises:
      InputError: an unknown topology, or libtpu is not installed.
    """
    chip, devices = chips.resolve_topology(topology)
    # A program for absent devices cannot be read back from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    rates = Rates(matmul=utilisation)
    convolution = rates.convolution / (2 if chip.platform == "gpu" and config.vae.dtype == "float32" else 1)
    phases = {}
    if config.condition.context == "text":
        text = compile_program(build_text_program(config, devices[:1]), chip.hbm)
        phases["text"] = _describe(text, rates.matmul * chip.flops)
    clips = compile_program(build_clips_program(config, devices), chip.hbm)
    phases["clips"] = _describe(clips, convolution * chip.flops)
    cells = math.prod(config.vae.latent_shape(config.frames, config.height, config.width))
    return EncodePlan(
        name, topology, chip, len(devices), f"{config.frames}x{config.height}x{config.width}", phases,
        tuple(_round(n * PAIRS * phases["clips"].seconds / len(devices) / 3600) for n in CLIPS_OF_PAIR),
        tuple(_round(n * PAIRS * cells * jnp.dtype(jnp.float16).itemsize / 1e9) for n in CLIPS_OF_PAIR),
    )  # fmt: skip


def build_clips_program(config: ModelConfig, devices: Sequence[jax.Device]) -> Program:
    """Return the program that encodes a clip on each device, with shapes in place of arrays."""
    mesh = clips_mesh(devices)
    replicated = NamedSharding(mesh, PartitionSpec())
    weights = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated),
        encoder_weights(parameter_store.abstract_parameters("vae", config)),
    )
    size = (len(devices), config.frames, config.height, config.width, 3)
    clips = jax.ShapeDtypeStruct(size, jnp.uint8, sharding=NamedSharding(mesh, PartitionSpec("clips")))
    return Program(build_clip_encoder(config, mesh), (weights, clips), mesh)


def build_text_program(config: ModelConfig, devices: Sequence[jax.Device]) -> Program:
    """Return the program that embeds a sentence on one device, with shapes in place of arrays."""
    place = SingleDeviceSharding(devices[0])

    def shape(size: Sequence[int], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(tuple(size), dtype, sharding=place)

    weights = jax.tree.map(
        lambda x: shape(x.shape, x.dtype), parameter_store.abstract_parameters("text", config)
    )
    inputs = (shape((1, config.text.text_len), jnp.int32), shape((1,), jnp.int32))
    return Program(build_sentence_encoder(config), (weights, *inputs), clips_mesh(devices))


def _describe(cost: ProgramCost, rate: float) -> EncodingPhase:
    """Return a phase of its program's cost; `rate` in operations a second."""
    return EncodingPhase(
        cost.fits,
        _round(cost.arguments / GIB),
        None if cost.temporaries is None else _round(cost.temporaries / GIB),
        _round(cost.peak / GIB),
        _round(cost.flops / 1e12),
        _round(cost.flops / rate),
    )


def _round(x: float) -> float:
    """Round to four digits, as a prediction has no more."""
    return float(f"{x:.4g}")
