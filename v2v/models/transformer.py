"""The video diffusion transformer (DiT): noisy latents, flow time and text to the velocity.

One block, with modulation (s1, c1, g1, s2, c2, g2) = table + e0, selected for each token from flow times tau and 0:

    x ← x + g1 · SelfAttn( LN(x)(1+c1) + s1 )
    x ← x + CrossAttn( LN_affine(x), text )
    x ← x + g2 · FFN( LN(x)(1+c2) + s2 )

The head, on target tokens only: Linear( LN(x)(1+c) + s ) with (s, c) = table + e, from the time embedding e and not from e0.

The residual stream, norms, modulation, time embedding and head are float32; matrix products run in `cfg.dtype` (the policy of the
original). Wan2.2-TI2V-5B and the embedded model are this class with different sizes.
"""

import functools
from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from v2v.array_types import (
    AnyArray,
    Array,
    Bool,
    ConditionLatents,
    Conditions,
    Float,
    Latents,
    Noisy,
    Tau,
    Text,
    Tokens,
)
from v2v.config import ConditionConfig, DiTConfig
from v2v.models.attention import Attention
from v2v.models.attention_kernels import parallel
from v2v.models.conditioning import (
    ConditionEmbedding,
    Conditioning,
    Layout,
    SequencePart,
    build_conditioning,
    patchify,
    unpatchify,
)
from v2v.models.layers import Dense, LayerNorm, gelu, select_modulation
from v2v.models.rematerialization import keep, remat_policy
from v2v.models.rotary import rotary_angles, rotary_table
from v2v.runtime import host_memory
from v2v.runtime.sharding import constrain_activation


