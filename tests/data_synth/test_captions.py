"""Dense-caption mining: the arithmetic, every filter, both file kinds, both writers."""

import csv
import json
import sys
import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from data_synth import footage, generate
from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest
from data_synth.generate import PairOptions
from data_synth.language import caption_rewriting as cw
from data_synth.language import caption_rules
from data_synth.recipes import captions
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from tests.data_synth.outcomes import reason_of, reasons_of
from v2v.errors import InputError
from v2v.video import video as codec

T = 9


def numbered(path, seconds=8.0, fps=30.0):
    """A clip whose frames say which they are: brightness of the left half is 20 + 2 k up to 255, the right half moves."""
    n = round(seconds * fps)
    frames = np.zeros((n, 32, 48, 3), np.uint8)
    for k in range(n):
        frames[k, :, :24] = 20 + k % 230
        frames[k, :, 24:] = (np.arange(24) * 9 + 3 * k)[None, :, None] % 200 + 30
    codec.write_video(codec.Video.from_array(frames, fps), path)
    return path


def mined(events, cuts=()):
    return captions.CaptionRecipe(tuple(events), cw.RuleWriter(), lambda path: cuts)


def event(path, start=2.0, end=4.5, caption="a man jumps over the wall"):
    return captions.Event(Path(path), start, end, caption)


def fault_of(event):
    return event.rejection.reason if event.rejection else ""


def test_source_is_before_and_target_from_the_start(tmp_path):
    path = numbered(tmp_path / "v.mp4")
    pair = mined([event(path, 2.0, 4.5)])(0, T, 32, 48)
    assert pair.instructions == ("make a man jump over the wall",) and pair.edit == "continuation"
    index = [round(v[:, 4:20].mean() - 20) for v in (*pair.source, *pair.target)]
    want = [
        2 * (30 + d) for d in range(-T, T)
    ]  # 30 frames a second seen 15 times a second; 2 s is resampled frame 30
    assert np.abs(np.array(index) - want).max() <= 2  # H.264 grey levels; neighbours differ by 2
    assert pair.mask.min() == 255 and pair.provenance["clip"] == "v.mp4"


def test_resampling_takes_the_frame_on_screen():
    times = np.arange(60) / 24
    index = footage.resample_indices(times, 2.5, 15.0)
    assert len(index) == 37 and index.tolist()[:6] == [0, 1, 3, 4, 6, 8]  # floor(24 k / 15)
    np.testing.assert_array_equal(index, [int(24 * k / 15 + 1e-6) for k in range(37)])
    irregular = np.array([0.0, 0.5, 0.55, 1.9])
    assert footage.resample_indices(irregular, 2.0, 2.0).tolist() == [0, 1, 2, 2]
    assert footage.resample_indices(np.array([3.0, 3.1]), 0.2, 15.0).tolist() == [
        0,
        0,
        1,
    ]  # clocks that don't start at 0


@pytest.mark.parametrize(
    "start, end, T, fault",
    [
        (5.3, 8.0, 81, "too close to the beginning"),
        (5.4, 8.0, 81, ""),
        (6.0, 8.0, 81, "event too short"),
        (6.0, 8.01, 81, ""),
        (6.0, 6 + 16.3, 81, "event far longer than the clip"),
        (6.0, 6 + 16.1, 81, ""),
    ],
)
def test_the_papers_conditions_on_times(start, end, T, fault):
    rejection = captions.reject_span(captions.Event(Path("v"), start, end, "c"), T)
    assert rejection == (Rejected(fault) if fault else None)


