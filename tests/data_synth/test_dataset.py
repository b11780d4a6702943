"""The stored set: built without TensorFlow, readable, repeatable, refused when something else is in the way."""

import base64
import dataclasses
import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from data_synth import footage, quality
from data_synth.dataset import build as module
from data_synth.dataset import folders, old_shards, request, shards
from data_synth.dataset.build import build_dataset, open_dataset
from data_synth.dataset.request import SynthRequest
from data_synth.generate import PairOptions, find_pair
from data_synth.recipes import control, registry
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from tests.notes import expect_note
from v2v.data import pair
from v2v.errors import InputError
from v2v.video import video

SMALL = {"frames": 2, "height": 16, "width": 24}


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_eight_pairs_without_tensorflow(tmp_path):
    code = f"""
import json, sys
from data_synth.dataset.build import open_dataset, build_dataset
from data_synth.dataset.request import SynthRequest
from v2v.data import pair
report = build_dataset(SynthRequest({str(tmp_path / "set")!r}, 8, seed=5))
source = open_dataset({str(tmp_path / "set")!r})
got = [pair.decode_pair(source[i]) for i in range(len(source))]
assert [p.seed for p in got] == sorted(p.seed for p in got), "seed order"
assert got[0].source.shape == (9, 64, 64, 3)
assert not any(name.split(".")[0] in ("tensorflow", "jax", "torch") for name in sys.modules), "heavy imports"
print(json.dumps([report["pairs"], len(got)]))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert json.loads(run.stdout) == [8, 8]  # and nothing else on standard output


def test_same_request_same_bytes_and_no_second_build(tmp_path):
    reports = [build_dataset(SynthRequest(tmp_path / name, 5, seed=9, **SMALL)) for name in ("a", "b")]
    assert reports[0] == reports[1] == json.loads((tmp_path / "a" / "report.json").read_text())
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    stamp = (tmp_path / "a" / "report.json").stat().st_mtime_ns
    assert build_dataset(SynthRequest(tmp_path / "a", 5, seed=9, **SMALL)) == reports[0]
    assert (tmp_path / "a" / "report.json").stat().st_mtime_ns == stamp
    assert pair.decode_pair(open_dataset(tmp_path / "a")[0]).source.shape == (2, 16, 24, 3)


def test_same_bytes_in_another_process(tmp_path):
    """Protobuf orders a map's fields by a number that each process draws."""
    code = (
        "from data_synth.dataset.build import build_dataset\n"
        "from data_synth.dataset.request import SynthRequest\n"
        f"build_dataset(SynthRequest({str(tmp_path / 'a')!r}, 40, frames=2, height=16, width=24))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    build_dataset(SynthRequest(tmp_path / "b", 40, **SMALL))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_other_contents_are_not_overwritten(tmp_path):
    build_dataset(SynthRequest(tmp_path / "a", 2, **SMALL))
    with pytest.raises(InputError, match="of another request, with pairs 2, not 3; .*v2v pairs extend"):
        build_dataset(SynthRequest(tmp_path / "a", 3, **SMALL))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="expected a new folder"):
        build_dataset(SynthRequest(tmp_path / "mine", 2, **SMALL))
    with pytest.raises(InputError, match="dataset_info.json"):
        open_dataset(tmp_path / "mine")


def test_what_an_older_renderer_made_is_another_request(tmp_path, monkeypatch):
    planar = build_dataset(SynthRequest(tmp_path / "planar", 2, **SMALL))
    controls = build_dataset(SynthRequest(tmp_path / "drawn", 2, edits=("to-canny", "recolour"), **SMALL))
    assert "versions" not in planar["request"]
    assert controls["request"]["versions"] == {"control": control.VERSION}
    families = tuple(
        dataclasses.replace(f, version="of tomorrow") if f is control.FAMILY else f
        for f in registry.ALL_FAMILIES
    )
    monkeypatch.setattr(registry, "ALL_FAMILIES", families)
    build_dataset(SynthRequest(tmp_path / "planar", 2, **SMALL))
    with pytest.raises(InputError, match="holds pairs of another request"):
        build_dataset(SynthRequest(tmp_path / "drawn", 2, edits=("to-canny", "recolour"), **SMALL))


