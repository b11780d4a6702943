"""Folders of weights: what is written is what is read, to float16 or int8; half-written files never carry the name."""

import numpy as np
import pytest

from v2v import config
from v2v.checkpoints import native
from v2v.errors import InputError


def tree(rng):
    return {
        "blocks": {
            "q": {
                "kernel": rng.standard_normal((2, 64, 48)) * [[[1.0]], [[100.0]]],
                "bias": rng.standard_normal((2, 48)),
            }
        },
        "head": {"kernel": rng.standard_normal((3, 3, 16, 32))},
    }


def test_float16_round_trip(tmp_path):
    model = tree(np.random.default_rng(0))
    native.save_parameters(tmp_path / "w.safetensors", model)
    back = native.load_parameters(tmp_path / "w.safetensors", model)
    np.testing.assert_allclose(
        back["blocks"]["q"]["kernel"], model["blocks"]["q"]["kernel"], rtol=1e-3, atol=1e-4
    )
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_written_file_can_be_read_by_whoever_may_read_new_files(tmp_path):
    (tmp_path / "plain").touch()
    native.save_parameters(tmp_path / "w.safetensors", tree(np.random.default_rng(0)))
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_int8_error_is_half_a_step_of_each_output_channel_of_each_layer(tmp_path):
    model = tree(np.random.default_rng(0))
    native.save_parameters(tmp_path / "w.safetensors", model, int8=True)
    back = native.load_parameters(tmp_path / "w.safetensors", model)
    kernel = model["blocks"]["q"]["kernel"]
    step = np.abs(kernel).max(1, keepdims=True) / 127  # the large second layer must not coarsen the first
    assert (np.abs(back["blocks"]["q"]["kernel"] - kernel) <= 0.5001 * step).all()
    np.testing.assert_allclose(back["blocks"]["q"]["bias"], model["blocks"]["q"]["bias"], rtol=1e-3)
    assert (tmp_path / "w.safetensors").stat().st_size < 0.5 * 2 * sum(
        np.size(x) for x in (kernel, model["head"]["kernel"])
    ) + 4096


def test_weights_that_are_not_finite_are_neither_written_nor_read(tmp_path):
    with pytest.raises(ValueError, match="head/kernel"):
        native.save_parameters(tmp_path / "w.safetensors", {"head": {"kernel": np.array([1e9])}})
    assert not list(tmp_path.iterdir())


def test_configuration_round_trip_and_unknown_fields(tmp_path):
    cfg = config.debug()
    native.save_config(tmp_path / "config.json", cfg)
    assert native.load_config(tmp_path / "config.json") == cfg
    text = (tmp_path / "config.json").read_text().replace('"heads"', '"hands"', 1)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match="has no field hands"):
        native.load_config(tmp_path / "config.json")
