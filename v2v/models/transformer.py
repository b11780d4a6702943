"""The video DiT: noisy latents, flow time, text and conditions → velocity. conditioning.py → **dit** → flow/.

One block, with modulation (s1, c1, g1, s2, c2, g2) = table + e0 chosen per token between flow times tau and 0:
    x ← x + g1 · SelfAttn( LN(x)(1+c1) + s1 )
    x ← x + CrossAttn( LN_affine(x), text )
    x ← x + g2 · FFN( LN(x)(1+c2) + s2 )
Head, on target tokens only: Linear( LN(x)(1+c) + s ), (s, c) = table + e — from e, the time embedding, not from e0.
The residual stream, norms, modulation, time MLP and head are float32; matmuls run in `cfg.dtype` (the original's policy).
Wan2.2-TI2V-5B and the embedded model are this class with different numbers.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from v2v.array_types import Array, Bool, Float, Latents, Noisy, Tau, Text, Tokens
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
from v2v.models.rotary import rotary_angles, rotary_table
from v2v.runtime.sharding import constrain_activation

REMAT_POLICIES = {  # what the backward pass finds saved (DiTConfig.remat)
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "outputs": jax.checkpoint_policies.save_only_these_names("attention", "ffn"),
    "full": None,
}


class DiT(nn.Module):
    """velocity = DiT(z_tau, tau, text, source, mask, reference)."""

    cfg: DiTConfig
    condition: ConditionConfig = ConditionConfig()

    @nn.compact
    def __call__(
        self,
        z: Latents,
        tau: Tau,
        text: Text,
        source: Latents | None = None,
        mask: Latents | None = None,
        reference: Latents | None = None,
        first_clean: Bool[Array, "b"] | None = None,
        part: SequencePart = "all",
    ) -> Latents | None:
        """Predict the velocity noise - data.

        Args:
          z: target latents at flow time tau. A backbone conditioned by channel concatenation (`cfg.in_channels` twice the
            output's) takes noise first, source second: in `z` itself, or as z and `source`, joined here.
          tau: 0 (data) … 1 (noise).
          text: embeddings, zero beyond the true length; all `text_len` are attended to.
          source, mask, reference: clean latents of the conditions; a mask needs a source. The new embeddings come from the
            collection `embed`.
          first_clean: True where latent frame 0 of `z` holds clean data (image-to-video).
          part: which tokens walk through the blocks. "conditions" and "target" are the two halves of a one_way pass
            (models/kv_cache.py): the first fills the collection `cache`, looks at z's shape only and returns None; the second
            reads it and needs `source`, `mask` and `reference` for their shapes only, unless the layout adds them to z.

        Returns:
          velocity, float32, with `cfg.out_channels` channels. Where the collection `attention` may be written, each layer leaves
          in it, averaged over heads: `cross_attn/seen` [b, l, m], weights to the text; `self_attn/seen` [b, l, 5], share of the
          source, and where in it (attention.seen).
        """
        cfg = self.cfg
        if source is None and mask is not None:
            raise ValueError("DiT: a mask needs a source video to be added to; pass source=")
        given = {"source": source, "mask": mask, "reference": reference}
        conditions = {name: latents for name, latents in given.items() if latents is not None}
        conditioning = build_conditioning(cfg, self.condition)
        x, layout = self.embed_tokens(conditioning, z, conditions)
        noisy = self.find_noisy(layout, z.shape[0], first_clean)
        rows, target = layout.rows(part), layout.target
        positions = layout.positions
        x, noisy = x[:, rows], noisy[:, rows]
        length = x.shape[1]
        angles = jnp.asarray(rotary_angles(positions[rows], cfg.head_dim, cfg.rope_theta))
        # Tokens must divide by mesh axis seq; nothing attends to the padding.
        pad = -length % parallel.token_multiple()
        if pad:
            x = jnp.pad(x, ((0, 0), (0, pad), (0, 0)))
            noisy, angles = jnp.pad(noisy, ((0, 0), (0, pad))), jnp.pad(angles, ((0, pad), (0, 0)))
        temb, tproj = self.embed_time(tau)
        context = self.embed_text(text)
        unconditional = len(layout.segments) == 1 or part != "all"
        one_way = (target.start, target.stop) if conditioning.one_way and not unconditional else None

        block = Block
        if cfg.remat != "none":
            block = nn.remat(Block, policy=REMAT_POLICIES[cfg.remat], prevent_cse=False)
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
        watch = None
        # pipeline/attention_maps.py records attention to the tokens in front of the target, the source's.
        if self.is_mutable_collection("attention") and not self.is_initializing():
            watch = np.zeros((x.shape[1], 4), np.float32)
            watch[: target.start] = np.insert(positions[: target.start], 0, 1, axis=1)
        x, _ = blocks(constrain_activation(x, "b l d"), context, tproj, noisy, rotary_table(angles), watch)
        if part == "conditions":
            return None
        x, noisy = x[:, output_rows], noisy[:, output_rows]
        if writes_sum:
            self.put_variable("added", "sum", x - block_input)
        return unpatchify(Head(cfg, name="head")(x, temb, noisy), layout.grid, cfg.patch)

    def embed_tokens(
        self, conditioning: Conditioning, z: Latents, conditions: dict[str, Latents]
    ) -> tuple[Tokens, Layout]:
        """Return the tokens of the joint sequence, float32, and their layout."""
        shapes = {name: latents.shape for name, latents in {"target": z, **conditions}.items()}
        layout = conditioning.layout({name: self.token_grid(shape) for name, shape in shapes.items()})
        tokens = conditioning.embed(z, conditions, _Embedder(self.cfg))
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

    def embed_time(self, tau: Tau):
        """Time embeddings at (tau, 0): e [2, b, d] for the head and e0 [2, b, 6, d] for the blocks, float32."""
        cfg, f32 = self.cfg, jnp.float32
        both = jnp.stack([tau.astype(f32), jnp.zeros_like(tau, f32)])
        half = cfg.freq_dim // 2
        freq = jnp.asarray(10000.0 ** (-np.arange(half) / half), f32)
        args = (1000.0 * both)[..., None] * freq
        h = Dense(cfg.width, f32, name="time_in")(jnp.concatenate([jnp.cos(args), jnp.sin(args)], -1))
        e = Dense(cfg.width, f32, name="time_out")(nn.silu(h))
        e0 = Dense(6 * cfg.width, f32, name="time_proj")(nn.silu(e))
        return e, e0.reshape(2, -1, 6, cfg.width)

    def embed_text(self, text: Text) -> Float[Array, "b m d"]:
        dtype = jnp.dtype(self.cfg.dtype)
        h = Dense(self.cfg.width, dtype, name="text_in")(text)
        return Dense(self.cfg.width, dtype, name="text_out")(gelu(h))


@dataclass(frozen=True)
class _Embedder:
    """The transformer's `conditioning.TokenEmbedder`; makes submodules of the module that is being applied."""

    cfg: DiTConfig

    def pretrained(self, z: Latents) -> Tokens:
        dense = Dense(self.cfg.width, jnp.dtype(self.cfg.dtype), name="patch_embedding")
        return dense(patchify(z, self.cfg.patch)).astype(jnp.float32)

    def new(self, name: str, latents: Latents) -> Tokens:
        return ConditionEmbedding(self.cfg.width, name=name)(patchify(latents, self.cfg.patch))


class Block(nn.Module):
    cfg: DiTConfig
    one_way: tuple[int, int] | None = None  # where the target's tokens lie, when conditions must not see them
    length: int | None = None  # of the joint sequence, when padding follows it

    @nn.compact
    def __call__(self, x: Tokens, context, tproj, noisy, turns, watch=None):
        cfg = self.cfg
        table = self.param("modulation", nn.initializers.normal(cfg.width**-0.5), (6, cfg.width), jnp.float32)
        at_tau, at_zero = tproj + table
        s1, c1, g1, s2, c2, g2 = (select_modulation(noisy, at_tau[:, i], at_zero[:, i]) for i in range(6))

        h = LayerNorm(cfg.eps, name="norm1")(x) * (1 + c1) + s1
        h = Attention(cfg, name="self_attn")(
            h, turns=turns, one_way=self.one_way, length=self.length, watch=watch
        )
        x = x + checkpoint_name(h, "attention").astype(jnp.float32) * g1
        h = LayerNorm(cfg.eps, affine=True, name="norm_cross")(x)
        x = x + Attention(cfg, name="cross_attn")(h, context=context, watch=watch).astype(jnp.float32)
        h = LayerNorm(cfg.eps, name="norm2")(x) * (1 + c2) + s2
        x = x + checkpoint_name(FFN(cfg, name="ffn")(h), "ffn").astype(jnp.float32) * g2
        return x, None


class FFN(nn.Module):
    cfg: DiTConfig

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        dtype = jnp.dtype(self.cfg.dtype)
        h = gelu(Dense(self.cfg.ffn_width, dtype, name="up")(x))
        return Dense(self.cfg.width, dtype, name="down")(h)


class Head(nn.Module):
    cfg: DiTConfig

    @nn.compact
    def __call__(self, x: Tokens, temb, noisy: Noisy) -> Float[Array, "b n e"]:
        cfg = self.cfg
        table = self.param("modulation", nn.initializers.normal(cfg.width**-0.5), (2, cfg.width), jnp.float32)
        at_tau, at_zero = temb[:, :, None] + table
        shift, scale = (select_modulation(noisy, at_tau[:, i], at_zero[:, i]) for i in range(2))
        x = LayerNorm(cfg.eps, name="norm")(x) * (1 + scale) + shift
        size = int(np.prod(cfg.patch)) * cfg.out_channels
        return Dense(size, jnp.float32, nn.initializers.zeros, name="linear")(x)
