"""Latents are encoded on all devices of a process, after the text encoder is gone; a signal loses no pair."""

import gc
import weakref

import jax
import numpy as np
import pytest

from tests.checkpoints import small_models
from v2v.checkpoints import model_folder, wan
from v2v.models import autoencoder_streaming
from v2v.models.autoencoder import VAE
from v2v.pipeline import pretrained
from v2v.train import encode_dataset
from v2v.train.encode_dataset import Encoders
from v2v.video.pixels import normalize_pixels

pytestmark = pytest.mark.slow


def test_each_device_holds_a_clip_and_the_text_encoder_is_gone_before_the_autoencoder_comes(
    tmp_path, monkeypatch
):
    folder = model_folder.read_model_folder(small_models.write(tmp_path / "wan")).require()
    config = small_models.config()
    tokenizer = pretrained.load_tokenizer(folder, config)
    loaded, leaves = [], []

    def load_part(part, *args, **kwargs):
        gc.collect()
        loaded.append((part, [leaf() is None for leaf in leaves]))
        tree = real(part, *args, **kwargs)
        if part == "text":
            leaves.extend(weakref.ref(leaf) for leaf in jax.tree.leaves(tree))
        return tree

    real = wan.load_part
    monkeypatch.setattr(encode_dataset.wan, "load_part", load_part)
    encoders = Encoders(config, folder, tokenizer)
    encoders.embed_ahead(["make it red", "a dog"])
    ahead = encoders.embed(["a dog", "make it red", ""])
    assert [part for part, _ in loaded] == ["text"]
    clips = np.random.default_rng(0).integers(0, 256, (encoders.batch, 5, 32, 32, 3), np.uint8)
    assert encoders.batch == len(jax.local_devices()) > 1
    latents = encoders.encode(clips)
    assert loaded[1][0] == "vae" and loaded[1][1] and all(loaded[1][1])
    params = real("vae", folder.parts["vae"], config)
    one = autoencoder_streaming.encode_in_chunks(VAE(config.vae), params, normalize_pixels(clips[3:4]))
    np.testing.assert_allclose(latents[3:4], one, atol=1e-5)
    assert len({latents[i].tobytes() for i in range(len(latents))}) == encoders.batch
    # A sentence that nothing announced: the text encoder comes back, with the same result.
    np.testing.assert_array_equal(encoders.embed(["make it red"])[0], ahead[1])
    assert encoders.embed(["a cat"])[0].shape[-1] == config.text.width
