"""Our models against the real packages on the same tiny random folder; skipped without the extra [parity]."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from tests.parity import ours, reference, tiny


@pytest.fixture(scope="module", params=["base", "channel"])
def either(request, tmp_path_factory):
    channels = tiny.Z if request.param == "base" else 2 * tiny.Z
    return channels, tiny.write_folder(tmp_path_factory.mktemp("model"), tiny.config(channels))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("model"), tiny.config())


def difference(a, b):
    assert a.shape == b.shape
    return np.abs(a - b).max()


@pytest.mark.parametrize("first_clean", [False, True])
def test_dit(either, first_clean):
    channels, path = either
    inputs = tiny.dit_inputs(channels)
    theirs = reference.velocity(path, **inputs, first_clean=first_clean)
    assert theirs.std() > 0.3
    assert difference(ours.velocity(path, **inputs, first_clean=first_clean), theirs) <= 2e-5


@pytest.fixture(scope="module")
def wan21(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("model"), tiny.config(vae=tiny.wan21_vae()))


@pytest.mark.parametrize("kind", ["folder", "wan21"])
@pytest.mark.parametrize("frames", [1, 5, 17])
def test_vae(request, kind, frames):
    folder, scale = request.getfixturevalue(kind), 16 if kind == "folder" else 8
    video, z = tiny.clip(frames, 3 * scale, 5 * scale), tiny.latents((frames + 3) // 4, 3, 5)
    theirs = reference.encode(folder, video)
    assert theirs.std() > 0.1
    assert difference(ours.encode(folder, video), theirs) <= 2e-5
    theirs = reference.decode(folder, z)
    assert 0.05 < theirs.std() and np.mean(np.abs(theirs) < 1) > 0.5
    assert difference(ours.decode(folder, z), theirs) <= 2e-5


def test_text(folder):
    ids, lengths = tiny.text_inputs()
    theirs = reference.embed(folder, ids, lengths)
    assert difference(ours.embed(folder, ids, lengths), theirs) <= 1e-5
