"""The sampler as one program: cached = uncached, jobs are independent, and nothing a user sets compiles it again."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.test_kv_cache import random_variables
from tests.models.test_transformer import CFG, C, T, X, Y
from v2v.config import ConditionConfig
from v2v.diffusion import windows
from v2v.diffusion.sampler import LowNoise, Sampler, count_high_noise
from v2v.diffusion.schedule import noise_levels
from v2v.diffusion.solvers import build_solver_table
from v2v.errors import InputError
from v2v.runtime import progress, sharding

JOBS, STEPS = 8, 3
ONE_WAY = dataclasses.replace(
    CFG,
    condition=ConditionConfig(attention="one_way"),
    flow=dataclasses.replace(CFG.flow, solver="unipc", schedule="diffusers"),
)


@pytest.fixture(scope="module")
def variables():
    return random_variables()


@pytest.fixture(scope="module")
def jobs():
    """Return eight jobs; the noise of each follows from its seed alone."""

    def draw(seed, *shape):
        return np.random.default_rng(seed).standard_normal((JOBS, *shape), np.float32)

    conditions = {
        name: draw(i, 1 if name == "reference" else T, Y, X, C)
        for i, name in enumerate(("source", "mask", "reference"))
    }
    noise = np.stack([windows.window_noise(seed, 0, T, (Y, X, C)) for seed in range(100, 100 + JOBS)])
    return {"noise": noise, "text": draw(5, CFG.dit.text_len, CFG.dit.text_width), "conditions": conditions}


@pytest.fixture(scope="module")
def sampler():
    return Sampler(ONE_WAY)


NULL = jnp.zeros((1, CFG.dit.text_len, CFG.dit.text_width))


def run(sampler, variables, jobs, count=2, guidance=2.0, **options):
    return sample(sampler, variables, jobs, count, guidance, **options).latents


def sample(sampler, variables, jobs, count=2, guidance=2.0, **options):
    batch = jax.tree.map(lambda x: x[:count], jobs)
    return sampler(
        variables, batch["noise"], batch["text"], NULL, batch["conditions"], STEPS, guidance, **options
    )


def close(a, b, tolerance=1e-5):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, float(np.abs(b).max())))


@pytest.mark.parametrize(
    "mode",
    ["prompt", *(pytest.param(f"prompt+{row}", marks=pytest.mark.slow) for row in ("reference", "source"))],
)
def test_cached_equals_uncached(sampler, variables, jobs, mode):
    cached = run(sampler, variables, jobs, mode=mode)
    close(cached, run(sampler, variables, jobs, mode=mode, cached=False))
    assert float(jnp.abs(cached - jobs["noise"][:2]).max()) > 0.1


def shard_jobs(mesh, jobs):
    return jax.tree.map(lambda x: jax.device_put(x, sharding.batch_sharding(mesh, x.shape[0])), jobs)


def test_a_job_is_the_same_in_any_batch_and_on_any_mesh(sampler, variables, jobs):
    unsharded = run(sampler, variables, jobs)
    mesh = sharding.make_mesh(data=4, fsdp=2)
    variables = jax.device_put(variables, sharding.replicated_sharding(mesh))
    sharded = run(sampler, variables, shard_jobs(mesh, jobs), JOBS)
    assert len(sharded.sharding.device_set) == JOBS and sharded.shape[0] == JOBS
    close(sharded[:2], unsharded)
    with pytest.raises(InputError, match="multiple of the 8"):
        shard_jobs(mesh, jax.tree.map(lambda x: x[:6], jobs))


def test_what_a_user_sets_compiles_nothing_again(sampler, variables, jobs):
    first = run(sampler, variables, jobs)
    size, reports = sampler.program._cache_size(), []
    other = jax.tree.map(lambda p: p * 0.9, variables)  # another LoRA merged in
    with progress.watch_progress(lambda done, total: reports.append((done, total))):
        repeated = run(sampler, variables, jobs)
        run(sampler, other, jobs, guidance=4.0).block_until_ready()
    np.testing.assert_array_equal(first, repeated)
    assert sampler.program._cache_size() == size
    assert reports == 2 * [(i + 1, STEPS) for i in range(STEPS)]


def test_skipping_nothing_changes_nothing_and_ratios_come_out(sampler, variables, jobs):
    output = sample(sampler, variables, jobs, guidance=1.0, measure_ratios=True)
    full, ratios = output.latents, output.ratios
    close(full, run(sampler, variables, jobs, guidance=1.0), 1e-6)
    assert ratios.shape == (STEPS,) and (np.asarray(ratios[1:]) > 0).all()
    size = sampler.program._cache_size()
    part = run(sampler, variables, jobs, guidance=1.0, evaluated=np.array([True, False, True]))
    assert sampler.program._cache_size() == size and 1e-4 < float(jnp.abs(part - full).max())
    with pytest.raises(InputError, match="expected 3 rows"):
        run(sampler, variables, jobs, evaluated=np.ones(2, bool))


@pytest.mark.slow
def test_renoise_is_the_same_in_any_batch_and_on_any_mesh(variables, jobs):
    """Fresh noise is each job's own: alone, beside others, and with the batch over eight devices."""
    levels = ((1000, 1.0), (757, 0.7568), (522, 0.5217))
    flow = dataclasses.replace(CFG.flow, solver="renoise", steps=STEPS, levels=levels)
    few_steps = Sampler(dataclasses.replace(ONE_WAY, flow=flow))
    seeds = np.stack([windows.noise_seeds(seed, 0, T) for seed in range(100, 100 + JOBS)])
    unsharded = run(few_steps, variables, jobs, guidance=1.0, seeds=seeds[:2])
    mesh = sharding.make_mesh(data=4, fsdp=2)
    spread = shard_jobs(mesh, {**jobs, "seeds": seeds})
    on_mesh = jax.device_put(variables, sharding.replicated_sharding(mesh))
    sharded = run(few_steps, on_mesh, spread, JOBS, guidance=1.0, seeds=spread["seeds"])
    close(sharded[:2], unsharded)
    other = run(few_steps, variables, jobs, guidance=1.0, seeds=seeds[2:4])
    assert float(jnp.abs(other - unsharded).max()) > 0.1
    with pytest.raises(InputError, match="needs a seed for each latent frame"):
        run(few_steps, variables, jobs, guidance=1.0)


