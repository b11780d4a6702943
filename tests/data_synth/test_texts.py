"""Texts that people bring along: what UTF-8 or a float can't hold, byte order marks, other encodings and other shapes."""

import json
import pickle

import pytest

from data_synth import footage, generate, quality
from data_synth.dataset.build import build_dataset, open_dataset
from data_synth.dataset.request import SynthRequest
from data_synth.experts import spec
from data_synth.language import caption_rewriting as cw
from data_synth.recipes import captions
from data_synth.recipes.published import PUBLISHED
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from tests.data_synth.test_published import SOUND, TURNS, film
from v2v.errors import InputError

HALF = "make it blue \ud83d"
EVENT = {"video": "a.mp4", "start": 1.0, "end": 4.0, "caption": "a man jumps"}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize(
    "name, place, good, bad",
    [
        ("ditto", "training_metadata/x.json", SOUND, {**SOUND, "instruction": HALF}),
        ("ditto", "training_metadata/x.json", SOUND, {**SOUND, "edited_path": "\udcff.mp4"}),
        ("ditto", "training_metadata/x.json", SOUND, {"\ud83d": 1}),
        (
            "senorita",
            "updated_data_x.json",
            {"source_video_path": "./v/a.mp4", "target_video_path": "./v/b.mp4", "prompt": "make it blue"},
            {"source_video_path": "./v/a.mp4", "target_video_path": "./v/b.mp4", "prompt": HALF},
        ),
        (
            "gpt-image-edit",
            "training_json/omniedit_gpt.json",
            {"image": ["a.png", "b.png"], "conversations": TURNS},
            {"image": ["a.png", "b.png"], "conversations": [{"from": "human", "value": HALF}]},
        ),
    ],
)
def test_half_a_character_costs_its_row(tmp_path, name, place, good, bad):
    write_json(tmp_path / place, [good, bad])
    first, second = PUBLISHED[name](tmp_path).table
    assert not first.rejection and second.rejection.reason.startswith("malformed row: ")
    second.rejection.reason.encode()


def test_a_set_with_half_a_character_in_one_row_is_built(tmp_path):
    film(tmp_path / "videos/a.mp4", 20)
    film(tmp_path / "videos/b.mp4", 90)
    write_json(tmp_path / "training_metadata/x.json", [{**SOUND, "instruction": HALF}, SOUND])
    sources = Sources(sets=(("ditto", str(tmp_path)),))
    request = SynthRequest(
        out=str(tmp_path / "set"), pairs=2, edits=("ditto",), frames=4, height=24, width=32, sources=sources
    )
    build_dataset(request)
    assert len(open_dataset(tmp_path / "set")) == 1
    report = json.loads((tmp_path / "set" / "report.json").read_text())
    assert [reason[:40] for reason in report["dropped"]] == ["ditto: malformed row: x.json, row 1: ins"]


def test_no_pair_has_text_that_utf8_cannot_hold():
    pair, _ = generate.find_pair(0)
    assert quality.find_rejection(pair) is None
    for change in ({"instructions": (HALF,)}, {"source_caption": HALF}, {"target_caption": "\udcff"}):
        bad_pair = captions.dataclasses.replace(pair, **change)
        assert quality.find_rejection(bad_pair) == Rejected("text that UTF-8 can't hold")


@pytest.mark.parametrize(
    "number", ["1" + "0" * 400, "-1" + "0" * 400, "1" + "0" * 5000, "NaN", "null", "[]", '"x"']
)
@pytest.mark.parametrize("key", ["start", "end"])
def test_times_that_floats_cannot_hold_cost_their_event(tmp_path, number, key):
    """JSON numbers have no limits."""
    line = json.dumps({**EVENT, key: 0}).replace(f'"{key}": 0', f'"{key}": {number}')
    (tmp_path / "a.jsonl").write_text(json.dumps(EVENT) + "\n" + line + "\n")
    (tmp_path / "a.mp4").write_bytes(b"x")
    good, bad = sorted(captions.read_events(tmp_path / "a.jsonl"), key=lambda e: e.is_malformed)
    assert not good.rejection and bad.rejection.reason.startswith("malformed: line 2: ")


