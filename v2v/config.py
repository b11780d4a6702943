"""Configuration as frozen dataclasses, checked when they are created: of models, and of what every training run needs.

A `ModelConfig` describes a model: transformer, autoencoder, text encoder, LoRA, conditioning and flow. `wan22_ti2v_5b()` (the
paper's backbone), its relatives `wan21_t2v_1_3b()`, `wan21_t2v_14b()` and `wan22_a14b()`, `embedded()` (the packaged model) and `debug()`
(small enough for tests) are settings of the same classes. Its fields are stored in the config.json of model folders. `MeshConfig`, `LogConfig`, `DataConfig` and `OptimConfig` are
the parts of a run that packages below `v2v/train` read too; `train/config.py` puts them together with the stages. The names from which
options of the command line choose are here as well, since `v2v --help` imports no JAX. No logic is in this file.

Sources: the published configurations of Wan2.1 and Wan2.2; EasyV2V (arXiv 2512.16920), section 5.
"""

import dataclasses
import itertools
import math
import re
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

# Names of `v2v.diffusion.solvers.SOLVERS`, also the choices of `--solver`.
SolverName = Literal["euler", "heun", "unipc", "renoise"]
# Names of noise levels (`v2v/diffusion/schedule.py`), also the choices of `--schedule`.
ScheduleName = Literal["linear", "wan", "diffusers", "euler", "diffsynth"]
# How an edit reaches the clip's full size, and what guidance strengthens: fields of `EditSettings`, `--detail` and `--guide`.
Detail = Literal["auto", "guided", "model", "tiles"]
# The last seven are the modes of Bernini-R.
Guide = Literal[
    "prompt",
    "prompt+reference",
    "prompt+source",
    "v2v",
    "v2v_apg",
    "v2v_chain",
    "rv2v",
    "r2v_apg",
    "t2v",
    "t2v_apg",
]
# Tensor names and data type of LoRA files, `--format` and `--dtype` of `v2v convert`.
LoraStyle = Literal["original", "diffusers"]
LoraDtype = Literal["bfloat16", "float16", "float32"]
# What `v2v plan` plans, `--what`.
ProgramKind = Literal["train", "sample"]

# The transformers of a model of two, each for a range of noise levels: `--lora-high`, `--lora-low`.
TransformerName = Literal["high", "low"]

# Devices that `--memory` knows: NVIDIA cards by their GB, and TPUs.
MemoryName = Literal["12", "16", "24", "40", "80", "v5e", "v6e", "v5p"]

# What weights of transformer and text encoder may be stored in, other than the model's own type (`v2v/models/quantized.py`).
WeightsDtype = Literal["bfloat16", "int8", "fp8", "nf4"]

# Where the backward pass finds a tensor of a block: in the device's memory, in the host's, or computed again.
RematPlace = Literal["device", "host", "recompute"]
# Tensors of a block that the backward pass needs (`models/transformer.py`), in the order in which they are computed. The input is the residual
# stream in float32, the others are in the type of matrix products; `self_attention` and `cross_attention` are what their kernels give, before the
# linear layer `o`, with the statistics that their gradient needs.
REMAT_TENSORS = (
    "layer_input", "q", "k", "v", "self_attention", "attention_output", "cross_q", "cross_attention", "cross_output", "ffn_up",
)  # fmt: skip
# What each preset of `DiTConfig.remat` keeps; the first four fall in memory and grow in operations.
REMAT_PRESETS: dict[str, dict[str, RematPlace]] = {
    "none": dict.fromkeys(REMAT_TENSORS, "device"),
    "dots": dict.fromkeys(REMAT_TENSORS[:-1], "device"),
    "outputs": {"layer_input": "device", "self_attention": "device"},
    "full": {"layer_input": "device"},
    "offload": {"layer_input": "host"},
    "offload_outputs": {"layer_input": "host", "self_attention": "host"},
}

# Linear layers that carry LoRA: q, k, v, o of both attentions and both FFN linears (0.64 B parameters at rank 256 and 5B,
# the figure of the paper's Table IV; attention alone would be 0.38 B).
LORA_TARGETS = r"blocks/(self_attn|cross_attn)/(q|k|v|o)$|blocks/ffn/(up|down)$"


