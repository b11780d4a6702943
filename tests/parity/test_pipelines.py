"""From the same noise and text embeddings to the same video as diffusers' pipelines, 20 steps with guidance; needs [parity].

WanPipeline for the plain backbones, with one transformer (TI2V-5B) and with two and the autoencoder of Wan2.1 (A14B), LucyEditPipeline for
the one conditioned by twice as many channels.
"""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from tests.parity import ours, pipelines, reference, tiny

KINDS = {
    "one transformer": tiny.config(),
    "two transformers": tiny.config(vae=tiny.wan21_vae(), boundary=0.6),
    "channels": tiny.config(2 * tiny.Z),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_video(kind, tmp_path):
    cfg = KINDS[kind]
    folder, noise = (
        pipelines.write_folder(tmp_path / "model", cfg),
        tiny.normal("noise", 1, *pipelines.GRID, tiny.Z),
    )
    pipe, z = pipelines.build(folder, cfg), pipelines.sample(folder, cfg, noise)
    theirs = reference.channels_last(pipelines.ask(pipe, cfg, noise, "latent"))
    assert np.abs(z - theirs).max() <= 1e-4
    if kind == "one transformer":
        frames = pipelines.ask(pipe, cfg, noise, "np")
        assert np.abs((ours.decode(folder, z) + 1) / 2 - frames).max() <= 1e-4