def test_times_in_activitynets_file(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    huge = "1" + "0" * 400
    text = (
        '{"a": {"duration": %s, "timestamps": [[1, 4], [%s, 7]], "sentences": ["a man jumps", "he lands"]}}'
    )
    (tmp_path / "t.json").write_text(text % (9, huge))
    assert sum(event.is_malformed for event in captions.read_events(tmp_path / "t.json")) == 1
    (tmp_path / "t.json").write_text(text % (huge, 5))
    with pytest.raises(InputError, match=r"t\.json: .*duration: expected seconds"):
        captions.read_events(tmp_path / "t.json")


@pytest.mark.parametrize(
    "line", [json.dumps({**EVENT, "caption": HALF}), "[" * 100_000, json.dumps({**EVENT, "video": "\ud83d.mp4"}),
             json.dumps({**EVENT, "video": "x" * 300 + ".mp4"})]
)  # fmt: skip
def test_lines_of_captions_that_cannot_be_used(tmp_path, line):
    (tmp_path / "a.jsonl").write_text(json.dumps(EVENT) + "\n" + line + "\n")
    (tmp_path / "a.mp4").write_bytes(b"x")
    good, bad = sorted(captions.read_events(tmp_path / "a.jsonl"), key=lambda e: e.is_malformed)
    assert not good.rejection and bad.is_malformed
    bad.rejection.reason.encode()


def test_names_of_videos_too_long_for_a_path(tmp_path):
    entry = {"duration": 9, "timestamps": [[1, 4]], "sentences": ["a man jumps"]}
    (tmp_path / "a.mp4").write_bytes(b"x")
    write_json(tmp_path / "t.json", {"a": entry, "x" * 300: entry, "\ud83d": entry})
    events = captions.read_events(tmp_path / "t.json")
    assert sum(event.rejection is None for event in events) == 1 and len(events) == 3


def write_sets(folder, encoding):
    """Write one listing of each layout with a row in an encoding; return their places by name."""
    rows = {
        "openve": ("x.csv", "video,original_video,prompt\nb.mp4,a.mp4,make it bl\xfce\n"),
        "insvie": ("x.csv", "v,c,i,e,f\na.mp4,a,make it bl\xfce,b,v\n"),
        "refvie": ("x.csv", "prompt,src_video,tgt_video,ref_image\nmake it bl\xfce,a.mp4,b.mp4,c.png\n"),
        "ditto": ("training_metadata/x.json", json.dumps([{**SOUND, "instruction": "make it bl\xfce"}], ensure_ascii=False)),
        "senorita": ("updated_data_x.json", json.dumps([{"source_video_path": "./v/a.mp4", "target_video_path": "./v/b.mp4", "prompt": "make it bl\xfce"}], ensure_ascii=False)),
        "gpt-image-edit": ("data.txt", "b,y.json,true\n"),
    }  # fmt: skip
    for name, (place, text) in rows.items():
        path = folder / name / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(encoding))
    pictures = json.dumps(
        [{"image": ["a.png", "b.png"], "conversations": [{"from": "human", "value": "make it bl\xfce"}]}],
        ensure_ascii=False,
    )
    (folder / "gpt-image-edit" / "y.json").write_bytes(pictures.encode(encoding))
    return {name: folder / name for name in rows}


def test_byte_order_marks_are_skipped(tmp_path):
    for name, folder in write_sets(tmp_path, "utf-8-sig").items():
        (row,) = PUBLISHED[name](folder).table
        assert not row.rejection and row.instruction == "make it bl\xfce", name
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(EVENT).encode())
    table = {"a": {"duration": 9, "timestamps": [[1, 4]], "sentences": ["a man jumps"]}}
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(table).encode())
    for name in ("a.jsonl", "a.json"):
        (event,) = captions.read_events(tmp_path / name)
        assert not event.rejection


