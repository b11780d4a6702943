"""How a video transformer takes source, mask and reference: latents to the joint token sequence.

    X = [ E_src(z_src) + E_msk(z_msk) ; E_tgt(z_tau) ; E_ref(z_ref)? ]

E_tgt is the pretrained patch embedding. The other embeddings are new, zero-initialised and live in the flax collection `embed`, so that
the tree of the base model never changes. Source: EasyV2V (arXiv 2512.16920), section 3; the variants of `ConditionConfig` are those of its ablation.

A `Conditioning` decides which inputs become tokens, in which order, at which positions and at which flow time, and what the passes of
guidance are shown. To add one: write a class with the methods of the Protocol, enter it in `CONDITIONINGS`, and add its name to
`ConditionConfig.layout`. The transformer, the KV cache, the latent cache, the pipeline and the plans ask it, and know no layout themselves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from v2v.array_types import (
    AnyLatents,
    AnyPixels,
    Array,
    ConditionLatents,
    Conditions,
    Float,
    Latents,
    Tokens,
)
from v2v.config import ConditionConfig, DiTConfig, ModelConfig
from v2v.models.layers import exact_products
from v2v.models.rotary import grid_positions
from v2v.video.mask import pool_mask

# A part of the joint sequence, for passes over a part only (kv_cache.py).
SequencePart = Literal["all", "conditions", "target"]
# Tokens along time, height and width.
Grid = tuple[int, int, int]
# The inputs beside the noisy target, in the order of their embeddings in files.
CONDITION_NAMES = ("source", "mask", "reference")


def patchify(z: ConditionLatents, patch: Grid) -> Float[Array, "b l e"]:
    """Cut latents into patches, flattened in order t, y, x; inside a patch the channel comes first (c, pt, py, px)."""
    b, t, y, x, c = z.shape
    pt, py, px = patch
    blocks = jnp.asarray(z).reshape(b, t // pt, pt, y // py, py, x // px, px, c)
    return blocks.transpose(0, 1, 3, 5, 7, 2, 4, 6).reshape(
        b, (t // pt) * (y // py) * (x // px), c * pt * py * px
    )


def unpatchify(u: Float[Array, "b l e"], grid: Grid, patch: Grid) -> Latents:
    """Join the head's output to latents; unlike in `patchify`, the channel comes last inside a patch (pt, py, px, c)."""
    (t, y, x), (pt, py, px) = grid, patch
    u = u.reshape(u.shape[0], t, y, x, pt, py, px, -1)
    return u.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(u.shape[0], t * pt, y * py, x * px, -1)


class ConditionEmbedding(nn.Module):
    """A zero-initialised patch embedding in the collection `embed`.

    Attributes:
      width: of the tokens.
    """

    width: int

    @nn.compact
    def __call__(self, patches: Float[Array, "b l e"]) -> Tokens:
        """Embed patches, in float32."""

        def zeros(*shape):
            return jnp.zeros(shape, jnp.float32)

        kernel = self.variable("embed", "kernel", zeros, patches.shape[-1], self.width).value
        bias = self.variable("embed", "bias", zeros, self.width).value
        with exact_products():
            return patches.astype(jnp.float32) @ kernel + bias


@dataclass(frozen=True)
class Segment:
    """The tokens of one input in the joint sequence.

    Attributes:
      name: "target" or one of `CONDITION_NAMES`.
      grid: its tokens along t, y, x.
      first_t: temporal position of its first tokens.
    """

    name: str
    grid: Grid
    first_t: int = 0

    @property
    def length(self) -> int:
        """Return the number of tokens."""
        return int(np.prod(self.grid))


@dataclass(frozen=True)
class Layout:
    """Where everything sits in the joint sequence, known before anything is computed.

    Attributes:
      segments: in the order of the sequence; one of them is the target.
      clean_conditions: whether condition tokens have flow time 0, and not the target's.
    """

    segments: tuple[Segment, ...]
    clean_conditions: bool = True

    @property
    def target(self) -> slice:
        """Return the target's tokens."""
        names = [s.name for s in self.segments]
        i = names.index("target")
        start = sum(s.length for s in self.segments[:i])
        return slice(start, start + self.segments[i].length)

    @property
    def grid(self) -> Grid:
        """Return the target's token grid."""
        return next(s.grid for s in self.segments if s.name == "target")

    @property
    def length(self) -> int:
        """Return the number of tokens of the sequence."""
        return sum(s.length for s in self.segments)

    @property
    def positions(self) -> np.ndarray:
        """Return the integer positions (t, y, x) of all tokens, [l, 3]."""
        return np.concatenate([grid_positions(*s.grid, first_t=s.first_t) for s in self.segments])

    @property
    def noisy(self) -> np.ndarray:
        """Return which tokens are modulated by the target's flow time, bool [l]; the others are at flow time 0."""
        noisy = np.full(self.length, not self.clean_conditions)
        noisy[self.target] = True
        return noisy

    def rows(self, part: SequencePart) -> slice | np.ndarray:
        """Return the tokens of a part of the sequence: the target's, the conditions' (all others, in order), or all."""
        if part == "conditions":
            return np.delete(np.arange(self.length), self.target)
        return self.target if part == "target" else slice(None)


