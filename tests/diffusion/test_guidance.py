"""Which passes guidance takes, and how their velocities combine."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from v2v.config import ConditionConfig, debug
from v2v.diffusion.guidance import combine_velocities, guidance_branches
from v2v.errors import InputError
from v2v.models.conditioning import STANDARD_GUIDANCE, build_conditioning
from v2v.models.guidance_modes import BERNINI_GUIDANCE, NO_GUIDANCE

PROMPT, NULL = jnp.ones((2, 3, 4)), jnp.zeros((1, 3, 4))
CONDITIONS = {"source": jnp.ones((2, 3, 1, 1, 1)), "reference": jnp.ones((2, 1, 1, 1, 1))}


def test_the_prompt_is_dropped_and_visual_conditions_stay():
    with_prompt, without = guidance_branches(STANDARD_GUIDANCE["prompt"], PROMPT, NULL, CONDITIONS)
    np.testing.assert_array_equal(with_prompt.text, PROMPT)
    np.testing.assert_array_equal(without.text, 0 * PROMPT)
    assert with_prompt.conditions.keys() == without.conditions.keys() == CONDITIONS.keys()


def test_the_reference_is_dropped_with_the_prompt():
    with_prompt, without = guidance_branches(STANDARD_GUIDANCE["prompt+reference"], PROMPT, NULL, CONDITIONS)
    assert with_prompt.conditions.keys() == CONDITIONS.keys() and without.conditions.keys() == {"source"}


def test_prompt_and_source_have_a_scale_each():
    """v0 + s (v1 - v0) + g (v - v1), as InstructPix2Pix: v0 sees neither, v1 the source."""
    mode = STANDARD_GUIDANCE["prompt+source"]
    everything, source, nothing = guidance_branches(mode, PROMPT, NULL, {**CONDITIONS, "mask": PROMPT})
    assert everything.text is PROMPT and everything.conditions.keys() == {"source", "mask", "reference"}
    np.testing.assert_array_equal(source.text, 0 * PROMPT)
    assert source.conditions.keys() == everything.conditions.keys()
    assert nothing.conditions.keys() == {"reference"}
    v, v1, v0 = (jnp.full((2, 1, 1, 1, 1), value) for value in (7.0, 3.0, 1.0))
    guided = combine_velocities([v, v1, v0], mode, {"prompt": 2.0, "source": 1.5})
    np.testing.assert_allclose(guided, 1 + 1.5 * 2 + 2 * 4)


def test_a_source_that_is_part_of_the_input_is_not_guided():
    wide = dataclasses.replace(debug().dit, in_channels=16)
    with pytest.raises(InputError, match="expected a mode of this model, prompt or prompt\\+reference,"):
        build_conditioning(wide, ConditionConfig()).guidance_mode("prompt+source", ("source",), 3)


def test_no_guidance_is_one_pass():
    (only,) = guidance_branches(STANDARD_GUIDANCE["none"], PROMPT, NULL, CONDITIONS)
    velocity = jnp.ones((2, 1, 1, 1, 1))
    assert only.text is PROMPT and combine_velocities([velocity], NO_GUIDANCE, {}) is velocity


def test_scale_moves_away_from_the_null_prompt_and_may_differ_by_job():
    v1, v0 = jnp.full((2, 1, 1, 1, 1), 3.0), jnp.ones((2, 1, 1, 1, 1))
    mode = STANDARD_GUIDANCE["prompt"]
    np.testing.assert_allclose(combine_velocities([v1, v0], mode, {"prompt": 3.0}), 7.0)
    by_job = combine_velocities([v1, v0], mode, {"prompt": jnp.asarray([1.0, 2.0])})
    np.testing.assert_allclose(by_job.ravel(), [3, 5])


def test_unknown_mode_is_named():
    with pytest.raises(InputError, match="prompt\\+reference"):
        build_conditioning(debug().dit, ConditionConfig()).guidance_mode("source", ("source",), 3)


def bernini_mode(shown, frames=3, name="prompt"):
    conditioning = build_conditioning(debug().dit, ConditionConfig(layout="segments", time="same"))
    return conditioning.guidance_mode(name, shown, frames)


def test_the_published_mode_follows_from_what_a_clip_has():
    assert bernini_mode(("source",)) == BERNINI_GUIDANCE["v2v_apg"]
    assert bernini_mode(("source",), frames=1) == BERNINI_GUIDANCE["v2v"]
    assert bernini_mode(("source", "reference", "reference_2")) == BERNINI_GUIDANCE["rv2v"]
    assert bernini_mode(("reference",)) == BERNINI_GUIDANCE["r2v_apg"]
    assert bernini_mode(()) == BERNINI_GUIDANCE["t2v_apg"]
    assert bernini_mode(("source",), name="v2v_chain") == BERNINI_GUIDANCE["v2v_chain"]


def test_each_pass_of_a_chain_is_shown_less():
    conditions = {
        name: jnp.ones((2, 1, 1, 1, 1)) for name in ("source", "source_2", "reference", "reference_2")
    }
    passes = guidance_branches(BERNINI_GUIDANCE["rv2v"], PROMPT, NULL, conditions)
    assert [set(branch.conditions) for branch in passes] == [
        set(conditions),
        set(conditions),
        {"source"},
        set(),
    ]
    assert [bool(branch.text.any()) for branch in passes] == [True, False, False, False]
    values = [jnp.full((2, 1, 1, 1, 1), v) for v in (8.0, 4.0, 2.0, 1.0)]
    scales = {"prompt": 4.0, "reference": 4.5, "source": 1.25}
    guided = combine_velocities(values, BERNINI_GUIDANCE["rv2v"], scales)
    np.testing.assert_allclose(guided, 1 + 1.25 * 1 + 4.5 * 2 + 4 * 4)


def test_a_projection_shortens_differences_and_takes_half_of_what_is_parallel():
    """Against the definition in float64, frame by frame."""
    rng = np.random.default_rng(0)
    x, v1, v0 = (30 * rng.standard_normal((2, 3, 4, 5, 6)) for _ in range(3))
    sigma, scale = 0.7, 4.0
    m1, m0 = x - sigma * v1, x - sigma * v0
    expected = np.empty_like(x)
    for frame in np.ndindex(2, 3):
        d, along = m1[frame] - m0[frame], m1[frame] / np.linalg.norm(m1[frame])
        d = d * min(1, 50 / np.linalg.norm(d))
        parallel = (d * along).sum() * along
        guided = m0[frame] + scale * (d - parallel + 0.5 * parallel)
        expected[frame] = (x[frame] - guided) / sigma
    arrays = [jnp.asarray(a, jnp.float32) for a in (v1, v0, x)]
    ours = combine_velocities(arrays[:2], BERNINI_GUIDANCE["v2v_apg"], {"prompt": scale}, arrays[2], sigma)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-4)
