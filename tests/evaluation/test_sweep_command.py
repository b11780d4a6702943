"""`v2v eval` as it is typed: what it writes and says, and what is left after a kill."""

import argparse
import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from v2v.cli import eval, eval_progress, eval_runs, eval_sweep, main, votes
from v2v.cli.beam_arguments import BeamOptions
from v2v.errors import InputError

ROOT = Path(__file__).parents[2]

SWEEP = """
from tests.evaluation.sweeps import Shift, benchmark
from v2v.evaluation.metrics.builtin import BUILTIN_METRICS
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep

def sweep(folder):
    edits = [EditingMethod(f"by {n}", editor=lambda n=n: Shift(n, refuse="3"), revision=str(n), axes={"by": n}) for n in (0, 40)]
    return Sweep(benchmark(folder), edits, BUILTIN_METRICS)
"""


def test_command_writes_json_csv_and_one_page(tmp_path, capsys):
    from v2v.cli import main

    file, out = tmp_path / "s.py", tmp_path / "out"
    file.write_text(SWEEP)
    assert (
        main.main(["eval", str(file), "--out", str(out), "--plan"]) == 0
        and not (out / "report.html").exists()
    )
    assert "8 to do" in capsys.readouterr().err
    assert main.main(["eval", str(file), "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["edits"] == 6 and report["problems"] == 2 and "out of luck" in printed.err
    document = json.loads((out / "results.json").read_text())
    assert document["summary"]["success"]["by 40"]["all"]["mean"] == 0.75
    assert {"v2v", "numpy"} <= set(document["stamp"]["packages"])
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert sum(r["status"] == "failed" for r in rows if r["column"] == "PSNR") == 2
    lines = list(csv.DictReader((out / "summary.csv").open()))
    assert (
        next(r for r in lines if r["method"] == "by 40" and r["column"] == "success" and r["kind"] == "all")[
            "n"
        ]
        == "4"
    )
    page = (out / "report.html").read_text()
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "") and "<script src" not in page
    assert main.main(["eval", str(file), "--out", str(out), "--strict"]) == 1
    assert main.main(["eval", str(tmp_path / "none.py"), "--out", str(out)]) == 2


SLOW = """
import time
from pathlib import Path
from tests.evaluation.sweeps import Shift, benchmark
from v2v.evaluation.metrics.builtin import CHANGE, PSNR
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.evaluation.sweep.sweep import Sweep

class Slow(Shift):
    def edit_video(self, *args, **options):
        with open(LOG, "a") as log:
            log.write("edit\\n")
        made = super().edit_video(*args, **options)
        time.sleep(0.05)
        return made

def sweep(folder):
    edits = [EditingMethod(f"by {n}", editor=lambda n=n: Slow(n), revision=str(n)) for n in (0, 40)]
    return Sweep(benchmark(folder, n=5), edits, (PSNR, CHANGE))
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_where_it_was_and_needs_no_jax_at_its_end(tmp_path):
    file, log, out = tmp_path / "s.py", tmp_path / "log", tmp_path / "out"
    file.write_text(SLOW.replace("LOG", repr(str(log))))
    command = [sys.executable, "-m", "v2v", "eval", str(file), "--out", str(out), "--json"]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    while not log.exists() or len(log.read_text().split()) < 4:
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    edits_before_kill = len(log.read_text().split())
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    assert (
        len(log.read_text().split()) <= 10 + 1
        and report["edits"] <= 10 - (edits_before_kill - 1)
        and report["problems"] == 0
    )
    code = FINISHED.format(words=command[3:], cache=str(out / "cache"))
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert again.returncode == 0, again.stderr
    second_report = json.loads(again.stdout)
    assert (second_report["edits"], second_report["scores"]) == (0, 0)


# A finished sweep, and all that one with v2v's own model asks of its methods.
FINISHED = """
import sys
from pathlib import Path
from v2v.cli import main
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.items import Item
from v2v.evaluation.sweep.methods import grid

assert main.main({words!r}) == 0
item, cache = Item("1", Path("v2v/assets/sample.mp4"), "x", "x"), SweepCache(Path({cache!r}))
assert [bool(method.key(item, cache)["model"]) and bool(method.editor_code()) for method in grid(guidance=(1, 2))]
needless = {{"jax", "scipy", "v2v.evaluation.intervals", "v2v.evaluation.html_page", "v2v.evaluation.judge"}} & set(sys.modules)
assert not needless, f"a finished sweep needs no {{needless}}"
"""


def test_arguments_need_no_heavy_import():
    code = "import sys, v2v.cli.main; assert not {'jax', 'numpy', 'cv2', 'av'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert eval.ABOUT


def request_of(*words):
    parser = argparse.ArgumentParser()
    eval.add_arguments(parser)
    return eval.parse_request(parser.parse_args(words), progress=False)


def test_a_command_line_becomes_a_request(tmp_path):
    out = tmp_path / "out"
    sweep = request_of("s.py", "--out", str(out), "--compat", "editverse", "--export", "a=b", "--export", "c")
    assert sweep == eval_sweep.SweepRequest(
        Path("s.py"),
        out,
        compat="editverse",
        exports=[eval_sweep.Export("a", "b"), eval_sweep.Export("c", "")],
    )
    beam = request_of("s.py", "--out", "o", "--beam=--runner=FlinkRunner --x=1", "--workers", "3")
    assert beam.beam == BeamOptions(3, ("--runner=FlinkRunner", "--x=1"))
    assert request_of("s.py", "--out", "o", "--beam").beam == BeamOptions()
    folder = tmp_path / "study"
    study = request_of("ab", "x:a", "y:b", "--out", str(folder), "--pairs", "3", "--cache", "work")
    assert study == eval_runs.StudyRequest("x:a", "y:b", folder, Path("work"), pairs=3)
    vote = request_of("vote", "study", "--serve", "--raters", "ann, bob", "--public", "https://x/")
    assert vote == votes.VoteRequest(Path("study"), True, ["ann", "bob"], public="https://x")
    assert request_of("vote", "study", "--serve", "--raters", "2").raters == ["rater 1", "rater 2"]
    out.write_text("a file")
    for words, message in (
        (("ab", "x:a", "--out", str(folder)), "expected two sides"),
        (("ab", "x:a", "y:b", "--out", str(out)), "expected a folder for the study"),
        (("a.py",), "expected --out"),
        (("vote", "study"), "--serve or --report"),
        (("vote", "study", "--serve", "--report"), "--serve or --report"),
        (("vote", "study", "--report", "--raters", "2"), "leave it out"),
        (("vote", "study", "--serve", "--raters", "0"), "expected 1 to 1000"),
        (("vote", "study", "--serve", "--raters", "ann,,bob"), "names with commas"),
        (("vote", "study", "--serve", "--port", "70000"), "expected 0 to 65535"),
        (("vote", "study", "--serve", "--public", "votes.org"), "begins with http"),
        (("a.py", "b.py", "--out", "o"), "expected one sweep, got 2 words"),
        (("a.py", "--out", "o", "--workers", "2"), "--workers is the number of processes of --beam"),
        (("a.py", "--out", "o", "--beam", "--workers", "0"), "expected a number from 1 on"),
        (("a.py", "--out", "o", "--beam=--x='1"), "No closing quotation"),
        (("a.py", "--out", "o", "--beam", "--shard", "1/2"), "can't be combined with --shard"),
        (("a.py", "--out", str(out)), "expected a folder for results"),
    ):
        with pytest.raises(InputError, match=message):
            request_of(*words)


def test_metrics_and_rubrics_are_listed(capsys):
    from v2v.cli import main

    with pytest.raises(SystemExit) as end:
        main.main(["eval", "--list-metrics"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("success") and "LPIPS" in "\n".join(lines) and "openve" in lines[-1]


def test_parts_of_a_sweep_share_a_cache_and_a_last_run_collects(tmp_path, capsys):
    file, out = tmp_path / "s.py", tmp_path / "out"
    file.write_text(SWEEP)
    words = ["eval", str(file), "--out", str(out), "--json"]
    edits = []
    for part in ("1/3", "2/3", "3/3"):
        assert main.main([*words, "--shard", part]) == 0
        edits.append(json.loads(capsys.readouterr().out)["edits"])
        assert not (out / "results.json").exists()
    assert main.main(words) == 0
    # Eight edits, of which two fail and are tried again.
    assert sum(edits) == 6 and json.loads(capsys.readouterr().out)["edits"] == 0
    for part in ("0/3", "4/3", "x", "9/9"):
        assert main.main([*words, "--shard", part]) == 2


@pytest.mark.slow
def test_files_that_would_say_the_same_are_left_and_others_written_again(tmp_path, capsys):
    file, out = tmp_path / "s.py", tmp_path / "out"
    file.write_text(
        SWEEP.replace("BUILTIN_METRICS)", "(PSNR,))").replace("import BUILTIN_METRICS", "import PSNR")
    )
    words = ["eval", str(file), "--out", str(out), "--json"]

    def run(*more):
        code = main.main([*words, *more])
        said = capsys.readouterr()
        return code, json.loads(said.out), said.err, (out / "results.json").stat().st_mtime_ns

    code, report, _, begin = run()
    again = run("--fail-over", "by 40:PSNR=50")
    assert (code, again[0]) == (0, 0) and again[1]["means"] == report["means"] and again[3] == begin
    assert again[1]["problems"] == 2 and "out of luck" in again[2]
    code, report, _, time = run("--fail-under", "PSNR=100", "--strict")
    assert code == 1 and len(report["missed"]) == 2 and time == begin
    table = (out / "summary.csv").read_text()
    (out / "summary.csv").write_text("mine")
    times = [run()[3]]
    assert (out / "summary.csv").read_text() == table
    (out / "report.html").unlink()
    times += [run()[3], run("--report-mb", "0")[3]]
    file.write_text(file.read_text().replace("(PSNR,)", '(PSNR,), title="other"'))
    times.append(run()[3])
    (out / "calibration.json").write_text('{"columns": []}')
    times.append(run()[3])
    assert sorted({begin, *times}) == [begin, *times] and times[-1] == run()[3]


def test_a_sweep_without_an_output_fails(tmp_path, capsys):
    file, out = tmp_path / "s.py", tmp_path / "out"
    file.write_text(SWEEP.replace('refuse="3"', 'refuse="video"'))
    assert main.main(["eval", str(file), "--out", str(out)]) == 1
    assert "out of luck" in capsys.readouterr().err
    page = (out / "report.html").read_text()
    assert str(tmp_path) not in page and 'id="published"' in page


def test_without_a_terminal_the_log_tells_how_far_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(eval_progress, "LINE_SECONDS", 0.0)
    (tmp_path / "s.py").write_text(SWEEP)
    main.main(["eval", str(tmp_path / "s.py"), "--out", str(tmp_path / "out")])
    assert "edits: 8 of 8" in capsys.readouterr().err


def test_bounds_tables_and_reports_of_what_is_finished(tmp_path, capsys):
    file, out = tmp_path / "s.py", tmp_path / "out"
    file.write_text(SWEEP)
    words = ["eval", str(file), "--out", str(out), "--json"]
    assert main.main([*words, "--fail-under", "sucess=0.5"]) == 2
    assert "expected a column among success" in capsys.readouterr().err and not (out / "cache/edits").exists()
    assert main.main([*words, "--shard", "1/2"]) == 0
    # Half of the items are finished, and nothing more is done.
    assert main.main([*words, "--report-only"]) == 0
    said, document = capsys.readouterr(), json.loads((out / "results.json").read_text())
    assert json.loads(said.out.splitlines()[-1])["edits"] == 0 and "edits are not done yet" in said.err
    cell = document["summary"]["success"]["by 40"]["all"]
    assert (cell["mean"], cell["scored"], cell["failed"], cell["unscored"]) == (1, 2, 0, 2)
    assert main.main([*words, "--fail-under", "by 40:success=0.7", "--fail-over", "by 0:success=0"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["means"]["by 40"]["success"] == 0.75 and report["missed"] == []
    assert main.main([*words, "--fail-under", "success=0.7"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["missed"] == ["--fail-under success=0.7: by 0 has 0"]
    markdown, latex = (out / "summary.md").read_text(), (out / "summary.tex").read_text()
    row = next(line for line in markdown.splitlines() if line.startswith("| by 40"))
    assert row.startswith("| by 40 | **75** [") and row.count("|") == markdown.splitlines()[2].count("|")
    assert r"\textbf{75}" in latex and latex.count(r"\\") == 3 and r"success \% $\uparrow$" in latex


def test_the_difference_between_two_runs(tmp_path, capsys):
    for name, levels in (("before", (0, 40)), ("after", (20, 40))):
        text = (
            SWEEP.replace("(0, 40)", str(levels))
            .replace("benchmark(folder)", "benchmark(folder, n=8)")
            .replace("BUILTIN_METRICS", "PSNR")
            .replace("edits, PSNR", "edits, [PSNR]")
        )
        (tmp_path / f"{name}.py").write_text(
            text.replace('f"by {n}"', '["a", "b"][n > 30]').replace('refuse="3"', "")
        )
        main.main(["eval", str(tmp_path / f"{name}.py"), "--out", str(tmp_path / name)])
    capsys.readouterr()
    words = ["eval", "diff", str(tmp_path / "before"), str(tmp_path / "after")]
    assert main.main([*words, "--out", str(tmp_path / "diff.md"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    changes = {(row["method"], row["column"]): row for row in report["columns"]}
    assert report["items"] == 8 and report["other_items"] == 0
    better, same = changes["a", "PSNR"], changes["b", "PSNR"]
    assert (
        better["difference"]["mean"] > 3
        and better["difference"]["clear"]
        and len(better["changed_items"]) == 3
    )
    assert same["difference"]["mean"] == 0 and not same["difference"]["clear"] and same["changed_items"] == []
    table = (tmp_path / "diff.md").read_text()
    assert "| a | PSNR | +" in table and "| better |" in table and "no clear change" in table
    sides = [f"{tmp_path / 'before'}:a", f"{tmp_path / 'after'}:b"]
    assert main.main(["eval", "diff", *sides, "--out", str(tmp_path / "d.md")]) == 0
    for wrong, message in (
        ([str(tmp_path), sides[1]], "no results there"),
        ([f"{tmp_path / 'before'}:c", sides[1]], "expected a method among a, b, got c"),
        ([str(tmp_path / "before"), sides[1]], "expected FOLDER:METHOD"),
    ):
        assert main.main(["eval", "diff", *wrong, "--out", str(tmp_path / "d.md")]) == 2
        assert message in capsys.readouterr().err