def test_other_encodings_are_named_with_the_file(tmp_path):
    for name, folder in write_sets(tmp_path, "latin-1").items():
        with pytest.raises(
            InputError, match=r"\.(csv|json): expected text in UTF-8, got byte 0xfc at \d+; save it as UTF-8"
        ):
            PUBLISHED[name](folder)
    line = json.dumps({**EVENT, "caption": "J\xfcrgen jumps"}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_bytes(line.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.jsonl: expected text in UTF-8"):
        captions.read_events(tmp_path / "a.jsonl")


@pytest.mark.parametrize("text", ["[1, 2", "[" * 200_000, '{"a": 1}', "", "5"])
def test_documents_of_another_shape(tmp_path, text):
    for name, place in (("ditto", "training_metadata/x.json"), ("senorita", "updated_data_x.json")):
        path = tmp_path / name / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        with pytest.raises(InputError, match="expected a JSON list"):
            PUBLISHED[name](tmp_path / name)
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError, match=r"t\.json: expected ActivityNet-Captions JSON"):
        captions.read_events(tmp_path / "t.json")


def test_a_caption_beside_a_clip_in_another_encoding_is_named(tmp_path):
    film(tmp_path / "walk.mp4", 20)
    (tmp_path / "walk.txt").write_bytes("a caf\xe9".encode("latin-1"))
    clips = footage.read_clip_folder(tmp_path)
    reason = "unreadable caption walk.txt: expected text in UTF-8, got byte 0xe9 at 5, save it as UTF-8"
    assert clips(0, 4, 24, 32) == Rejected(reason)
    options = generate.PairOptions(4, 24, 32, ("to-blur",), 0.0, sources=Sources(clips=str(tmp_path)))
    with pytest.raises(
        InputError, match="unreadable caption walk.txt.*save it as UTF-8'; mend a file that this names"
    ):
        list(generate.iterate_pairs(1, options))
    (tmp_path / "walk.txt").write_bytes("\ufeffa caf\xe9\n".encode())
    assert clips(0, 4, 24, 32).caption == "a caf\xe9"


def test_descriptions_in_toml(tmp_path):
    path = tmp_path / "w.toml"
    path.write_bytes(b'\xef\xbb\xbfurl = "u"\nmodel = "m"\n')
    assert cw.load_endpoint_writer(path).url == "u"
    path.write_bytes(b'url = "\xe9"\n')
    for load in (cw.load_endpoint_writer, spec.load_spec):
        with pytest.raises(InputError, match=r"w\.toml: expected text in UTF-8"):
            load(path)


@pytest.mark.parametrize("limit", [footage.MAX_DECODED_BYTES, 1])
def test_a_clip_that_changed_is_decoded_again(tmp_path, monkeypatch, limit):
    """Also one whose frames are not held."""
    monkeypatch.setattr(footage, "MAX_DECODED_BYTES", limit)
    path = tmp_path / "a.mp4"
    film(path, 20, frames=6)
    first = footage.select_frames(footage.decode_clip(str(path)), range(6), 24, 32)
    film(path, 90, frames=8)
    second = footage.select_frames(footage.decode_clip(str(path)), range(8), 24, 32)
    assert len(first) == 6 and len(second) == 8 and abs(first[0].mean() - second[0].mean()) > 20


def test_readers_of_files_are_pickled_by_name():
    assert pickle.loads(pickle.dumps(footage.decode_clip)) is footage.decode_clip
    assert pickle.loads(pickle.dumps(captions.detect_cuts)) is captions.detect_cuts


def test_columns_of_another_table_are_one_line(tmp_path):
    (tmp_path / "x.csv").write_text('video,"original_video\nb.mp4,a.mp4\n')
    with pytest.raises(InputError, match="expected columns") as error:
        PUBLISHED["openve"](tmp_path)
    assert "\n" not in str(error.value)
