"""What a model is: its networks, adapters, conditioning and flow; its fields are stored in the config.json of model folders.

Source: EasyV2V (arXiv 2512.16920), section 5.
"""

import itertools
import math
import re
from dataclasses import dataclass, field
from typing import Literal

from v2v.config.choices import ScheduleName, SolverName, TransformerName
from v2v.config.networks import DiTConfig, TextConfig, VAEConfig

# Linear layers that carry LoRA: q, k, v, o of both attentions and both FFN linears (0.64 B parameters at rank 256 and 5B,
# the figure of the paper's Table IV; attention alone would be 0.38 B).
LORA_TARGETS = r"blocks/(self_attn|cross_attn)/(q|k|v|o)$|blocks/ffn/(up|down)$"


@dataclass(frozen=True)
class LoRAConfig:
    """Low-rank adapters of linear layers: y = x (w + scale a b).

    Attributes:
      rank: columns of a and rows of b.
      alpha: scale times rank, or times its square root (`rank_stabilized`); None for a scale of 1.
      targets: regular expression, searched in the path of each linear layer.
      ranks: other ranks of some layers, each as REGEX=RANK such as "ffn=16" or "self_attn/(q|k)=64"; the first that is found in a path counts.
        The scale is that of `rank` for all.
      rank_stabilized: divide alpha by the square root of the rank, as rsLoRA does (arXiv 2312.03732), so that high ranks learn as fast.
      dora: train the length of each output's weights apart from their direction, as DoRA does (arXiv 2402.09353); a step takes longer.
    """

    rank: int = 256
    alpha: float | None = None
    targets: str = LORA_TARGETS
    ranks: tuple[str, ...] = ()
    rank_stabilized: bool = False
    dora: bool = False

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"LoRAConfig.rank must be at least 1, got {self.rank}")
        if self.rank_stabilized and self.alpha is None:
            raise ValueError("LoRAConfig: rank_stabilized changes nothing without alpha; set alpha too")
        for entry in self.ranks:
            pattern, _, rank = entry.rpartition("=")
            if not pattern or not rank.isdecimal() or int(rank) < 1:
                raise ValueError(f'LoRAConfig.ranks: expected REGEX=RANK, such as "ffn=16", got {entry!r}')

    @property
    def scale(self) -> float:
        """Return the factor of a b."""
        if self.alpha is None:
            return 1.0
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)

    def find_entry(self, path: str) -> str | None:
        """Return the entry of `ranks` that counts for a layer's path; None for `rank`."""
        return next((entry for entry in self.ranks if re.search(entry.rpartition("=")[0], path)), None)

    def layer_rank(self, path: str) -> int:
        """Return the rank of the adapter of a layer, such as blocks/self_attn/q; 0 for one that has none."""
        if not re.search(self.targets, path):
            return 0
        entry = self.find_entry(path)
        return self.rank if entry is None else int(entry.rpartition("=")[2])


@dataclass(frozen=True)
class ConditionConfig:
    """Conditioning: how source, mask and reference enter the transformer (EasyV2V, section 3 and its ablations).

    "Clean tokens" are those of source, mask and reference; "noisy tokens" are the target's, which the model denoises.

    Attributes:
      layout: how the source joins the target: as tokens of its own (sequence), concatenated along channels (channel), or added to
        the target's tokens (add); of published editors, as segments told apart by a rotary phase (segments, Bernini-R), or added times
        the noise level (scaled_add, Kiwi-Edit).
      rope: temporal positions of the rotary embedding: source, target and reference one after the other (contiguous), or source and
        target at the same positions and the reference after them (shared).
      time: flow time that clean tokens are modulated with: 0, as they hold no noise (zero), or the noisy tokens' (same).
      attention: which tokens see which: all see all (full), or clean tokens don't see noisy ones (one_way), so that their keys
        and values are the same at every step and can be cached.
      mask: tokens that the embedded mask is added to (source or target), or sequence for tokens of its own after the target's
        (Table II).
      mask_code: what is embedded of a mask: its latents as a black and white video (vae), or its share of each latent cell
        (pooled, `video/mask.py`).
      reference: whether references come after the target or before it (layout scaled_add).
      context: what cross-attention reads: the embedded instruction (text), or what another network made of instruction, source and
        reference, at the transformer's width and of any length (stored, `checkpoints/context_file.py`).
    """

    layout: Literal["sequence", "channel", "add", "segments", "scaled_add"] = "sequence"
    rope: Literal["contiguous", "shared"] = "contiguous"
    time: Literal["zero", "same"] = "zero"
    attention: Literal["full", "one_way"] = "full"
    mask: Literal["source", "target", "sequence"] = "source"
    mask_code: Literal["vae", "pooled"] = "vae"
    reference: Literal["after", "before"] = "after"
    context: Literal["text", "stored"] = "text"


