"""Where the mask goes: added to the source's tokens, to the target's, or tokens of its own. The cached pass gives the same for each."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import ConditionConfig, debug
from v2v.models import conditioning, initialization, kv_cache
from v2v.models.transformer import DiT

CFG = dataclasses.replace(
    debug(), frames=5, dit=dataclasses.replace(debug().dit, layers=1), condition=ConditionConfig()
)
SHAPE = (1, *CFG.vae.latent_shape(CFG.frames, CFG.height, CFG.width))


def noise(seed, shape=SHAPE, scale=1.0):
    return jnp.asarray(scale * np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.fixture(scope="module")
def variables():
    params = initialization.init_base(jax.random.key(0), CFG)["dit"]
    params["head"]["linear"]["kernel"] = noise(1, params["head"]["linear"]["kernel"].shape, 0.1)
    embed = jax.tree.map(lambda x: noise(2, x.shape, 0.3), initialization.init_embed(jax.random.key(1), CFG))
    return {"params": params, "embed": embed}


def velocity(variables, condition, **inputs):
    text = noise(3, (1, CFG.text.text_len, CFG.text.width))
    return DiT(CFG.dit, condition).apply(variables, noise(4), jnp.full(1, 0.6), text, **inputs)


@pytest.mark.parametrize("layout", ["sequence", pytest.param("add", marks=pytest.mark.slow)])
def test_each_place_is_another_model_and_reads_the_mask(variables, layout):
    inputs = {"source": noise(5), "reference": noise(6)[:, :1]}
    if layout == "add":
        inputs.pop("reference")
    velocities = {}
    for place in ("source", "target", "sequence"):
        condition = ConditionConfig(layout=layout, mask=place)
        velocities[place] = velocity(variables, condition, **inputs, mask=noise(7))
        other = velocity(variables, condition, **inputs, mask=noise(8))
        assert float(jnp.abs(velocities[place] - other).max()) > 1e-4
    assert float(jnp.abs(velocities["source"] - velocities["sequence"]).max()) > 1e-4
    same = layout == "add"  # an added source has the target's tokens, so there the two are one
    assert bool(jnp.allclose(velocities["source"], velocities["target"], atol=1e-5)) is same


def test_a_mask_of_its_own_stands_between_target_and_reference():
    grids = {"source": (2, 1, 1), "target": (2, 1, 1), "mask": (2, 1, 1), "reference": (1, 1, 1)}
    layout = conditioning.build_conditioning(CFG.dit, ConditionConfig(mask="sequence")).layout(grids)
    assert [segment.name for segment in layout.segments] == ["source", "target", "mask", "reference"]
    assert layout.positions[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6] and layout.target == slice(2, 4)
    assert layout.noisy.tolist() == [False, False, True, True, False, False, False]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["target", "sequence"])
def test_cached_and_uncached_agree(variables, place):
    condition = ConditionConfig(attention="one_way", mask=place)
    dit, inputs = DiT(CFG.dit, condition), {"source": noise(5), "mask": noise(7)}
    text = noise(3, (1, CFG.text.text_len, CFG.text.width))
    cache = kv_cache.prefill(dit, variables, noise(4), text, inputs)
    out = kv_cache.build_cached_velocity(dit, variables, cache, text, inputs)(noise(4), 0.6)
    np.testing.assert_allclose(out, velocity(variables, condition, **inputs), atol=1e-5)
