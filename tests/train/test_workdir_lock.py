"""One run at a time writes into a folder."""

import subprocess
import sys

import pytest

from v2v.errors import InputError
from v2v.train.workdir_lock import locked_workdir

HOLD = """
import sys, time
from pathlib import Path
from v2v.train.workdir_lock import locked_workdir

with locked_workdir(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_told_who_writes_and_a_killed_one_leaves_the_folder_free(tmp_path):
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"another run is writing here .process {other.pid} on .* since"):
            with locked_workdir(folder):
                raise AssertionError("two runs hold the folder")
        other.kill()
    with locked_workdir(folder):
        pass
