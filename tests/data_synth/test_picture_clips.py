"""Clips from photographs: repeatable, of the size asked for, inside the picture, and cut-outs without alpha are counted."""

import cv2
import numpy as np
import pytest

from data_synth.operators.random_motion import move_cutout, move_window
from data_synth.picture_clips import PictureClips, read_picture_folders
from data_synth.rng import build_rng
from v2v.errors import InputError


@pytest.fixture
def folders(tmp_path):
    pictures, cutouts = tmp_path / "pictures", tmp_path / "cutouts"
    pictures.mkdir()
    cutouts.mkdir()
    picture = np.random.default_rng(0).integers(40, 216, (90, 160, 3)).astype(np.uint8)
    cv2.imwrite(str(pictures / "a.png"), picture)
    cv2.imwrite(str(pictures / "b.png"), picture[:, :70])
    alpha = np.zeros((20, 20, 4), np.uint8)
    alpha[5:15, 5:15] = (0, 0, 255, 255)
    cv2.imwrite(str(cutouts / "square.png"), alpha)
    cv2.imwrite(str(cutouts / "opaque.png"), alpha[..., :3])
    return pictures, cutouts


def test_clips_repeat_and_have_the_size(folders):
    clips = read_picture_folders(*folders)
    assert len(clips.pictures) == 2 and [path.rsplit("/", 1)[1] for path in clips.opaque] == ["opaque.png"]
    for seed in range(8):
        clip = clips(seed, 5, 32, 48)
        assert clip.shape == (5, 32, 48, 3) and clip.dtype == np.uint8
        np.testing.assert_array_equal(clip, clips(seed, 5, 32, 48))
    assert any((clips(seed, 5, 32, 48) != clips(0, 5, 32, 48)).any() for seed in range(1, 8))


def test_the_window_stays_in_the_picture():
    """What lies outside is mirrored; a frame of another color around the picture's inside would be seen where a window left it."""
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 120, 0).repeat(3, 2)
    for seed in range(60):
        frames = move_window([ramp], build_rng(seed, "test"), 5, 24, 40).astype(int)
        across = np.diff(frames[..., 0], axis=2)
        # Turned by at most 12 degrees, a ramp that was mirrored would fall somewhere.
        assert across.min() >= -1, seed


def test_a_cut_out_covers_with_its_own_color():
    cutout = np.zeros((20, 20, 4), np.uint8)
    cutout[...] = (255, 0, 0, 255)
    video = np.full((4, 32, 32, 3), 100, np.uint8)
    moved = [move_cutout(video, cutout, build_rng(seed, "test")) for seed in range(10)]
    red = [(clip == (255, 0, 0)).all(-1) for clip in moved]
    assert sum(area.any() for area in red) >= 8
    assert all(
        (clip[~area] >= 0).all() and (clip == 100).any() for clip, area in zip(moved, red, strict=True)
    )


def test_folders_without_what_is_needed(folders, tmp_path):
    pictures, cutouts = folders
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected at least one picture"):
        read_picture_folders(tmp_path / "empty")
    (cutouts / "square.png").unlink()
    with pytest.raises(InputError, match="none among 1"):
        read_picture_folders(pictures, cutouts)
    (pictures / "c.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match="expected a readable picture"):
        PictureClips((str(pictures / "c.jpg"),))(0, 5, 32, 32)
