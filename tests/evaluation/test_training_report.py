"""The page of training runs: what it reads, sums up and leaves out. test_pages.py opens one in a browser."""

import json

import pytest

from v2v.cli import main
from v2v.errors import InputError
from v2v.evaluation import training_report
from v2v.evaluation.training_report import build_training_report, find_runs, summarize_run


def write_run(folder, steps=4, rate=1e-4, **row):
    """Write a run of one stage, killed once, with a line that was left unfinished."""
    stage = folder / "edit"
    stage.mkdir(parents=True)
    rows = [
        {"step": s, "loss": 1.0 / s, "held_out_loss": abs(s - 3) + 0.5, "source_use": 0.1 * s, "step_p50": 2.0} | row
        for s in range(1, steps + 1)
    ]  # fmt: skip
    (stage / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"step": 9, "lo')
    attempts = [
        {"start": 0.0, "end": 50.0, "first_step": 0, "last_step": 3, "cause": "", "seconds": {"step": 30.0}},
        {"start": 60.0, "end": 100.0, "first_step": 2, "last_step": 4, "cause": "finished", "seconds": {"step": 40.0}},
    ]  # fmt: skip
    (stage / "attempts.json").write_text(json.dumps(attempts))
    settings = {
        "edit": {"steps": steps, "optim": {"peak_lr": rate}},
        "sets": ["/home/someone/my.csv"],
        "seed": 0,
    }
    (folder / "experiment.json").write_text(json.dumps(settings))
    return folder


def test_a_run_is_summed_up(tmp_path):
    (run,) = find_runs([write_run(tmp_path / "mine", device_gib=12.5)])
    row = summarize_run(run)
    assert (run.name, len(run.rows)) == ("mine/edit", 4)
    assert (row["step"], row["held-out loss"], row["least held-out loss"]) == (4, 1.5, 0.5)
    assert (row["source use"], row["memory"], row["step time"], row["MFU"]) == (0.4, 12.5, 2.0, None)
    # 70 s of steps, of which a third of the first attempt's was done again
    assert (row["goodput"], row["attempts"]) == (pytest.approx(0.6), 2)


def test_runs_stand_side_by_side_with_the_settings_that_differ(tmp_path):
    folders = [write_run(tmp_path / name, rate=rate) for name, rate in (("a", 1e-4), ("b", 3e-4))]
    runs = find_runs(folders)
    html = build_training_report(runs)
    assert [run.name for run in runs] == ["a/edit", "b/edit"]
    data = json.loads(html.split('id="data">')[1].split("</script>")[0])
    assert data["fields"] == [{"name": "edit.optim.peak_lr", "values": ["0.0001", "0.0003"]}]
    assert data["runs"][0]["series"]["loss"][:2] == [[1, 1.0], [2, 0.5]]
    assert (data["runs"][0]["about"], data["runs"][0]["least"]) == ("4 of 4 steps, finished", 3)
    (alone,) = find_runs(folders[:1])
    assert "someone" not in build_training_report([alone])  # pages are passed on


def test_a_long_log_is_averaged_and_gaps_stay(tmp_path):
    rows = [{"step": s, "loss": float(s), "x": float("nan")} for s in range(1, 1801)]
    points = training_report._series(rows, "loss")
    assert len(points) == 600 and points[0] == [2, 2.0] and points[-1] == [1799, 1799.0]
    assert training_report._series(rows, "x") == []
    assert training_report._spread(5) == [4, 0, 2, 1, 3] and training_report._spread(1) == [0]


def test_folders_without_a_run_are_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="expected the folder of a training run, found none"):
        find_runs([tmp_path / "none"])
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match="no log.jsonl; v2v eval SWEEP --report-only"):
        find_runs([tmp_path])
    (tmp_path / "log.jsonl").write_text("")
    assert main.main(["report", str(tmp_path)]) == 2
    assert "have no rows yet" in capsys.readouterr().err
    write_run(tmp_path / "run")
    assert main.main(["report", str(tmp_path / "run"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["output"] == str(tmp_path / "run" / "report.html")
    assert answer["runs"]["run/edit"]["step"] == 4
