"""What every training run needs beside its model: mesh, log, data and optimizer; `train/config.py` puts them together with the stages."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; one may be -1 and takes the devices that are left.

    Attributes:
      data: batches are split over these; 0 takes the number of slices of TPUs or of machines with GPUs, between which links are slow.
      fsdp: batches and weights are split over these.
      seq: tokens are split over these.
      tensor: weights are split over these.
    """

    data: int = -1
    fsdp: int = 1
    seq: int = 1
    tensor: int = 1

    def __post_init__(self):
        sizes = (self.data, self.fsdp, self.seq, self.tensor)
        if sizes.count(-1) > 1 or any(n < 1 and n != -1 for n in sizes[1:]) or self.data < -1:
            raise ValueError(
                f"MeshConfig: expected sizes of at least 1 (data also 0), at most one of them -1, got {sizes}"
            )


@dataclass(frozen=True)
class LogConfig:
    """Logging: what a run writes, and where beside log.jsonl, which is always written.

    Attributes:
      every: steps between rows.
      tensorboard: write TensorBoard files (pip install 'v2v-edit[tensorboard]').
      wandb: project on Weights & Biases (pip install 'v2v-edit[wandb]'); "" for none.
      held_out_every: steps between losses on held-out pairs at fixed flow times and noise; 0 for never.
      preview_every: steps between preview videos; 0 for never.
      previews: manifest of clips to preview, as v2v edit --manifest reads it, such as {"video": "a.mp4", "instruction": "make it night"} a line; "" for some of the pairs, held-out ones first.
      preview_steps: sampling steps of a preview; 0 for those of the model.
      profile: first and last step of a trace for xprof or TensorBoard, such as 20:25; "" for none.
      spike: robust standard deviations above the median of the 20 rows before from which on a row's loss is told as a spike; 0 for never.
      stop_on_spike: end the run at a spike, before anything of it is saved.
    """

    every: int = 50
    tensorboard: bool = False
    wandb: str = ""
    held_out_every: int = 0
    preview_every: int = 0
    previews: str = ""
    preview_steps: int = 0
    profile: str = ""
    spike: float = 10.0
    stop_on_spike: bool = False

    def __post_init__(self):
        if not 0 <= self.spike < math.inf:
            raise ValueError(f"LogConfig.spike: expected a number of at least 0, got {self.spike}")
        if self.stop_on_spike and not self.spike:
            raise ValueError("LogConfig: stop_on_spike changes nothing with spike 0; leave one out")


