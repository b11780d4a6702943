"""SIGTERM to a job of several processes with the handlers of the command line: obeyed by all, within three steps, with a save."""

import pytest

from tools.checks import stop_processes


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "seconds"), [(2, 0.02), (4, 0.1)])
def test_a_signal_to_one_process_stops_all_after_the_same_step(processes, seconds):
    report = stop_processes.measure("steps", processes, seconds, only_one=True)
    assert report["codes"] == [0] * processes and report["saved"]
    assert report["steps_after"] <= stop_processes.MOST_STEPS


@pytest.mark.slow
def test_a_resumed_job_obeys_a_signal_that_comes_before_its_first_step_is_done():
    report = stop_processes.measure("first", 2, 0.3, only_one=True)
    assert report["codes"] == [0, 0] and report["saved"] and report["steps_after"] <= 1


@pytest.mark.slow
def test_a_signal_ends_a_long_call_of_every_process():
    report = stop_processes.measure("call", 2, 0.3, only_one=False)
    assert report["codes"] == [0, 0] and report["seconds"] < 60 and report["steps_after"] == 0
