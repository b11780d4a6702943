"""A sweep under Beam: the results of one process, nothing done twice, whoever began it, and one line where it can't go on."""

import json
from pathlib import Path

import pytest

from v2v.cli import main
from v2v.evaluation.sweep import distributed_sweep
from v2v.runtime import distributed_jobs

pytest.importorskip("apache_beam")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SWEEP = """
import sys

sys.path.insert(0, ROOT)
from tests.evaluation.sweeps import Shift, benchmark
from v2v.evaluation.metrics.builtin import CHANGE, PSNR
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep

class Counted(Shift):
    def edit_video(self, video, *args, **options):
        with open(LOG, "a") as log:
            log.write(f"{self.by} {video.stem}\\n")
        return super().edit_video(video, *args, **options)

def sweep(folder):
    edits = [EditingMethod(f"by {n}", editor=lambda n=n: Counted(n, refuse="3"), revision=str(n)) for n in (0, 40)]
    return Sweep(benchmark(folder), edits, (PSNR, CHANGE))
"""


@pytest.fixture
def sweep_file(tmp_path):
    file = tmp_path / "s.py"
    file.write_text(SWEEP.replace("LOG", repr(str(tmp_path / "log"))).replace("ROOT", repr(str(ROOT))))
    return file


def scores(out):
    return sorted((out / "scores.csv").read_text().splitlines())


def edits(file):
    return sorted((file.parent / "log").read_text().splitlines())


def run(capsys, *words):
    code = main.main([*words, "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else None, captured.err


def test_processes_of_beam_give_the_result_of_one_and_do_nothing_twice(sweep_file, tmp_path, capsys):
    assert main.main(["eval", str(sweep_file), "--out", str(tmp_path / "own")]) == 0
    alone = edits(sweep_file)
    (tmp_path / "log").unlink()
    capsys.readouterr()
    words = ["eval", str(sweep_file), "--out", str(tmp_path / "beam"), "--beam", "--workers", "2"]
    code, report, said = run(capsys, *words)
    assert (code, report["edits"], report["scores"]) == (0, 6, 12) and said.count("out of luck") == 2
    assert scores(tmp_path / "beam") == scores(tmp_path / "own")
    assert edits(sweep_file) == alone and len(alone) == 8
    # What failed is tried again, and nothing else.
    _, report, _ = run(capsys, *words)
    assert (report["edits"], report["scores"]) == (0, 0) and len(edits(sweep_file)) == 10
    assert not list((tmp_path / "beam" / "cache" / "claims").glob("*.claim"))


def test_what_one_process_began_beam_goes_on_with(sweep_file, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert main.main(["eval", str(sweep_file), "--out", str(out), "--shard", "1/2"]) == 0
    capsys.readouterr()
    # Paths of the command line are those of its folder, which workers may not be in.
    monkeypatch.chdir(tmp_path)
    _, report, _ = run(capsys, "eval", "s.py", "--out", "out", "--beam")
    assert report["edits"] == 2 and len(edits(sweep_file)) == 8 == len(set(edits(sweep_file)))
    assert not distributed_sweep._WORKERS
    (tmp_path / "log").unlink()
    run(capsys, "eval", "s.py", "--out", "out")
    assert edits(sweep_file) == ["0 source3", "40 source3"]


def test_a_runner_that_fails_or_loses_work_is_told(sweep_file, tmp_path, capsys, monkeypatch):
    words = ["eval", str(sweep_file), "--out", str(tmp_path / "out"), "--beam"]

    def lose(function, numbers, workers=1, options=(), option_name="--beam"):
        function(0)

    monkeypatch.setattr(distributed_jobs, "run_jobs", lose)
    assert main.main(words) == 2
    # Each of the two editors had one of its four edits done.
    assert "6 edits left no result" in capsys.readouterr().err

    def fail(*_):
        raise distributed_jobs.RunnerFailedError("--beam: expected the runner to finish, got 'lost'")

    monkeypatch.setattr(distributed_jobs, "run_jobs", fail)
    assert main.main(words) == 2 and "run the same command again" in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.json").exists()
