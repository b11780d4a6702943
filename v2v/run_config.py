"""What a training run is set by, beside its model: devices, writers, data, optimiser. Frozen dataclasses, checked when made.

config.py (models) · **run_config.py** (runs) → train/experiment.py, data, plan. No logic lives here.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 takes what is left. Batches are split over data and fsdp, weights over fsdp and tensor,
    tokens over seq."""

    data: int = -1
    fsdp: int = 1
    seq: int = 1
    tensor: int = 1

    def __post_init__(self):
        sizes = (self.data, self.fsdp, self.seq, self.tensor)
        if sizes.count(-1) > 1 or any(n < 1 and n != -1 for n in sizes):
            raise ValueError(f"MeshConfig: expected sizes of at least 1, at most one of them -1, got {sizes}")


@dataclass(frozen=True)
class LogConfig:
    """Writers beside log.jsonl, which is always written."""

    every: int = 50  # steps between rows
    tensorboard: bool = False  # pip install 'v2v[tensorboard]'
    wandb: str = ""  # project on Weights & Biases; pip install 'v2v[wandb]'
    held_out_every: int = 0  # steps between losses on held-out pairs at fixed tau and noise; 0: never
    preview_every: int = 0  # steps between preview videos; 0: never


@dataclass(frozen=True)
class DataConfig:
    """How a pair becomes an example. Probabilities."""

    drop_text: float = 0.1  # the sentence is left out, so that guidance has something to lean on
    drop_mask: float = 0.5  # the model is told only when an edit happens, not where
    reference: float = (
        0.2  # share of batches that show a reference picture; the paper's "50 % dropped" is 0.5
    )
    transition: float = 0.5  # of rendered pairs, those whose edit begins inside the clip
    turning: float = 0.5  # of the backbone's clips, those that begin as the source and turn into the target
    image_to_video: float = 0.5  # of the others, those with a clean first frame
    held_out: float = 0.0  # of the cached pairs, those never trained on, for the held-out loss
    # Not probabilities: which sizes (frames, height, width) clips train at, () for the model's own alone; tokens a batch holds
    # at most, 0 for as many as edit.batch clips of the model's size; how often a clip comes from each of the sets, () for by
    # their numbers of clips.
    sizes: tuple[tuple[int, int, int], ...] = ()
    tokens: int = 0
    mixture: tuple[float, ...] = ()

    def __post_init__(self):
        others = ("sizes", "tokens", "mixture")
        wrong = {name: v for name, v in vars(self).items() if name not in others and not 0 <= v <= 1}
        if wrong:
            raise ValueError(f"DataConfig: expected probabilities between 0 and 1, got {wrong}")
        if self.tokens < 0 or any(n < 1 for size in self.sizes for n in size):
            raise ValueError(
                f"DataConfig: expected tokens of at least 0 and sizes of at least 1, got {self.tokens} and {self.sizes}"
            )


@dataclass(frozen=True)
class OptimConfig:
    kind: Literal["adamw", "muon"] = (
        "adamw"  # muon: for weights trained from nothing; adamw for the rest of such a tree
    )
    peak_lr: float = 1e-4
    adam_lr: float = 1e-3  # of what Muon leaves to AdamW: biases, gains, tables
    warmup_steps: int = 100
    decay_steps: int = 0  # 0 keeps the rate constant after the warm-up, as the paper does
    b1: float = 0.9
    b2: float = 0.99
    weight_decay: float = 0.0
    clip: float = 1.0  # of each group's gradient norm
    ema: float = 0.999  # decay of the average of what is trained; 0 keeps none
