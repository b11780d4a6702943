"""The networks of a model: transformer, autoencoder, text encoder, and the network of detail.

Sources: the published configurations of Wan2.1 and Wan2.2.
"""

from dataclasses import dataclass
from typing import Literal, cast, get_args

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
