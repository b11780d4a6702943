"""Jobs by number under Beam: each is done, what fails is named, and Beam is needed only where there is something to do."""

import functools
import sys

import pytest

from v2v.errors import InputError
from v2v.runtime import distributed_jobs


def leave(folder, number):  # at module level, as what Beam runs must be
    if number == 99:
        raise ValueError("ninety-nine")
    (folder / str(number)).touch()


def test_every_number_is_done(tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    monkeypatch.setattr(distributed_jobs, "RANGE_LENGTH", 3)
    distributed_jobs.run_jobs(functools.partial(leave, tmp_path), [range(7), range(20, 22)])
    assert sorted(int(p.name) for p in tmp_path.iterdir()) == [*range(7), 20, 21]
    with pytest.raises(
        distributed_jobs.RunnerFailedError, match="--many: expected the runner to finish.*ninety"
    ):
        distributed_jobs.run_jobs(functools.partial(leave, tmp_path), [range(99, 100)], option_name="--many")


def test_beam_is_needed_only_where_there_is_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    distributed_jobs.run_jobs(print, [range(0)])
    with pytest.raises(
        InputError, match=r"--beam: expected the package apache-beam.*pip install 'v2v-edit\[beam\]'"
    ):
        distributed_jobs.run_jobs(print, [range(1)])
