"""Models and adapters written before load to the same numbers, and the same numbers are still written so."""

import dataclasses

import jax
import numpy as np
import pytest
from safetensors import safe_open

from tests.compatibility import material
from v2v import load_pretrained
from v2v.checkpoints import adapters, native
from v2v.data import latent_cache
from v2v.pipeline.batch import fingerprint_weights

OLD = material.expected()
STYLES = [(style, dtype) for style in ("original", "diffusers") for dtype in ("bfloat16", "float32")]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return material.unpack("models", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def adapter(old):
    return material.adapter(material.model(), native.load_parameters(old / "model/base.safetensors"))


def test_the_configuration_is_the_same(old, tmp_path):
    assert native.load_config(old / "model/config.json") == material.model()
    native.save_config(tmp_path / "config.json", material.model())
    assert (tmp_path / "config.json").read_bytes() == (old / "model/config.json").read_bytes()


@pytest.mark.parametrize("folder", ["model", "converted"])
def test_a_model_loads_to_the_same_numbers(old, folder):
    found = load_pretrained(str(old / folder))
    assert found.config == dataclasses.replace(
        material.model(), name=found.config.name
    ) and found.conditions == ("source", "mask", "reference")
    for part, before in OLD["model"].items():
        assert material.leaves(found.parameters(part)) == before, part
    mine = material.adapter_leaves(found.adapter())
    assert mine["leaves"] == OLD["adapter"]["leaves"]
    text = found.embed_text(["make it sepia, please"])
    assert text.unknown == ["please"] and not text.cut
    np.testing.assert_allclose(text.rows, OLD["words"], rtol=1e-4, atol=1e-5)


def test_hashes_of_weights_are_the_same(old):
    """Cached latents and finished edits go by these."""
    tree = native.load_parameters(old / "model/vae.safetensors")
    assert latent_cache.tree_hash(tree["vae"]) == OLD["vae hash"]
    for name, before in OLD["fingerprints"].items():
        assert fingerprint_weights(old / name) == before, name


@pytest.mark.parametrize("style, dtype", [("own", ""), *STYLES])
def test_an_adapter_loads_to_the_same_numbers(old, style, dtype):
    found = adapters.load_adapter(
        old / "lora" / f"{'-'.join(filter(None, (style, dtype)))}.safetensors", material.model()
    )
    assert material.adapter_leaves(found) == OLD["adapter"]


@pytest.mark.parametrize("style, dtype", STYLES)
def test_an_adapter_is_written_as_before(old, tmp_path, adapter, style, dtype):
    made = adapters.save_adapter(
        tmp_path / f"{style}-{dtype}.safetensors", adapter, material.model(), style=style, dtype=dtype
    )
    assert len(made) == 2
    for path in made:
        assert inside(path) == inside(old / "lora" / path.name)


def test_a_model_is_written_as_before(old, tmp_path):
    for name, int8 in (("base", False), ("vae", True)):
        tree = native.load_parameters(old / f"model/{name}.safetensors")
        native.save_parameters(tmp_path / f"{name}.safetensors", tree, int8=int8)
        assert inside(tmp_path / f"{name}.safetensors") == inside(old / f"model/{name}.safetensors")


def test_large_matrices_are_read_and_written_as_before(old, tmp_path):
    assert (
        material.leaves(native.load_parameters(old / "large.safetensors", material.large())) == OLD["large"]
    )
    native.save_parameters(tmp_path / "large.safetensors", material.large(), int8=True)
    assert inside(tmp_path / "large.safetensors") == inside(old / "large.safetensors")


def inside(path) -> dict:
    """Names, types, shapes, numbers and metadata of a safetensors file."""
    with safe_open(path, "flax") as file:
        tensors = {
            name: material.sha(np.asarray(jax.device_get(file.get_tensor(name)))) for name in file.keys()
        }
        return {"tensors": tensors, "metadata": file.metadata()}
