"""What `v2v doctor --effect` finds: each thing that a model may silently ignore, on a model whose answers are a formula."""

import dataclasses
import json

import numpy as np
import pytest

from tests.checkpoints import small_models
from tests.checkpoints.test_editor_folder import write_bernini, write_kiwi
from tests.fake_model import FakePretrained
from tests.parity import tiny
from v2v.checkpoints import adapters
from v2v.cli import doctor, main
from v2v.config import ConditionConfig, debug, wan22_ti2v_5b
from v2v.diffusion.sampler import SampleOutput
from v2v.models.conditioning import context_shape
from v2v.pipeline import effect_check
from v2v.pipeline.effect_check import SMALL_SIDE, check_effects, small_settings
from v2v.pipeline.model import TextEmbedding

FRAMES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


@dataclasses.dataclass
class Formula(FakePretrained):
    """Adds up what it is given, each with a factor; 0 ignores it."""

    sentence: float = 1.0
    seed: float = 1.0
    source: float = 1.0
    mask: float = 1.0
    reference: float = 1.0
    adapter: float = 0.0
    noise: float = 0.0
    broken: float = 0.0

    def embed_text(self, texts):
        return TextEmbedding(np.full((len(texts), 1, 1), float(len(texts[0])), np.float32), [], "")

    def decode(self, z):
        return super().decode(z) * (1 - self.broken)

    def sample(self, request):
        z = (
            self.seed * np.asarray(request.noise)
            + self.sentence * np.asarray(request.text)[..., None, None, None]
        )
        for name in self.conditions:
            z = z + getattr(self, name) * np.asarray(getattr(request, name)) / 255
        self.noise *= 2
        z = z + self.adapter + self.noise
        return SampleOutput(np.where(self.broken, np.nan, z))


def verdicts(model, without=None):
    without_adapters = {} if without is None else {"adapter": without}
    return {v.name: v.passed for v in check_effects(model, FRAMES, without_adapters)}


def test_a_model_that_heeds_everything():
    found = verdicts(Formula(adapter=1.0), Formula())
    assert found == dict.fromkeys(
        ("autoencoder", "finite", "repeatable", "sentence", "seed", "source", "mask", "reference", "adapter"),
        True,
    )
    assert verdicts(Formula(conditions=())).keys() == {
        "autoencoder",
        "finite",
        "repeatable",
        "sentence",
        "seed",
    }


def test_contexts_in_place_of_sentences():
    """Kiwi-Edit reads what another network made, and has no empty sentence to lead away from."""

    class ReadsContexts(Formula):
        def embed_text(self, texts):
            raise AssertionError("reads no sentence")

        def sample(self, request):
            assert request.guidance == 1 and request.text.shape[1:] == context_shape(self.config)
            return super().sample(dataclasses.replace(request, text=request.text[:, :1, :1]))

    condition = ConditionConfig(layout="scaled_add", time="same", context="stored")
    config = dataclasses.replace(debug(), condition=condition)
    for factor in (1.0, 0.0):
        found = verdicts(ReadsContexts(config, conditions=("source",), sentence=factor))
        assert found["context"] == bool(factor) and "sentence" not in found and "mask" not in found


@pytest.mark.parametrize("name", ["sentence", "seed", "source", "mask", "reference"])
def test_what_is_ignored_fails(name):
    found = verdicts(Formula(**{name: 0.0}))
    assert [other for other, passed in found.items() if not passed] == [name]


def test_what_is_broken_fails():
    assert not verdicts(Formula(adapter=1.0), Formula(adapter=1.0))["adapter"]
    assert not verdicts(Formula(noise=1.0))["repeatable"]
    broken = verdicts(Formula(broken=1.0))
    assert not broken["autoencoder"] and not broken["finite"]


def test_large_models_are_tried_small():
    assert small_settings(debug()) == {}
    assert small_settings(wan22_ti2v_5b()) == {"frames": 9, "height": SMALL_SIDE, "width": SMALL_SIDE}


@pytest.mark.parametrize("factor, code", [pytest.param(1.0, 0, marks=pytest.mark.slow), (0.0, 1)])
def test_the_command(monkeypatch, capsys, factor, code):
    monkeypatch.setattr(
        doctor, "try_model", lambda name, files: check_effects(Formula(sentence=factor), FRAMES)
    )
    assert main.main(["doctor", "--model", "embedded", "--effect", "--json"]) == code
    effects = {e["name"]: e["passed"] for e in json.loads(capsys.readouterr().out)["effects"]}
    assert effects["sentence"] == bool(factor) and len(effects) == 8
    assert main.main(["doctor", "--effect"]) == 2
    assert "doctor --effect: reads a model or an adapter" in capsys.readouterr().err


@pytest.mark.slow
def test_published_editors_and_pairs(tmp_path, capsys, monkeypatch):
    """All inputs of tiny random models have an effect; of two adapters the one of weight zero has none."""
    monkeypatch.setattr(effect_check, "SMALL_SIDE", 64)
    kiwi = write_kiwi(tmp_path / "kiwi", vae=dataclasses.replace(tiny.config().vae, mean=(), std=()))
    bernini = write_bernini(tmp_path / "bernini", model_type="bernini_renderer")
    pair = small_models.two_transformers()
    folder = small_models.write(tmp_path / "pair", cfg=pair)
    adapters.save_adapter(tmp_path / "a.safetensors", small_models.adapter(pair), pair, dtype="float32")
    idle = dataclasses.replace(small_models.adapter(pair, strength=0.0))
    adapters.save_adapter(tmp_path / "idle.safetensors", idle, pair, dtype="float32")
    files = ["--lora-high", str(tmp_path / "a.safetensors"), "--lora-low", str(tmp_path / "idle.safetensors")]
    for model, more, names in (
        (kiwi, [], {"context", "seed", "source", "reference"}),
        (bernini, [], {"sentence", "seed", "source", "reference"}),
        (folder, files, {"sentence", "seed", "source", "mask", "reference", "high-noise adapter"}),
    ):
        capsys.readouterr()
        # Random weights are no trained autoencoder's.
        assert main.main(["doctor", "--model", str(model), "--effect", "--json", *more]) == 1
        report = json.loads(capsys.readouterr().out)
        passed = {effect["name"] for effect in report["effects"] if effect["passed"]}
        assert passed == names | {"finite", "repeatable"}
        failed = {effect["name"] for effect in report["effects"]} - passed
        assert failed == {"autoencoder"} | ({"low-noise adapter"} if more else set())
    assert report["model"]["edits_by"] == ["source", "mask", "reference"]


@pytest.mark.slow
def test_the_packaged_model_passes():
    assert all(verdict.passed for verdict in doctor.try_model("embedded"))