@dataclass(frozen=True)
class FlowConfig:
    """Flow matching on the straight path between data and noise: which flow times training draws and inference visits.

    Attributes:
      shift: s of tau' = s tau / (1 + (s - 1) tau), which moves training and sampling towards noise.
      shift_tokens: tokens of the clips that `shift` is for: training shifts others by the square root of their tokens over these, as more
        tokens need more noise to hide as much; 0 shifts all alike.
      sampling: distribution of flow times in training.
      tau_range: flow times that training draws, of that distribution; all but for one of two transformers.
      logit_mean: mean of logit_normal, before the shift.
      logit_std: standard deviation of logit_normal.
      weighting: of a sample's loss by its flow time (`diffusion/flow_matching.py`).
      steps: of inference, by default.
      guidance: scale of classifier-free guidance on the text, by default.
      boundary: flow time from which on a model of two transformers is sampled with the high-noise one, and below which with the low-noise
        one; 0 for a single transformer.
      low_guidance: scale of guidance of the low-noise transformer, by default; None for `guidance`.
      guidance_reference: scale of guidance on references, by default, of models that are guided on them too.
      guidance_source: scale of guidance on the source, the same.
      negative: what guidance leads away from, by default; "" for the empty sentence.
      solver: of inference, by default.
      schedule: noise levels that inference visits (`diffusion/schedule.py`).
      levels: pairs (timestep of 0 to 1000 that the network is told, noise level sigma) that inference visits in place of `schedule` and
        `shift`, of models distilled to them; () for none. `steps` is their number.
    """

    shift: float = 5.0
    shift_tokens: int = 0
    sampling: Literal["shifted_uniform", "logit_normal"] = "shifted_uniform"
    tau_range: tuple[float, float] = (0.0, 1.0)
    logit_mean: float = 0.0
    logit_std: float = 1.0
    weighting: Literal["none", "gaussian"] = "none"
    steps: int = 50
    guidance: float = 3.0
    boundary: float = 0.0
    low_guidance: float | None = None
    guidance_reference: float = 4.5
    guidance_source: float = 1.25
    negative: str = ""
    solver: SolverName = "euler"
    schedule: ScheduleName = "linear"
    levels: tuple[tuple[float, float], ...] = ()

    def __post_init__(self):
        check_levels(self.levels, self.steps)
        if self.shift_tokens < 0:
            raise ValueError(f"FlowConfig.shift_tokens: expected at least 0, got {self.shift_tokens}")
        if not 0 <= self.boundary < 1:
            raise ValueError(
                f"FlowConfig.boundary: expected 0 (one transformer) to below 1, got {self.boundary}"
            )
        if not 0 <= self.tau_range[0] < self.tau_range[1] <= 1:
            raise ValueError(f"FlowConfig.tau_range: expected a range in 0 to 1, got {self.tau_range}")


def transformer_part(name: TransformerName | None) -> str:
    """Return the part that is a transformer; None for the only one."""
    return "dit_low" if name == "low" else "dit"


def part_kind(part: str) -> str:
    """Return the part of whose type a part is: both transformers of a model of two are a "dit"."""
    return "dit" if part == "dit_low" else part


