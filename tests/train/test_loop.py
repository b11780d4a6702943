"""Exact resume, clipping by group, saving on a signal: the loop with the real edit step on a tiny model."""

import dataclasses
import functools
import json
import os
import signal
import sys
import threading
import time
import types

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.notes import expect_note
from tests.train.tiny_training import live_base
from v2v.config import LogConfig, OptimConfig, debug, wan22_ti2v_5b
from v2v.data.batch import split_records
from v2v.errors import InputError
from v2v.models import initialization
from v2v.models.conditioning import count_tokens
from v2v.runtime import flops
from v2v.train import attempts, callbacks, loop, objectives, optimizer, train_step
from v2v.train.checkpointing import Checkpoints
from v2v.train.metric_writer import MetricWriter
from v2v.train.profiling import parse_steps
from v2v.train.state import TrainState
from v2v.train.step_window import NonFiniteLossError

CFG = debug()
OPTIM = OptimConfig(peak_lr=1e-2, warmup_steps=1)


class Fake(grain.transforms.RandomMap):
    def random_map(self, index, rng):
        t, y, x, c = CFG.vae.latent_shape(CFG.frames, CFG.height, CFG.width)

        def z():
            return rng.standard_normal((t, y, x, c)).astype(np.float16)

        return {
            "source": z(), "target": z(), "mask": z(), "area": rng.random((t, y, x)).astype(np.float16),
            "ids": rng.integers(3, 20, CFG.text.text_len, dtype=np.int32), "lengths": np.int32(5), "record": index,
        }  # fmt: skip


def batches():
    data = grain.MapDataset.range(64).seed(3).shuffle().repeat().random_map(Fake())
    return iter(data.to_iter_dataset(grain.ReadOptions(num_threads=1)).batch(2))


@pytest.fixture(scope="module")
def base():
    return live_base(CFG)


@pytest.fixture(scope="module")
def edit_step(base):
    return train_step.train_step(objectives.edit(CFG, 1.0), optimizer.build_optimizer(OPTIM), 0.9)


def initial_state(base):
    return TrainState.create(
        initialization.init_adapter(jax.random.key(1), CFG, base["dit"]), optimizer.build_optimizer(OPTIM)
    )


def train(folder, base, edit_step, steps):
    schedule = loop.Schedule(steps, save_every=2, log=LogConfig(every=2))
    return loop.fit(folder, initial_state(base), lambda s, b: edit_step(s, b, base), batches(), schedule)


def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path, base, edit_step):
    straight = train(tmp_path / "a", base, edit_step, 6)
    train(tmp_path / "b", base, edit_step, 4)
    resumed = train(tmp_path / "b", base, edit_step, 6)
    assert int(resumed.step) == 6
    jax.tree.map(np.testing.assert_array_equal, straight, resumed)
    assert float(jnp.abs(straight.trained["lora"]["blocks"]["ffn"]["down"]["b"]).max()) > 0
    rows = [json.loads(line) for line in (tmp_path / "b" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]


def test_a_save_in_the_middle_holds_that_step_though_training_went_on_in_the_same_memory(
    tmp_path, base, edit_step
):
    train(tmp_path / "a", base, edit_step, 6)
    four = train(tmp_path / "b", base, edit_step, 4)
    saved = Checkpoints(tmp_path / "a" / "checkpoints").restore(initial_state(base), step=4)
    jax.tree.map(np.testing.assert_array_equal, saved, four)


def test_only_the_adapter_is_trained_and_both_its_parts_move(base, edit_step):
    state = initial_state(base)
    batch, _ = split_records(next(batches()))
    # A copy: the step donates the state it is given.
    initial = jax.tree.map(np.array, state.trained)
    for _ in range(2):
        state, metrics = edit_step(state, batch, base)
    moved = {
        k: max(
            float(np.abs(a - b).max())
            for a, b in zip(*map(jax.tree.leaves, (initial[k], state.trained[k])), strict=True)
        )
        for k in initial
    }
    assert set(moved) == {"lora", "embed"} and min(moved.values()) > 0
    assert {"loss", "inside", "outside", "grad_norm_lora", "grad_norm_embed"} <= metrics.keys()
    assert float(metrics["update_norm_lora"]) > 0 < float(metrics["update_norm_embed"])


def test_signal_saves_and_exits_cleanly(tmp_path, base, edit_step):
    def interrupting(state, batch):
        if int(state.step) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return edit_step(state, batch, base)

    with pytest.raises(SystemExit) as stop:
        loop.fit(tmp_path, initial_state(base), interrupting, batches(), loop.Schedule(50, 100))
    assert stop.value.code == 0
    assert Checkpoints(tmp_path / "checkpoints").latest() == 3


def test_the_devices_are_at_most_two_steps_behind(tmp_path, base):
    """Otherwise a signal is obeyed long after it was heard, and batches pile up on the devices."""
    dispatched, finished, behind = 0, 0, []

    def finish(x):
        nonlocal finished
        time.sleep(0.02)
        finished += 1
        return x

    @jax.jit
    def slow_loss(step):
        return jax.pure_callback(finish, jax.ShapeDtypeStruct((), jnp.float32), step.astype(jnp.float32))

    def step_fn(state, batch):
        nonlocal dispatched
        dispatched += 1
        behind.append(dispatched - finished)
        return dataclasses.replace(state, step=state.step + 1), {"loss": slow_loss(state.step)}

    loop.fit(tmp_path, initial_state(base), step_fn, batches(), loop.Schedule(20, 20, LogConfig(every=20)))
    assert finished == 20 and max(behind) <= loop.STEPS_IN_FLIGHT + 1


def test_a_resumed_run_writes_no_row_twice(tmp_path):
    with MetricWriter(tmp_path) as writer:
        for step in (2, 4, 6, 8):
            writer.write(step, {"step": step, "loss": 1.0})
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 1')
    with MetricWriter(tmp_path, first_step=4) as writer:
        writer.write(6, {"step": 6, "loss": 2.0})
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(2, 1.0), (4, 1.0), (6, 2.0)]


