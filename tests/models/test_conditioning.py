"""Conditionings: one Protocol, built-in ones by name, and a new one that nothing else needs to know of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import ConditionConfig, debug
from v2v.diffusion.sampler import Sampler
from v2v.models import conditioning, initialization
from v2v.models.conditioning import Layout, Segment, SequenceConditioning
from v2v.models.transformer import DiT

CFG = debug()
SHAPE = (1, *CFG.vae.latent_shape(CFG.frames, CFG.height, CFG.width))
GRIDS = {"source": (3, 2, 2), "target": (3, 2, 2), "mask": (3, 2, 2), "reference": (1, 2, 2)}


def noise(seed, shape=SHAPE, scale=1.0):
    return jnp.asarray(scale * np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.fixture(scope="module")
def variables():
    params = initialization.init_base(jax.random.key(0), CFG)["dit"]
    params["head"]["linear"]["kernel"] = noise(1, params["head"]["linear"]["kernel"].shape, 0.1)
    embed = jax.tree.map(lambda x: noise(2, x.shape, 0.3), initialization.init_embed(jax.random.key(1), CFG))
    return {"params": params, "embed": embed}


@dataclasses.dataclass(frozen=True)
class TargetFirst(SequenceConditioning):
    """The target in front of the source, both at the same positions in time."""

    def layout(self, grids):
        names = [name for name in ("target", "source", "reference") if name in grids]
        return Layout(tuple(Segment(name, grids[name]) for name in names))


def test_a_registered_layout_is_all_the_transformer_needs(variables, monkeypatch):
    monkeypatch.setitem(conditioning.CONDITIONINGS, "target_first", TargetFirst)
    shared = ConditionConfig(rope="shared", mask="source")
    reordered = dataclasses.replace(shared, layout="target_first")
    text = noise(3, (1, CFG.text.text_len, CFG.text.width))
    conditions = {"source": noise(5), "mask": noise(7)}
    out = {
        condition.layout: DiT(CFG.dit, condition).apply(
            variables, noise(4), jnp.full(1, 0.6), text, **conditions
        )
        for condition in (shared, reordered)
    }
    # Attention does not see the order of tokens, only their positions.
    np.testing.assert_allclose(out["target_first"], out["sequence"], atol=1e-5)
    cfg = dataclasses.replace(CFG, condition=reordered)
    null = jnp.zeros_like(text)
    edited = Sampler(cfg)(variables, noise(6), text, null, conditions, 2, 3.0).latents
    assert edited.shape == SHAPE and bool(jnp.isfinite(edited).all())


@pytest.mark.parametrize("layout", conditioning.CONDITIONINGS)
def test_tokens_and_layout_of_each_agree(layout):
    channels = CFG.dit.out_channels
    dit = dataclasses.replace(CFG.dit, in_channels=channels * (2 if layout == "channel" else 1))
    condition = conditioning.build_conditioning(dit, ConditionConfig(layout=layout))

    class Counter:
        def pretrained(self, z):
            assert z.shape[-1] == dit.in_channels or layout == "segments"
            return jnp.zeros((1, int(np.prod(z.shape[1:4])), 4))

        def new(self, name, latents):
            return jnp.zeros((1, int(np.prod(latents.shape[1:4])), 4))

    latents = {name: jnp.zeros((1, *grid, channels)) for name, grid in GRIDS.items()}
    tokens = condition.embed(latents.pop("target"), latents, Counter(), jnp.ones(1))
    segments = condition.layout(GRIDS).segments
    assert {segment.name: segment.length for segment in segments} == {
        name: value.shape[1] for name, value in tokens.items()
    }


def test_a_wide_backbone_takes_the_source_as_channels_whatever_is_configured():
    wide = dataclasses.replace(CFG.dit, in_channels=2 * CFG.dit.out_channels)
    for layout in conditioning.CONDITIONINGS:
        built = conditioning.build_conditioning(wide, ConditionConfig(layout=layout))
        assert type(built) is conditioning.ChannelConditioning and built.usable_conditions({}) == ("source",)
    narrow = conditioning.build_conditioning(CFG.dit, ConditionConfig(layout="channel"))
    assert type(narrow) is conditioning.AddConditioning and narrow.usable_conditions({}) == ()


def test_segments_are_told_apart_by_number_and_spread_beyond_what_was_trained():
    built = conditioning.build_conditioning(CFG.dit, ConditionConfig(layout="segments", time="same"))
    grids = {"target": (3, 2, 2), "reference": (1, 3, 1), "source": (3, 2, 2), "reference_2": (1, 1, 4)}
    layout = built.layout(grids)
    assert [(s.name, s.source_id, s.first_t) for s in layout.segments] == [
        ("source", 1, 0), ("reference", 2, 0), ("reference_2", 3, 0), ("target", 0, 0),
    ]  # fmt: skip
    assert layout.noisy.all() and not built.cacheable
    many = built.layout(grids | {f"reference_{i}": (1, 1, 1) for i in range(3, 12)})
    ids = [s.source_id for s in many.segments]
    np.testing.assert_allclose(ids[:-1], np.linspace(1, 5, 12))
    assert [s.name for s in many.segments][-3:] == ["reference_10", "reference_11", "target"]
    assert built.layout({"target": (3, 2, 2)}).source_ids is None


def test_references_of_the_added_layout_are_frames_after_the_target_or_before_it():
    condition = ConditionConfig(layout="scaled_add", time="same")
    grids = {"source": (3, 2, 2), "target": (3, 2, 2), "reference": (1, 2, 2), "reference_2": (1, 2, 2)}
    for placement, order in (
        ("after", [("target", 0), ("reference", 3), ("reference_2", 4)]),
        ("before", [("reference", 0), ("reference_2", 1), ("target", 2)]),
    ):
        built = conditioning.build_conditioning(CFG.dit, dataclasses.replace(condition, reference=placement))
        assert [(s.name, s.first_t) for s in built.layout(grids).segments] == order


def test_tokens_of_a_clip_count_a_mask_that_has_its_own():
    joint = conditioning.count_tokens(CFG)
    with_mask = dataclasses.replace(CFG, condition=ConditionConfig(mask="sequence"))
    add_layout = dataclasses.replace(CFG, condition=ConditionConfig(layout="add"))
    assert conditioning.count_tokens(with_mask) * 2 == joint * 3
    assert conditioning.count_tokens(add_layout) * 2 == joint