def test_an_interrupted_build_goes_on_where_it_stood(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_BLOCK", 4)
    build_dataset(SynthRequest(tmp_path / "whole", 12, seed=3, **SMALL))
    count = iter(range(100))

    def interrupt(_):
        if next(count) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(SynthRequest(tmp_path / "a", 12, seed=3, **SMALL), progress=interrupt)
    assert not (tmp_path / "a").exists()  # nothing under the final name
    new_seeds = []
    make = module.make_records
    monkeypatch.setattr(
        module, "make_records", lambda seeds, options: new_seeds.extend(seeds) or make(seeds, options)
    )
    build_dataset(SynthRequest(tmp_path / "a", 12, seed=3, **SMALL))
    assert new_seeds and min(new_seeds) >= 3 + 7, "finished shards are not made again"
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "whole"]


def test_kill_minus_nine_and_again_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_BLOCK", 2)
    out = tmp_path / "a"
    code = (
        f"from data_synth.dataset import build, request, shards\nshards.MAX_BLOCK = 2\n"
        f"build.build_dataset(request.SynthRequest({str(out)!r}, 16, seed=3, frames=2, height=16, width=24))"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while (
        len(list(tmp_path.glob(".a.*/shards/*/*.jsonl"))) < 2
        and time.monotonic() < deadline
        and run.poll() is None
    ):
        time.sleep(0.005)
    run.kill()
    assert run.wait() == -9, "the build was over before it could be killed"
    assert not out.exists()
    finished_shards = {p: p.read_bytes() for p in tmp_path.glob(".a.*/shards/*/*.jsonl")}
    assert finished_shards
    new_seeds = []
    make = module.make_records
    monkeypatch.setattr(
        module, "make_records", lambda seeds, options: new_seeds.extend(seeds) or make(seeds, options)
    )
    build_dataset(SynthRequest(out, 16, seed=3, **SMALL))
    assert new_seeds and new_seeds[0] == 3 + 2 * len(finished_shards), "finished shards are not made again"
    monkeypatch.setattr(module, "make_records", make)
    build_dataset(SynthRequest(tmp_path / "whole", 16, seed=3, **SMALL))
    assert contents(out) == contents(tmp_path / "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "whole"]


def test_workers_change_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_BLOCK", 4)
    for workers in (1, 2):
        build_dataset(SynthRequest(tmp_path / str(workers), 9, seed=2, workers=workers, **SMALL))
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_a_full_disk_is_named_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_BLOCK", 2)
    real, count = shards.os.fsync, iter(range(100))

    def full(fd):
        if next(count) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd)

    monkeypatch.setattr(shards.os, "fsync", full)
    with pytest.raises(InputError, match="disk is full.*run the same command again"):
        build_dataset(SynthRequest(tmp_path / "a", 8, **SMALL))
    stored = list(tmp_path.glob(".a.*/shards/*/*"))
    assert sorted(p.suffix for p in stored) == [".array_record"] * 2 + [".jsonl"] * 2
    assert build_dataset(SynthRequest(tmp_path / "a", 8, **SMALL))["pairs"] == 8


@pytest.mark.parametrize(
    "error, cause",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (RuntimeError(f"write() failed: {os.strerror(errno.EFBIG)}; at byte 204800"), "ulimit -f allows"),
        (OSError(errno.EACCES, "Permission denied"), ""),
        (RuntimeError("another"), ""),
    ],
)
def test_lacks_of_space_are_told_from_other_errors(error, cause):
    lack = shards.find_lack_of_space(error)
    assert (cause in lack[0]) if cause else lack is None


