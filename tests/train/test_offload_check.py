"""The check before a run that uses the host's memory: right here, and refused in one line where gradients are wrong."""

import dataclasses

import jax
import numpy as np
import pytest

from v2v.config import debug
from v2v.errors import InputError
from v2v.train import offload_check


def with_remat(remat):
    return dataclasses.replace(debug(), dit=dataclasses.replace(debug().dit, remat=remat))


def test_nothing_runs_where_nothing_is_offloaded(monkeypatch):
    monkeypatch.setattr(offload_check, "gradients", None)
    offload_check.check_offloading(with_remat("full"), streams=False)


@pytest.mark.slow
def test_weights_and_tensors_in_the_hosts_memory_give_the_same_gradients():
    cfg = with_remat("offload_outputs")
    offload_check.check_offloading(cfg, streams=True)
    expected = offload_check.gradients(cfg, "full", False)
    assert offload_check.largest_difference(jax.tree.map(lambda x: x[::-1], expected), expected) > 0.1


def test_tensors_that_come_back_in_another_order_are_refused(monkeypatch):
    layers = np.arange(4.0)[:, None] + np.ones((4, 3))

    def gradients(cfg, remat, streams):
        return {"a": layers if remat == "full" else layers[::-1]}

    monkeypatch.setattr(offload_check, "gradients", gradients)
    with pytest.raises(
        InputError,
        match=r"gradients are wrong .* 82% off, as in openxla/xla 46231; keep everything on the device",
    ):
        offload_check.check_offloading(with_remat("offload"), streams=False)
