"""Every class that stands for a model has what `EditingModel` declares, with the same parameters."""

import inspect

import pytest

from tests.fake_model import FakePretrained
from v2v.evaluation.benchmarks.ceiling import TruthModel
from v2v.pipeline.attention_maps import AttentionRecorder
from v2v.pipeline.batched_model import BatchedModel
from v2v.pipeline.model import EditingModel
from v2v.pipeline.pretrained_model import Pretrained

METHODS = [name for name, value in vars(EditingModel).items() if inspect.isfunction(value) and name[0] != "_"]
METHODS = [name for name in METHODS if name != "config"]


@pytest.mark.parametrize("model", [Pretrained, BatchedModel, AttentionRecorder, TruthModel, FakePretrained])
def test_models_are_editing_models(model):
    assert {"embed_text", "sample", "with_lora", "on", "release"} <= set(METHODS)
    for name in ("conditions", "skipping"):
        assert hasattr(model, name) or name in inspect.getsource(model.__init__), name
    for name in METHODS:
        if not hasattr(model, name):  # the other model's own, taken in __init__
            assert f"self.{name}" in inspect.getsource(model.__init__), name
            continue
        declared = list(inspect.signature(getattr(EditingModel, name)).parameters)
        found = list(inspect.signature(getattr(model, name)).parameters)
        assert len(found) == len(declared), (name, found, declared)
