"""Our sampler with a preset against the published few-step pipelines' own answers (tests/golden/make_few_step.py); needs no torch."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import few_step, ours, tiny
from v2v.checkpoints.presets import find_preset
from v2v.diffusion.sampler import Sampler
from v2v.pipeline.sampling_choice import apply_sampling

LATENTS = np.load(Path(__file__).parent.parent / "golden" / "few_step.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("model"), tiny.config())


@pytest.mark.parametrize(
    "preset, answer",
    [
        ("fastwan", "fastwan"),
        ("turbo", "turbo"),
        ("turbo", "turbo-first"),
        ("causvid", "causvid"),
        ("self-forcing", "self-forcing"),
        ("lightx2v", "lightx2v"),
        ("lightning", "lightx2v-a14b"),
        ("lightning", "lightning"),
    ],
)
def test_presets_sample_as_published(folder, preset, answer):
    """From the same noise, with the same fresh noise, to the same latents; Turbo also from a given first frame."""
    config, sampling = ours.config(folder), find_preset(preset).sampling
    config = dataclasses.replace(config, flow=apply_sampling(config.flow, sampling, frozenset(), preset))
    variables = {"params": ours.params(folder, "dit"), "embed": {}}
    text = jnp.asarray(few_step.text())
    output = Sampler(config)(
        variables, few_step.noise(), text, text, {}, sampling.steps, sampling.guidance, seeds=few_step.seeds(),
        first=few_step.first() if answer.endswith("-first") else None,
    )  # fmt: skip
    np.testing.assert_allclose(output.latents, LATENTS[answer], rtol=0, atol=1e-4)


def test_the_answers_differ():
    """Fresh noise, straight steps, and other levels lead to other latents, so the comparison above can fail."""
    alike = {"lightx2v", "lightx2v-a14b", "lightning"}
    for name in ("turbo", "self-forcing", "lightx2v"):
        for other in set(LATENTS.files) - {name} - (alike if name in alike else set()):
            assert np.abs(LATENTS[name] - LATENTS[other]).max() > 1e-2, (name, other)
    np.testing.assert_allclose(LATENTS["fastwan"], LATENTS["causvid"], rtol=0, atol=1e-5)
