"""Branches of guidance over devices of one clip's mesh: the same edit as on one device, and what is sent, counted in the compiled program."""

import contextlib
import dataclasses

import jax
import numpy as np
import pytest

from v2v.config import debug
from v2v.diffusion.sampler import Sampler
from v2v.models import initialization
from v2v.models.attention_kernels import parallel
from v2v.pipeline import clip_mesh
from v2v.pipeline.memory_plan import ClipShape
from v2v.planning import traffic
from v2v.runtime import sharding

STEPS = 2


class Compiled:
    """A jitted function whose compiled text is kept."""

    def __init__(self, jitted):
        self.jitted, self.text = jitted, ""

    def __call__(self, *args, **static):
        compiled = self.jitted.lower(*args, **static).compile()
        self.text = compiled.as_text()
        return compiled(*args)


@pytest.fixture(scope="module")
def config():
    return dataclasses.replace(
        debug(), dit=dataclasses.replace(debug().dit, dtype="float32", heads=4, backend="plain")
    )


@pytest.fixture(scope="module")
def sample(config):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: initialization.init_base(key, config)["dit"], jax.random.key(0))
    embed = jax.eval_shape(lambda key: initialization.init_embed(key, config), jax.random.key(0))
    random = lambda s: rng.normal(0, 0.2, s.shape).astype(np.float32)  # noqa: E731
    variables = jax.tree.map(random, {"params": shapes, "embed": embed})
    latent = (1, *config.vae.latent_shape(config.frames, config.height, config.width))
    z, source = (rng.normal(size=latent).astype(np.float32) for _ in range(2))
    text = rng.normal(size=(1, config.text.text_len, config.text.width)).astype(np.float32)

    def run(axes, **options):
        """Return latents, and the text of the compiled program."""
        sampler, mesh, placed = Sampler(config), contextlib.nullcontext(), variables
        program = Compiled(sampler.program)
        vars(sampler)["program"] = program
        if axes:
            devices = jax.devices()[: int(np.prod(list(axes.values())))]
            made = sharding.make_mesh(**{"data": 1, **axes}, devices=devices)
            placed, mesh = jax.device_put(variables, sharding.replicated_sharding(made)), jax.set_mesh(made)
        with mesh:
            out = sampler(
                placed, z, text, np.zeros_like(text), {"source": source}, STEPS, 3.0, cached=False, **options
            )
        return np.asarray(out.latents), program.text

    return run


@pytest.fixture(scope="module")
def alone(sample):
    return sample({})[0]


def tokens(config):
    return ClipShape.of(config, ("source",), rows=1).tokens


def sent_in_blocks(text):
    """Bytes that a device sends in the blocks of the transformer, by kind of collective."""
    lines = text.splitlines()
    return traffic.count_sent_bytes(
        "\n".join(line for line in lines if "/blocks/" in line or not traffic.COLLECTIVE_LINE.search(line))
    )


def test_each_device_computes_a_branch_and_sends_velocities_alone(config, sample, alone):
    latents, text = sample({"data": 2})
    np.testing.assert_allclose(latents, alone, atol=2e-5 * np.abs(alone).max())
    assert sent_in_blocks(text) == {}
    # Latents and velocities change places a few times a step.
    assert 0 < sum(traffic.count_sent_bytes(text).values()) <= 5 * STEPS * alone.nbytes


def test_branches_and_tokens_are_split_together(config, sample, alone):
    axes = {"data": 2, "seq": 2}
    latents, text = sample(axes)
    np.testing.assert_allclose(latents, alone, atol=2e-5 * np.abs(alone).max())
    expected = STEPS * clip_mesh.step_bytes(config, tokens(config), {**axes, "tensor": 1})
    assert sent_in_blocks(text) == {"all-to-all": expected}
    # One pass of the blocks, with one exchange for each of queries, keys, values and results.
    exchanges = [line for line in text.splitlines() if " all-to-all(" in line and "/blocks/" in line]
    assert len(exchanges) == 4


@pytest.mark.slow
def test_steps_are_skipped_alike(sample):
    evaluated = np.array([True, False])
    expected, _ = sample({}, evaluated=evaluated)
    latents, _ = sample({"data": 2}, evaluated=evaluated)
    np.testing.assert_allclose(latents, expected, atol=2e-5 * np.abs(expected).max())


def test_what_is_split():
    assert not parallel.splits_copies(1, 2)  # no mesh
    with jax.set_mesh(sharding.make_mesh(data=2, fsdp=1, seq=2, tensor=2)):
        assert parallel.splits_copies(1, 2) and parallel.splits_copies(3, 2)
        assert not parallel.splits_copies(2, 2) and not parallel.splits_copies(1, 3)
    with jax.set_mesh(sharding.make_mesh(data=8)):
        assert not parallel.splits_copies(1, 2)
