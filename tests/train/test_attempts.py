"""Goodput over attempts: by hand."""

import json

import pytest

from v2v.train.attempts import (
    ATTEMPTS_FILE,
    Attempt,
    AttemptLog,
    format_goodput,
    measure_goodput,
    read_attempts,
)


def test_steps_that_were_done_again_and_time_between_attempts_are_lost():
    attempts = [
        Attempt(100.0, 200.0, 0, 50, "killed", seconds={"start": 10.0, "step": 80.0, "save": 10.0}),
        Attempt(230.0, 330.0, 40, 100, "finished", seconds={"start": 20.0, "step": 60.0, "data": 20.0}),
    ]
    goodput = measure_goodput(attempts)
    assert goodput.total == 230.0
    expected = {
        "step": 124,
        "start": 30,
        "save": 10,
        "data": 20,
        "lost": 16,
        "down": 30,
        "compile": 0,
        "eval": 0,
    }
    assert goodput.seconds == pytest.approx(expected) and sum(goodput.seconds.values()) == pytest.approx(230)
    assert goodput.share == pytest.approx(124 / 230)
    text = format_goodput(attempts)
    assert text.startswith("attempt 2 (before: killed): 53.9% of 3.8 min were steps; 13.0% ")
    assert "7.0% lost" in text and "compile" not in text


def test_an_attempt_that_could_not_say_so_was_killed(tmp_path):
    now = iter(range(1000, 2000))
    first = AttemptLog(tmp_path, 0, lambda: float(next(now)))
    first.update(5, {"step": 0.5, "data": 0.25})
    first.update(10, {"step": 0.5})
    second = AttemptLog(tmp_path, 8, lambda: float(next(now)))
    second.close("signal")
    killed, stopped = read_attempts(tmp_path)
    assert (killed.cause, killed.last_step, killed.end) == ("killed", 10, 1002.0)
    assert killed.seconds["step"] == 1.0 and killed.seconds["data"] == 0.25
    assert (stopped.cause, stopped.first_step) == ("signal", 8)
    (tmp_path / ATTEMPTS_FILE).write_text(json.dumps([{"other": 1}]))
    assert read_attempts(tmp_path) == [] and measure_goodput([]).share == 0
