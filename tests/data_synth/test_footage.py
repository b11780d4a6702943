"""Footage of people's own: what of it is refused, and what requests tell of it."""

import json

import numpy as np
import pytest

from data_synth import footage
from data_synth.dataset import facts
from data_synth.dataset.build import build_dataset, open_dataset
from data_synth.dataset.estimate import estimate_build
from data_synth.dataset.request import SynthRequest
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from v2v.data.pair import decode_pair
from v2v.errors import InputError
from v2v.video import video as codec

SMALL = {"frames": 3, "height": 16, "width": 24, "transition": 0.0}


@pytest.fixture
def clips(tmp_path):
    """A folder with one clip in which a bar moves."""
    video = np.full((20, 64, 96, 3), 40, np.uint8)
    video[..., 0] += np.arange(96, dtype=np.uint8)
    for k in range(20):
        video[k, :, 4 * k : 4 * k + 16] = 230
    (tmp_path / "clips").mkdir()
    codec.write_video(codec.Video.from_array(video, 12), tmp_path / "clips/walk.mp4")
    return tmp_path / "clips"


def test_damaged_clips_give_no_pair(clips):
    path = clips / "walk.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (20, 32, 48, 3), np.uint8)
    codec.write_video(codec.Video.from_array(noise, 12), path)
    data = bytearray(path.read_bytes())
    for place in np.random.default_rng(0).integers(1200, len(data) - 1500, 40):
        data[place] ^= 255
    path.write_bytes(data)
    rejection = footage.read_clip_folder(clips)(0, 3, 16, 24)
    assert (
        isinstance(rejection, Rejected)
        and "walk.mp4: expected a sound video, got damage in" in rejection.reason
    )


@pytest.mark.parametrize(
    "name, request_fields",
    [
        ("--preview", {"out": "o", "preview": "gs://bucket/sheets"}),
        ("--writer", {"out": "o", "sources": Sources(writer="gs://bucket/w.toml")}),
        ("--import pairs", {"out": "o", "sources": Sources(sets=(("pairs", "s3://bucket/t.csv"),))}),
    ],
)
def test_addresses_are_refused_where_folders_are_expected(tmp_path, monkeypatch, name, request_fields):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"{name} .*://.*: expected a place of this machine, got an address"):
        build_dataset(SynthRequest(pairs=1, **request_fields))
    assert not any(tmp_path.iterdir())


def test_the_description_states_licenses_and_makers(clips, tmp_path):
    sources = Sources(clips=str(clips), license="CC-BY-4.0")
    build_dataset(SynthRequest(tmp_path / "set", 1, edits=("to-canny",), sources=sources, **SMALL))
    info = json.loads((tmp_path / "set/dataset_info.json").read_text())
    assert info["redistributionInfo"]["license"] == "CC-BY-4.0 (1 pairs)"
    assert f"from footage of {clips}" in info["description"] and "control (1)" in info["description"]
    assert "repository alone" not in info["description"]


def test_external_programs_are_makers_and_own_operators_are_not():
    experts = [{"name": "net", "version": "2", "license": "MIT"}, {"name": "median", "version": "1"}]
    provenance = {"license": "CC0", "experts": experts, "writer": "m, prompt 1"}
    assert facts.find_makers(provenance) == ("net 2", "writer m, prompt 1")
    assert facts.find_licenses(provenance) == "CC0 + MIT"