def test_a_loss_that_is_not_finite_names_the_window_and_keeps_the_last_checkpoint(tmp_path, base, edit_step):
    def broken(state, batch):
        state, metrics = edit_step(state, batch, base)
        return state, metrics | {"loss": jnp.where(state.step > 3, jnp.nan, metrics["loss"])}

    data = batches()
    fourth = [next(data)["record"] for _ in range(4)][-1]
    expected = f"steps 2 and 4, first at step 4, whose batch holds records {fourth[0]}, {fourth[1]}; .*step 2, is intact"
    schedule = loop.Schedule(10, 2, LogConfig(every=2))
    with pytest.raises(NonFiniteLossError, match=expected) as error:
        loop.fit(tmp_path, initial_state(base), broken, batches(), schedule)
    assert isinstance(error.value, FloatingPointError) and isinstance(error.value, InputError)
    assert Checkpoints(tmp_path / "checkpoints").latest() == 2


def test_a_loss_that_is_not_finite_ends_the_run_long_before_the_next_row(tmp_path, base, edit_step):
    steps = 0

    def broken(state, batch):
        nonlocal steps
        steps += 1
        state, metrics = edit_step(state, batch, base)
        return state, metrics | {"loss": jnp.where(state.step > 3, jnp.nan, metrics["loss"])}

    schedule = loop.Schedule(200, 100, LogConfig(every=100))
    with pytest.raises(NonFiniteLossError, match="first at step 4"):
        loop.fit(tmp_path, initial_state(base), broken, batches(), schedule)
    assert steps == 4 + loop.STEPS_IN_FLIGHT


class SlowHook:
    """A hook that a signal reaches, as in a long preview; it would take five minutes."""

    every = 2

    def __init__(self, end):
        self.end, self.calls = end, 0

    def __call__(self, state, step, writer):
        self.calls += 1
        os.kill(os.getpid(), signal.SIGTERM)
        self.end.wait(300)
        return {"slow": 1.0}


def test_a_signal_ends_a_hook_and_its_step_is_saved(tmp_path, base, edit_step):
    end = threading.Event()
    hook, other = SlowHook(end), SlowHook(end)
    start = time.monotonic()
    with pytest.raises(SystemExit) as stop:
        schedule = loop.Schedule(50, 100, LogConfig(every=50), [hook, other])
        loop.fit(tmp_path, initial_state(base), lambda s, b: edit_step(s, b, base), batches(), schedule)
    end.set()
    assert stop.value.code == 0 and time.monotonic() - start < 200
    assert (hook.calls, other.calls) == (1, 0)
    assert Checkpoints(tmp_path / "checkpoints").latest() == 2
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2] and "slow" not in rows[0]