def test_state_is_float32_whatever_the_model_computes_in(variables, jobs):
    half = dataclasses.replace(ONE_WAY, dit=dataclasses.replace(CFG.dit, dtype="bfloat16"))
    jobs = jax.tree.map(lambda x: x.astype(jnp.bfloat16), jobs)
    assert run(Sampler(half), variables, jobs, guidance=1.0).dtype == jnp.float32


@pytest.mark.slow
def test_two_transformers_with_the_same_weights_are_one(sampler, variables, jobs):
    """UniPC's history crosses the boundary; the weights of the second are asked for when the first is done."""
    flow = dataclasses.replace(ONE_WAY.flow, boundary=0.8)
    pair, asked = Sampler(dataclasses.replace(ONE_WAY, flow=flow)), []

    def ask(name, scale=1.0):
        asked.append(name)
        return jax.tree.map(lambda x: scale * x, variables)

    low = LowNoise(lambda: ask("low"), 2.0)
    result = sample(pair, lambda: ask("high"), jobs, low=low, measure_ratios=True)
    expected = sample(sampler, variables, jobs, measure_ratios=True)
    np.testing.assert_allclose(result.latents, expected.latents, rtol=0, atol=1e-5)
    assert asked == ["high", "low"] and result.ratios.shape == expected.ratios.shape == (STEPS,)
    other = LowNoise(lambda: ask("low", 1.1), 2.0)
    # The second transformer has no earlier sum, so its first row is evaluated, whatever is asked for.
    skipped = np.array([True, False, False])
    results = [run(pair, variables, jobs, low=each, evaluated=skipped) for each in (low, other)]
    assert 1e-4 < float(jnp.abs(results[0] - results[1]).max())


