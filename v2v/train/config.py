"""Configuration of a training run: an experiment and its stages, returned by `config()` of an experiment file."""

from dataclasses import dataclass, field
from typing import Literal

from v2v.config import DataConfig, LogConfig, MeshConfig, ModelConfig, OptimConfig, embedded


@dataclass(frozen=True)
class Stage:
    """One training run inside an experiment."""

    steps: int = 1000
    batch: int = 16  # clips an update, over all devices and micro-batches
    micro: int = 1  # parts a batch is cut into; their gradients are added up
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self):
        if self.steps < 1 or self.batch < 1 or self.micro < 1 or self.batch % self.micro:
            raise ValueError(
                f"Stage: expected steps, batch and micro of at least 1 and a batch that divides by micro, got {self}"
            )


@dataclass(frozen=True)
class Experiment:
    """A model, its data, and the stages that make its weights."""

    name: str = "embedded"
    model: ModelConfig = field(default_factory=embedded)
    pairs: int = 28000  # procedural pairs to render and cache
    workers: int = 2  # processes that render
    # Vocabulary of a text encoder trained from scratch: that of planar scenes, or with that of rooms.
    words: Literal["planar", "rooms"] = "planar"
    seed: int = 0
    cpu_devices: int = 2  # CPU devices for data parallel steps
    region: float = 3.0  # extra weight of latent cells that an edit changes
    trains: Literal["lora", "full"] = "lora"  # what the edit stage trains, besides the new embeddings
    data: DataConfig = field(default_factory=DataConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    log: LogConfig = field(default_factory=LogConfig)
    vae: Stage = field(default_factory=Stage)
    text: Stage = field(default_factory=Stage)
    base: Stage = field(default_factory=Stage)
    edit: Stage = field(default_factory=Stage)
    save_every: int = 250
    weights: str = ""  # folder of a published model to start from; "" trains one from scratch
    sets: tuple[str, ...] = ()  # folders of pairs written by `v2v synth`, read as one
    latents: str = ""  # folder for cached latents; "" is WORKDIR/latents
    start: str = ""  # adapter of an earlier run to go on from, such as runs/NAME/lora.safetensors