@dataclass(frozen=True)
class DataConfig:
    """Training data: how pairs become training examples. All but the last seven are probabilities or shares.

    Attributes:
      drop_text: probability that the text is left out, so that guidance has an unconditional branch.
      drop_mask: probability of a mask that tells only when an edit happens, not where.
      drop_source: share of batches without source and mask, for guidance on the source (`--guide prompt+source`); InstructPix2Pix (arXiv 2211.09800)
        takes 0.05 of this, of `drop_source_and_text` and of `drop_text`.
      drop_source_and_text: share of batches without source, mask and text.
      drop_all: share of batches without anything, references included.
      reference: share of batches that have reference pictures; the paper's "50 % dropped" is 0.5.
      transition: share of rendered pairs whose edit begins inside the clip.
      turning: share of the backbone's clips that begin as the source and turn into the target.
      image_to_video: share of the backbone's other clips that have a clean first frame.
      held_out: share of the cached pairs that are never trained on, for the held-out loss.
      sizes: sizes (frames, height, width) of training clips; () for the model's alone.
      own_sizes: train each clip at a size of its own shape and length, up to the model's frames and area, and pictures as clips of one frame.
      tokens: most tokens of a batch; 0 for those of `edit.batch` clips of the model's size.
      mixture: weight of each set of pairs; () for their numbers of clips.
      mixture_changes: later weights, each as STEPS:WEIGHT,WEIGHT,... such as "2000:0.2,0.8": from then on, after so many updates.
      fps: frames per second that clips of tables are resampled to, those that the model was trained at; 0 keeps every frame.
      threads: threads that read latents ahead; more where short steps wait for data, the batches are the same.
    """

    drop_text: float = 0.1
    drop_mask: float = 0.5
    drop_source: float = 0.0
    drop_source_and_text: float = 0.0
    drop_all: float = 0.0
    reference: float = 0.2
    transition: float = 0.5
    turning: float = 0.5
    image_to_video: float = 0.5
    held_out: float = 0.0
    sizes: tuple[tuple[int, int, int], ...] = ()
    own_sizes: bool = False
    tokens: int = 0
    mixture: tuple[float, ...] = ()
    mixture_changes: tuple[str, ...] = ()
    fps: float = 24.0
    threads: int = 2

    def __post_init__(self):
        others = ("sizes", "own_sizes", "tokens", "mixture", "mixture_changes", "fps", "threads")
        if self.own_sizes and self.sizes:
            raise ValueError("DataConfig: expected either sizes or own_sizes, got both; leave one out")
        wrong = {
            name: value for name, value in vars(self).items() if name not in others and not 0 <= value <= 1
        }
        if wrong:
            raise ValueError(f"DataConfig: expected probabilities between 0 and 1, got {wrong}")
        drop_share = self.drop_source + self.drop_source_and_text + self.drop_all
        if drop_share >= 1:
            raise ValueError(
                f"DataConfig: expected drop_source, drop_source_and_text and drop_all of less than 1 together, got {drop_share:g}; lower one"
            )
        if not 0 <= self.fps < math.inf:
            raise ValueError(f"DataConfig: expected frames per second of at least 0, got {self.fps}")
        steps = [change.steps for change in self.changes]
        if any(a >= b for a, b in itertools.pairwise([0, *steps])):
            raise ValueError(
                f"DataConfig.mixture_changes: expected steps above 0, each above the one before, got {steps}"
            )
        if self.tokens < 0 or self.threads < 1 or any(n < 1 for size in self.sizes for n in size):
            raise ValueError(
                f"DataConfig: expected tokens of at least 0, threads of at least 1 and sizes of at least 1, got {self.tokens}, {self.threads}"
                f" and {self.sizes}"
            )

    @property
    def changes(self) -> tuple["MixtureChange", ...]:
        """Return the later weights."""
        return tuple(map(MixtureChange.parse, self.mixture_changes))


@dataclass(frozen=True)
class MixtureChange:
    """Weights of the sets of pairs from some step on.

    Attributes:
      steps: updates that are done before.
      weights: one for each set, above 0.
    """

    steps: int
    weights: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> "MixtureChange":
        """Return the change that "2000:0.2,0.8" stands for; raise ValueError for another text."""
        steps, _, weights = text.partition(":")
        try:
            change = cls(int(steps), tuple(map(float, weights.split(","))))
        except ValueError:
            change = cls(0, ())
        if not change.weights or not all(0 < weight < math.inf for weight in change.weights):
            raise ValueError(
                f'DataConfig.mixture_changes: expected STEPS:WEIGHT,WEIGHT,... with weights above 0, such as "2000:0.2,0.8", got {text!r}'
            )
        return change


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer, and the moving average of what it trains.

    Attributes:
      kind: adamw, or muon for weights trained from scratch, which leaves what is no matrix to AdamW.
      peak_lr: learning rate after the warm-up.
      adam_lr: learning rate of what Muon leaves to AdamW: biases, gains, tables.
      warmup_steps: steps of linear warm-up.
      decay_steps: steps of a cosine decay to a tenth; 0 keeps the rate constant after the warm-up, as the paper does.
      b1: decay of AdamW's first moment.
      b2: decay of AdamW's second moment.
      weight_decay: of matrices; of nothing else.
      clip: largest norm of the gradients of each group of parameters.
      ema: decay of the average of the trained parameters; 0 keeps none.
      lora_plus: learning rate of LoRA's second matrices, which start at zero, relative to that of the first (LoRA+, arXiv 2402.12354,
        recommends about 16 with a lower rate); 1 for the same.
      moments: type in which AdamW's moments are stored between steps (`train/stored_moments.py`).
    """

    kind: Literal["adamw", "muon"] = "adamw"
    peak_lr: float = 1e-4
    adam_lr: float = 1e-3
    warmup_steps: int = 100
    decay_steps: int = 0
    b1: float = 0.9
    b2: float = 0.99
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    lora_plus: float = 1.0
    moments: Literal["float32", "bfloat16", "int8"] = "float32"

    def __post_init__(self):
        if self.moments != "float32" and self.kind != "adamw":
            raise ValueError(
                f"OptimConfig: expected kind adamw with moments in {self.moments}, got {self.kind}; leave one out"
            )
