"""Hooks of the loop: the loss on held-out batches is the mean over them, with the same noise at every call."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from v2v.config import FlowConfig, LogConfig
from v2v.errors import InputError
from v2v.train.callbacks import (
    BestWeights,
    ConditionProbe,
    HeldOutLoss,
    Snapshots,
    check_previews,
    preview_settings,
    read_preview_clips,
    swap_conditions,
)
from v2v.train.metric_writer import MetricWriter
from v2v.train.objectives import Objective, choose_tau_grid, shift_for_tokens
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


def test_a_held_out_loss_is_measured_at_every_flow_time_of_the_grid(tmp_path):
    def draw_at(key, batch, tau):
        return {"x": batch * tau, "noise": jnp.zeros(batch.shape)}, batch.size

    objective = Objective(draw, loss, draw_at, (0.25, 0.75))
    state = TrainState.create({"w": jnp.asarray(2.0)}, optax.sgd(1.0), ema=False)
    with MetricWriter(tmp_path) as writer:
        row = HeldOutLoss(5, objective, {"scale": 1.0}, [jnp.full(4, 1.0)])(state, 1, writer)
    assert row["held_out_loss"] == pytest.approx((0.5 + 1.5) / 2)
    assert choose_tau_grid((0.0, 1.0)) == (0.125, 0.375, 0.625, 0.875)
    assert choose_tau_grid((0.875, 1.0))[0] == 0.875 + 0.125 / 8


def test_other_rows_give_their_conditions_one_at_a_time():
    rows = {
        "source": np.arange(4), "mask": np.arange(4) * 10, "ids": np.arange(4) * 100, "lengths": np.arange(4),
        "target": np.arange(4),
    }  # fmt: skip
    others, share = swap_conditions(rows, np.asarray([7, 7, 8, 9]))
    assert share == 1 and list(others) == ["source", "mask", "text"]
    # row 0 passes over row 1, which is the same record
    assert others["source"]["source"].tolist() == [2, 2, 3, 0]
    assert others["source"]["mask"].tolist() == [0, 10, 20, 30]
    assert others["text"]["ids"].tolist() == [200, 200, 300, 0] and "text" not in others["text"]
    assert all(other["target"] is rows["target"] for other in others.values())
    assert swap_conditions(rows, np.zeros(4, int))[1] == 0


def test_the_use_of_a_condition_is_the_rise_of_the_loss_by_anothers(tmp_path):
    def gap(trained, frozen, rows, count):
        value = (trained["w"] * rows["x"]).sum() / count
        return value, {"loss": value}

    probe = ConditionProbe(jnp.full(4, 1.0), {"source": jnp.full(4, 1.5), "mask": jnp.full(4, 1.0)}, 0.5)
    state = TrainState.create({"w": jnp.asarray(2.0)}, optax.sgd(1.0), ema=False)
    with MetricWriter(tmp_path) as writer:
        hook = HeldOutLoss(5, Objective(draw, gap), None, [jnp.full(4, 3.0)], probes=[probe])
        row = hook(state, 1, writer)
    assert row["held_out_loss"] == pytest.approx(6.0)
    assert (row["source_use"], row["mask_use"]) == (pytest.approx(1.0), pytest.approx(0.0))


def test_own_clips_of_previews_are_checked_before_training(tmp_path):
    manifest = tmp_path / "previews.jsonl"
    manifest.write_text('{"video": "sample", "instruction": "make it night", "seed": 3}\n')
    log = LogConfig(preview_every=5, previews=str(manifest), preview_steps=2)
    check_previews(log)
    (clip,) = read_preview_clips(str(manifest), preview_settings(log))
    assert (clip.request.settings.seed, clip.request.settings.steps, clip.target) == (3, 2, None)
    with pytest.raises(InputError, match="add --log.preview-every"):
        check_previews(LogConfig(previews=str(manifest)))
    for line, message in (
        ('{"video": "none.mp4", "instruction": "x"}', "none.mp4: no such clip"),
        ('{"video": "sample"}', 'expected "instruction"'),
        ('{"video": "sample", "instruction": "x", "lora": "a.safetensors"}', "previews have that of the run"),
    ):
        manifest.write_text(line)
        with pytest.raises(InputError, match=f"--log.previews: .*{message}"):
            check_previews(log)


def test_snapshots_have_files_of_their_own(tmp_path):
    files = []
    hook = Snapshots(4, tmp_path / "snapshots", lambda file, state, step: files.append(file.name))
    with MetricWriter(tmp_path) as writer:
        assert hook(None, 4, writer) == {} and hook.every == 4
    assert files == ["lora-0000004.safetensors"] and (tmp_path / "snapshots").is_dir()


def test_the_shift_follows_the_square_root_of_the_tokens():
    flow = FlowConfig(shift=5.0, shift_tokens=400)
    assert [shift_for_tokens(flow, n).shift for n in (400, 1600, 100, 4)] == [5.0, 10.0, 2.5, 1.0]
    assert shift_for_tokens(FlowConfig(shift=5.0), 9) == FlowConfig(shift=5.0)
    with pytest.raises(ValueError, match="shift_tokens"):
        FlowConfig(shift_tokens=-1)