@dataclass(frozen=True)
class DiTConfig:
    """A video diffusion transformer of the type of Wan2.1 and Wan2.2.

    Attributes:
      width: channels of the residual stream.
      ffn_width: hidden channels of the MLPs.
      heads: attention heads; `width` divided by them is even.
      layers: transformer blocks.
      in_channels: channels of the input; `out_channels`, or twice that for editors conditioned by channel concatenation.
      out_channels: channels of the velocity, those of the latents.
      patch: latent cells of a token, (t, y, x).
      text_width: channels of the text embeddings.
      text_len: tokens of the text; padding is attended to, so the length is part of the model.
      freq_dim: width of the sinusoid that embeds flow time.
      eps: added to variances by the norms.
      rope_theta: base of the rotary position embedding.
      frame_times: whether the backbone was trained with a flow time of its own for a clean first frame, so that one may be given to it.
      qk_gain: initial gain of the norms of queries and keys; small heads need more than 1 to attend sharply.
      remat: where the backward pass finds tensors of the blocks: a preset, or a map such as layer_input=host,self_attention=device whose other
        tensors are computed again (`remat_places`).
      backend: attention kernel; auto selects by the platform.
      dtype: of matrix products; residual stream, norms and modulation are float32.
    """

    width: int = 3072
    ffn_width: int = 14336
    heads: int = 24
    layers: int = 30
    in_channels: int = 48
    out_channels: int = 48
    patch: tuple[int, int, int] = (1, 2, 2)
    text_width: int = 4096
    text_len: int = 512
    freq_dim: int = 256
    eps: float = 1e-6
    rope_theta: float = 10000.0
    frame_times: bool = True
    qk_gain: float = 1.0
    remat: str = "none"
    backend: Literal["auto", "plain", "chunked", "cudnn", "splash"] = "auto"
    dtype: Literal["bfloat16", "float32"] = "bfloat16"

    def __post_init__(self):
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"DiTConfig: width must split into heads of even size, got {self.width=} {self.heads=}"
            )
        if self.in_channels not in (self.out_channels, 2 * self.out_channels):
            raise ValueError(
                f"DiTConfig: in_channels must be out_channels or twice that, got {self.in_channels} and {self.out_channels}"
            )
        remat_places(self.remat)

    @property
    def head_dim(self) -> int:
        """Return the channels of one attention head."""
        return self.width // self.heads


def remat_places(remat: str) -> dict[str, RematPlace]:
    """Return where the backward pass finds each of `REMAT_TENSORS`.

    Args:
      remat: a name of `REMAT_PRESETS`, or tensors with their places, `layer_input=host,self_attention=device`. A block's input is kept at least on
        the device, all others that are not named are computed again.

    Raises:
      ValueError: an unknown preset, tensor or place, or one that is named twice.
    """
    if remat in REMAT_PRESETS:
        places = dict(REMAT_PRESETS[remat])
    else:
        words = [word.partition("=") for word in remat.split(",")]
        pairs: list[tuple[str, RematPlace]] = [
            (name.strip(), cast(RematPlace, place.strip())) for name, _, place in words
        ]
        places: dict[str, RematPlace] = dict(pairs)
        wrong = [
            name for name, place in pairs if name not in REMAT_TENSORS or place not in get_args(RematPlace)
        ]
        if wrong or len(places) < len(pairs) or places.get("layer_input") == "recompute":
            raise ValueError(
                f"remat: expected {', '.join(REMAT_PRESETS)}, or a map of {', '.join(REMAT_TENSORS)} to {', '.join(get_args(RematPlace))} such as "
                f"layer_input=host,self_attention=device (the input is not computed again), got {remat!r}"
            )
    complete: dict[str, RematPlace] = dict.fromkeys(REMAT_TENSORS, "recompute")
    complete["layer_input"] = "device"
    complete.update(places)
    return complete


