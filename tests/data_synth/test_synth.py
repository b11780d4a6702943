"""The stored set: built without TensorFlow, readable, repeatable, refused when something else is in the way."""

import json
import subprocess
import sys

import pytest

from data_synth.synth import read, synth
from v2v.data import pairs
from v2v.errors import InputError

SMALL = {"frames": 2, "height": 16, "width": 24}


def test_eight_pairs_without_tensorflow(tmp_path):
    code = f"""
import json, sys
from data_synth.synth import read, synth
from v2v.data import pairs
report = synth({str(tmp_path / "set")!r}, 8, seed=5)
source = read({str(tmp_path / "set")!r})
got = [pairs.decode(source[i]) for i in range(len(source))]
assert [p.seed for p in got] == sorted(p.seed for p in got), "seed order"
assert got[0].source.shape == (9, 64, 64, 3)
assert not any(name.split(".")[0] in ("tensorflow", "jax", "torch") for name in sys.modules), "heavy imports"
print(json.dumps([report["pairs"], len(got)]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stderr[-2000:]
    assert json.loads(run.stdout) == [8, 8]  # and nothing else on standard output


def test_same_request_same_bytes_and_no_second_build(tmp_path):
    reports = [synth(tmp_path / name, 5, seed=9, **SMALL) for name in ("a", "b")]
    assert reports[0] == reports[1] == json.loads((tmp_path / "a" / "report.json").read_text())
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    stamp = (tmp_path / "a" / "report.json").stat().st_mtime_ns
    assert synth(tmp_path / "a", 5, seed=9, **SMALL) == reports[0]
    assert (tmp_path / "a" / "report.json").stat().st_mtime_ns == stamp
    assert pairs.decode(read(tmp_path / "a")[0]).source.shape == (2, 16, 24, 3)


def test_other_contents_are_not_overwritten(tmp_path):
    synth(tmp_path / "a", 2, **SMALL)
    with pytest.raises(InputError, match="holds pairs of another request"):
        synth(tmp_path / "a", 3, **SMALL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="expected a new folder"):
        synth(tmp_path / "mine", 2, **SMALL)
    with pytest.raises(InputError, match="dataset_info.json"):
        read(tmp_path / "mine")


def test_a_failed_build_leaves_nothing(tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synth(tmp_path / "a", 4, progress=interrupt, **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change, message", [
    ({"pairs": 0}, "at least 1"), ({"seed": -1}, "non-negative"), ({"height": 8}, "16 x 16"),
    ({"transition": 2}, "between 0 and 1"), ({"edits": ("fly",)}, "got fly"),
])
def test_impossible_requests(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        synth(tmp_path / "a", **{"pairs": 2, **change})
