"""Our models against stored answers of the real packages (tests/golden/make_wan.py): the comparison that needs no torch."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import ours, strings, tiny
from v2v.diffusion.schedule import noise_levels
from v2v.diffusion.solvers import build_solver_table, integrate
from v2v.models.text_encoder import Tokenizer

GOLDEN = Path(__file__).parent.parent / "golden"
ANSWERS = np.load(GOLDEN / "wan.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("model"), tiny.config())


@pytest.mark.parametrize("name, layout", [("base", "original"), ("channel", "diffusers")])
def test_dit(tmp_path, name, layout):
    channels = {"base": tiny.Z, "channel": 2 * tiny.Z}[name]
    path = tiny.write_folder(tmp_path / "model", tiny.config(channels), layout)
    inputs = tiny.dit_inputs(channels)
    for clean in (False, True):
        answer = ANSWERS[f"dit/{name}/{clean}"]
        np.testing.assert_allclose(
            ours.velocity(path, **inputs, first_clean=clean), answer, rtol=0, atol=2e-5
        )


@pytest.mark.parametrize("frames", [1, 5])
def test_vae(folder, frames):
    np.testing.assert_allclose(
        ours.encode(folder, tiny.clip(frames)), ANSWERS[f"encode/{frames}"], rtol=0, atol=2e-5
    )
    z = tiny.latents((frames + 3) // 4)
    np.testing.assert_allclose(ours.decode(folder, z), ANSWERS[f"decode/{frames}"], rtol=0, atol=2e-5)


def test_vae_over_chunks(folder):
    """17 frames, which the reference takes in five pieces with caches between them; a prefix gives the prefix, to the bit."""
    z = ours.encode(folder, tiny.clip(17))
    np.testing.assert_allclose(z, ANSWERS["encode/17"], rtol=0, atol=2e-5)
    video = ours.decode(folder, tiny.latents(5))
    np.testing.assert_allclose(video, ANSWERS["decode/17"], rtol=0, atol=2e-5)


def test_text(folder):
    np.testing.assert_allclose(ours.embed(folder, *tiny.text_inputs()), ANSWERS["text"], rtol=0, atol=1e-5)


def test_token_ids():
    tokenizer = Tokenizer.load(GOLDEN / "tokenizer.json", ANSWERS["ids"].shape[1])
    assert (tokenizer.encode(list(strings.STRINGS))[0] == ANSWERS["ids"]).all()


@pytest.mark.parametrize("schedule", ["wan", "diffusers"])
def test_unipc(schedule):
    for steps in (50, 40, 20, 4, 2, 1):
        x = jnp.asarray(tiny.normal("unipc", 1, 2, 3, 3, 2))
        out = integrate(tiny.seek, x, build_solver_table("unipc", *noise_levels(schedule, steps, 5.0)))
        np.testing.assert_allclose(out, ANSWERS[f"unipc/{schedule}/{steps}"], rtol=0, atol=1e-6)
