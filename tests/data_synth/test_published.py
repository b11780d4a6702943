"""Published sets: small files in exactly their layouts."""

import json

import cv2
import numpy as np
import pytest

from data_synth import generate
from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest
from data_synth.generate import PairOptions
from data_synth.recipes.published import PUBLISHED
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from tests.data_synth.outcomes import pairs_of, reason_of, reasons_of
from v2v.errors import InputError
from v2v.video import video as codec

T, H, W = 4, 24, 32


def film(path, shade, frames=6, h=H, w=W):
    path.parent.mkdir(parents=True, exist_ok=True)
    video = np.zeros((frames, h, w, 3), np.uint8)
    video[:] = (np.arange(w) * 3)[None, None, :, None] + shade
    for k in range(frames):
        video[k, 4:12, 3 * k : 3 * k + 8] = 255 - shade
    codec.write_video(codec.Video.from_array(video, 10), path)


def picture(path, shade, h=60, w=80):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = (np.mgrid[:h, :w].sum(0)[..., None] % 90 + shade + np.zeros(3)).astype(np.uint8)
    cv2.imwrite(str(path), image)
    return path


def pairs(name, root, n):
    sources = Sources(sets=((name, str(root)),))
    assert generate.count_rows((name,), sources) == n
    return generate.make_block(range(n), PairOptions(T, H, W, (name,), 0.0, sources=sources))


def check(pair, instruction, license):
    assert reason_of(pair) == ""
    assert (
        pair.source.shape == (T, H, W, 3) and pair.instructions == (instruction,) and pair.mask.min() == 255
    )
    assert pair.provenance["license"] == license
    return pair


def bright(pair):
    return pair.target.mean() > pair.source.mean() + 20


def test_ditto(tmp_path):
    film(tmp_path / "videos/source/a.mp4", 20)
    film(tmp_path / "videos/global_style1/a.mp4", 90)
    (tmp_path / "training_metadata").mkdir()
    item = {
        "source_path": "source/a.mp4",
        "instruction": "Make it anime.",
        "edited_path": "global_style1/a.mp4",
    }
    missing_item = {**item, "edited_path": "local/none.mp4"}
    (tmp_path / "training_metadata/global_style.json").write_text(json.dumps([item, missing_item]))
    first, second = pairs("ditto", tmp_path, 2)
    pair = check(first, "Make it anime.", "CC-BY-NC-SA-4.0")
    assert bright(pair) and pair.edit == "global_style" and second == Rejected("ditto: file missing")
    (tmp_path / "training_metadata/global_style.json").unlink()
    (tmp_path / "csvs_for_DiffSynth").mkdir()
    (tmp_path / "csvs_for_DiffSynth/style.csv").write_text(
        'video,prompt,vace_video\nglobal_style1/a.mp4,"Make it, please, anime.",source/a.mp4\n'
    )
    assert bright(PUBLISHED["ditto"](tmp_path)(0, T, H, W))
    assert PUBLISHED["ditto"](tmp_path).table[0].instruction == "Make it, please, anime."


def test_senorita(tmp_path):
    film(tmp_path / "obj_swap_upload/1_org.mp4", 20)  # unpacked under another name than the JSON says
    film(tmp_path / "obj_swap_upload/1.mp4", 90)
    item = {
        "source_video_path": "./obj_swap_videos/1_org.mp4",
        "target_video_path": "./obj_swap_videos/1.mp4",
        "instruction": "Swap the cat for a dog",
    }
    path = tmp_path / "updated_data_obj_swap_videos.json"
    path.write_text(json.dumps([item]))
    pair = check(pairs("senorita", tmp_path, 1)[0], "Swap the cat for a dog", "see the set's terms")
    assert bright(pair) and pair.edit == "obj_swap"
    path.write_text(json.dumps([{**item, "instruction": None}]))
    with pytest.raises(
        InputError, match="under one of instruction.*got source_video_path, target_video_path"
    ):
        PUBLISHED["senorita"](tmp_path)
    path.write_text(json.dumps([{"instruction": "x"}]))
    with pytest.raises(InputError, match="field source_video_path, got instruction"):
        PUBLISHED["senorita"](tmp_path)


