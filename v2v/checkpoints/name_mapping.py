"""Tables between published tensor names and our parameter paths, for transformer, autoencoder and text encoder.

A row holds a regular expression of our module's path, the module's name in the diffusers layout and its name in the original layout;
`{i}` is the layer where ours is stacked over the scan's axis. A module's tensors are weight (our kernel or scale), bias and gamma.
Two peculiarities: the affine norm before cross-attention is `norm2` in diffusers and `norm3` in the original, and the shortest names
(`conv1`, `conv2`) are the VAE's quantization convolutions. The memory layout follows from the kind of a tensor:

    linear  [o, i]            → [i, o]                conv3d [o, i, t, y, x] → [t, y, x, i, o]
    conv2d  [o, i, y, x]      → [y, x, i, o]          patch  [d, c, pt, py, px] → [(c pt py px), d]
    gamma   [c, 1, 1(, 1)]    → [c]                   table  [1, n, d] → [n, d]
that is, a permutation of axes and then a reshape.
"""

import re
from dataclasses import dataclass

import numpy as np

from v2v.config import ModelConfig, VAEConfig, part_kind

LAYOUTS = ("diffusers", "original")
# Kinds of parts; a model of two transformers has two of the first (`ModelConfig.parts`).
PARTS = ("dit", "vae", "text")

