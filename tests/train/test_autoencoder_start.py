"""The autoencoder of an earlier run in place of training one."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import embedded_film
from tests.notes import expect_note
from v2v.checkpoints import native
from v2v.errors import InputError
from v2v.train import stages


def test_the_film_experiment_brings_its_autoencoder(tmp_path):
    """Its weights are those beside the experiment, of the sizes that it trains, and nothing is trained."""
    cfg = embedded_film.config()
    with expect_note("vae: the trained autoencoder in"):
        trained = stages.train_autoencoder(cfg, [], tmp_path / "vae")
    assert dataclasses.replace(trained.config.vae, mean=(), std=()) == cfg.model.vae
    assert len(trained.config.vae.mean) == embedded_film.Z_DIM
    stored = native.load_parameters(f"{cfg.autoencoder}/vae.safetensors")["vae"]
    jax.tree.map(np.testing.assert_array_equal, trained.params, stored)
    assert sorted(path.name for path in (tmp_path / "vae").iterdir()) == ["config.json", "vae.safetensors"]


def test_one_of_another_size_or_none_is_refused(tmp_path):
    cfg = embedded_film.config()
    with pytest.raises(InputError, match="expected a folder with config.json and vae.safetensors"):
        stages.train_autoencoder(dataclasses.replace(cfg, autoencoder=str(tmp_path)), [], tmp_path / "vae")
    narrow = dataclasses.replace(
        cfg.model,
        vae=dataclasses.replace(cfg.model.vae, z_dim=16),
        dit=dataclasses.replace(cfg.model.dit, in_channels=16, out_channels=16),
    )
    with pytest.raises(InputError, match='z_dim=16.*got .*z_dim=24.*--autoencoder "" trains one'):
        stages.train_autoencoder(dataclasses.replace(cfg, model=narrow), [], tmp_path / "vae")
    assert not (tmp_path / "vae").exists()