@dataclass(frozen=True)
class VAEConfig:
    """A causal 3-D autoencoder of the type of Wan2.1 or, with parameter-free residual down and up paths, of Wan2.2.

    Attributes:
      base_dim: channels of the encoder that `dim_mult` multiplies.
      decoder_base_dim: the same of the decoder.
      z_dim: channels of the latents.
      dim_mult: relative width of each stage of the encoder, of the decoder in reverse order; the last two are equal.
      num_res_blocks: residual blocks of a stage of the encoder; those of the decoder have one more.
      temporal_downsample: whether time is halved too, for each halving of height and width.
      patch: pixels that are folded into channels before the first stage, along height and width.
      residual: whether a path without parameters goes past each stage (Wan2.2); without (Wan2.1), the decoder halves its channels where
        it enlarges frames.
      mean: of each channel of the latents; () for zeros.
      std: standard deviation of each channel of the latents; () for ones.
      dtype: of the computation.
    """

    base_dim: int = 160
    decoder_base_dim: int = 256
    z_dim: int = 48
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    patch: int = 2
    residual: bool = True
    mean: tuple[float, ...] = ()
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
        if not self.residual and any(self.decoder_base_dim * m % 2 for m in self.dim_mult[1:]):
            raise ValueError(
                f"VAEConfig: without residual paths the decoder's widths must halve, got {self.decoder_base_dim} x {self.dim_mult}"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, self.z_dim):
                raise ValueError(f"VAEConfig.{name}: expected {self.z_dim} numbers, got {len(values)}")

    @property
    def stride_t(self) -> int:
        """Return the pixel frames of a latent frame; the first latent frame holds one."""
        return 2 ** sum(self.temporal_downsample)

    @property
    def stride_xy(self) -> int:
        """Return the pixels of a latent cell along height and width."""
        return self.patch * 2 ** len(self.temporal_downsample)

    def latent_shape(self, T: int, H: int, W: int) -> tuple[int, int, int, int]:
        """Return the shape (t, y, x, c) of a clip's latents.

        Args:
          T: frames, 1 modulo `stride_t`.
          H: pixels, a multiple of `stride_xy`.
          W: pixels, a multiple of `stride_xy`.

        Raises:
          ValueError: other sizes.
        """
        if min(T, H, W) < 1 or (T - 1) % self.stride_t or H % self.stride_xy or W % self.stride_xy:
            step = self.stride_xy
            sides = [max(round(side / step), 1) * step for side in (H, W)]
            frames = max(round((T - 1) / self.stride_t), 0) * self.stride_t + 1
            raise ValueError(
                f"VAE: a clip needs T = {self.stride_t}n+1 frames and sides divisible by {step}, got {T}x{H}x{W} (frames, height, "
                f"width); the nearest is {frames}x{sides[0]}x{sides[1]}, --size {sides[1]}x{sides[0]}x{frames}"
            )
        return (T - 1) // self.stride_t + 1, H // self.stride_xy, W // self.stride_xy, self.z_dim


@dataclass(frozen=True)
class TextConfig:
    """A text encoder of the type of umT5: T5 blocks, each with its own relative position biases.

    Attributes:
      vocab: size of the vocabulary.
      width: channels of the embeddings.
      key_width: channels of one attention head.
      heads: attention heads.
      ffn_width: hidden channels of the MLPs.
      layers: blocks.
      buckets: of relative positions.
      max_distance: tokens, from which all positions share the last bucket.
      text_len: tokens of a padded text.
      eps: added to variances by the norms.
      dtype: of the computation.
    """

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
class DetailConfig:
    """Sizes of the detail network (models/detail_network.py).

    Attributes:
      lines: pixels of the shorter side at which it works.
      widths: features at half of that, a quarter, and so on.
      code_width: length of the code of an edit.
    """

    lines: int = 288
    widths: tuple[int, ...] = (32, 48, 64)
    code_width: int = 64

    def __post_init__(self):
        sizes = (self.lines, *self.widths, self.code_width)
        if not self.widths or not all(isinstance(size, int) and 0 < size <= 4096 for size in sizes):
            raise ValueError(
                f"DetailConfig: expected whole numbers from 1 to 4096 and one width at least, got {self}"
            )
        if len(self.widths) > 6 or self.lines < self.multiple or self.code_width % 2:
            raise ValueError(
                f"DetailConfig: expected at most 6 widths, lines of at least {self.multiple} and an even code width, got {self}"
            )

    @property
    def multiple(self) -> int:
        """Return the number that height and width must be multiples of."""
        return 2 ** len(self.widths)


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


