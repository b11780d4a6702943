"""Sets and footage in buckets: the same bytes as on this machine, a stopped build goes on, and nothing half-written counts as a set.

What is real: gcsfs behind etils.epath. What is not: Google's servers and credentials, for which an emulator on the loopback stands.
"""

import json
import socket

import numpy as np
import pytest

from data_synth import footage, places
from data_synth.dataset import build, folders, shards
from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from v2v.errors import InputError
from v2v.video import video as codec

SMALL = {"frames": 2, "height": 16, "width": 24}


@pytest.fixture(scope="module")
def bucket():
    pytest.importorskip("gcsfs")
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="pod")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        server.start()
        yield "gs://pod"
        server.stop()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_set_in_a_bucket_has_the_bytes_of_one_here(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_BLOCK", 4)
    out = places.open_place(f"{bucket}/sets/a")
    real = build.make_records

    def stops(seeds, options):
        if seeds[0] >= 8:
            raise MemoryError("killed")
        return real(seeds, options)

    monkeypatch.setattr(build, "make_records", stops)
    with pytest.raises(MemoryError):
        build_dataset(SynthRequest(str(out), 12, seed=2, **SMALL))
    assert not (out / folders.REPORT).exists()
    asked = []
    monkeypatch.setattr(
        build, "make_records", lambda seeds, options: asked.append(seeds[0]) or real(seeds, options)
    )
    report = build_dataset(SynthRequest(str(out), 12, seed=2, **SMALL))
    assert min(asked) >= 8  # the shards before wait in the bucket
    monkeypatch.undo()
    monkeypatch.setattr(shards, "MAX_BLOCK", 4)
    build_dataset(SynthRequest(tmp_path / "own", 12, seed=2, **SMALL))
    assert contents(out) == contents(tmp_path / "own")
    assert {path.name for path in (out.parent).iterdir()} == {"a"}  # no shard is left
    assert build_dataset(SynthRequest(str(out), 12, seed=2, **SMALL)) == report
    with pytest.raises(InputError, match="holds pairs of another request"):
        build_dataset(SynthRequest(str(out), 13, seed=2, **SMALL))


def test_large_files_are_copied_by_the_bucket_and_what_was_left_is_cleared(bucket, tmp_path, monkeypatch):
    from data_synth.v2v_pairs import v2v_pairs_dataset_builder as store

    monkeypatch.setattr(shards, "MAX_BLOCK", 4)
    monkeypatch.setattr(store, "MIN_FILE_BYTES", 1)
    out = places.open_place(f"{bucket}/sets/b")
    (out / "part-7").write_text("of a build that was stopped")
    build_dataset(SynthRequest(str(out), 12, seed=2, **SMALL))
    build_dataset(SynthRequest(tmp_path / "own", 12, seed=2, **SMALL))
    assert contents(out) == contents(tmp_path / "own")
    assert sum(name.startswith("v2v_pairs-train") for name in contents(out)) > 1
    (out.parent / "c" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="expected a new folder"):
        build_dataset(SynthRequest(str(out.parent / "c"), 2, **SMALL))


def test_footage_in_a_bucket(bucket, tmp_path, monkeypatch):
    """Clips, masks, texts and pictures are read where they are; a clip is fetched once."""
    monkeypatch.setenv("V2V_CACHE", str(tmp_path / "cache"))
    here, there = tmp_path / "clips", places.open_place(f"{bucket}/clips")
    (here / "deep").mkdir(parents=True)
    film = np.zeros((10, 32, 48, 3), np.uint8)
    film[:] = np.linspace(40, 200, 48)[None, None, :, None]
    for t in range(10):
        film[t, 8:20, 3 * t : 3 * t + 10] = (250, 10, 10)
    mask = np.where(film[..., :1] > 220, 255, 0).astype(np.uint8).repeat(3, -1)
    codec.write_video(codec.Video.from_array(film, 10), here / "deep/walk.mp4")
    codec.write_video(codec.Video.from_array(mask, 10), here / "deep/walk.mask.mp4")
    (here / "deep/walk.txt").write_text("A square moves.")
    (here / "deep/walk.object.txt").write_text("red square")
    for path in here.rglob("*.*"):
        (there / path.relative_to(here).as_posix()).write_bytes(path.read_bytes())
    how = {
        "frames": 4,
        "height": 32,
        "width": 48,
        "edits": ("sepia", "highlight", "to-canny"),
        "transition": 0.0,
    }
    how["edits"] = ("highlight", "to-canny")
    for out, clips in ((tmp_path / "own", here), (tmp_path / "far", there)):
        build_dataset(SynthRequest(out, 4, sources=Sources(clips=str(clips)), **how))
    names = [name for name in contents(tmp_path / "own") if name.endswith(("00001", ".jsonl"))]
    assert names and all(
        contents(tmp_path / "own")[name] == contents(tmp_path / "far")[name] for name in names
    )
    sources = [
        json.loads((tmp_path / name / "report.json").read_text())["request"]["sources"]
        for name in ("own", "far")
    ]
    assert list(sources[0]["content"].values()) == list(
        sources[1]["content"].values()
    )  # a copy is the same source
    fetched = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache/footage").rglob("*.mp4")}
    assert len(fetched) == 2  # the clip and its mask
    monkeypatch.setattr(places, "MAX_CACHE_BYTES", 1)
    for path in fetched:
        path.unlink()
    footage.decode_clip.cache_clear()
    assert not isinstance(footage.read_clip_folder(str(there))(0, 4, 32, 48), Rejected)
    with pytest.raises(InputError, match="expected a readable folder of clips"):
        footage.read_clip_folder(f"{bucket}/nothing")


def test_addresses_that_nothing_opens_are_told(tmp_path):
    for how in ({"out": "ftp://host/x"}, {"out": tmp_path / "o", "sources": Sources(clips="ftp://host/x")}):
        with pytest.raises(InputError, match="ftp://host/x: expected an address that can be opened"):
            build_dataset(SynthRequest(**{"pairs": 1, "edits": ("to-canny",), **how, **SMALL}))
    with pytest.raises(InputError, match="--import ditto gs://b/d: expected a place of this machine"):
        SynthRequest(tmp_path / "o", 1, sources=Sources(sets=(("ditto", "gs://b/d"),))).check()
    with pytest.raises(InputError, match="--preview: expected --out of this machine"):
        SynthRequest("gs://b/o", 1, preview="sheets").check()
