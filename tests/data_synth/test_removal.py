"""Removal by the background plate, and insertion as its reverse."""

import cv2
import numpy as np
import pytest

from data_synth import generate
from data_synth.footage import read_clip_folder
from data_synth.generate import PairOptions
from data_synth.operators import median_removal
from data_synth.recipes import removal, shot_removal
from data_synth.recipes.shots import Shot
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from tests.data_synth.outcomes import reason_of
from v2v.errors import InputError
from v2v.video import video as codec


def shot(T=9, H=48, W=64, step=5):
    """A textured still ground with a bright square that passes."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(0, 256, (H, W, 3), np.uint8), (0, 0), 2)
    video, mask = np.repeat(ground[None], T, 0), np.zeros((T, H, W), bool)
    for k in range(T):
        mask[k, 15:27, 4 + step * k : 16 + step * k] = True
    video[mask] = (250, 20, 20)
    return video, mask, ground


def replacement(shots):
    return shot_removal.replacement_pair(
        removal.MedianRemoval(), removal.DonorReplacer(shots), shots, 0, 9, 48, 64
    )


def test_what_is_seen_once_comes_back_exactly():
    video, mask, ground = shot()
    removed, wide = median_removal.remove_object(video, mask)
    np.testing.assert_array_equal(removed, np.repeat(ground[None], len(video), 0))
    assert (wide & mask).sum() == mask.sum() and (wide & ~mask).any()


def test_what_is_never_seen_is_inpainted_and_the_rest_untouched():
    video, mask, ground = shot(step=1)
    removed, wide = median_removal.remove_object(video, mask)
    np.testing.assert_array_equal(removed[~wide], video[~wide])
    hole = wide.all(0)
    assert hole.any()
    error = np.abs(removed[0][hole].astype(int) - ground[hole]).mean()
    assert error < 40 < np.abs(video[0][hole].astype(int) - ground[hole]).mean()
    plate, never = median_removal.background_plate(video, wide)
    np.testing.assert_array_equal(plate[~never], ground[~never])
    np.testing.assert_array_equal(never, hole)


def test_static_shots_are_told_from_moving_ones():
    video, mask, ground = shot()
    assert median_removal.is_static(video, mask)
    rolled = np.stack([np.roll(frame, 3 * k, 1) for k, frame in enumerate(video)])
    assert not median_removal.is_static(rolled, mask)


def test_recipes_mirror_each_other():
    size = {"T": 5, "H": 48, "W": 64, "transition": 0.0}
    pair_count = 0
    for seed in range(12):
        out = generate.make_pair(seed, PairOptions(edits=("removal",), **size))
        back = generate.make_pair(seed, PairOptions(edits=("insertion",), **size))
        if isinstance(out, Rejected) or isinstance(back, Rejected):
            continue
        pair_count += 1
        np.testing.assert_array_equal(out.source, back.target)
        np.testing.assert_array_equal(out.target, back.source)
        np.testing.assert_array_equal(out.source[out.mask == 0], out.target[out.mask == 0])
        object_name = out.provenance["slots"]["object"]
        assert all(object_name in i for i in (*out.instructions, *back.instructions))
        assert object_name in out.source_caption and object_name not in out.target_caption
        assert (
            out.reference is None
            and back.reference is not None
            and out.provenance["expert"]["name"] == "median"
        )
    assert pair_count >= 5


def test_shots_from_a_folder_bring_their_masks(tmp_path):
    video, mask, ground = shot(T=8)
    codec.write_video(codec.Video.from_array(video, 10), tmp_path / "walk.mp4")
    codec.write_video(
        codec.Video.from_array(np.repeat(mask[..., None], 3, -1).astype(np.uint8) * 255, 10),
        tmp_path / "walk.mask.mp4",
    )
    (tmp_path / "walk.object.txt").write_text("red square\n")
    sources = Sources(clips=str(tmp_path))
    options = PairOptions(8, 48, 64, ("removal",), 0.0, sources=sources)
    pair = generate.make_pair(0, options)
    assert reason_of(pair) == "" and "red square" in pair.instructions[0]
    assert np.abs(pair.target.astype(int) - ground).mean() < 4  # H.264 in between
    square = np.zeros((40, 40, 3), np.uint8)
    square[10:30, 10:30] = 255
    codec.write_video(codec.Video.from_array(square), tmp_path / "walk.mask.png")
    (tmp_path / "walk.mask.mp4").rename(tmp_path / "kept")
    wrong = generate.make_pair(1, PairOptions(6, 32, 48, ("removal",), 0.0, sources=sources)).reason
    assert wrong.startswith("removal: mask walk.mask.png is 40x40, its clip ") and wrong.endswith(
        "not of one shape"
    )
    (tmp_path / "walk.mask.png").unlink()
    with pytest.raises(InputError, match="expected masks beside clips .* found none among 1 clips"):
        generate.make_pair(0, options)
    (tmp_path / "other.mp4").write_bytes((tmp_path / "walk.mp4").read_bytes())
    (tmp_path / "kept").rename(tmp_path / "other.mask.mp4")
    seed = next(s for s in range(99) if read_clip_folder(tmp_path).choose(s) == "walk.mp4")
    (tmp_path / "walk.mp4").write_bytes(b"is not opened")
    rejection = generate.make_pair(seed, options)
    assert rejection.reason == "removal: clip walk.mp4 has no walk.mask.mp4 or walk.mask.png beside it"


def test_replacement_shows_the_other_thing_along_the_old_path():
    video, mask, _ = shot(step=3)
    still = np.full((9, 48, 64), False)
    still[:, 20:36, 30:46] = True
    other = np.where(still[..., None], np.uint8([20, 20, 250]), np.uint8(128)) * np.ones(
        (9, 48, 64, 3), np.uint8
    )
    shots = {0: Shot(video, mask, "red box", "a", "b", {"license": "x"})}
    donor = Shot(other, still, "blue box", "c", "d", {"license": "y"})
    pair = replacement(lambda seed, *_: shots.get(seed, donor))
    outside = pair.mask == 0
    np.testing.assert_array_equal(pair.source[outside], pair.target[outside])
    for k in range(9):
        blue = (pair.target[k].astype(int) - (20, 20, 250) == 0).all(-1)
        rows, columns = np.nonzero(blue)
        assert blue.sum() > 60 and abs(columns.mean() - (9.5 + 3 * k)) < 1 and abs(rows.mean() - 20.5) < 1
    assert "red box" in pair.instructions[0] and "blue box" in pair.instructions[0]
    assert pair.provenance["donor"] == {"license": "y"}


def test_no_second_object_no_replacement():
    video, mask, _ = shot()
    only = Shot(video, mask, "red box", "a", "b", {})
    assert replacement(lambda *_: only) == Rejected("no other object to put there")