def test_insvie(tmp_path):
    film(tmp_path / "videos/pexel_1.mp4", 20)
    film(tmp_path / "edited_7.5/pexel_1.mp4", 90)
    (tmp_path / "train.csv").write_text(
        "video,caption,instruct,edit caption,folder\n"
        'pexel_1.mp4,"a road, at day",make it night,a road at night,edited_7.5\n'
    )
    pair = check(pairs("insvie", tmp_path, 1)[0], "make it night", "unknown")
    assert bright(pair) and (pair.source_caption, pair.target_caption) == (
        "a road, at day",
        "a road at night",
    )
    (tmp_path / "train.csv").write_text("h\nonly,three,fields\n")
    with pytest.raises(InputError, match="row 1: expected source video name.*got 3 fields"):
        PUBLISHED["insvie"](tmp_path)


@pytest.mark.parametrize("separator, base", [(",", "videos"), (";", "videos_folders")])
def test_openve(tmp_path, separator, base):
    film(tmp_path / base / "local_add/original/1.mp4", 20)
    film(tmp_path / base / "local_add/edited/1.mp4", 90)
    fields = ["local_add/edited/1.mp4", "local_add/original/1.mp4", '"Add a hat, a red one; please."']
    (tmp_path / "local_add.csv").write_text(
        "\ufeff"
        + separator.join(("video", "original_video", "prompt"))
        + "\n"
        + separator.join(fields)
        + "\n",
        encoding="utf-8",
    )
    pair = check(pairs("openve", tmp_path, 1)[0], "Add a hat, a red one; please.", "CC-BY-NC-4.0")
    assert bright(pair) and pair.edit == "local_add"