@pytest.mark.slow
def test_workers_whose_parent_was_killed_end_without_a_word(tmp_path):
    code = (
        "from data_synth.dataset import build, request\n"
        "if __name__ == '__main__':\n"
        f"    build.build_dataset(request.SynthRequest({str(tmp_path / 'a')!r}, 2048, workers=2))"
    )
    (tmp_path / "build.py").write_text(code)
    command = [sys.executable, str(tmp_path / "build.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        deadline = time.monotonic() + 240
        while not list(tmp_path.glob(".a.*/shards/*/*.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.05)
        run.kill()
        output, _ = run.communicate(timeout=240)  # ends when no worker holds the pipe any longer
    assert "Traceback" not in output


def make_pairs(seeds):
    """Pairs of even seeds, rejections of odd ones."""
    options = PairOptions(2, 16, 24)
    return [
        Rejected("odd") if seed % 2 else module.make_records([find_pair(seed, options)[0].seed], options)[0]
        for seed in seeds
    ]


def test_a_damaged_shard_is_made_again(tmp_path):
    calls = []
    plan = shards.ShardPlan(tmp_path, lambda seeds: calls.append(list(seeds)) or make_pairs(seeds), 0, 4, 2)
    path = plan.ensure(0)
    first = shards.read_shard(path)
    assert [result.seed for result in first.results] == [0, 1, 2, 3] and calls == [[0, 1], [2, 3]]
    assert [isinstance(result.outcome, Rejected) for result in first.results] == [False, True, False, True]
    assert plan.ensure(0) == path and len(calls) == 2
    for file, remade in ((path, 4), (path.with_suffix(".array_record"), 6)):
        content = file.read_bytes()
        file.write_bytes(content[:-40] + b"x" + content[-39:])
        plan.ensure(0)
        assert len(calls) == remade and file.read_bytes() == content
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="damaged"):
        shards.read_shard(path)


def test_what_failed_in_a_shard_is_made_again_alone(tmp_path):
    calls = []
    down = {1, 2}

    def make(seeds):
        calls.append(list(seeds))
        pairs = make_pairs([2 * seed for seed in seeds])
        return [Rejected("x", transient=True) if s in down else p for s, p in zip(seeds, pairs, strict=True)]

    plan = shards.ShardPlan(tmp_path / "a", make, 0, 4, 4)
    assert not shards.is_final(plan.ensure(0))
    down.clear()
    assert shards.is_final(plan.ensure(0)) and calls == [[0, 1, 2, 3], [1, 2]]
    whole = shards.ShardPlan(tmp_path / "b", make, 0, 4, 4)
    assert contents(plan.ensure(0).parent) == contents(whole.ensure(0).parent)


def test_a_set_takes_over_finished_files_and_leaves_out_what_it_does_not_want(tmp_path, monkeypatch):
    from data_synth.v2v_pairs import v2v_pairs_dataset_builder as store

    build_dataset(SynthRequest(tmp_path / "joined", 9, seed=4, **SMALL))
    monkeypatch.setattr(store, "MIN_FILE_BYTES", 1)
    monkeypatch.setattr(shards, "MAX_BLOCK", 4)
    build_dataset(SynthRequest(tmp_path / "taken", 9, seed=4, **SMALL))
    assert (
        len(list((tmp_path / "taken").glob("*.array_record-*"))) == 3
    )  # two whole shards, and a part of the third
    joined, taken = (open_dataset(tmp_path / name) for name in ("joined", "taken"))
    assert len(joined) == len(taken) == 9 and all(joined[i] == taken[i] for i in range(9))
    for name in ("report.json", "report.html", "pairs.jsonl"):
        assert (tmp_path / "joined" / name).read_bytes() == (tmp_path / "taken" / name).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "taken" / "pairs.jsonl").read_text().splitlines()]
    assert [line["seed"] for line in lines] == [int(taken[i]["seed"]) for i in range(9)]
    decoded = pair.decode_pair(taken[3])
    assert (lines[3]["edit"], tuple(lines[3]["instructions"])) == (decoded.edit, decoded.instructions)
    assert lines[3]["area"] == np.count_nonzero(decoded.mask) / decoded.mask.size


def test_shards_of_large_builds_are_long():
    assert shards.shard_length(9, 64, 64, 32, 8) == 32
    assert shards.shard_length(9, 64, 64, 32, 100_000) == 512
    assert shards.shard_length(81, 480, 832, 1, 6) == 1
    assert shards.shard_length(81, 480, 832, 1, 8_000_000) == 66
    assert shards.shard_length(81, 480, 832, 4, 8_000_000) == 64


@pytest.mark.parametrize(
    "reason, rejection",
    [
        ("blur: change too small", Rejected("blur: change too small")),
        ("to-x: expert crashed (exit 1)", Rejected("to-x: expert crashed (exit 1)", transient=True)),
        ("removal: expert seg took more than 2 s", Rejected("removal: expert seg took more than 2 s", True)),
        ("x: expert answered HTTP 404", Rejected("x: expert answered HTTP 404")),
        ("failed: ZeroDivisionError: bad clip", Rejected("ZeroDivisionError: bad clip", error=True)),
    ],
)
def test_shards_of_older_builds_hold_only_the_text(tmp_path, reason, rejection):
    line = json.dumps({"seed": 7, "reason": reason}).encode() + b"\n"
    path = tmp_path / f"{7:012d}-{8:012d}.shard"
    path.write_bytes(line + hashlib.sha256(line).digest())
    assert old_shards.read_old_shard(path) == [(7, rejection)]
    calls = []
    plan = shards.ShardPlan(tmp_path, lambda seeds: calls.append(list(seeds)) or make_pairs(seeds), 7, 1, 1)
    plan.ensure(0)
    assert calls == ([[7]] if rejection.transient else [])


def test_a_set_of_many_files_is_streamed_in_order(tmp_path, monkeypatch):
    from data_synth.v2v_pairs import v2v_pairs_dataset_builder as store

    monkeypatch.setattr(store, "SHARD_BYTES", 6000)
    build_dataset(SynthRequest(tmp_path / "a", 9, seed=4, **SMALL))
    files = sorted(p.name for p in (tmp_path / "a").glob("*.array_record-*"))
    assert len(files) > 1 and files[0] == f"v2v_pairs-train.array_record-00000-of-{len(files):05d}"
    monkeypatch.undo()
    build_dataset(SynthRequest(tmp_path / "b", 9, seed=4, **SMALL))
    large, one = (open_dataset(tmp_path / name) for name in "ab")
    assert len(large) == len(one) == 9
    assert all(large[i] == one[i] for i in range(9))
    # TFDS's own writer sorts in memory up to this many bytes, and needs TensorFlow beyond: it must not be in the way
    import tensorflow_datasets.core.shuffle as shuffle

    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 1)
    assert build_dataset(SynthRequest(tmp_path / "c", 3, seed=4, **SMALL))["pairs"] == 3