def test_a_signal_ends_the_compilation_of_the_first_step(tmp_path, base):
    end = threading.Event()

    def compiling(state, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        end.wait(300)
        return state, {"loss": jnp.zeros(())}

    start = time.monotonic()
    with (
        pytest.raises(SystemExit) as stop,
        expect_note("stopped by signal while the first step was compiled"),
    ):
        loop.fit(tmp_path, initial_state(base), compiling, batches(), loop.Schedule(50, 100))
    end.set()
    assert stop.value.code == 0 and time.monotonic() - start < 200


def test_checkpoint_of_another_configuration_is_refused(tmp_path, base, edit_step):
    train(tmp_path, base, edit_step, 2)
    other = dataclasses.replace(CFG, lora=dataclasses.replace(CFG.lora, rank=2))
    state = TrainState.create(
        initialization.init_adapter(jax.random.key(1), other, base["dit"]), optimizer.build_optimizer(OPTIM)
    )
    with pytest.raises(InputError, match="expected the state of this configuration"):
        Checkpoints(tmp_path / "checkpoints").restore(state)


def test_gradients_are_clipped_group_by_group():
    clip = optimizer.clip_by_group(1.0)
    grads = {"embed": {"kernel": jnp.full((4,), 1e6)}, "lora": {"a": jnp.full((4,), 0.1)}}
    out, _ = clip.update(grads, clip.init(grads))
    np.testing.assert_allclose(jnp.linalg.norm(out["embed"]["kernel"]), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(out["lora"]["a"], grads["lora"]["a"])


def test_rows_hold_times_utilization_and_what_hooks_return(tmp_path, base, edit_step):
    pytest.importorskip("tensorboardX")
    pair = types.SimpleNamespace(
        source=np.zeros((5, 32, 32, 3), np.uint8), target=np.full((5, 32, 32, 3), 9, np.uint8),
        mask=np.full((5, 32, 32), 255, np.uint8), reference=None, instructions=("make it sepia",),
    )  # fmt: skip
    edited = []

    class Editor:
        def edit(self, request):
            edited.append((request.instruction, request.mask, request.settings.detail))
            return types.SimpleNamespace(video=types.SimpleNamespace(frames=request.video, fps=10.0))

    clip = callbacks.PreviewClip.of_pair(pair, 10.0, callbacks.preview_settings(LogConfig()))
    hook = callbacks.Previews(2, lambda adapter, size: Editor(), [clip], tmp_path / "previews")
    loop.fit(
        tmp_path,
        initial_state(base),
        lambda s, b: edit_step(s, b, base),
        batches(),
        loop.Schedule(
            4,
            4,
            LogConfig(every=2, tensorboard=True),
            [hook],
            functools.partial(optimizer.learning_rate, OPTIM),
        ),
        cost=loop.StepCost(lambda batch: (100, 1e6), peak=1e9),
    )
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4] and all(row["preview_rmse"] == 9 for row in rows)
    assert edited == [("make it sepia", None, "model")] * 2
    assert {"seconds_compile", "seconds_data", "seconds_save", "seconds_eval", "data_wait"} <= rows[0].keys()
    assert 0 < rows[1]["mfu"] == pytest.approx(rows[1]["tokens_per_second"] * 1e6 / 100 / 1e9)
    assert len(list((tmp_path / "previews").glob("*.mp4"))) == 2
    listing = json.loads((tmp_path / "previews" / "clips.json").read_text())
    assert listing == [{"instruction": "make it sepia", "target": True}]
    assert [row["learning_rate"] for row in rows] == pytest.approx([1e-2, 1e-2])
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_some_steps_are_traced(tmp_path, base, edit_step):
    schedule = loop.Schedule(3, 3, LogConfig(profile="2:3"))
    loop.fit(tmp_path, initial_state(base), lambda s, b: edit_step(s, b, base), batches(), schedule)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert parse_steps("") == range(0) and parse_steps("20:25") == range(20, 26)
    for wrong in ("20", "0:3", "5:4", "a:b"):
        with pytest.raises(InputError, match="--log.profile: expected the first and the last step"):
            parse_steps(wrong)


def test_a_writer_that_isnt_installed_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install 'v2v-edit\[wandb\]'"):
        MetricWriter(tmp_path, LogConfig(wandb="project"))


def test_flops_of_the_papers_step():
    """253 TFLOP a forward pass at 81x480x832 with reference (the paper's cost table, derived), without LoRA and modulation."""
    cfg = wan22_ti2v_5b()
    assert count_tokens(cfg) == 16380 and count_tokens(cfg, reference=True) == 16770
    assert flops.forward_flops(cfg, 16770, adapter=False) == pytest.approx(253e12, rel=0.03)


def test_a_row_tells_the_spread_of_step_times_and_the_wall_time(tmp_path, base, edit_step):
    train(tmp_path, base, edit_step, 4)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert 0 < rows[1]["step_p50"] <= rows[1]["step_p90"] <= rows[1]["step_max"]
    assert rows[0]["time"] <= rows[1]["time"] <= time.time() and rows[1]["clips_per_second"] > 0


def test_a_checkpoint_is_saved_in_between_after_some_minutes(tmp_path, base, edit_step, monkeypatch):
    saves = []
    monkeypatch.setattr(Checkpoints, "save", lambda self, step, state, data: saves.append(step))
    schedule = loop.Schedule(6, save_every=100, log=LogConfig(every=2), save_minutes=1e-9)
    loop.fit(tmp_path, initial_state(base), lambda s, b: edit_step(s, b, base), batches(), schedule)
    assert saves == [2, 4, 6]


@pytest.mark.slow
def test_attempts_tell_what_ended_each(tmp_path, base, edit_step):
    train(tmp_path, base, edit_step, 2)

    def broken(state, batch):
        raise ValueError

    with pytest.raises(ValueError):
        loop.fit(tmp_path, initial_state(base), broken, batches(), loop.Schedule(4, 2, LogConfig(every=2)))
    train(tmp_path, base, edit_step, 6)
    first, second, third = attempts.read_attempts(tmp_path)
    assert [a.cause for a in (first, second, third)] == ["finished", "ValueError", "finished"]
    assert [(a.first_step, a.last_step) for a in (first, second, third)] == [(0, 2), (2, 2), (2, 6)]
    for a in (first, third):
        assert sum(a.seconds.values()) == pytest.approx(a.end - a.start, abs=0.05)
    train(tmp_path, base, edit_step, 6)  # with nothing to do
    assert len(attempts.read_attempts(tmp_path)) == 3