def test_the_boundary_is_compared_in_thousandths():
    """As published: 26 of 40 steps of Wan2.2-A14B at shift 12; a time equal to the boundary is above it; all or none may be."""
    rows = build_solver_table("unipc", *noise_levels("wan", 40, 12.0))
    assert [count_high_noise(rows, boundary) for boundary in (0.875, 0.9995, 1e-3)] == [26, 0, 40]
    assert (
        count_high_noise(build_solver_table("euler", [1.0, 0.9, 0.5], np.float32([1.0, 0.9, 0.5])), 0.9) == 2
    )


@pytest.mark.slow
def test_step_by_step_equals_one_program(sampler, variables, jobs):
    """On one device and over a mesh, with one transformer and with two; the last step is the result."""
    seen = []
    whole = run(sampler, variables, jobs)
    stepped = run(sampler, variables, jobs, on_step=seen.append)
    np.testing.assert_allclose(stepped, whole, rtol=0, atol=1e-6)
    assert [(step.index, step.total) for step in seen] == [(i, STEPS) for i in range(STEPS)]
    np.testing.assert_array_equal(seen[-1].latents, stepped)
    assert all(a.tau > b.tau for a, b in zip(seen, seen[1:], strict=False))
    size = sampler.program._cache_size()
    run(sampler, variables, jobs, on_step=lambda step: None)
    assert sampler.program._cache_size() == size

    plan = windows.plan_windows(12, T, 0)
    links = plan.links(np.array([0, 1]), None)
    blended = sample(sampler, variables, jobs, links=links)
    in_steps = sample(sampler, variables, jobs, links=links, on_step=lambda step: None)
    np.testing.assert_allclose(in_steps.latents, blended.latents, rtol=0, atol=1e-6)
    np.testing.assert_allclose(in_steps.past, blended.past, rtol=0, atol=1e-6)

    pair = Sampler(dataclasses.replace(ONE_WAY, flow=dataclasses.replace(ONE_WAY.flow, boundary=0.8)))
    low = LowNoise(lambda: variables, 2.0)
    np.testing.assert_allclose(
        run(pair, lambda: variables, jobs, low=low, on_step=lambda step: None), whole, rtol=0, atol=1e-5
    )

    mesh = sharding.make_mesh(data=4, fsdp=2)
    spread = jax.device_put(variables, sharding.replicated_sharding(mesh))
    sharded = run(sampler, spread, shard_jobs(mesh, jobs), JOBS, on_step=lambda step: step.latents)
    assert len(sharded.sharding.device_set) == JOBS
    close(sharded[:2], whole)


@pytest.mark.slow
def test_a_step_may_change_what_follows(sampler, variables, jobs):
    def double(step):
        return 2 * step.latents if step.index == 0 else None

    changed = run(sampler, variables, jobs, on_step=double)
    assert float(jnp.abs(changed - run(sampler, variables, jobs)).max()) > 1e-2
    last = run(sampler, variables, jobs, on_step=lambda step: np.zeros_like(step.latents))
    assert float(jnp.abs(last).max()) == 0
    first = jnp.ones_like(jobs["noise"][:2, :1])
    kept = run(sampler, variables, jobs, first=first, on_step=lambda step: np.zeros_like(step.latents))
    np.testing.assert_array_equal(kept[:, :1], first)
    for wrong, message in ((np.zeros((1, 2)), "expected latents of shape"), (np.nan, "expected latents")):
        with pytest.raises(InputError, match=message):
            run(sampler, variables, jobs, on_step=lambda step, wrong=wrong: wrong)
    with pytest.raises(InputError, match="finite latents"):
        run(sampler, variables, jobs, on_step=lambda step: step.latents * np.nan)
    with pytest.raises(InputError, match="some are skipped"):
        run(sampler, variables, jobs, on_step=print, evaluated=np.ones(STEPS, bool))

    class Stopped(Exception):
        pass

    def stop(step):
        raise Stopped

    with pytest.raises(Stopped):
        run(sampler, variables, jobs, on_step=stop)