def test_refvie(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    film(tmp_path / "video/source/a.mp4", 20)
    film(tmp_path / "video/target/a.mp4", 90)
    jpeg = picture(tmp_path / "r.jpg", 40, 20, 28).read_bytes()
    table = {
        "iid": ["1", "2", "3"],
        "prompt": ["Add it.", "Add it.", "Add it."],
        "src_video": ["video/source/a.mp4"] * 3,
        "tgt_video": ["video/target/a.mp4"] * 3,
        "ref_image_bytes": [jpeg, b"broken", jpeg],
    }
    (tmp_path / "refvie_477k").mkdir()
    pq.write_table(pa.table(table), tmp_path / "refvie_477k/chunk_0000.parquet", row_group_size=2)
    first, second, third = pairs("refvie", tmp_path, 3)
    for outcomes in (first, third):
        pair = check(outcomes, "Add it.", "CC-BY-NC-SA-4.0")
        assert bright(pair) and pair.reference.shape == (20, 28, 3)
    assert second == Rejected("refvie: unreadable file: expected a picture, got bytes that don't decode")
    pq.write_table(pa.table({"iid": ["1"]}), tmp_path / "refvie_477k/chunk_0001.parquet")
    with pytest.raises(InputError, match="chunk_0001.parquet: expected columns prompt"):
        PUBLISHED["refvie"](tmp_path)
    for path in (tmp_path / "refvie_477k").iterdir():
        path.unlink()
    picture(tmp_path / "ref_images/a.jpg", 60)
    (tmp_path / "refvie_dataset.csv").write_text(
        "src_video,tgt_video,ref_image,prompt\n"
        "video/source/a.mp4,video/target/a.mp4,ref_images/a.jpg,Add it.\n"
    )
    assert PUBLISHED["refvie"](tmp_path)(0, T, H, W).reference.shape == (60, 80, 3)


def test_gpt_image_edit_is_lifted(tmp_path):
    for name, shade in (("input", 20), ("output", 100)):
        picture(tmp_path / f"gpt-edit/hqedit/edit/{name}/00060995.png", shade)
    (tmp_path / "training_json").mkdir()
    item = {
        "image": ["input/00060995.png", "output/00060995.png"],
        "conversations": [
            {"from": "human", "value": "<image>\nMake it  bright."},
            {"from": "gpt", "value": "<image>"},
        ],
    }
    (tmp_path / "training_json/hqedit_gpt_edit.json").write_text(json.dumps([item]))
    pair = check(pairs("gpt-image-edit", tmp_path, 1)[0], "Make it bright.", "unknown")
    assert (
        bright(pair)
        and pair.recipe == "lift"
        and np.abs(pair.source[0].astype(int) - pair.source[-1]).mean() > 1
    )
    still = PUBLISHED["gpt-image-edit"](tmp_path)(0, 1, H, W)
    assert still.source.shape == (1, H, W, 3)
    (tmp_path / "data.txt").write_text("gpt-edit/hqedit/edit,training_json/hqedit_gpt_edit.json,false\n")
    assert len(PUBLISHED["gpt-image-edit"](tmp_path).table) == 1
    (tmp_path / "training_json/hqedit_gpt_edit.json").write_text(json.dumps([{"image": ["a"]}]))
    with pytest.raises(InputError, match="row 1: expected .image.: .input, output.*got .*a.* and null"):
        PUBLISHED["gpt-image-edit"](tmp_path)


def test_rows_fail_alone_with_a_reason(tmp_path):
    film(tmp_path / "videos/a.mp4", 20)
    film(tmp_path / "videos/b.mp4", 90)
    film(tmp_path / "videos/short.mp4", 90, frames=2)
    film(tmp_path / "videos/brief.mp4", 90, frames=3)
    film(tmp_path / "videos/tall.mp4", 90, h=40)
    (tmp_path / "videos/bad.mp4").write_bytes(b"none")
    edited = ["b", "short", "tall", "bad", "gone", "b"]
    lines = [f"{name}.mp4,a.mp4,{'' if i == 5 else 'make it blue'}" for i, name in enumerate(edited)]
    lines.append("short.mp4,brief.mp4,make it blue")
    (tmp_path / "x.csv").write_text("video,original_video,prompt\n" + "\n".join(lines) + "\n")
    reasons = reasons_of(pairs("openve", tmp_path, 7))
    assert "expected a video file, got data that can't be decoded" in reasons[3]
    assert str(tmp_path) not in reasons[3]
    reasons[3] = reasons[3][: len("openve: unreadable file")]
    assert reasons == [
        "",
        "openve: source and target differ in length",
        "openve: source and target differ in shape",
        "openve: unreadable file",
        "openve: file missing",
        "openve: empty instruction",
        "openve: shorter than the clip",
    ]


def test_sides_of_different_rates_are_matched_in_time(tmp_path):
    """Frame 2 k of the source belongs to frame k of a target at half the rate."""

    def steps(path, count, fps):
        video = np.full((count, H, W, 3), 20, np.uint8)
        for k in range(count):  # a bar that crosses the frame in the same second
            at = (k * 24) // count
            video[k, :, at : at + 8] = 230
        path.parent.mkdir(parents=True, exist_ok=True)
        codec.write_video(codec.Video.from_array(video, fps), path)

    steps(tmp_path / "videos/a.mp4", 24, 24)
    steps(tmp_path / "videos/b.mp4", 12, 12)
    (tmp_path / "x.csv").write_text("video,original_video,prompt\nb.mp4,a.mp4,make it blue\n")
    pair = PUBLISHED["openve"](tmp_path)(0, T, H, W)
    source, target = (
        [np.flatnonzero(frame.mean((0, 2)) > 125).mean() for frame in video]
        for video in (pair.source, pair.target)
    )
    assert np.abs(np.subtract(source, target)).max() < 0.6  # by index they would be up to a second apart
    np.testing.assert_allclose(np.diff(source), 2, atol=0.6)


TURNS = [{"from": "human", "value": "make it bright"}]
SOUND = {"source_path": "a.mp4", "edited_path": "b.mp4", "instruction": "make it blue"}
MALFORMED = {
    "short": ("openve", "x.csv", "video,original_video,prompt\nb.mp4,a.mp4,make it blue\nb.mp4\n"),
    "unquoted": (
        "openve",
        "x.csv",
        "video,original_video,prompt\nb.mp4,a.mp4,make it blue\nb.mp4,a.mp4,so, so\n",
    ),
    "ditto-csv": (
        "ditto",
        "csvs_for_DiffSynth/x.csv",
        "video,prompt,vace_video\nb.mp4,make it blue,a.mp4\nb.mp4,make it blue\n",
    ),
    "null": ("ditto", "training_metadata/x.json", [SOUND, {**SOUND, "instruction": None}]),
    "no object": ("ditto", "training_metadata/x.json", [SOUND, "so"]),
    "senorita": (
        "senorita",
        "updated_data_x.json",
        [
            {"source_video_path": "./v/a.mp4", "target_video_path": "./v/b.mp4", "prompt": "make it blue"},
            {"source_video_path": "./v/a.mp4", "target_video_path": None, "prompt": "make it blue"},
        ],
    ),
    "insvie": ("insvie", "x.csv", "v,c,i,e,f\na.mp4,a,make it blue,b,v\n\na.mp4,a\n"),
    "no value": ("gpt-image-edit", "training_json/omniedit_gpt.json", [{"from": "human"}]),
    "no turn": ("gpt-image-edit", "training_json/omniedit_gpt.json", ["x"]),
    "null picture": ("gpt-image-edit", "training_json/omniedit_gpt.json", None),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_row_costs_itself(tmp_path, case):
    name, place, content = MALFORMED[case]
    if name == "gpt-image-edit":
        bad = {"image": ["a.png", "b.png" if content else None], "conversations": content or TURNS}
        content = [{"image": ["a.png", "b.png"], "conversations": TURNS}, bad]
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    first, second = PUBLISHED[name](tmp_path).table
    assert not first.rejection
    assert second.rejection.reason.startswith(f"malformed row: {path.name}, row 2: ")
    assert PUBLISHED[name](tmp_path)(1, T, H, W) == second.rejection


def test_a_parquet_row_without_text_or_picture_costs_itself(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    film(tmp_path / "a.mp4", 20)
    table = {
        "prompt": ["Add it.", None, "Add it."],
        "src_video": ["a.mp4"] * 3,
        "tgt_video": ["a.mp4"] * 3,
        "ref_image_bytes": [None, b"x", picture(tmp_path / "r.jpg", 40).read_bytes()],
    }
    pq.write_table(pa.table(table), tmp_path / "chunk_0.parquet")
    outcomes = [PUBLISHED["refvie"](tmp_path)(row, T, H, W) for row in range(3)]
    assert outcomes[0] == Rejected("unreadable file: expected a picture, got none")
    assert outcomes[1] == Rejected("malformed row: chunk_0.parquet, row 2: prompt: expected text, got null")
    assert outcomes[2].reference is not None


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_empty_folder_is_an_error(tmp_path, name):
    with pytest.raises(InputError, match="expected"):
        PUBLISHED[name](tmp_path)
    with pytest.raises(InputError, match=f"add --import {name}=PATH"):
        generate.make_pair(0, PairOptions(edits=(name,)))


def test_a_set_is_gone_through_once(tmp_path):
    film(tmp_path / "set/videos/a.mp4", 20, frames=T)
    film(tmp_path / "set/videos/b.mp4", 90, frames=T)
    rows = [
        "b.mp4,a.mp4,brighten it",
        "gone.mp4,a.mp4,do it now",
        "a.mp4,b.mp4,darken it",
        "b.mp4,a.mp4,make it bright",
    ]
    (tmp_path / "set/x.csv").write_text("video,original_video,prompt\n" + "\n".join(rows) + "\n")
    report = build_dataset(
        SynthRequest(
            tmp_path / "out",
            100,
            edits=("openve",),
            frames=T,
            height=H,
            width=W,
            transition=0.0,
            sources=Sources(sets=(("openve", str(tmp_path / "set")),)),
        )
    )
    assert report["pairs"] == 2 and report["dropped"] == {"openve: file missing": 1, "x: near-duplicate": 1}
    assert report["licenses"] == {"CC-BY-NC-4.0": 2} and report["request"]["pairs"] == 100


def test_every_row_of_a_set_is_used_beside_recipes_without_an_end(tmp_path):
    rows = []
    for i in range(5):
        film(tmp_path / f"{i}.mp4", 30 + 20 * i)
        film(tmp_path / f"{i}e.mp4", 160 - 20 * i)
        rows.append(
            {
                "source_video_path": f"{i}.mp4",
                "target_video_path": f"{i}e.mp4",
                "instruction": f"make it {i} red",
            }
        )
    (tmp_path / "updated_data_swap.json").write_text(json.dumps(rows))
    sources = Sources(sets=(("senorita", str(tmp_path)),))
    how = {"T": T, "H": H, "W": W, "edits": ("senorita", "negative"), "transition": 0.0, "sources": sources}
    outcomes = [generate.make_pair(seed, PairOptions(**how)) for seed in range(60)]
    assert not any("past the last row" in reason for reason in reasons_of(outcomes))
    assert {pair.provenance["source"] for pair in pairs_of(outcomes) if pair.recipe == "imported"} == {
        f"{i}.mp4" for i in range(5)
    }
