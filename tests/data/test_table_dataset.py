"""Tables of people's own pairs as training data: rates, sizes, masks, weights, and what is left out is told."""

import json
import shutil

import cv2
import numpy as np
import pytest

from v2v.data import datasets
from v2v.errors import InputError
from v2v.video import video as codec

SIZES = [(9, 32, 48), (1, 32, 48)]


def write_clip(path, count, fps, shade=0, height=32, width=48):
    """A bright bar that crosses the frame in a second."""
    video = np.full((count, height, width, 3), 40 + shade, np.uint8)
    for k in range(count):
        at = round((width - 8) * k / fps)
        video[k, :, at : at + 8] = 200 + shade
    codec.write_video(codec.Video.from_array(video, fps), path)
    return video


def bars(video):
    return np.array([np.flatnonzero(frame.mean((0, 2)) > 130).mean() for frame in video])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Rows of every kind: resampled, masked late, a larger picture, held out, weighted, short, broken."""
    folder = tmp_path_factory.mktemp("own")
    write_clip(folder / "fast.mp4", 24, 24)
    write_clip(folder / "fast_after.mp4", 24, 24, 40)
    write_clip(folder / "slow.mp4", 12, 12)
    write_clip(folder / "slow_after.mp4", 12, 12, 40)
    write_clip(folder / "short.mp4", 4, 24)
    source = write_clip(folder / "late.mp4", 24, 24)
    target, mask = source.copy(), np.zeros_like(source)
    target[15:, 8:24, 16:32] = (20, 220, 20)
    mask[15:, 8:24, 16:32] = 255
    codec.write_video(codec.Video.from_array(target, 24), folder / "late_after.mp4")
    codec.write_video(codec.Video.from_array(mask, 24), folder / "late_mask.mkv")
    for name, shade in (("p.png", 0), ("q.png", 60)):
        picture = np.full((80, 120, 3), 60 + shade, np.uint8)
        picture[20:60, 30:90] = 150
        cv2.imwrite(str(folder / name), picture)
    rows = [
        {"source": "fast.mp4", "target": "fast_after.mp4", "instruction": ["brighter", "make it brighter"]},
        {"source": "slow.mp4", "target": "slow_after.mp4", "instruction": "brighter", "weight": 3},
        {
            "source": "late.mp4",
            "target": "late_after.mp4",
            "mask": "late_mask.mkv",
            "instruction": "add a box",
        },
        {"source": "p.png", "target": "q.png", "instruction": "brighter", "edit": "light"},
        {"source": "fast.mp4", "target": "slow_after.mp4", "instruction": "brighter", "split": "val"},
        {"source": "short.mp4", "target": "fast.mp4", "instruction": "longer"},
        {"source": "gone.mp4", "target": "fast.mp4", "instruction": "come back"},
    ]
    (folder / "my.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "my.jsonl"


def test_a_survey_tells_what_is_used_and_why_the_rest_is_not(table):
    dataset = datasets.open_pairs(table, 24.0)
    survey = datasets.survey_dataset("my", dataset, SIZES)
    assert survey.indices_by_size == {(9, 32, 48): [0, 1, 2, 4], (1, 32, 48): [3]}
    reasons = " ".join(survey.skip_counts)
    assert sum(survey.skip_counts.values()) == 2
    # Kept from training by what trains; its latents serve the held-out loss.
    assert [i for i in (0, 1, 2, 3, 4) if dataset.facts(i).get("held_out")] == [4]
    assert "line 6: another length" in reasons and "line 7: file missing: gone.mp4" in reasons
    text = datasets.format_surveys([survey])
    assert "2  resampled from 12 to 24 frames a second, so that frames are shown repeatedly" in text
    assert datasets.group_by_weight(survey, dataset) == {
        ((9, 32, 48), 1.0): [0, 2, 4],
        ((9, 32, 48), 3.0): [1],
        ((1, 32, 48), 1.0): [3],
    }


def test_clips_come_at_the_models_rate(table):
    dataset = datasets.open_pairs(table, 24.0)
    fast, slow = (dataset.read_pair(i, (9, 32, 48)) for i in (0, 1))
    assert fast.instructions == ("brighter", "make it brighter") and fast.active == (0, 9)
    assert (
        np.abs(bars(fast.source) - bars(slow.source)).max() < 2.5
    )  # the same seconds, half of the frames twice
    half = datasets.open_pairs(table, 12.0).read_pair(0, (9, 32, 48))
    assert (
        np.abs(
            bars(half.source) - bars(fast.source)[0] - 2 * (bars(fast.source) - bars(fast.source)[0])
        ).max()
        < 2
    )
    unchanged = datasets.open_pairs(table, 0.0)
    assert unchanged.measure(1).size == (12, 32, 48) and not unchanged.measure(1).notes


def test_a_window_holds_the_edit_and_nothing_changes_outside_its_mask(table):
    pair = datasets.open_pairs(table, 24.0).read_pair(2, (9, 32, 48))
    assert pair.mask.any() and not pair.mask[:4].any() and pair.mask[4:].any((1, 2)).all()
    np.testing.assert_array_equal(pair.source[pair.mask == 0], pair.target[pair.mask == 0])
    assert np.abs(pair.target[6, 12:20, 20:28].astype(int) - (20, 220, 20)).max() < 12


def test_pictures_are_shrunk_and_cropped(table):
    pair = datasets.open_pairs(table, 24.0).read_pair(3, (1, 32, 48))
    assert pair.source.shape == (1, 32, 48, 3) and pair.edit == "light" and pair.mask.min() == 255
    assert pair.target.mean() > pair.source.mean() + 10


def test_a_copy_has_the_same_fingerprint_and_a_change_another(table, tmp_path):
    copy = shutil.copytree(table.parent, tmp_path / "copy") / "my.jsonl"
    first = datasets.dataset_fingerprint(table, 24.0)
    assert datasets.dataset_fingerprint(copy, 24.0) == first
    assert datasets.dataset_fingerprint(copy, 16.0) != first
    with (copy.parent / "q.png").open("ab") as file:
        file.write(b"x")
    assert datasets.dataset_fingerprint(copy, 24.0) != first


def test_a_folder_of_clips_is_a_table_and_a_set_is_none(tmp_path, table):
    for name, path in (("a_source.mp4", "fast.mp4"), ("a.mp4", "fast_after.mp4")):
        shutil.copy(table.parent / path, tmp_path / name)
    (tmp_path / "a.txt").write_text("brighter\n")
    assert datasets.open_pairs(tmp_path, 24.0).measure(0).size == (24, 32, 48)
    with pytest.raises(InputError, match="expected a folder written by v2v synth, got a table"):
        datasets.open_dataset(table)
    (tmp_path / "empty.csv").write_text("source,target,instruction\na.mp4,a.mp4,x\n")
    with pytest.raises(
        InputError, match="expected a usable row among 1.*source and target are the same file"
    ):
        datasets.open_pairs(tmp_path / "empty.csv", 24.0)