TRANSFORMER_TABLE = (
    (r"patch_embedding", "patch_embedding", "patch_embedding"),
    (r"time_in", "condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    (r"time_out", "condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    (r"time_proj", "condition_embedder.time_proj", "time_projection.1"),
    (r"text_in", "condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    (r"text_out", "condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    (r"head/linear", "proj_out", "head.head"),
    (r"head/modulation", "scale_shift_table", "head.modulation"),
    (r"blocks/modulation", "blocks.{i}.scale_shift_table", "blocks.{i}.modulation"),
    (r"blocks/self_attn/([qkv])", r"blocks.{i}.attn1.to_\1", r"blocks.{i}.self_attn.\1"),
    (r"blocks/self_attn/o", "blocks.{i}.attn1.to_out.0", "blocks.{i}.self_attn.o"),
    (r"blocks/self_attn/(norm_[qk])", r"blocks.{i}.attn1.\1", r"blocks.{i}.self_attn.\1"),
    (r"blocks/cross_attn/([qkv])", r"blocks.{i}.attn2.to_\1", r"blocks.{i}.cross_attn.\1"),
    (r"blocks/cross_attn/o", "blocks.{i}.attn2.to_out.0", "blocks.{i}.cross_attn.o"),
    (r"blocks/cross_attn/(norm_[qk])", r"blocks.{i}.attn2.\1", r"blocks.{i}.cross_attn.\1"),
    (r"blocks/norm_cross", "blocks.{i}.norm2", "blocks.{i}.norm3"),
    (r"blocks/ffn/up", "blocks.{i}.ffn.net.0.proj", "blocks.{i}.ffn.0"),
    (r"blocks/ffn/down", "blocks.{i}.ffn.net.2", "blocks.{i}.ffn.2"),
)

TEXT_ENCODER_TABLE = (
    (r"embedding", "shared.weight", "token_embedding.weight"),
    (r"norm", "encoder.final_layer_norm", "norm"),
    (r"blocks/norm1", "encoder.block.{i}.layer.0.layer_norm", "blocks.{i}.norm1"),
    (r"blocks/([qkvo])", r"encoder.block.{i}.layer.0.SelfAttention.\1", r"blocks.{i}.attn.\1"),
    (
        r"blocks/position_bias",
        "encoder.block.{i}.layer.0.SelfAttention.relative_attention_bias.weight",
        "blocks.{i}.pos_embedding.embedding.weight",
    ),
    (r"blocks/norm2", "encoder.block.{i}.layer.1.layer_norm", "blocks.{i}.norm2"),
    (r"blocks/gate", "encoder.block.{i}.layer.1.DenseReluDense.wi_0", "blocks.{i}.ffn.gate.0"),
    (r"blocks/up", "encoder.block.{i}.layer.1.DenseReluDense.wi_1", "blocks.{i}.ffn.fc1"),
    (r"blocks/down", "encoder.block.{i}.layer.1.DenseReluDense.wo", "blocks.{i}.ffn.fc2"),
)

# The tied embedding has a second name in the diffusers layout; a file may hold either or both.
ALIASES = {"encoder.embed_tokens.weight": "shared.weight"}


def build_autoencoder_table(cfg: VAEConfig) -> tuple[tuple[str, str, str], ...]:
    """Build the rows of the autoencoder, a row for each block.

    The blocks of a stage are numbered in nested lists; those of Wan2.1, without residual paths, in one flat list, which diffusers nests for
    the decoder alone.
    """
    rows = [
        (r"quant_conv", "quant_conv", "conv1"),
        (r"post_quant_conv", "post_quant_conv", "conv2"),
        (r"(encoder|decoder)/conv_in", r"\1.conv_in", r"\1.conv1"),
        (r"(encoder|decoder)/norm_out", r"\1.norm_out", r"\1.head.0"),
        (r"(encoder|decoder)/conv_out", r"\1.conv_out", r"\1.head.2"),
        (r"(encoder|decoder)/mid/attention/(\w+)", r"\1.mid_block.attentions.0.\2", r"\1.middle.1.\2"),
    ]
    blocks = [
        (rf"(encoder|decoder)/mid/res_{j}", rf"\1.mid_block.resnets.{j}", rf"\1.middle.{original}")
        for j, original in ((0, 0), (1, 2))
    ]
    for side, step, stack, count in (
        ("encoder", "down", "downsamples", cfg.num_res_blocks),
        ("decoder", "up", "upsamples", cfg.num_res_blocks + 1),
    ):
        for i in range(len(cfg.dim_mult)):
            flat = i * (count + 1)
            stage = f"{side}.{step}_blocks.{i}"
            for j in range(count):
                diffusers = f"{stage}.resnets.{j}"
                original = f"{side}.{stack}.{i}.{stack}.{j}"
                if not cfg.residual:
                    original = f"{side}.{stack}.{flat + j}"
                    diffusers = diffusers if side == "decoder" else f"{side}.{step}_blocks.{flat + j}"
                blocks.append((f"{side}/{step}_{i}_res_{j}", diffusers, original))
            diffusers, original = f"{stage}.{step}sampler", f"{side}.{stack}.{i}.{stack}.{count}"
            if not cfg.residual:
                original = f"{side}.{stack}.{flat + count}"
                diffusers = (
                    f"{stage}.upsamplers.0" if side == "decoder" else f"{side}.{step}_blocks.{flat + count}"
                )
            ours = f"{side}/{step}_{i}_resample"
            rows.append((f"{ours}/conv", f"{diffusers}.resample.1", f"{original}.resample.1"))
            rows.append((f"{ours}/time_conv", f"{diffusers}.time_conv", f"{original}.time_conv"))
    for ours, diffusers, original in blocks:
        rows += [
            (f"{ours}/{layer}", f"{diffusers}.{layer}", f"{original}.residual.{number}")
            for layer, number in (("norm1", 0), ("conv1", 2), ("norm2", 3), ("conv2", 6))
        ]
        rows.append((f"{ours}/shortcut", f"{diffusers}.conv_shortcut", f"{original}.shortcut"))
    return tuple(rows)


@dataclass(frozen=True)
class TensorMapping:
    """One published tensor and its place in our tree.

    Attributes:
      name: the published name.
      path: our parameter's path, joined by "/".
      layer: index on our stacked axis; None where ours is not stacked.
      shape: the published shape.
      axes: permutation of the published axes, applied before the reshape to our shape.
    """

    name: str
    path: str
    layer: int | None
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    def ours(self, published: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the published tensor in our layout; `shape` is ours, without the stacked axis."""
        return published.transpose(self.axes).reshape(shape)

    def published(self, ours: np.ndarray) -> np.ndarray:
        """Return one layer's slice of our tensor in the published layout: the inverse of `ours`."""
        permuted = ours.reshape([self.shape[a] for a in self.axes])
        return permuted.transpose(np.argsort(self.axes))


def map_tensors(
    part: str, shapes: dict[str, tuple[int, ...]], config: ModelConfig, layout: str
) -> list[TensorMapping]:
    """Map every published tensor of a part to our tree, in our tree's order.

    Args:
      part: one of `ModelConfig.parts`.
      shapes: our parameters' shapes by path ("blocks/self_attn/q/kernel").
      config: the sizes that paths do not show (patch, residual blocks per stage).
      layout: "diffusers" or "original".

    Raises:
      KeyError: no row matches one of our paths (a mistake in the table).
    """
    table = {
        "dit": TRANSFORMER_TABLE,
        "vae": build_autoencoder_table(config.vae),
        "text": TEXT_ENCODER_TABLE,
    }[part_kind(part)]
    column = 1 + LAYOUTS.index(layout)
    out = []
    for path, shape in shapes.items():
        module, leaf = path.rsplit("/", 1) if path.endswith(_LEAF_SUFFIXES) else (path, "")
        row = next((r for r in table if re.fullmatch(r[0], module)), None)
        if row is None:
            raise KeyError(f"names: no row for {path}")
        name = re.sub(row[0], row[column], module)
        name += {"": "", "kernel": ".weight", "scale": ".weight", "bias": ".bias", "gamma": ".gamma"}[leaf]
        if "{i}" not in name:
            out.append(TensorMapping(name, path, None, *_published_layout(path, shape, config)))
        else:
            kind = _published_layout(path, shape[1:], config)
            out += [TensorMapping(name.replace("{i}", str(i)), path, i, *kind) for i in range(shape[0])]
    return out


def map_linear_modules(layers: int, layout: str) -> dict[str, tuple[str, int | None]]:
    """Map the published names of the transformer's linear layers, which LoRA files use, to (our path, layer)."""
    column, out = 1 + LAYOUTS.index(layout), {}
    for pattern in (
        "patch_embedding", "time_in", "time_out", "time_proj", "text_in", "text_out", "head/linear",
        *(f"blocks/{a}/{p}" for a in ("self_attn", "cross_attn") for p in "qkvo"), "blocks/ffn/up", "blocks/ffn/down",
    ):  # fmt: skip
        row = next(r for r in TRANSFORMER_TABLE if re.fullmatch(r[0], pattern))
        name = re.sub(row[0], row[column], pattern)
        if "{i}" in name:
            out.update({name.replace("{i}", str(i)): (pattern, i) for i in range(layers)})
        else:
            out[name] = (pattern, None)
    return out


_LEAF_SUFFIXES = ("/kernel", "/bias", "/scale", "/gamma")


def _published_layout(
    path: str, shape: tuple[int, ...], config: ModelConfig
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (published shape, axes) of our parameter `path` of `shape`, without a stacked axis."""
    leaf = path.rsplit("/", 1)[-1]
    if path == "patch_embedding/kernel":
        patch = config.dit.patch
        return (shape[1], shape[0] // int(np.prod(patch)), *patch), (1, 2, 3, 4, 0)
    if leaf == "modulation":
        return (1, *shape), (0, 1, 2)
    if leaf == "gamma":
        ones = (1, 1) if "/attention/" in path else (1, 1, 1)
        return (*shape, *ones), tuple(range(1 + len(ones)))
    if leaf == "kernel" and len(shape) > 1:
        n = len(shape)  # [.., i, o] → [o, i, ..]
        return (shape[-1], shape[-2], *shape[:-2]), (*range(2, n), 1, 0)
    return shape, tuple(range(len(shape)))
