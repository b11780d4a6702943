"""Hooks of the loop: the loss on held-out batches is the mean over them, with the same noise at every call."""

import math

import jax
import jax.numpy as jnp
import optax
import pytest

from v2v.train.callbacks import BestWeights, HeldOutLoss
from v2v.train.metric_writer import MetricWriter
from v2v.train.objectives import Objective
from v2v.train.state import TrainState


def draw(key, batch):
    return {"x": batch, "noise": jax.random.normal(key, batch.shape)}, batch.size


def loss(trained, frozen, rows, count):
    value = (trained["w"] * rows["x"] + frozen["scale"] * rows["noise"]).sum() / count
    return value, {"loss": value, "loss_group": jnp.stack([rows["x"].sum(), jnp.asarray(1.0 * count)])}


def test_held_out_loss_is_the_mean_over_batches_and_repeatable(tmp_path):
    batches = [jnp.full(4, 1.0), jnp.full(4, 3.0)]
    state = TrainState.create({"w": jnp.asarray(2.0)}, optax.sgd(1.0), ema=False)
    with MetricWriter(tmp_path) as writer:
        noiseless = HeldOutLoss(5, Objective(draw, loss), {"scale": 0.0}, batches)
        assert noiseless.every == 5
        row = noiseless(state, 1, writer)
        assert row == {"held_out_loss": pytest.approx(4.0), "held_out_loss_group": pytest.approx(2.0)}
        noisy = HeldOutLoss(5, Objective(draw, loss), {"scale": 1.0}, batches)
        assert noisy(state, 1, writer) == noisy(state, 2, writer) != row


def test_the_weights_of_the_least_loss_are_kept_and_a_resumed_run_goes_on_with_them(tmp_path):
    saved = []
    best = BestWeights(tmp_path, lambda state, step: saved.append(step))
    assert best.read() is None
    for step, loss in ((2, 0.5), (4, 0.7), (6, math.nan), (8, 0.4)):
        best.update(loss, None, step)
    assert saved == [2, 8] and best.read() == (8, 0.4)
    again = BestWeights(tmp_path, lambda state, step: saved.append(step))
    again.update(0.4, None, 8)  # a step that is done again, bit for bit
    again.update(0.6, None, 10)
    assert saved == [2, 8] and again.read() == (8, 0.4)