@runtime_checkable
class TokenEmbedder(Protocol):
    """The embeddings that the transformer owns."""

    def pretrained(self, z: Latents) -> Tokens:
        """Embed what the base model takes, float32."""
        ...

    def new(self, name: str, latents: ConditionLatents) -> Tokens:
        """Embed a condition by its new embedding."""
        ...


@dataclass(frozen=True)
class GuidanceBranch:
    """What one pass of guidance is shown.

    Attributes:
      prompt: the instruction, or the empty sentence.
      hidden: conditions left out, of those that the clip has.
    """

    prompt: bool = True
    hidden: frozenset[str] = frozenset()


# The passes by mode, the conditional one first. "prompt": visual conditions stay in both (EasyV2V, appendix D, eq. 3); "prompt+reference":
# the reference is guided too (eq. 4).
STANDARD_GUIDANCE: Mapping[str, tuple[GuidanceBranch, ...]] = {
    "prompt": (GuidanceBranch(), GuidanceBranch(prompt=False)),
    "prompt+reference": (GuidanceBranch(), GuidanceBranch(prompt=False, hidden=frozenset({"reference"}))),
    "none": (GuidanceBranch(),),
}


@runtime_checkable
class Conditioning(Protocol):
    """How the transformer takes its inputs beside the noisy target."""

    @property
    def config(self) -> ConditionConfig:
        """Return the settings it was made from."""
        ...

    @property
    def guidance(self) -> Mapping[str, tuple[GuidanceBranch, ...]]:
        """Return the passes of a step by mode of guidance, the conditional one first."""
        ...

    @property
    def one_way(self) -> bool:
        """Return whether condition tokens do not look at the target's."""
        ...

    @property
    def cacheable(self) -> bool:
        """Return whether nothing that a condition token computes depends on the target or on flow time."""
        ...

    def layout(self, grids: Mapping[str, Grid]) -> Layout:
        """Return the joint sequence of the token grids of "target" and of the conditions that are given."""
        ...

    def embed(self, z: Latents, conditions: Conditions, embedder: TokenEmbedder) -> dict[str, Tokens]:
        """Return the tokens of each segment of the layout, float32.

        Args:
          z: the noisy target.
          conditions: clean latents by name.
          embedder: the transformer's embeddings.
        """
        ...

    def usable_conditions(self, embed: Mapping) -> tuple[str, ...]:
        """Return which conditions a model can be shown that has these new embeddings; none if it cannot edit."""
        ...

    def embedding_channels(self, name: str, latent_channels: int) -> int:
        """Return the channels of what a new embedding takes."""
        ...


@dataclass(frozen=True)
class SequenceConditioning:
    """Tokens of their own for the source, in front of the target's, and for the reference, behind them (layout "sequence")."""

    config: ConditionConfig
    guidance = STANDARD_GUIDANCE

    @property
    def one_way(self) -> bool:
        """See `Conditioning`."""
        return self.config.attention == "one_way"

    @property
    def cacheable(self) -> bool:
        """See `Conditioning`."""
        return self.one_way and self.config.time == "zero"

    def layout(self, grids: Mapping[str, Grid]) -> Layout:
        """See `Conditioning`.

        Temporal positions continue source, target, reference (rope "contiguous"), or source and target share theirs ("shared"); either
        way the reference takes the next one. A mask with tokens of its own (mask "sequence") follows the target and takes the
        source's place in time, or goes on behind the target.
        """
        continues = self.config.rope == "contiguous"
        segments, first_t = [], 0
        if "source" in grids:
            segments.append(Segment("source", grids["source"]))
            first_t += grids["source"][0] * continues
        segments.append(Segment("target", grids["target"], first_t))
        if "mask" in grids and self.config.mask == "sequence":
            first_t += grids["mask"][0] * continues
            segments.append(Segment("mask", grids["mask"], first_t))
        if "reference" in grids:
            segments.append(Segment("reference", grids["reference"], first_t + grids["target"][0]))
        return Layout(tuple(segments), clean_conditions=self.config.time == "zero")

    def embed(self, z: Latents, conditions: Conditions, embedder: TokenEmbedder) -> dict[str, Tokens]:
        """See `Conditioning`."""
        tokens = {"target": embedder.pretrained(z)}
        if "source" in conditions:
            tokens["source"] = embedder.new("source", conditions["source"])
        if "mask" in conditions:
            mask = embedder.new("mask", conditions["mask"])
            if self.config.mask == "sequence":
                tokens["mask"] = mask
            else:
                tokens[self.config.mask] = tokens[self.config.mask] + mask
        if "reference" in conditions:
            tokens["reference"] = embedder.new("reference", conditions["reference"])
        return tokens

    def usable_conditions(self, embed: Mapping) -> tuple[str, ...]:
        """See `Conditioning`."""
        return tuple(name for name in CONDITION_NAMES if name in embed)

    def embedding_channels(self, name: str, latent_channels: int) -> int:
        """See `Conditioning`."""
        return 1 if name == "mask" and self.config.mask_code == "pooled" else latent_channels


