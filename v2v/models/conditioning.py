"""Which conditioning a model has: the registry, and what follows from it for sizes and masks.

A `Conditioning` (condition_layouts.py) decides which inputs become tokens, in which order, at which positions and at which flow time, and
what the passes of guidance are shown. To add one: write a class with the methods of the Protocol, enter it in `LAYOUTS` beside it, and add its
name to `ConditionConfig.layout`. The transformer, the KV cache, the latent cache, the pipeline and the plans ask it, and know no layout
themselves.
"""

from collections.abc import Callable

import numpy as np

from v2v.array_types import AnyLatents, AnyPixels
from v2v.config import ConditionConfig, DiTConfig, ModelConfig
from v2v.models.condition_layouts import (
    CONDITION_NAMES,
    LAYOUTS,
    AddConditioning,
    ChannelConditioning,
    ConditionEmbedding,
    Conditioning,
    SequenceConditioning,
    TokenEmbedder,
)
from v2v.models.guidance_modes import STANDARD_GUIDANCE, GuidanceBranch, GuidanceMode
from v2v.models.published_editors import EDITOR_LAYOUTS, ScaledAddConditioning, SegmentConditioning
from v2v.models.token_layout import Grid, Layout, Segment, SequencePart, patchify, unpatchify
from v2v.video.mask import pool_mask

__all__ = [
    "CONDITIONINGS", "CONDITION_NAMES", "PUBLISHED_LAYOUTS", "STANDARD_GUIDANCE", "AddConditioning", "ChannelConditioning", "ConditionEmbedding", "Conditioning",
    "Grid", "GuidanceBranch", "GuidanceMode", "Layout", "ScaledAddConditioning", "Segment", "SegmentConditioning", "SequenceConditioning",
    "SequencePart", "TokenEmbedder", "build_conditioning", "context_shape", "count_tokens", "default_branches", "default_conditions", "encode_mask", "patchify", "unpatchify",
]  # fmt: skip

# By `ConditionConfig.layout`.
CONDITIONINGS: dict[str, Callable[[ConditionConfig], Conditioning]] = {
    **LAYOUTS,
    **EDITOR_LAYOUTS,
}
# Layouts that pretrained editors have: training goes on with them, whatever an experiment says.
PUBLISHED_LAYOUTS = ("channel", *EDITOR_LAYOUTS)


def build_conditioning(dit: DiTConfig, condition: ConditionConfig) -> Conditioning:
    """Return the conditioning of a transformer.

    A backbone with more input than output channels takes the source as channels whatever `condition.layout` says, and one without
    them takes layout "channel" as "add", which computes the same from input channels that start at zero.
    """
    wide = dit.in_channels > dit.out_channels
    layout = "channel" if wide else condition.layout
    return CONDITIONINGS["add" if layout == "channel" and not wide else layout](condition)


def default_conditions(cfg: ModelConfig) -> tuple[str, ...]:
    """Return the conditions of a model's usual edit, for plans: what its layout takes, of published editors the source alone.

    Of Kiwi-Edit's release that edits by references, which come before the target there, a reference too.
    """
    if cfg.condition.layout in PUBLISHED_LAYOUTS:
        return ("source", "reference") if cfg.condition.reference == "before" else ("source",)
    return CONDITION_NAMES


def default_branches(cfg: ModelConfig, scale: float | None = None) -> tuple[GuidanceBranch, ...]:
    """Return the passes of a step of a model's usual edit.

    Args:
      cfg: the model.
      scale: guidance on the text; None for the model's.
    """
    scale = cfg.flow.guidance if scale is None else scale
    t = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)[0]
    mode = build_conditioning(cfg.dit, cfg.condition).guidance_mode("prompt", default_conditions(cfg), t)
    return mode.branches[:1] if scale == 1 and len(mode.axes) == 1 else mode.branches


def context_shape(cfg: ModelConfig) -> tuple[int, int]:
    """Return the tokens and channels of what cross-attention is given."""
    return cfg.dit.text_len, cfg.dit.width if cfg.condition.context == "stored" else cfg.dit.text_width


def count_tokens(cfg: ModelConfig, reference: bool = False, source: bool = True) -> int:
    """Return the joint tokens of one edited clip of the configured size.

    Args:
      cfg: the model.
      reference: whether it has a reference image.
      source: whether it has a source with a mask.
    """
    t, y, x, _ = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    pt, py, px = cfg.dit.patch
    clip, image = (t // pt, y // py, x // px), (1, y // py, x // px)
    grids = (
        {"target": clip}
        | ({"source": clip, "mask": clip} if source else {})
        | ({"reference": image} if reference else {})
    )
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
