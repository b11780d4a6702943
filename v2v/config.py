"""What a model is made of: frozen dataclasses, checked when made, and the named models. What a run is set by: config.py.

No logic lives here. `embedded()` (shipped with the package) and `wan22_ti2v_5b()` (the paper's backbone) are two settings of
the same classes; `debug()` is a third, small enough for tests. Sources: reference tables of Wan2.2-TI2V-5B and EasyV2V section 5.

What a training run is set by, beside its model: devices, writers, data, optimiser. Frozen dataclasses, checked when made.

config.py (models) · **config.py** (runs) → train/config.py, data, plan. No logic lives here.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

# Names of `v2v.diffusion.solvers.SOLVERS`, also the choices of `--solver`.
SolverName = Literal["euler", "heun", "unipc"]

# Linear layers that carry LoRA: q, k, v, o of both attentions and both FFN linears (0.64 B parameters at rank 256 and 5B,
# the figure of the paper's Table IV; attention alone would be 0.38 B).
LORA_TARGETS = r"blocks/(self_attn|cross_attn)/(q|k|v|o)$|blocks/ffn/(up|down)$"


@dataclass(frozen=True)
class DiTConfig:
    """A Wan2.2-type video DiT."""

    width: int = 3072
    ffn_width: int = 14336
    heads: int = 24
    layers: int = 30
    in_channels: int = 48  # 96 for editors conditioned by channel concatenation
    out_channels: int = 48
    patch: tuple[int, int, int] = (1, 2, 2)
    text_width: int = 4096
    text_len: int = 512  # padding is attended to, so the length is part of the model
    freq_dim: int = 256  # width of the sinusoid that embeds flow time
    eps: float = 1e-6
    rope_theta: float = 10000.0
    qk_gain: float = 1.0  # initial gain of the q and k norms; small heads need more than 1 to attend sharply
    # What the backward pass recomputes, from nothing to all: dots keeps matmul results, outputs those of attention and FFN.
    remat: Literal["none", "dots", "outputs", "full"] = "none"
    # Of attention; auto asks the platform.
    backend: Literal["auto", "plain", "chunked", "cudnn", "splash"] = "auto"
    dtype: Literal["bfloat16", "float32"] = (
        "bfloat16"  # of matmuls; residual stream, norms and modulation are float32
    )

    def __post_init__(self):
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"DiTConfig: width must split into heads of even size, got {self.width=} {self.heads=}"
            )
        if self.in_channels not in (self.out_channels, 2 * self.out_channels):
            raise ValueError(
                f"DiTConfig: in_channels must be out_channels or twice that, got {self.in_channels} and {self.out_channels}"
            )

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class VAEConfig:
    """A Wan2.2-type causal 3-D VAE with parameter-free residual down and up paths."""

    base_dim: int = 160
    decoder_base_dim: int = 256
    z_dim: int = 48
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    patch: int = 2
    mean: tuple[float, ...] = ()  # per-channel statistics of the latents; () stands for zeros and ones
    std: tuple[float, ...] = ()
    dtype: Literal["bfloat16", "float32"] = "float32"

    def __post_init__(self):
        if len(self.temporal_downsample) != len(self.dim_mult) - 1:
            raise ValueError(
                f"VAEConfig: temporal_downsample needs {len(self.dim_mult) - 1} entries, got {self.temporal_downsample}"
            )
        if self.dim_mult[-1] != self.dim_mult[-2]:
            raise ValueError(
                f"VAEConfig: the last two stages must be equally wide, got dim_mult={self.dim_mult}"
            )
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (0, self.z_dim):
                raise ValueError(
                    f"VAEConfig.{name}: expected {self.z_dim} numbers, got {len(getattr(self, name))}"
                )

    @property
    def stride_t(self) -> int:
        return 2 ** sum(self.temporal_downsample)

    @property
    def stride_xy(self) -> int:
        return self.patch * 2 ** len(self.temporal_downsample)

    def latent_shape(self, T: int, H: int, W: int) -> tuple[int, int, int, int]:
        """(t, y, x, c) of a clip; T must be 1 modulo the temporal stride and H, W multiples of the spatial one."""
        if min(T, H, W) < 1 or (T - 1) % self.stride_t or H % self.stride_xy or W % self.stride_xy:
            raise ValueError(
                f"VAE: a clip needs T = {self.stride_t}n+1 frames and sides divisible by {self.stride_xy}, got {T}x{H}x{W}"
            )
        return (T - 1) // self.stride_t + 1, H // self.stride_xy, W // self.stride_xy, self.z_dim


@dataclass(frozen=True)
class TextConfig:
    """A umT5-type encoder: T5 blocks with relative position biases of their own in every layer."""

    vocab: int = 256384
    width: int = 4096
    key_width: int = 64
    heads: int = 64
    ffn_width: int = 10240
    layers: int = 24
    buckets: int = 32
    max_distance: int = 128
    text_len: int = 512
    eps: float = 1e-6
    dtype: Literal["bfloat16", "float32"] = "bfloat16"


@dataclass(frozen=True)
class LoRAConfig:
    rank: int = 256
    alpha: float | None = None  # None stands for alpha = rank, a scale of 1
    targets: str = LORA_TARGETS  # regex searched in the path of each Dense layer

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"LoRAConfig.rank must be at least 1, got {self.rank}")

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.rank


@dataclass(frozen=True)
class ConditionConfig:
    """How source, mask and reference reach the model (DESIGN: the contract of the model)."""

    layout: Literal["sequence", "channel", "add"] = "sequence"
    rope: Literal["contiguous", "shared"] = (
        "contiguous"  # temporal positions: source -> target -> reference, or equal
    )
    time: Literal["zero", "same"] = "zero"  # flow time of clean tokens
    attention: Literal["full", "one_way"] = "full"  # one_way: condition tokens don't look at noisy ones
    # Whose tokens the embedded mask is added to, or tokens of its own after the target's (the paper's Table II).
    mask: Literal["source", "target", "sequence"] = "source"
    # What is embedded of a mask: its latents as a black and white video, or its share of each latent cell, averaged (video/mask.py).
    mask_code: Literal["vae", "pooled"] = "vae"


@dataclass(frozen=True)
class FlowConfig:
    """The straight path between data and noise, how it is sampled in training and walked in inference."""

    shift: float = 5.0  # tau' = s tau / (1 + (s-1) tau): moves training and sampling towards noise
    sampling: Literal["shifted_uniform", "logit_normal"] = "shifted_uniform"
    logit_mean: float = 0.0  # of logit_normal, before the shift
    logit_std: float = 1.0
    weighting: Literal["none", "gaussian"] = (
        "none"  # of a sample's loss by its tau (diffusion/flow_matching.py)
    )
    steps: int = 50
    guidance: float = 3.0
    solver: SolverName = "euler"
    schedule: Literal["linear", "wan", "diffusers"] = "linear"  # noise levels visited: diffusion/schedule.py


@dataclass(frozen=True)
class ModelConfig:
    name: str = "wan22_ti2v_5b"
    frames: int = 81
    height: int = 480
    width: int = 832
    largest: tuple[int, int, int] = (0, 0, 0)  # frames, height, width it has seen; zeros: those above
    batch: int = 4  # windows of a clip edited in one call
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


def wan22_ti2v_5b() -> ModelConfig:
    """Wan2.2-TI2V-5B as EasyV2V uses it: 81x480x832, rank 256, prompt guidance 3."""
    return ModelConfig(largest=(121, 704, 1280), batch=1, vae=VAEConfig(mean=WAN22_MEAN, std=WAN22_STD))


def embedded() -> ModelConfig:
    """The model shipped with the package: 9x64x64 pixels, 48 tokens a stream, small enough to train on two CPU cores."""
    return ModelConfig(
        name="embedded",
        frames=9,
        height=64,
        width=64,
        dit=DiTConfig(
            width=192, ffn_width=640, heads=6, layers=6, in_channels=48, out_channels=48, patch=(1, 1, 1), text_width=96,
            text_len=24, freq_dim=64, rope_theta=100.0, qk_gain=1.5, dtype="float32",
        ),
        vae=VAEConfig(
            base_dim=48, decoder_base_dim=48, z_dim=48, dim_mult=(1, 2, 2), num_res_blocks=0,
            temporal_downsample=(True, True), patch=4,
        ),
        text=TextConfig(
            vocab=512, width=96, key_width=24, heads=4, ffn_width=192, layers=2, buckets=16, max_distance=32, text_len=24,
            dtype="float32",
        ),
        lora=LoRAConfig(rank=32),
        condition=ConditionConfig(rope="shared"),
        flow=FlowConfig(shift=5.0, steps=4, guidance=2.0),
    )  # fmt: skip


def debug() -> ModelConfig:
    """The smallest model with every part: what tests train in seconds."""
    big = embedded()
    return dataclasses.replace(
        big,
        name="debug",
        frames=5,
        height=32,
        width=32,
        dit=dataclasses.replace(
            big.dit, width=32, ffn_width=64, heads=2, layers=2, in_channels=8, out_channels=8, text_width=16
        ),
        vae=VAEConfig(
            base_dim=4, decoder_base_dim=4, z_dim=8, dim_mult=(1, 2, 2), num_res_blocks=1,
            temporal_downsample=(True, True),
        ),
        text=dataclasses.replace(big.text, width=16, key_width=4, heads=2, ffn_width=32, layers=1),
        lora=LoRAConfig(rank=4),
    )  # fmt: skip


# Per-channel mean and standard deviation of Wan2.2-VAE latents, as published with the VAE's code.
WAN22_MEAN: tuple[float, ...] = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)  # fmt: skip
WAN22_STD: tuple[float, ...] = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)  # fmt: skip


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
    tensorboard: bool = False  # pip install 'v2v-edit[tensorboard]'
    wandb: str = ""  # project on Weights & Biases; pip install 'v2v-edit[wandb]'
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