@dataclass(frozen=True)
class AddConditioning(SequenceConditioning):
    """The embedded source is added to the target's tokens (layout "add"): what input channels added at zero compute."""

    def layout(self, grids: Mapping[str, Grid]) -> Layout:
        """See `Conditioning`."""
        return super().layout({name: grid for name, grid in grids.items() if name != "source"})

    def embed(self, z: Latents, conditions: Conditions, embedder: TokenEmbedder) -> dict[str, Tokens]:
        """See `Conditioning`."""
        tokens = super().embed(z, conditions, embedder)
        if "source" in tokens:
            tokens["target"] = tokens["target"] + tokens.pop("source")
        return tokens


@dataclass(frozen=True)
class ChannelConditioning(SequenceConditioning):
    """The source's latents are further channels of the target's (layout "channel"), for backbones pretrained so: noise first."""

    def layout(self, grids: Mapping[str, Grid]) -> Layout:
        """See `Conditioning`."""
        return super().layout({name: grid for name, grid in grids.items() if name != "source"})

    def embed(self, z: Latents, conditions: Conditions, embedder: TokenEmbedder) -> dict[str, Tokens]:
        """See `Conditioning`."""
        tokens = {
            name: embedder.new(name, conditions[name]) for name in ("mask", "reference") if name in conditions
        }
        source = conditions.get("source")
        target = embedder.pretrained(z if source is None else jnp.concatenate([z, source], -1))
        if "mask" in tokens and self.config.mask != "sequence":
            target = target + tokens.pop("mask")
        return {"target": target, **tokens}

    def usable_conditions(self, embed: Mapping) -> tuple[str, ...]:
        """See `Conditioning`."""
        return tuple(name for name in CONDITION_NAMES if name in embed or name == "source")


# By `ConditionConfig.layout`.
CONDITIONINGS: dict[str, Callable[[ConditionConfig], Conditioning]] = {
    "sequence": SequenceConditioning,
    "add": AddConditioning,
    "channel": ChannelConditioning,
}


def build_conditioning(dit: DiTConfig, condition: ConditionConfig) -> Conditioning:
    """Return the conditioning of a transformer.

    A backbone with more input than output channels takes the source as channels whatever `condition.layout` says, and one without
    them takes layout "channel" as "add", which computes the same from input channels that start at zero.
    """
    wide = dit.in_channels > dit.out_channels
    layout = "channel" if wide else condition.layout
    return CONDITIONINGS["add" if layout == "channel" and not wide else layout](condition)


def count_tokens(cfg: ModelConfig, reference: bool = False) -> int:
    """Return the joint tokens of one edited clip of the configured size.

    Args:
      cfg: the model.
      reference: whether it has a reference image.
    """
    t, y, x, _ = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    pt, py, px = cfg.dit.patch
    clip, image = (t // pt, y // py, x // px), (1, y // py, x // px)
    grids = {"source": clip, "target": clip, "mask": clip} | ({"reference": image} if reference else {})
    return build_conditioning(cfg.dit, cfg.condition).layout(grids).length


def encode_mask(
    condition: ConditionConfig, mask: AnyPixels, grid: Grid, encode: Callable[[AnyPixels], AnyLatents]
) -> AnyLatents:
    """Return what the model is shown of a mask.

    Args:
      condition: its `mask_code` decides: the latents of the mask as a video, or the share of each latent cell that it covers.
      mask: white (edit here and now) on black, uint8 [b, T, H, W, 3].
      grid: of the latents, (t, y, x).
      encode: the autoencoder's encoder, uint8 [b, T, H, W, 3] to latents.

    Returns:
      [b, t, y, x, c] or, of shares, [b, t, y, x, 1].
    """
    if condition.mask_code == "vae":
        return encode(mask)
    return pool_mask(np.asarray(mask)[..., 0] / np.float32(255), grid)[..., None]
