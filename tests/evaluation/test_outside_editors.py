"""Editors outside of v2v: a command, a server, tables of items and results; a documented example of each runs here."""

import csv
import http.server
import json
import sys
import threading

import numpy as np
import pytest

from tests.evaluation.sweeps import Shift, benchmark
from v2v.errors import InputError
from v2v.evaluation.benchmarks.item_table import read_item_table
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.metrics.builtin import PSNR, SUCCESS
from v2v.evaluation.sweep import outside_editors, results, runner, sweep
from v2v.evaluation.sweep.methods import ResultTable
from v2v.evaluation.sweep.outside_editors import call_server, run_command
from v2v.evaluation.sweep.sweep import Sweep
from v2v.video import video as codec

# The program of somebody else: brightens, and knows nothing of v2v but a reader and a writer of clips.
PROGRAM = """
import argparse
import av

parser = argparse.ArgumentParser()
parser.add_argument("source")
parser.add_argument("--out")
parser.add_argument("--prompt")
parser.add_argument("--by", type=int)
parser.add_argument("--mask")
args = parser.parse_args()
if "dim" in args.prompt:
    raise SystemExit("knows no dim")
with av.open(args.source) as source, av.open(args.out, "w") as out:
    stream = None
    for frame in source.decode(video=0):
        if stream is None:
            stream = out.add_stream("libx264rgb", rate=25, options={"crf": "0"})
            stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "rgb24"
        levels = frame.to_ndarray(format="rgb24").astype(int) + args.by - 20 * bool(args.mask)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(levels.clip(0, 255).astype("uint8"), format="rgb24")))
    out.mux(stream.encode(None))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return benchmark(tmp_path_factory.mktemp("bench"), n=2)


def test_a_command_edits_fails_by_its_last_line_and_is_done_again_when_it_changes(tiny, tmp_path):
    program = tmp_path / "edit.py"
    program.write_text(PROGRAM)
    command = f"{sys.executable} {program} {{source}} --out {{output}} --prompt {{instruction}} --by {{by}} --mask {{mask}}"
    method = run_command("theirs", command, options={"by": 40}, suffix=".mkv", dollars=0.25)
    definition, cache = Sweep(tiny, (method,), (SUCCESS, PSNR)), SweepCache(tmp_path / "cache")
    plan = sweep.plan_sweep(definition, cache)
    assert plan.edits == 2 and "2 to do (about $0.50)" in plan.format()
    outcome = results.build_results(runner.run_sweep(definition, cache), plan)
    # Without use_mask there is none, so that --mask is left out together with its value.
    assert outcome.summary["success"]["theirs"].overall.mean == 0.5
    assert "ended with 1: knows no dim" in str(outcome.problems[-1])
    assert outcome.costs["theirs"].n == 1 and outcome.costs["theirs"].dollars == 0.25
    assert sweep.plan_sweep(definition, cache).edits == 1
    with_mask = run_command("theirs", command, options={"by": 60}, suffix=".mkv", use_mask=True)
    run = runner.run_sweep(Sweep(tiny, (with_mask,), (SUCCESS,)), cache)
    assert run.results["theirs", "item0", "success"].values["success"] == 1
    program.write_text(PROGRAM + "# another edition")
    changed = run_command("theirs", command, options={"by": 40}, suffix=".mkv")
    assert sweep.plan_sweep(Sweep(tiny, (changed,), (PSNR,)), cache).edits == 2


@pytest.mark.parametrize(
    "program, message",
    [
        ("import time; time.sleep(60)", "took more than 1 s"),
        ("pass", "wrote no output.mp4"),
        ("open(__import__('sys').argv[-1], 'w').write('text')", "output.mp4"),
    ],
)
def test_a_command_that_gives_no_clip(tiny, tmp_path, program, message):
    (tmp_path / "edit.py").write_text(program)
    limit = 1 if "took" in message else 60  # those that end have all the time that a busy machine needs
    method = run_command(
        "x", [sys.executable, str(tmp_path / "edit.py"), "{source}", "{output}"], timeout=limit
    )
    run = runner.run_sweep(Sweep(tiny, (method,), (PSNR,)), SweepCache(tmp_path / "cache"))
    assert (
        message in run.outputs["x", "item0"].reason and run.results["x", "item0", "PSNR"].status == "failed"
    )


@pytest.mark.parametrize(
    "message, arguments",
    [
        ("expected {source} in the command", {"command": "edit {output}"}),
        ("expected {output} in the command", {"command": "edit {source}"}),
        ("no value for {seed}", {"command": "edit {source} {output} {seed}"}),
        ("option seed would change nothing", {"command": "edit {source} {output}", "options": {"seed": 1}}),
        ("expected a name in braces", {"command": "edit {source} {output} {a.b}"}),
    ],
)
def test_a_command_that_can_not_work_is_told_at_once(message, arguments):
    with pytest.raises(InputError, match=message):
        run_command("x", **arguments)


class Server(http.server.BaseHTTPRequestHandler):
    """A server in the style of the OpenAI videos interface: the first request is busy, jobs are done at the second poll."""

    requests: list
    jobs: dict

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append((self.headers["Authorization"], body))
        if len(self.requests) == 1:
            return self.answer(503, b"later", "text/plain", {"Retry-After": "0"})
        if b"dim" in body:
            return self.answer(200, json.dumps({"id": "bad", "status": "queued"}).encode())
        self.jobs["1"] = 0
        return self.answer(200, json.dumps({"id": "1", "status": "queued"}).encode())

    def do_GET(self):
        if self.path == "/edits/bad":
            return self.answer(200, b'{"id": "bad", "status": "failed", "error": {"message": "out of luck"}}')
        if self.path == "/edits/1/content":
            return self.answer(200, self.clip, "video/mp4")
        self.jobs["1"] += 1
        status = "completed" if self.jobs["1"] > 1 else "in_progress"
        return self.answer(200, json.dumps({"id": "1", "status": status}).encode())

    def answer(self, code, data, kind="application/json", headers=()):
        self.send_response(code)
        for name, value in {**dict(headers), "Content-Type": kind, "Content-Length": len(data)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def test_a_server_is_asked_polled_and_its_failures_are_told(tiny, tmp_path, monkeypatch):
    Shift(40).edit_video(tiny.items[0].source, "brighten").save(tmp_path / "clip.mp4")
    handler = type(
        "Handler", (Server,), {"requests": [], "jobs": {}, "clip": (tmp_path / "clip.mp4").read_bytes()}
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        monkeypatch.setenv("THEIR_TOKEN", "secret")
        url = f"http://127.0.0.1:{server.server_port}/edits"
        method = call_server("served", url, options={"steps": 4}, token_variable="THEIR_TOKEN", use_mask=True)
        cache = SweepCache(tmp_path / "cache")
        run = runner.run_sweep(Sweep(tiny, (method,), (SUCCESS,)), cache)
    finally:
        server.shutdown()
        server.server_close()
    assert run.results["served", "item0", "success"].values["success"] == 1
    assert run.outputs["served", "item1"].reason == "OutsideEditorError: the server's job failed: out of luck"
    token, body = handler.requests[1]
    assert (
        token == "Bearer secret" and b'name="steps"\r\n\r\n4\r\n' in body and b'name="mask"; filename' in body
    )
    assert tiny.items[0].source.read_bytes() in body
    # Elsewhere the same model is another address, and nothing is asked again.
    moved = call_server("served", "http://127.0.0.1:9/x", options={"steps": 4}, use_mask=True)
    assert sweep.plan_sweep(Sweep(tiny, (moved,), (SUCCESS,)), cache).edits_cached == 1


def test_a_server_that_is_down(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(outside_editors, "ATTEMPTS", 1)
    run = runner.run_sweep(
        Sweep(tiny, (call_server("x", "http://127.0.0.1:9/edits"),), (PSNR,)), SweepCache(tmp_path)
    )
    assert "127.0.0.1:9" in run.outputs["x", "item0"].reason
    with pytest.raises(InputError, match="begins with http"):
        call_server("x", "ftp://127.0.0.1/edits")
    with pytest.raises(InputError, match=r"\$NO_TOKEN, which is not set"):
        call_server("x", "http://127.0.0.1:9/edits", token_variable="NO_TOKEN")


def test_tables_of_items_and_of_results(tiny, tmp_path):
    source = tiny.items[0].source
    (tmp_path / "items.csv").write_text(
        f"id,video,prompt,type,start\na,{source},make it night,night,0.1\nb,gone.mp4,make it day,day,\n"
    )
    items = read_item_table(tmp_path / "items.csv").items
    assert [(item.id, item.kind, item.start) for item in items] == [("a", "night", 0.1), ("b", "day", None)]
    assert (
        items[0].source == source
        and items[1].source == tmp_path / "gone.mp4"
        and not items[1].source.exists()
    )
    edited = codec.Video.from_array(np.zeros((6, 32, 48, 3), np.uint8), 25)
    edited.save(tmp_path / "night.mp4")
    with (tmp_path / "out.csv").open("w") as file:
        csv.writer(file).writerows([("id", "path"), ("a", "night.mp4"), ("c", "night.mp4")])
    method = ResultTable("theirs", tmp_path / "out.csv")
    assert method.path(items[0]) == tmp_path / "night.mp4" and method.path(items[1]) is None
    assert method.extra(items) == ["c"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("source,instruction\na.mp4,\n", "line 2: no instruction"),
        ("source,instruction,start\na.mp4,x,soon\n", 'start: expected seconds, got "soon"'),
        ("source,instruction,colour\na.mp4,x,1\n", "expected columns among .*; got colour"),
        ("source,video,instruction\na.mp4,b.mp4,x\n", "expected one column for each thing"),
        ("source,instruction\n", "expected items"),
    ],
)
def test_tables_of_items_with_faults(tmp_path, text, message):
    (tmp_path / "items.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_item_table(tmp_path / "items.csv")


def test_tables_of_results_with_faults(tmp_path):
    for text, message in (
        ("id,file\na,b\n", "line 2: expected an id and a path"),
        ("id,path\na,b\na,c\n", "a stands there twice"),
    ):
        (tmp_path / "out.csv").write_text(text)
        with pytest.raises(InputError, match=message):
            ResultTable("x", tmp_path / "out.csv")
