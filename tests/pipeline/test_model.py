"""Every model that the editor can be given implements `EditingModel`."""

import pytest

from tests.fake_model import FakePretrained
from v2v.evaluation.benchmarks import ceiling
from v2v.pipeline.attention_maps import AttentionRecorder
from v2v.pipeline.batched_model import BatchedModel
from v2v.pipeline.model import EditingModel
from v2v.pipeline.pretrained import load_pretrained


@pytest.mark.parametrize(
    "build",
    [
        FakePretrained,
        lambda: load_pretrained("embedded"),
        lambda: AttentionRecorder(FakePretrained()),
        lambda: BatchedModel(FakePretrained(), None, None),
        lambda: ceiling._RecordedModel(FakePretrained()),
    ],
    ids=["fake", "pretrained", "attention", "batched", "ceiling"],
)
def test_implementations(build):
    assert isinstance(build(), EditingModel)