def test_the_report_counts_and_plays(tmp_path):
    report = build_dataset(
        SynthRequest(
            tmp_path / "a", 6, edits=("negative", "insert"), seed=1, preview=tmp_path / "sheets", **SMALL
        )
    )
    assert sum(report["edits"].values()) == report["pairs"] == 6 and report["sizes"] == {"16 x 24": 6}
    assert report["lengths"] == {"2": 6} and sum(report["edited_area"].values()) == 6
    assert report["licenses"] == {"Apache-2.0": 6} and sum(report["instruction_words"].values()) > 6
    page = (tmp_path / "a" / "report.html").read_text()
    strips = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    sizes = {cv2.imdecode(np.frombuffer(base64.b64decode(s), np.uint8), 1).shape for s in strips}
    assert (112, 2 * 168, 3) in sizes and "@keyframes" in page  # both frames of a 24 x 16 clip in one strip
    assert "<script" not in page and "http" not in page
    assert sorted(p.stem for p in (tmp_path / "sheets").iterdir()) == sorted(report["edits"])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"pairs": 0}, "at least 1"),
        ({"seed": -1}, "non-negative"),
        ({"height": 8}, "16 x 16"),
        ({"transition": 2}, "between 0 and 1"),
        ({"edits": ("fly",)}, "--recipes fly: no such recipe"),
    ],
)
def test_impossible_requests(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        build_dataset(SynthRequest(tmp_path / "a", **{"pairs": 2, **change}))


@pytest.mark.parametrize(
    "sources, change, message",
    [
        (Sources(clips="."), {}, "--clips: expected a recipe that uses it, got local, photometric"),
        (Sources(clips="."), {"edits": ("to-depth", "physics")}, "--clips: expected"),
        (Sources(license="CC0"), {}, "--license"),
        (Sources(sets=(("ditto", "."),)), {"edits": ("control",)}, "--import ditto"),
        (Sources(writer="w.toml"), {"edits": ("remove",)}, "--writer"),
        (
            Sources(experts=("data_synth/experts/examples/sketch.toml",)),
            {"edits": ("to-canny",)},
            "--expert data_synth",
        ),
        (Sources(), {"operators": ("cut", "melt")}, "operators: expected some of cut.*got melt"),
    ],
)
def test_what_no_recipe_uses_is_refused(tmp_path, sources, change, message):
    with pytest.raises(InputError, match=message):
        build_dataset(SynthRequest(tmp_path / "a", 2, sources=sources, **change, **SMALL))
    assert not (tmp_path / "a").exists()


def test_footage_that_gives_no_more_ends_the_set_and_says_so(tmp_path, monkeypatch):
    (tmp_path / "clips").mkdir()
    video.write_video(
        video.Video.from_array(footage.render_clip(5, 12, 32, 32).video, 10), tmp_path / "clips" / "a.mp4"
    )
    monkeypatch.setattr(module, "MAX_UNPRODUCTIVE_SEEDS", 40)
    monkeypatch.setattr(quality, "fingerprint_pair", lambda pair: str(min(pair.seed, 1)))
    sources = Sources(clips=str(tmp_path / "clips"))
    how = {"edits": ("to-negation",), "sources": sources, "transition": 0.0, **SMALL}
    with expect_note(r"pairs: 2 of 9 from \d+ seeds.*near-duplicate.*the set ends here"):
        report = build_dataset(SynthRequest(tmp_path / "out", 9, **how))
    assert report["pairs"] == 2 == len(open_dataset(tmp_path / "out"))


def test_places_that_can_hold_no_set_are_told_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a folder for the pairs, or a place where one can be made"):
        build_dataset(SynthRequest(tmp_path / "file" / "set", 1, **SMALL))
    with pytest.raises(InputError, match="expected a number below"):
        build_dataset(SynthRequest(tmp_path / "a", 1, seed=2**63 - 1, **SMALL))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    build_dataset(SynthRequest(tmp_path / "link", 1, **SMALL))
    assert len(open_dataset(tmp_path / "link")) == 1 and (tmp_path / "link").is_symlink()
    with (
        folders.lock_work_folder(tmp_path / "work"),
        pytest.raises(InputError, match="another run of this very command"),
    ):
        with folders.lock_work_folder(tmp_path / "work"):
            pass


def test_a_changed_text_of_the_same_size_is_another_request(tmp_path):
    sources = Sources(sets=(("captions", str(tmp_path / "c.jsonl")),))
    (tmp_path / "c.jsonl").write_text("a cat walks")
    old_fingerprint = request.fingerprint_sources(sources)
    (tmp_path / "c.jsonl").write_text("a dog walks")
    assert request.fingerprint_sources(sources) != old_fingerprint
    for name in ("a.mp4", "rows.parquet", "b.mp4"):  # other bytes, the same size
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"x" * 200_000 if name == "b.mp4" else b"one")
        clip_sources = Sources(clips=str(tmp_path / "set"))
        old_fingerprint = request.fingerprint_sources(clip_sources)
        (tmp_path / "set" / name).write_bytes(b"x" * 199_999 + b"y" if name == "b.mp4" else b"two")
        new_fingerprint = request.fingerprint_sources(clip_sources)
        assert new_fingerprint != old_fingerprint
        os.utime(tmp_path / "set" / name, (1, 1))  # as a copy has another date
        assert request.fingerprint_sources(clip_sources) == new_fingerprint