class DiT(nn.Module):
    """The transformer: velocity = DiT(z_tau, tau, text, source, mask, reference).

    Attributes:
      cfg: sizes.
      condition: how source, mask and reference reach the model.
      streams: whether the blocks' kernels are in the host's memory, from which each block takes its own as it runs.
    """

    cfg: DiTConfig
    condition: ConditionConfig = ConditionConfig()
    streams: bool = False

    @nn.compact
    def __call__(
        self,
        z: Latents,
        tau: Tau,
        text: Text,
        source: ConditionLatents | None = None,
        mask: ConditionLatents | None = None,
        reference: ConditionLatents | None = None,
        first_clean: Bool[Array, "b"] | None = None,
        part: SequencePart = "all",
        **others: ConditionLatents,
    ) -> Float[Array, "b t y x e"] | None:
        """Predict the velocity, noise - data.

        Args:
          z: target latents at flow time tau. A backbone conditioned by concatenated channels (`cfg.in_channels` twice the output's) takes
            noise first, source second: both in `z`, or as z and `source`, joined here.
          tau: flow time, 0 (data) to 1 (noise).
          text: embeddings, zero beyond the true length; all `text_len` are attended to. With `condition.context` "stored", what
            cross-attention attends to as it is, [b, m, d].
          source: clean latents of the source. The new embeddings of conditions come from the collection `embed`.
          mask: what the model is shown of the mask; needs a source.
          reference: clean latents of the reference, one latent frame.
          first_clean: True where latent frame 0 of `z` holds clean data (image-to-video).
          part: which tokens pass through the blocks. "conditions" and "target" are the two halves of a one_way pass (kv_cache.py):
            the first fills the collection `cache`, uses only the shape of z and returns None; the second reads the cache and uses only
            the shapes of `source`, `mask` and `reference`, unless the layout adds them to z.
          **others: further references and sources by name, `reference_2` and so on, for layouts that take them.

        Returns:
          The velocity, float32, with e = `cfg.out_channels` channels. Where the collection `attention` is mutable, each layer stores in
          it, averaged over heads: `cross_attn/seen` [b, l, m], weights to the text; `self_attn/seen` [b, l, 5], the share of the
          source and where in it (`attention.attention_weights`).

        Raises:
          ValueError: a mask without a source.
        """
        cfg = self.cfg
        if source is None and mask is not None:
            raise ValueError("DiT: a mask needs a source video to be added to; pass source=")
        arguments = {"source": source, "mask": mask, "reference": reference, **others}
        conditions = {name: latents for name, latents in arguments.items() if latents is not None}
        conditioning = build_conditioning(cfg, self.condition)
        x, layout = self.embed_tokens(conditioning, z, conditions, tau)
        noisy = self.find_noisy(layout, z.shape[0], first_clean)
        rows, target = layout.rows(part), layout.target
        positions, source_ids = layout.positions, layout.source_ids
        x, noisy = x[:, rows], noisy[:, rows]
        length = x.shape[1]
        source_ids = None if source_ids is None else source_ids[rows]
        angles = jnp.asarray(rotary_angles(positions[rows], cfg.head_dim, cfg.rope_theta, source_ids))
        # Tokens must divide by mesh axis seq; nothing attends to the padding.
        pad = -length % parallel.token_multiple()
        if pad:
            x = jnp.pad(x, ((0, 0), (0, pad), (0, 0)))
            noisy, angles = jnp.pad(noisy, ((0, 0), (0, pad))), jnp.pad(angles, ((0, pad), (0, 0)))
        temb, tproj = self.embed_time(tau)
        # Models whose context comes from elsewhere have the text embedding too, unused.
        is_stored = self.condition.context == "stored" and not self.is_initializing()
        context = jnp.asarray(text, jnp.dtype(cfg.dtype)) if is_stored else self.embed_text(text)
        unconditional = len(layout.segments) == 1 or part != "all"
        one_way = (target.start, target.stop) if conditioning.one_way and not unconditional else None

        block = Block
        if self.streams:
            block = nn.map_variables(Block, "params", trans_in_fn=host_memory.move_to_device)
        if cfg.remat != "none":
            block = nn.remat(block, policy=remat_policy(cfg.remat), prevent_cse=False)
        scan = nn.scan(
            block,
            variable_axes={"params": 0, "lora": 0, "cache": 0, "attention": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,  # pyright: ignore[reportArgumentType]  (flax declares integers alone)
            length=cfg.layers,
        )
        output_rows = target if part == "all" else slice(0, length)
        block_input = x[:, output_rows]
        writes_sum = self.is_mutable_collection("added") and not self.is_initializing()
        # diffusion/step_skipping.py: this step takes what the blocks added at an earlier one.
        if self.has_variable("added", "sum") and not writes_sum:
            x, noisy = block_input + self.get_variable("added", "sum"), noisy[:, output_rows]
            return unpatchify(Head(cfg, name="head")(x, temb, noisy), layout.grid, cfg.patch)
        blocks = scan(cfg, one_way, length if pad else None, name="blocks")
        source_positions = None
        # pipeline/attention_maps.py records attention to the tokens in front of the target, the source's.
        if self.is_mutable_collection("attention") and not self.is_initializing():
            source_positions = np.zeros((x.shape[1], 4), np.float32)
            source_positions[: target.start] = np.insert(positions[: target.start], 0, 1, axis=1)
        x, _ = blocks(
            constrain_activation(x, "b l d"), context, tproj, noisy, rotary_table(angles), source_positions
        )
        if part == "conditions":
            return None
        x, noisy = x[:, output_rows], noisy[:, output_rows]
        if writes_sum:
            self.put_variable("added", "sum", x - block_input)
        return unpatchify(Head(cfg, name="head")(x, temb, noisy), layout.grid, cfg.patch)

    def embed_tokens(
        self, conditioning: Conditioning, z: Latents, conditions: Conditions, tau: Tau
    ) -> tuple[Tokens, Layout]:
        """Return the tokens of the joint sequence, float32, and their layout."""
        shapes = {name: latents.shape for name, latents in {"target": z, **conditions}.items()}
        layout = conditioning.layout({name: self.token_grid(shape) for name, shape in shapes.items()})
        tokens = conditioning.embed(z, conditions, _Embedder(self.cfg), tau)
        return jnp.concatenate([tokens[segment.name] for segment in layout.segments], 1), layout

    def token_grid(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Return the token grid of latents of a shape [b, t, y, x, c]."""
        t, y, x = (n // p for n, p in zip(shape[1:4], self.cfg.patch, strict=True))
        return t, y, x

    def find_noisy(self, layout: Layout, batch: int, first_clean: Bool[Array, "b"] | None) -> Noisy:
        """Return which tokens are at flow time tau: the target's, except its first frame where `first_clean`."""
        noisy = jnp.broadcast_to(layout.noisy, (batch, layout.length))
        if first_clean is None:
            return noisy
        start, frame = layout.target.start, np.zeros(layout.length, bool)
        frame[start : start + layout.grid[1] * layout.grid[2]] = True
        return noisy & ~(first_clean[:, None] & frame)

    def embed_time(self, tau: Tau) -> tuple[Float[Array, "2 b d"], Float[Array, "2 b 6 d"]]:
        """Return the embeddings of flow times tau and 0, float32: e for the head and e0 for the blocks."""
        cfg, f32 = self.cfg, jnp.float32
        times = jnp.stack([tau.astype(f32), jnp.zeros_like(tau, f32)])
        half = cfg.freq_dim // 2
        freq = jnp.asarray(10000.0 ** (-np.arange(half) / half), f32)
        args = (1000.0 * times)[..., None] * freq
        h = Dense(cfg.width, f32, exact=True, name="time_in")(
            jnp.concatenate([jnp.cos(args), jnp.sin(args)], -1)
        )
        e = Dense(cfg.width, f32, exact=True, name="time_out")(nn.silu(h))
        e0 = Dense(6 * cfg.width, f32, exact=True, name="time_proj")(nn.silu(e))
        return e, e0.reshape(2, -1, 6, cfg.width)

    def embed_text(self, text: Text) -> Float[Array, "b m d"]:
        """Return the tokens that cross-attention attends to."""
        dtype = jnp.dtype(self.cfg.dtype)
        h = Dense(self.cfg.width, dtype, name="text_in")(text)
        return Dense(self.cfg.width, dtype, name="text_out")(gelu(h))


@dataclass(frozen=True)
class _Embedder:
    """The transformer's `conditioning.TokenEmbedder`; makes submodules of the module that is being applied."""

    cfg: DiTConfig

    @functools.cached_property
    def _patch_embedding(self) -> Dense:
        return Dense(self.cfg.width, jnp.dtype(self.cfg.dtype), name="patch_embedding")

    def pretrained(self, z: Latents) -> Tokens:
        """Embed what the base model takes, float32."""
        return self._patch_embedding(patchify(z, self.cfg.patch)).astype(jnp.float32)

    def new(self, name: str, latents: ConditionLatents) -> Tokens:
        """Embed a condition by its new embedding."""
        return ConditionEmbedding(self.cfg.width, name=name)(patchify(latents, self.cfg.patch))


class Block(nn.Module):
    """A block of the transformer, as the body of a scan over layers.

    Attributes:
      cfg: sizes.
      one_way: start and end of the target's tokens, where condition tokens must not attend to them.
      length: number of joint tokens, where padding follows them.
    """

    cfg: DiTConfig
    one_way: tuple[int, int] | None = None
    length: int | None = None

    @nn.compact
    def __call__(
        self,
        x: Tokens,
        context: Float[Array, "b m d"],
        time: Float[Array, "2 b 6 d"],
        noisy: Noisy,
        rotary: Float[Array, "2 l k2"],
        source_positions: Float[AnyArray, "l 4"] | None = None,
    ) -> tuple[Tokens, None]:
        """Apply the block.

        Args:
          x: residual stream.
          context: tokens of the text.
          time: embeddings e0 of flow times tau and 0.
          noisy: which tokens are at flow time tau.
          rotary: cosines and sines of the tokens' positions.
          source_positions: as for `Attention`.
        """
        cfg = self.cfg
        x = keep(x, "layer_input")
        table = self.param("modulation", nn.initializers.normal(cfg.width**-0.5), (6, cfg.width), jnp.float32)
        at_tau, at_zero = time + table
        s1, c1, g1, s2, c2, g2 = (select_modulation(noisy, at_tau[:, i], at_zero[:, i]) for i in range(6))

        h = LayerNorm(cfg.eps, name="norm1")(x) * (1 + c1) + s1
        h = Attention(cfg, name="self_attn")(
            h, rotary=rotary, one_way=self.one_way, length=self.length, source_positions=source_positions
        )
        x = x + keep(h, "attention_output").astype(jnp.float32) * g1
        h = LayerNorm(cfg.eps, affine=True, name="norm_cross")(x)
        h = Attention(cfg, name="cross_attn")(h, context=context, source_positions=source_positions)
        x = x + keep(h, "cross_output").astype(jnp.float32)
        h = LayerNorm(cfg.eps, name="norm2")(x) * (1 + c2) + s2
        x = x + FFN(cfg, name="ffn")(h).astype(jnp.float32) * g2
        return x, None


class FFN(nn.Module):
    """The MLP of a block, with GELU in its tanh form.

    Attributes:
      cfg: sizes.
    """

    cfg: DiTConfig

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        """Apply the MLP to every token."""
        dtype = jnp.dtype(self.cfg.dtype)
        h = gelu(keep(Dense(self.cfg.ffn_width, dtype, name="up")(x), "ffn_up"))
        return Dense(self.cfg.width, dtype, name="down")(h)


class Head(nn.Module):
    """The output layer, from target tokens to patches of the velocity.

    Attributes:
      cfg: sizes.
    """

    cfg: DiTConfig

    @nn.compact
    def __call__(self, x: Tokens, time: Float[Array, "2 b d"], noisy: Noisy) -> Float[Array, "b l e"]:
        """Return the patches, float32.

        Args:
          x: residual stream.
          time: embeddings e of flow times tau and 0.
          noisy: which tokens are at flow time tau.
        """
        cfg = self.cfg
        table = self.param("modulation", nn.initializers.normal(cfg.width**-0.5), (2, cfg.width), jnp.float32)
        at_tau, at_zero = time[:, :, None] + table
        shift, scale = (select_modulation(noisy, at_tau[:, i], at_zero[:, i]) for i in range(2))
        x = LayerNorm(cfg.eps, name="norm")(x) * (1 + scale) + shift
        size = int(np.prod(cfg.patch)) * cfg.out_channels
        return Dense(size, jnp.float32, nn.initializers.zeros, exact=True, name="linear")(x)
