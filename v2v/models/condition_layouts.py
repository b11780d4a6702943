"""How a video transformer takes source, mask and reference: the Protocol, and the layouts of EasyV2V and its ablation.

    X = [ E_src(z_src) + E_msk(z_msk) ; E_tgt(z_tau) ; E_ref(z_ref)? ]

E_tgt is the pretrained patch embedding. The other embeddings are new, zero-initialised and live in the flax collection `embed`, so that
the tree of the base model never changes. Source: EasyV2V (arXiv 2512.16920), section 3; the variants of `ConditionConfig` are those of its ablation.
Layouts of published editors are in published_editors.py.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import flax.linen as nn
import jax.numpy as jnp

from v2v.array_types import Array, ConditionLatents, Conditions, Float, Latents, Tau, Tokens
from v2v.config import ConditionConfig
from v2v.errors import InputError
from v2v.models.guidance_modes import STANDARD_GUIDANCE, GuidanceMode
from v2v.models.layers import exact_products
from v2v.models.token_layout import Grid, Layout, Segment

# The inputs beside the noisy target that have new embeddings, in the order of these in files. Editors that take several references or sources
# have them as reference, reference_2, reference_3 and so on.
CONDITION_NAMES = ("source", "mask", "reference")


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


@runtime_checkable
class TokenEmbedder(Protocol):
    """The embeddings that the transformer owns."""

    def pretrained(self, z: Latents) -> Tokens:
        """Embed what the base model takes, float32."""
        ...

    def new(self, name: str, latents: ConditionLatents) -> Tokens:
        """Embed a condition by its new embedding."""
        ...


@runtime_checkable
class Conditioning(Protocol):
    """How the transformer takes its inputs beside the noisy target."""

    @property
    def config(self) -> ConditionConfig:
        """Return the settings it was made from."""
        ...

    @property
    def guidance(self) -> Mapping[str, GuidanceMode]:
        """Return the modes of guidance by name."""
        ...

    def guidance_mode(self, name: str, conditions: Collection[str], frames: int) -> GuidanceMode:
        """Return the mode of a step.

        Args:
          name: one of `guidance`, or "prompt", "prompt+reference" or "none", which every conditioning has an answer to.
          conditions: names of the conditions that a clip has.
          frames: latent frames of the target.

        Raises:
          InputError: an unknown name.
        """
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

    def embed(
        self, z: Latents, conditions: Conditions, embedder: TokenEmbedder, tau: Tau
    ) -> dict[str, Tokens]:
        """Return the tokens of each segment of the layout, float32.

        Args:
          z: the noisy target.
          conditions: clean latents by name.
          embedder: the transformer's embeddings.
          tau: flow time of the target.
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

    def guidance_mode(self, name: str, conditions: Collection[str], frames: int) -> GuidanceMode:
        """See `Conditioning`."""
        if name not in self.guidance:
            names = [mode for mode in self.guidance if mode != "none"]
            raise InputError(f"guide: expected a mode of this model, {' or '.join(names)}, got {name!r}")
        return self.guidance[name]

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

    def embed(
        self, z: Latents, conditions: Conditions, embedder: TokenEmbedder, tau: Tau
    ) -> dict[str, Tokens]:
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

    def embed(
        self, z: Latents, conditions: Conditions, embedder: TokenEmbedder, tau: Tau
    ) -> dict[str, Tokens]:
        """See `Conditioning`."""
        tokens = super().embed(z, conditions, embedder, tau)
        if "source" in tokens:
            tokens["target"] = tokens["target"] + tokens.pop("source")
        return tokens


@dataclass(frozen=True)
class ChannelConditioning(SequenceConditioning):
    """The source's latents are further channels of the target's (layout "channel"), for backbones pretrained so: noise first."""

    # Without a source there is nothing to put into these channels.
    guidance = {name: mode for name, mode in STANDARD_GUIDANCE.items() if name != "prompt+source"}

    def layout(self, grids: Mapping[str, Grid]) -> Layout:
        """See `Conditioning`."""
        return super().layout({name: grid for name, grid in grids.items() if name != "source"})

    def embed(
        self, z: Latents, conditions: Conditions, embedder: TokenEmbedder, tau: Tau
    ) -> dict[str, Tokens]:
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
LAYOUTS: dict[str, Callable[[ConditionConfig], Conditioning]] = {
    "sequence": SequenceConditioning,
    "add": AddConditioning,
    "channel": ChannelConditioning,
}