@dataclass(frozen=True)
class SamplingConfig:
    """How weights are meant to be sampled: what a preset, or an adapter distilled to a few steps, sets of a `FlowConfig`.

    Attributes:
      solver: as all of these in `FlowConfig`.
      steps: of inference.
      guidance: scale of classifier-free guidance; 1 for none.
      schedule: noise levels where `levels` gives none.
      shift: of that schedule.
      levels: explicit noise levels.
    """

    solver: SolverName
    steps: int
    guidance: float = 1.0
    schedule: ScheduleName = "linear"
    shift: float = 5.0
    levels: tuple[tuple[float, float], ...] = ()

    def __post_init__(self):
        check_levels(self.levels, self.steps)
        if self.steps < 1 or not self.shift > 0:
            raise ValueError(f"expected steps >= 1 and shift > 0, got {self.steps} and {self.shift}")


def check_levels(levels: tuple[tuple[float, float], ...], steps: int) -> None:
    """Check explicit noise levels: pairs that fall from at most (1000, 1), one for each step.

    Raises:
      ValueError: other pairs, or another number of them than of steps.
    """
    if not levels:
        return
    if any(len(pair) != 2 for pair in levels):
        raise ValueError(f"levels: expected pairs (timestep, sigma), got {levels}")
    timesteps, sigmas = zip(*levels, strict=True)
    for values, top in ((timesteps, 1000), (sigmas, 1)):
        if not (top >= values[0] and values[-1] > 0 and all(a > b for a, b in itertools.pairwise(values))):
            raise ValueError(
                f"levels: expected pairs (timestep, sigma) that fall from at most (1000, 1) to above 0, got {levels}"
            )
    if len(levels) != steps:
        raise ValueError(f"levels: expected one for each of {steps} steps, got {len(levels)}")


@dataclass(frozen=True)
class ModelConfig:
    """A model that edits clips of one size; longer and larger ones in windows and tiles.

    Attributes:
      name: of the model.
      frames: pixel frames of a clip.
      height: pixels of its frames.
      width: pixels of its frames.
      largest: largest (frames, height, width) that the weights were trained on; zeros for the size above.
      batch: windows of a clip that are edited in one call.
      fps: frames per second of the clips that the weights were trained on.
      dit: the transformer, or both of two (`FlowConfig.boundary`).
      vae: the autoencoder.
      text: the text encoder.
      lora: the adapters.
      condition: how source, mask and reference enter the transformer.
      flow: flow times of training and inference.
    """

    name: str = "wan22_ti2v_5b"
    frames: int = 81
    height: int = 480
    width: int = 832
    largest: tuple[int, int, int] = (0, 0, 0)
    batch: int = 4
    fps: float = 24.0
    dit: DiTConfig = field(default_factory=DiTConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    text: TextConfig = field(default_factory=TextConfig)
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)

    def __post_init__(self):
        if self.dit.out_channels != self.vae.z_dim:
            raise ValueError(
                f"ModelConfig: the DiT predicts {self.dit.out_channels} channels, the VAE has {self.vae.z_dim}"
            )
        if (self.dit.text_width, self.dit.text_len) != (self.text.width, self.text.text_len):
            raise ValueError("ModelConfig: dit.text_width/text_len must equal text.width/text_len")
        t, y, x, _ = self.vae.latent_shape(self.frames, self.height, self.width)
        for size, p in zip((t, y, x), self.dit.patch, strict=True):
            if size % p:
                raise ValueError(
                    f"ModelConfig: latents {(t, y, x)} don't divide by the patch {self.dit.patch}"
                )

    @property
    def transformers(self) -> tuple[str, ...]:
        """Return the parts that are transformers: "dit", and "dit_low" where that is the high-noise one of two."""
        return ("dit", "dit_low") if self.flow.boundary else ("dit",)

    @property
    def transformer_names(self) -> tuple[TransformerName | None, ...]:
        """Return the names of `transformers`; None for a single one."""
        return ("high", "low") if self.flow.boundary else (None,)

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the parts that have weights: the transformers, "vae" and, unless the context comes from elsewhere, "text"."""
        return (*self.transformers, "vae", *(["text"] if self.condition.context == "text" else []))
