"""What an experiment file's `config()` returns. experiments/NAME.py → **experiment** → loop.py"""

from dataclasses import dataclass, field

from v2v.config import ModelConfig, OptimConfig, embedded


@dataclass(frozen=True)
class Stage:
    """One training run inside an experiment."""

    steps: int = 1000
    batch: int = 16
    optim: OptimConfig = field(default_factory=OptimConfig)


@dataclass(frozen=True)
class Experiment:
    """A model, its data, and the stages that make its weights."""

    name: str = "embedded"
    model: ModelConfig = field(default_factory=embedded)
    pairs: int = 14000  # procedural pairs to render and cache
    workers: int = 2  # processes that render
    seed: int = 0
    cpu_devices: int = 2  # of a CPU's cores, for data parallel steps
    region: float = 3.0  # extra weight of latent cells that an edit changes
    vae: Stage = field(default_factory=Stage)
    base: Stage = field(default_factory=Stage)
    edit: Stage = field(default_factory=Stage)
    save_every: int = 250