def wan22_ti2v_5b() -> ModelConfig:
    """Return Wan2.2-TI2V-5B as EasyV2V uses it: 81x480x832, rank 256, prompt guidance 3."""
    return ModelConfig(largest=(121, 704, 1280), batch=1, vae=VAEConfig(mean=WAN22_MEAN, std=WAN22_STD))


def wan21_vae() -> VAEConfig:
    """Return the autoencoder of Wan2.1 and of Wan2.2-A14B: 16 channels, 4x8x8 pixels a latent cell."""
    return VAEConfig(
        base_dim=96, decoder_base_dim=96, z_dim=16, patch=1, residual=False, mean=WAN21_MEAN, std=WAN21_STD
    )


def wan21_t2v_1_3b() -> ModelConfig:
    """Return Wan2.1-T2V-1.3B, with the shift and guidance that its card recommends."""
    return ModelConfig(
        name="wan21_t2v_1_3b",
        largest=(81, 480, 832),
        batch=1,
        fps=16.0,
        dit=DiTConfig(
            width=1536,
            ffn_width=8960,
            heads=12,
            layers=30,
            in_channels=16,
            out_channels=16,
            frame_times=False,
        ),
        vae=wan21_vae(),
        flow=FlowConfig(shift=8.0, steps=50, guidance=6.0, solver="unipc", schedule="wan"),
    )


def wan21_t2v_14b() -> ModelConfig:
    """Return Wan2.1-T2V-14B."""
    return ModelConfig(
        name="wan21_t2v_14b",
        largest=(81, 720, 1280),
        batch=1,
        fps=16.0,
        dit=DiTConfig(
            width=5120,
            ffn_width=13824,
            heads=40,
            layers=40,
            in_channels=16,
            out_channels=16,
            frame_times=False,
        ),
        vae=wan21_vae(),
        flow=FlowConfig(shift=5.0, steps=50, guidance=5.0, solver="unipc", schedule="wan"),
    )


def wan22_a14b() -> ModelConfig:
    """Return Wan2.2-T2V-A14B: two transformers of the size of Wan2.1-T2V-14B, each for a range of noise levels."""
    flow = FlowConfig(
        shift=12.0, steps=40, guidance=4.0, boundary=0.875, low_guidance=3.0, solver="unipc", schedule="wan"
    )
    return dataclasses.replace(wan21_t2v_14b(), name="wan22_a14b", flow=flow)


def embedded() -> ModelConfig:
    """Return the packaged model: clips of 9x64x64 pixels, 48 tokens each, small enough to train on two CPU cores."""
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
    """Return the smallest model with every part, which tests train in seconds."""
    base = embedded()
    return dataclasses.replace(
        base,
        name="debug",
        frames=5,
        height=32,
        width=32,
        dit=dataclasses.replace(
            base.dit, width=32, ffn_width=64, heads=2, layers=2, in_channels=8, out_channels=8, text_width=16
        ),
        vae=VAEConfig(
            base_dim=4, decoder_base_dim=4, z_dim=8, dim_mult=(1, 2, 2), num_res_blocks=1,
            temporal_downsample=(True, True),
        ),
        text=dataclasses.replace(base.text, width=16, key_width=4, heads=2, ffn_width=32, layers=1),
        lora=LoRAConfig(rank=4),
    )  # fmt: skip


# Per-channel mean and standard deviation of Wan2.1-VAE and Wan2.2-VAE latents, as published with the VAE's code.
WAN21_MEAN: tuple[float, ...] = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
    -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
WAN21_STD: tuple[float, ...] = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579,
    1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
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