def test_what_is_cut_and_dropped_of_footage_is_told(v2v, clips, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (clips / "again.mp4").write_bytes((clips / "walk.mp4").read_bytes())
    (clips / "bad.mp4").write_bytes(b"no video")
    words = ["--recipes", "to-greyscale", "--clips", str(clips), "--frames", "20", "--transition", "0"]
    assert v2v("synth", "--out", "set", "--pairs", "1", *words, "--seed", "1") == 0
    assert (
        "clips are cut to 20 frames of 64x64 pixels, and 0% of the edits begin inside"
        in capsys.readouterr().err
    )
    assert v2v("synth", "--out", "more", "--pairs", "2", *words, "--height", "32", "--width", "48") == 0
    told = capsys.readouterr().err
    assert (
        "clips are cut" not in told
        and "to-greyscale: near-duplicate (" in told
        and "more/report.html" in told
    )


def test_visually_lossless_sets_are_small_and_exact_where_nothing_is_edited(clips, tmp_path):
    sources = Sources(clips=str(clips))
    how = {"edits": ("to-inpainting",), "frames": 16, "height": 32, "width": 48, "sources": sources}
    small = SynthRequest(tmp_path / "small", 3, storage="visually-lossless", **how)
    exact = SynthRequest(tmp_path / "exact", 3, **how)
    assert build_dataset(small)["request"]["storage"] == "visually-lossless"
    assert "storage" not in build_dataset(exact)["request"]
    for a, b in zip(*(map(decode_pair, open_dataset(r.out)) for r in (small, exact)), strict=True):
        outside = a.mask == 0
        np.testing.assert_array_equal(a.mask, b.mask)
        np.testing.assert_array_equal(a.source[outside], a.target[outside])
        error = a.source.astype(int) - b.source
        assert error.any() and (error**2).mean() < 6.5  # 40 dB
    with pytest.raises(InputError, match="storage: expected lossless or visually-lossless, got 'tiny'"):
        build_dataset(SynthRequest(tmp_path / "o", 1, storage="tiny", **how))


def test_a_dry_run_tells_what_a_build_takes_and_writes_nothing(v2v, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "--out o --pairs 1000000 --frames 3 --height 16 --width 24 --workers 2 --dry-run".split()
    assert v2v("synth", *words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pairs"] == 1_000_000 and told["seeds"] >= told["pairs"] and told["sample_pairs"] >= 32
    assert 1e9 < told["bytes"] < 1e11 and told["hours"] == pytest.approx(
        told["seconds_per_pair"] * 1e6 / 2 / 3600
    )
    assert not any(tmp_path.iterdir())
    assert (
        v2v("synth", *words, "--recipes", "fly") == 2
        and "--recipes fly: no such recipe" in capsys.readouterr().err
    )
    text = estimate_build(SynthRequest("o", 10, frames=3, height=16, width=24), 0.0).format(1)
    assert "about 10 pairs from" in text and "hours with 1 worker" in text and "core-hours" in text


def write_noise(path, count, height, width):
    frames = np.random.default_rng(height).integers(0, 256, (count, height, width, 3), np.uint8)
    codec.write_video(codec.Video.from_array(frames, 10), path)


def test_small_footage_is_left_out(tmp_path):
    write_noise(tmp_path / "small.mp4", 4, 32, 48)
    clips = footage.read_clip_folder(tmp_path)
    assert clips(0, 3, 64, 96) == Rejected("clip small.mp4 is smaller than the pairs")
    assert isinstance(clips(0, 3, 40, 60), footage.Clip)


def test_every_clip_gets_the_size_that_it_fits(tmp_path):
    (tmp_path / "clips").mkdir()
    for name, count, height, width in (("wide", 6, 32, 64), ("tall", 6, 64, 32), ("brief", 3, 32, 64)):
        write_noise(tmp_path / f"clips/{name}.mp4", count, height, width)
    sizes = ((5, 24, 48), (5, 48, 24), (3, 24, 48), (5, 96, 96))
    request = SynthRequest(
        tmp_path / "set",
        3,
        edits=("to-greyscale",),
        sizes=sizes,
        transition=0.0,
        sources=Sources(clips=str(tmp_path / "clips")),
    )
    assert build_dataset(request)["request"]["sizes"] == [list(size) for size in sizes]
    found = {
        pair.provenance["clip"]: pair.source.shape[:3] for pair in map(decode_pair, open_dataset(request.out))
    }
    assert found == {"wide.mp4": (5, 24, 48), "tall.mp4": (5, 48, 24), "brief.mp4": (3, 24, 48)}
    rendered = build_dataset(SynthRequest(tmp_path / "rendered", 12, edits=("sepia",), sizes=sizes[:2]))
    assert set(rendered["sizes"]) == {"24 x 48", "48 x 24"}


def test_sizes_as_typed(v2v, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--out", "o", "--pairs", "4", "--recipes", "sepia", "--sizes", "48x24x2,24x48x2"]
    assert v2v("synth", *words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 4
    assert v2v("synth", *words, "--height", "32") == 2 and "leave one out" in capsys.readouterr().err
    assert v2v("synth", *words[:-1], "48x24") == 2 and "WIDTHxHEIGHTxFRAMES" in capsys.readouterr().err
