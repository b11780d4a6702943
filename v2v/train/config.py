"""Configuration of a training run: an experiment and its stages, returned by `config()` of an experiment file."""

from dataclasses import dataclass, field
from typing import Literal

from v2v.config import (
    DataConfig,
    LogConfig,
    MemoryName,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    WeightsDtype,
    embedded,
    remat_places,
)


@dataclass(frozen=True)
class Stage:
    """One training run inside an experiment.

    Attributes:
      steps: number of updates.
      batch: clips of an update, over all devices and micro-batches.
      micro: parts that a batch is cut into; their gradients are added up.
      optim: the optimizer.
    """

    steps: int = 1000
    batch: int = 16
    micro: int = 1
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self):
        if self.steps < 1 or self.batch < 1 or self.micro < 1 or self.batch % self.micro:
            raise ValueError(
                f"Stage: expected steps, batch and micro of at least 1 and a batch that divides by micro, got {self}"
            )


@dataclass(frozen=True)
class Experiment:
    """A model, its data, and the stages that make its weights.

    Attributes:
      name: name of the run.
      model: the model.
      pairs: procedural pairs to render and encode.
      workers: processes that render.
      words: vocabulary of a text encoder trained from scratch: that of planar scenes, or with that of rooms.
      seed: seed of rendering, initial weights and training.
      cpu_devices: CPU devices for data-parallel steps.
      region: extra weight of latent cells that an edit changes.
      trains: the weights that the edit stage trains besides the new embeddings.
      data: how pairs become examples.
      mesh: mesh of devices.
      log: writers of the log.
      vae: stage that trains the autoencoder.
      text: stage that trains the text encoder.
      base: stage that trains text-to-video.
      edit: stage that trains edits.
      detail: stage that trains the detail network.
      save_every: steps between checkpoints.
      save_minutes: minutes after which a checkpoint is saved in between, at the next row of the log; 0 for never.
      snapshot_every: steps between files of the adapter that are kept, edit/snapshots/lora-STEP.safetensors; 0 for none.
      transformer: which transformer is trained, of published weights that have two; "" for those of one.
      weights: folder, or ORG/NAME on the Hugging Face Hub, of a published model to start from; "" trains one from scratch.
      sets: folders of pairs written by `v2v synth`, or tables of your own pairs (CSV, JSON Lines, JSON, or a folder of clips), read as one.
      latents: folder of encoded pairs; "" is WORKDIR/latents.
      weights_dtype: type that the frozen base of an adapter's training is stored in (v2v/models/quantized.py); None for the model's own.
      weights_memory: where the frozen base of an adapter's training is: on the devices, or in the host's memory, from which each block takes its own as it
        runs (runtime/host_memory.py).
      memory: kind of device that the run shall fit, an NVIDIA card by its GB or a TPU: what of `model.dit.remat`, `weights_dtype`, `weights_memory`,
        `edit.micro` and `edit.optim.moments` isn't given is then the fastest that fits; "" takes them as they are.
      start: adapter of an earlier run to continue from, such as runs/NAME/lora.safetensors.
      autoencoder: folder with the vae.safetensors and config.json of an earlier run's stage, taken in place of training it; "" trains it.
      pictures: folder of photographs that the autoencoder learns from beside rendered scenes; "" for scenes alone.
      cutouts: folder of pictures with alpha that move across the photographs; "" for none.
      adopt: go on with a run that was begun with another configuration.
    """

    name: str = "embedded"
    model: ModelConfig = field(default_factory=embedded)
    pairs: int = 28000
    workers: int = 2
    words: Literal["planar", "rooms"] = "planar"
    seed: int = 0
    cpu_devices: int = 2
    region: float = 3.0
    trains: Literal["lora", "full"] = "lora"
    data: DataConfig = field(default_factory=DataConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    log: LogConfig = field(default_factory=LogConfig)
    vae: Stage = field(default_factory=Stage)
    text: Stage = field(default_factory=Stage)
    base: Stage = field(default_factory=Stage)
    edit: Stage = field(default_factory=Stage)
    detail: Stage = field(default_factory=Stage)
    save_every: int = 250
    save_minutes: float = 0.0
    snapshot_every: int = 0
    transformer: Literal["", "high", "low"] = ""
    weights: str = ""
    sets: tuple[str, ...] = ()
    latents: str = ""
    weights_dtype: WeightsDtype | None = None
    weights_memory: Literal["device", "host"] = "device"
    memory: Literal[""] | MemoryName = ""
    start: str = ""
    autoencoder: str = ""
    pictures: str = ""
    cutouts: str = ""
    adopt: bool = False

    def __post_init__(self):
        if self.save_minutes < 0 or self.snapshot_every < 0:
            raise ValueError(
                f"Experiment: expected save_minutes and snapshot_every of at least 0, got {self.save_minutes} and {self.snapshot_every}"
            )
        if self.weights_dtype is not None and self.trains == "full":
            raise ValueError(
                f'Experiment: expected trains "lora" with weights_dtype {self.weights_dtype}, which is for a frozen base, got "full"; leave one out'
            )
        if self.weights_memory == "host" and self.trains == "full":
            raise ValueError(
                'Experiment: expected trains "lora" with weights_memory host, which is for a frozen base, got "full"; leave one out'
            )


def uses_host_memory(cfg: Experiment) -> bool:
    """Return whether tensors or weights of the edit stage wait in the host's memory."""
    return cfg.weights_memory == "host" or "host" in remat_places(cfg.model.dit.remat).values()