def test_conditions_on_the_video(tmp_path):
    path = numbered(tmp_path / "v.mp4", seconds=4.0)
    assert mined([event(path, 3.8, 6.0)])(0, T, 32, 48) == Rejected("too close to the end")
    assert mined([event(path, 1.0, 3.1)])(0, 31, 32, 48) == Rejected("too close to the beginning")
    short = numbered(tmp_path / "s.mp4", seconds=1.0)
    assert mined([event(short, 0.7, 2.8)])(0, T, 32, 48) == Rejected("video too short")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert mined([event(tmp_path / "bad.mp4")])(0, T, 32, 48).reason.startswith(
        "unreadable clip bad.mp4: expected a video"
    )
    # T / 15 = 0.6 s to either side of the start at 2 s
    for cuts, want in (((1.39, 2.61), None), ((1.5,), "scene cut inside"), ((2.5,), "scene cut inside")):
        outcomes = mined([event(path, 2.0, 4.0 + 0.1)], cuts)(0, T, 32, 48)
        assert reason_of(outcomes) == (want or "")
    assert mined([event(path, caption="a lovely day")])(0, T, 32, 48) == Rejected("empty instruction")
    assert mined([event(path)])(1, T, 32, 48) == Rejected("past the last row")


def test_both_file_kinds_and_bad_times(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("v_a.mp4", "videos/v_b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    table = {
        "v_a": {
            "duration": 30.0,
            "timestamps": [[10, 14], [2, 5], [12, 20], [-1, 3], [8, 8], [25, 40]],
            "sentences": ["c1", " c0 ", "overlaps", "negative", "empty span", "past the end"],
        },
        "v_b": {"duration": 9.0, "timestamps": [[1, 4]], "sentences": ["  "]},
        "v_gone": {"duration": 9.0, "timestamps": [[1, 4]], "sentences": ["x"]},
    }
    (tmp_path / "train.json").write_text(json.dumps(table))
    events = captions.read_events(tmp_path / "train.json")
    assert {(e.caption, fault_of(e)) for e in events} == {
        ("c0", ""),
        ("c1", ""),
        ("overlaps", "begins inside an earlier event"),
        ("negative", "bad times"),
        ("empty span", "bad times"),
        ("past the end", "bad times"),
        ("", "empty caption"),
        ("x", "video missing"),
    }
    lines = [
        {"video": "v_a.mp4", "start": 3, "end": 6.5, "caption": "c"},
        {"video": "v_a.mp4", "start": 1, "end": 2, "caption": "d"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert [(e.start, fault_of(e)) for e in captions.read_events(tmp_path / "a.jsonl")] == [
        (1.0, ""),
        (3.0, ""),
    ]
    (tmp_path / "m.jsonl").write_text(
        "\n".join([json.dumps(lines[0]), "{", '{"video": null}', json.dumps(lines[1])])
    )
    assert [fault_of(e) for e in captions.read_events(tmp_path / "m.jsonl")] == [
        "malformed: line 2: Expecting property name enclosed in double quotes at column 2",
        "malformed: line 3: expected a field caption, got video",
        "",
        "",
    ]
    (tmp_path / "n.jsonl").write_text('\n{"video"\n')
    with pytest.raises(InputError, match="got malformed: line 2: Expecting ':' delimiter at column 9"):
        captions.read_events(tmp_path / "n.jsonl")
    good = {"duration": 9, "timestamps": [[1, 3], [4, "x"], [7]], "sentences": ["a", "b", "c"]}
    table = {"v_a": good, "v_c": {"duration": 9}, "v_d": [], "v_e": {**good, "duration": None}}
    (tmp_path / "t.json").write_text(json.dumps(table))
    faults = {fault_of(e) for e in captions.read_events(tmp_path / "t.json")}
    assert {
        "",
        'malformed: v_a, event 2: end: expected seconds, got "x"',
        "malformed: v_a, event 3: start: expected seconds, got [7]",
        "malformed: v_d: expected duration and as many timestamps as sentences, got []",
        "malformed: v_e, event 1: duration: expected seconds, got null",
    } <= faults and len(faults) == 8
    (tmp_path / "t.json").write_text("[1, 2]")
    with pytest.raises(InputError, match=r"got \[1, 2\] where an object is expected"):
        captions.read_events(tmp_path / "t.json")
    for name, text in (("b.jsonl", '{"video": "v"}'), ("c.json", "[1]"), ("d.json", "{"), ("e.jsonl", "7")):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=f"{name}: expected ActivityNet"):
            captions.read_events(tmp_path / name)


def test_a_caption_that_sums_up_a_video_hides_no_event(tmp_path):
    (tmp_path / "v_a.mp4").write_bytes(b"x")
    spans = [[0, 5.2], [1.2, 3.3], [2.0, 4.5], [3.4, 5.0]]
    table = {"v_a": {"duration": 6.0, "timestamps": spans, "sentences": list("abcd")}}
    (tmp_path / "t.json").write_text(json.dumps(table))
    found = {event.caption: fault_of(event) for event in captions.read_events(tmp_path / "t.json")}
    assert found == {"a": "", "b": "", "c": "begins inside an earlier event", "d": ""}


def test_continuations_run_on_without_a_transition(tmp_path, monkeypatch):
    monkeypatch.setattr(captions, "_import_scenedetect", lambda: None)
    monkeypatch.setattr(captions, "detect_cuts", lambda path: ())
    numbered(tmp_path / "v.mp4")
    line = {"video": "v.mp4", "start": 2.0, "end": 4.5, "caption": "a man jumps over the wall"}
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    sources = Sources(license="CC-BY-4.0", sets=(("captions", str(tmp_path / "a.jsonl")),))
    pair = generate.make_pair(0, PairOptions(T, 32, 48, ("captions",), 1.0, sources=sources))
    assert pair.active == (0, T) and "transition" not in pair.provenance
    assert pair.provenance["license"] == "CC-BY-4.0"


@pytest.mark.parametrize(
    "caption, want",
    [
        ("A man jumps over the fence.", "make a man jump over the fence"),
        ("The two women dance and clap their hands.", "make the two women dance and clap their hands"),
        (
            "A little girl in a red dress picks up a ball and throws it to the dog.",
            "make a little girl in a red dress pick up a ball and throw it to the dog",
        ),
        ("She carries the boxes, then washes her hands", "make her carry the boxes, then wash her hands"),
        ("Then, the chef is pouring oil in a pan.", "make the chef start pouring oil in a pan"),
        ("He goes outside", "make him go outside"),
        ("They run across the field.", "make them run across the field"),
        ("Anna has lunch", "make Anna have lunch"),
        ("A sunny beach", ""),
        ("", ""),
        ("the walks in the park", ""),
        ("The camera zooms in", "make the camera zoom in"),
    ],
)
def test_rules(caption, want):
    assert caption_rules.rewrite_as_imperative(caption) == want


def test_rules_of_long_captions():
    """The time follows from the number of words, not from its square."""
    caption = "the man and the woman " * 25_000 + "walks off"
    assert caption_rules.rewrite_as_imperative(caption).startswith("make the man and the woman")


def test_rules_are_right_or_silent():
    """Of sixty sentences like those of ActivityNet-Captions, with what each should become, none becomes anything else."""
    with (Path(__file__).parent / "caption_sentences.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    answers = [(caption_rules.rewrite_as_imperative(row["caption"]), row) for row in rows]
    assert len(rows) == 60
    assert [(text, row["caption"]) for text, row in answers if text not in ("", row["instruction"])] == []
    assert sum(bool(text) for text, _ in answers) >= 45


@pytest.mark.parametrize(
    "caption",
    [
        "The girl in the red top serves and the girl in blue returns it.",
        "The man has finished painting the wall.",
        "A person in a costume meows and the crowd cheers.",
        "The kitten opens its eyes and meows.",
        "The athlete flurbs down the track and jumps into the pit.",
    ],
)
def test_rules_are_silent_where_they_are_not_sure(caption):
    assert caption_rules.rewrite_as_imperative(caption) == ""


@pytest.mark.parametrize(
    "caption, want",
    [
        ("a big grey rabbit on a meadow", False),
        ("A big grey rabbit stands on a green meadow and stretches", True),
        ("two people walking", False),
        ("people walk in a street", True),
        ("a man who wears a hat", False),
    ],
)
def test_captions_that_tell_what_happens(caption, want):
    assert caption_rules.is_clause(caption) is want


def test_missing_scenedetect_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(InputError, match=r"pip install 'v2v-edit\[captions\]'"):
        captions.build_caption_recipe(tmp_path / "x.json")


def test_pyscenedetect_finds_a_cut_and_the_recipe_uses_it(tmp_path):
    pytest.importorskip("scenedetect")
    rng = np.random.default_rng(0)
    scenes = [rng.integers(0, 256, (1, 48, 64, 3), np.uint8) for _ in range(2)]
    frames = np.concatenate([np.repeat(s, 60, 0) for s in scenes])
    frames[:, 10:30, 10:30] += np.arange(120, dtype=np.uint8)[:, None, None, None]  # something moves
    codec.write_video(codec.Video.from_array(frames, 15.0), tmp_path / "v.mp4")
    cuts = captions.detect_cuts(str(tmp_path / "v.mp4"))
    assert len(cuts) == 1 and abs(cuts[0] - 4.0) < 0.1
    rows = [{"video": "v.mp4", "start": s, "end": s + 2.2, "caption": "a man jumps"} for s in (1.0, 3.8, 6.1)]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sources = Sources(sets=(("captions", str(tmp_path / "c.jsonl")),))
    assert generate.count_rows(("captions",), sources) == 3
    outcomes = generate.make_block(range(3), PairOptions(T, 32, 32, ("captions",), 0.0, sources=sources))
    assert reasons_of(outcomes) == ["", "captions: scene cut inside", ""]


class Endpoint(BaseHTTPRequestHandler):
    requests: list = []
    faults: list = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        captions_sent = json.loads(body["messages"][1]["content"])
        self.requests.append((self.path, self.headers.get("Authorization"), body["model"], captions_sent))
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            self.send_error(fault)
            return
        texts = ["" if "nothing" in c else f"make it so that {c}" for c in captions_sent]
        content = fault if isinstance(fault, str) else "```json\n" + json.dumps(texts) + "\n```"
        answer = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Endpoint.requests.clear()
    Endpoint.faults.clear()
    monkeypatch.setenv("W_KEY", "s3cret")
    path = tmp_path / "writer.toml"
    path.write_text(
        f'url = "http://127.0.0.1:{server.server_address[1]}/v1"\nmodel = "m"\nkey = "W_KEY"\nbatch = 2\n'
        "retries = 2\nseconds = 20\n"
    )
    yield path
    server.shutdown()
    server.server_close()


def quick(path):
    return cw.dataclasses.replace(cw.load_endpoint_writer(path), pause=0.001)


def test_endpoint_batches_caches_and_authorises(endpoint):
    writer = quick(endpoint)
    assert writer(["a", "b", "nothing here"]) == ["make it so that a", "make it so that b", ""]
    assert [r[3] for r in Endpoint.requests] == [["a", "b"], ["nothing here"]]
    assert Endpoint.requests[0][:3] == ("/v1/chat/completions", "Bearer s3cret", "m")
    assert quick(endpoint)(["nothing here", "c", "a"]) == ["", "make it so that c", "make it so that a"]
    assert [r[3] for r in Endpoint.requests[2:]] == [["c"]]  # the rest, the empty one too, was on disk


@pytest.mark.parametrize(
    "faults, reason, calls",
    [
        ([500, 503], "", 3),
        ([500] * 3, "writer answered HTTP 500", 3),
        ([401], "writer answered HTTP 401", 1),
        (["I can't do that"] * 3, "writer answered no list of strings", 3),
        (['["one", "two"]'] * 3, "writer answered another number of sentences", 3),
        (["[1]", '["fine"]'], "", 2),
    ],
)
def test_endpoint_faults_are_bounded_and_named(endpoint, faults, reason, calls):
    Endpoint.faults.extend(faults)
    outcomes = quick(endpoint)(["a"])
    assert len(Endpoint.requests) == calls
    outage = "401" in reason
    assert (
        outcomes == [Rejected(reason, "HTTP" in reason, outage=outage)]
        if reason
        else isinstance(outcomes[0], str)
    )
    Endpoint.faults.clear()
    assert isinstance(quick(endpoint)(["a"])[0], str)  # a failure is not cached


def test_failures_of_the_writer_are_the_rows_reason(tmp_path, endpoint):
    path = numbered(tmp_path / "v.mp4", 4.0)
    Endpoint.faults.extend([500] * 3)
    recipe = captions.CaptionRecipe(
        (event(path), event(path, caption="nothing")), quick(endpoint), lambda p: ()
    )
    assert recipe.make_pairs([0, 1], T, 32, 32) == [Rejected("writer answered HTTP 500", transient=True)] * 2
    pair, none = recipe.make_pairs([0, 1], T, 32, 32)
    assert none == Rejected("empty instruction") and pair.instructions == (
        "make it so that a man jumps over the wall",
    )
    assert pair.provenance["writer"].startswith("m, prompt ")


@pytest.mark.parametrize(
    "text, message",
    [
        ('url = "u"\n', "expected url and model"),
        ('url = "u"\nmodel = 3\n', "model: expected one of"),
        ('url = "u"\nmodel = "m"\nkey = "NO_SUCH_KEY"\n', "NO_SUCH_KEY.*not set"),
        ("speed = 1\n", "speed: expected one of"),
    ],
)
def test_writer_descriptions_are_checked(tmp_path, text, message):
    (tmp_path / "w.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        cw.load_endpoint_writer(tmp_path / "w.toml")


def test_a_writer_that_is_down_or_slow_is_asked_again_later(tmp_path, endpoint, monkeypatch):
    """Its rows are not dropped for good: the build stops, and goes on where it stood."""
    path = numbered(tmp_path / "v.mp4", 4.0)
    down = cw.dataclasses.replace(quick(endpoint), url="http://127.0.0.1:1/v1", retries=0)
    recipe = captions.CaptionRecipe((event(path),), down, lambda p: ())
    assert recipe(0, T, 32, 32) == Rejected("writer cannot be reached", transient=True, outage=True)

    def wait(*_, **__):
        raise urllib.error.URLError(TimeoutError("timed out"))

    monkeypatch.setattr(cw.chat_endpoint.urllib.request, "urlopen", wait)
    assert down(["a"]) == [Rejected("writer took too long", transient=True, outage=True)]


def test_a_build_stops_while_the_writer_is_down_and_then_goes_on(tmp_path, endpoint, monkeypatch):
    monkeypatch.setattr(captions, "_import_scenedetect", lambda: None)
    monkeypatch.setattr(captions, "detect_cuts", lambda path: ())
    lines = []
    for i in range(9):
        numbered(tmp_path / f"{i}.mp4", 4.0, fps=10 + 5 * i)
        line = {"video": f"{i}.mp4", "start": 1.0, "end": 3.5, "caption": f"a man jumps over the wall {i}"}
        lines.append(json.dumps(line))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    endpoint.write_text(endpoint.read_text().replace("retries = 2", "retries = 0"))
    sources = Sources(sets=(("captions", str(tmp_path / "a.jsonl")),), writer=str(endpoint))
    request = SynthRequest(
        out=str(tmp_path / "set"),
        pairs=9,
        edits=("captions",),
        frames=T,
        height=32,
        width=48,
        sources=sources,
    )
    Endpoint.faults.extend([503] * 5)
    with pytest.raises(
        InputError, match="writer answered HTTP 503.*see that the writer of .*writer.toml works"
    ):
        build_dataset(request)
    Endpoint.faults.clear()
    assert build_dataset(request)["dropped"].get("captions: writer answered HTTP 503") is None


def test_what_the_cache_of_a_writer_holds_is_checked(endpoint):
    writer = quick(endpoint)
    assert writer(["a"]) == ["make it so that a"]
    (file,) = Path(writer.cache).rglob("*.json")
    for content in ("5", "[]", "{", "null"):
        file.write_text(content)
        assert writer(["a"]) == ["make it so that a"]
