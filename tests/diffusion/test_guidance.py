"""Which passes guidance takes, and how their velocities combine."""

import jax.numpy as jnp
import numpy as np
import pytest

from v2v.diffusion.guidance import combine_velocities, guidance_branches
from v2v.errors import InputError
from v2v.models.conditioning import STANDARD_GUIDANCE

PROMPT, NULL = jnp.ones((2, 3, 4)), jnp.zeros((1, 3, 4))
CONDITIONS = {"source": jnp.ones((2, 3, 1, 1, 1)), "reference": jnp.ones((2, 1, 1, 1, 1))}


def test_the_prompt_is_dropped_and_visual_conditions_stay():
    with_prompt, without = guidance_branches(STANDARD_GUIDANCE, "prompt", PROMPT, NULL, CONDITIONS)
    np.testing.assert_array_equal(with_prompt.text, PROMPT)
    np.testing.assert_array_equal(without.text, 0 * PROMPT)
    assert with_prompt.conditions.keys() == without.conditions.keys() == CONDITIONS.keys()


def test_the_reference_is_dropped_with_the_prompt():
    with_prompt, without = guidance_branches(STANDARD_GUIDANCE, "prompt+reference", PROMPT, NULL, CONDITIONS)
    assert with_prompt.conditions.keys() == CONDITIONS.keys() and without.conditions.keys() == {"source"}


def test_no_guidance_is_one_pass():
    (only,) = guidance_branches(STANDARD_GUIDANCE, "none", PROMPT, NULL, CONDITIONS)
    velocity = jnp.ones((2, 1, 1, 1, 1))
    assert only.text is PROMPT and combine_velocities([velocity], 7.0) is velocity


def test_scale_moves_away_from_the_null_prompt_and_may_differ_by_job():
    v1, v0 = jnp.full((2, 1, 1, 1, 1), 3.0), jnp.ones((2, 1, 1, 1, 1))
    np.testing.assert_allclose(combine_velocities([v1, v0], 3.0), 7.0)
    np.testing.assert_allclose(combine_velocities([v1, v0], jnp.asarray([1.0, 2.0])).ravel(), [3, 5])


def test_unknown_mode_is_named():
    with pytest.raises(InputError, match="prompt\\+reference"):
        guidance_branches(STANDARD_GUIDANCE, "source", PROMPT, NULL, CONDITIONS)
