"""Losses that jump are told once, by the rows before them, also in a resumed run."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from tests.notes import expect_note
from v2v.config import LogConfig
from v2v.train import loop
from v2v.train.spike_alarm import LEAST, LossSpikeError, SpikeAlarm
from v2v.train.state import TrainState


def noisy(count, level=1.0, seed=0):
    return list(level * (1 + 0.1 * np.random.default_rng(seed).standard_normal(count)))


def spikes(losses, threshold=10.0, history=()):
    alarm = SpikeAlarm(threshold, list(history))
    return [i for i, loss in enumerate(losses) if alarm.check(loss) is not None]


def test_a_jump_is_a_spike_and_usual_noise_is_none():
    losses = noisy(400)
    assert spikes(losses) == [] and spikes(np.linspace(3, 1, 100)) == [] and spikes([1.0] * 50) == []
    assert spikes([*losses[:30], 3.0, *losses[30:]]) == [30]
    assert spikes([*losses[:30], 3.0], threshold=0.0) == []
    assert spikes([*losses[: LEAST - 1], 3.0]) == []  # too few rows to know
    assert spikes([*losses[:30], 0.1]) == []  # less is no harm
    assert spikes([3.0], history=losses[:30]) == [0]


def test_a_higher_level_becomes_the_usual_one_and_hides_no_later_spike():
    losses = [*noisy(30), *noisy(40, 3.0, 1), 9.0]
    found = spikes(losses)
    assert found[0] == 30 and found[-1] == 70 and 9 <= len(found) <= 14


def test_a_spike_is_told_as_the_first_of_its_kind():
    alarm = SpikeAlarm(10.0, noisy(20))
    told = [alarm.check(loss) for loss in (5.0, 6.0, 1.0, 5.0)]
    assert [spike and spike.is_first for spike in told] == [True, False, None, True]
    assert told[0].median == pytest.approx(1.0, abs=0.1) and told[0].deviations > 10


class Numbers:
    """Batches that are their own losses."""

    def __init__(self, losses):
        self.losses, self.position = losses, 0

    def __next__(self):
        self.position += 1
        return {"loss": np.full(1, self.losses[self.position - 1], np.float32)}

    def get_state(self):
        return {"next_index": self.position}

    def set_state(self, state):
        self.position = state["next_index"]


def run(folder, losses, steps, **log):
    state = TrainState(step=jnp.zeros((), jnp.int32), trained={"lora": jnp.zeros(1)}, opt_state=(), ema=None)

    def step_fn(state, batch):
        return dataclasses.replace(state, step=state.step + 1), {"loss": jnp.asarray(batch["loss"][0])}

    schedule = loop.Schedule(steps, save_every=10, log=LogConfig(every=1, **log))
    loop.fit(folder, state, step_fn, Numbers(losses), schedule)
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_tells_a_spike_once_and_in_its_log_and_goes_on(tmp_path):
    losses = [*noisy(15), 5.0, 6.0, *noisy(3)]
    run(tmp_path, losses, 10)  # what follows knows these rows from the log
    message = "loss of steps 16 to 16 is 5, .* deviations above .*, the median of the rows before; the newest checkpoint is of step 10"
    with expect_note(message):
        rows = run(tmp_path, losses, 20)
    assert [row["step"] for row in rows if "loss_spike" in row] == [16, 17]
    assert len(rows) == 20


def test_a_run_may_stop_at_a_spike_before_anything_of_it_is_saved(tmp_path):
    losses = [*noisy(19), 5.0, *noisy(3)]
    with pytest.raises(
        LossSpikeError, match=r"newest checkpoint is of step 10; stopped, as --log.stop-on-spike asks"
    ):
        run(tmp_path, losses, 22, stop_on_spike=True)
    assert not (tmp_path / "checkpoints" / "20").exists()
    assert run(tmp_path, losses, 22)[-1]["step"] == 22
    with pytest.raises(ValueError, match="stop_on_spike changes nothing with spike 0"):
        LogConfig(spike=0.0, stop_on_spike=True)
