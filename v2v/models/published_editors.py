"""Layouts of published editors that stand on the same transformer.

    segments     Bernini-R (arXiv 2605.22344): every input is a segment at positions of its own that all begin at 0; a further rotary phase, by
                 the number of the input, tells them apart. All inputs go through the pretrained patch embedding
    scaled_add   Kiwi-Edit (arXiv 2603.02175): the embedded source is added to the target's tokens times the noise level, so that it fades as
                 the target becomes clean; references are frames before or behind the target's

Layout "channel" is Lucy-Edit's. None of them takes a mask.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from v2v.array_types import Conditions, Latents, Tau, Tokens
from v2v.config import ConditionConfig
from v2v.models.condition_layouts import Conditioning, SequenceConditioning, TokenEmbedder
from v2v.models.guidance_modes import BERNINI_GUIDANCE, GuidanceMode
from v2v.models.token_layout import Grid, Layout, Segment

# Ids of sources that Bernini-R has seen in training; those of more sources are spread over the same range.
TRAINED_SOURCE_IDS = 5


@dataclass(frozen=True)
class SegmentConditioning(SequenceConditioning):
    """Sources and references as segments told apart by a rotary phase (layout "segments"); their sizes may differ from the target's."""

    guidance = BERNINI_GUIDANCE

    def guidance_mode(self, name: str, conditions: Collection[str], frames: int) -> GuidanceMode:
        """See `Conditioning`; "prompt" and "prompt+reference" are the published mode for what a clip has."""
        if name in ("prompt", "prompt+reference"):
            has_reference = "reference" in conditions
            if "source" not in conditions:
                name = "r2v_apg" if has_reference else "t2v_apg"
            elif has_reference:
                name = "rv2v"
            else:
                name = "v2v" if frames == 1 else "v2v_apg"
        return super().guidance_mode(name, conditions, frames)

    def layout(self, grids: Mapping[str, Grid]) -> Layout:
        """See `Conditioning`; sources come first and then references, numbered in one count."""
        names = [*_numbered(grids, "source"), *_numbered(grids, "reference")]
        ids = np.arange(1.0, len(names) + 1)
        if len(names) > TRAINED_SOURCE_IDS:
            ids = np.linspace(1.0, TRAINED_SOURCE_IDS, len(names))
        segments = [
            Segment(name, grids[name], source_id=float(i)) for name, i in zip(names, ids, strict=True)
        ]
        target = Segment("target", grids["target"])
        return Layout((*segments, target), clean_conditions=self.config.time == "zero")

    def embed(
        self, z: Latents, conditions: Conditions, embedder: TokenEmbedder, tau: Tau
    ) -> dict[str, Tokens]:
        """See `Conditioning`."""
        names = [*_numbered(conditions, "source"), *_numbered(conditions, "reference")]
        return {
            "target": embedder.pretrained(z),
            **{name: embedder.pretrained(jnp.asarray(conditions[name])) for name in names},
        }

    def usable_conditions(self, embed: Mapping) -> tuple[str, ...]:
        """See `Conditioning`."""
        return ("source", "reference")


@dataclass(frozen=True)
class ScaledAddConditioning(SequenceConditioning):
    """The embedded source is added to the target's tokens times the noise level (layout "scaled_add")."""

    def layout(self, grids: Mapping[str, Grid]) -> Layout:
        """See `Conditioning`; references continue the target's frames, or it theirs (`ConditionConfig.reference`)."""
        names = _numbered(grids, "reference")
        order = [*names, "target"] if self.config.reference == "before" else ["target", *names]
        segments, first_t = [], 0
        for name in order:
            segments.append(Segment(name, grids[name], first_t))
            first_t += grids[name][0]
        return Layout(tuple(segments), clean_conditions=self.config.time == "zero")

    def embed(
        self, z: Latents, conditions: Conditions, embedder: TokenEmbedder, tau: Tau
    ) -> dict[str, Tokens]:
        """See `Conditioning`."""
        tokens = {"target": embedder.pretrained(z)}
        if "source" in conditions:
            source = embedder.new("source", conditions["source"])
            tokens["target"] = tokens["target"] + source * jnp.asarray(tau, jnp.float32)[:, None, None]
        names = _numbered(conditions, "reference")
        if names:
            # One embedding serves them all.
            reference_tokens = embedder.new(
                "reference", jnp.concatenate([conditions[name] for name in names], 1)
            )
            parts = jnp.split(reference_tokens, len(names), 1)
            tokens |= dict(zip(names, parts, strict=True))
        return tokens

    def usable_conditions(self, embed: Mapping) -> tuple[str, ...]:
        """See `Conditioning`."""
        return tuple(name for name in ("source", "reference") if name in embed)


def _numbered(conditions: Collection[str], kind: str) -> list[str]:
    """Return the names of sources or references that are given, in order: source, source_2, source_3 and so on."""
    names = [name for name in conditions if name == kind or name.startswith(f"{kind}_")]
    return sorted(names, key=lambda name: int(name.removeprefix(kind).removeprefix("_") or 1))


# By `ConditionConfig.layout`.
EDITOR_LAYOUTS: dict[str, Callable[[ConditionConfig], Conditioning]] = {
    "segments": SegmentConditioning,
    "scaled_add": ScaledAddConditioning,
}
