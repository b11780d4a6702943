"""People and background, on stand-ins for the two networks whose answers are known exactly."""

import cv2
import numpy as np
import pytest

from v2v.errors import InputError
from v2v.video.segmentation import person
from v2v.video.segmentation.model_files import ModelFiles
from v2v.video.segmentation.networks import SIDE
from v2v.video.segmentation.refinement import refine
from v2v.video.segmentation.steadying import Steadier


class BrightSubject:
    """Finds what is bright."""

    def __init__(self, path):
        pass

    def __call__(self, small):
        return (small.mean(-1) > 100).astype(np.float32)


class TallFigure:
    """Takes upright parts for people."""

    calls = 0

    def __init__(self, path):
        pass

    def draw_figure(self, frame, box):
        """See no figure; tests of person_outline.py draw some."""
        return None

    def find_presence(self, frame, box):
        TallFigure.calls += 1
        return float(box[3] > box[2])


@pytest.fixture
def source(monkeypatch, tmp_path):
    for name, stand_in in (("SubjectNetwork", BrightSubject), ("PoseNetwork", TallFigure)):
        monkeypatch.setattr(person, name, stand_in)
    monkeypatch.setattr(ModelFiles, "resolve", lambda files, model: tmp_path)
    TallFigure.calls = 0

    def build(is_inverted=False):
        return person.PersonSource(ModelFiles(tmp_path), is_inverted)

    return build


def draw(*boxes, shape=(120, 200)):
    frame = np.full((*shape, 3), 30, np.uint8)
    for x, y, w, h in boxes:
        frame[y : y + h, x : x + w] = 220
    return frame


def walk(count=12):
    """A tall part walks to the right, a wide one stands."""
    return [draw((30 + 2 * t, 20, 20, 70), (120, 60, 60, 30)) for t in range(count)]


def test_only_parts_that_show_a_figure_are_people(source):
    frames = walk()
    found = source().find(frames)
    assert len(found) == len(frames)
    for t, mask in enumerate(found):
        assert mask.shape == (120, 200) and mask.dtype == np.uint8
        assert mask[55, 40 + 2 * t] > 230 and mask[75, 150] == 0
        assert np.abs((mask > 127).sum() - 20 * 70) < 150
    # Again the same, since a mask is iterated twice; and not every frame asks the network.
    assert np.array_equal(np.stack(list(found)), np.stack(list(found)))
    assert TallFigure.calls == 2 * sum(t in person.CHECKED_AGES for t in range(len(frames)))


def test_background_is_everything_else(source):
    frames = walk(4)
    people, rest = source().find(frames), source(is_inverted=True).find(frames)
    for mask, complement in zip(people, rest, strict=True):
        assert np.array_equal(complement, 255 - mask)


@pytest.mark.parametrize(
    "frames", [[draw((120, 60, 60, 30))] * 3, [draw()], walk(1)[:0] + [draw((5, 5, 3, 6))]]
)
def test_no_person_is_refused(source, frames):
    with pytest.raises(InputError, match="no person found in"):
        source().find(frames)


def test_a_cut_ends_the_parts(source):
    """After a cut, what lies where the person stood is judged anew."""
    frames = [draw((60, 20, 30, 80))] * 4 + [255 - draw((10, 10, 180, 40), shape=(120, 200))] * 4
    frames[4:] = [np.where(draw((40, 50, 90, 40)) > 100, 255, 60).astype(np.uint8)[::-1, ::-1]] * 4
    masks = list(source().find(frames))
    assert all((mask > 127).any() for mask in masks[:4])
    assert not any((mask > 127).any() for mask in masks[4:])


def test_noise_on_a_frozen_frame_is_averaged():
    """The bar is 1 % of the pixels from frame to frame; each frame's own mask is far above it."""
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), (SIDE, SIDE))
    ramp = np.linspace(0.2, 0.8, SIDE, dtype=np.float32)[None].repeat(SIDE, 0)
    steadier, raw, steady = Steadier(), [], []
    for _ in range(12):
        frame = np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
        mask = ramp + cv2.resize(rng.normal(0, 0.05, (32, 32)).astype(np.float32), (SIDE, SIDE))
        raw.append(mask > 0.5)
        steady.append(steadier.add(frame, mask)[0] > 0.5)
    changes = [np.mean([a ^ b for a, b in zip(m[4:], m[5:], strict=False)]) for m in (raw, steady)]
    assert changes[1] < 0.02 < 0.05 < changes[0] and changes[1] < changes[0] / 3


def test_masks_move_with_the_picture_and_end_at_a_cut():
    rng = np.random.default_rng(1)
    wide = cv2.GaussianBlur(rng.integers(0, 256, (SIDE, SIDE + 60, 3), dtype=np.uint8), (0, 0), 3)
    wide = cv2.normalize(wide, np.empty(0), 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    steadier = Steadier()
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[:, 100:140] = 1
    assert steadier.add(wide[:, :SIDE], mask)[1]
    moved, is_cut = steadier.add(wide[:, 6 : SIDE + 6], np.roll(mask, -6, 1))
    assert not is_cut and np.abs(moved - np.roll(mask, -6, 1))[:, 40:].mean() < 0.01
    other = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    after, is_cut = steadier.add(other, np.zeros_like(mask))
    assert is_cut and not after.any()


def test_edges_move_onto_those_of_the_picture():
    """A mask that is a few pixels off, and coarse, lands on the object's outline."""
    frame = np.full((360, 640, 3), (40, 90, 60), np.uint8)
    truth = cv2.circle(np.zeros((360, 640), np.uint8), (300, 180), 110, 255, -1)
    frame[truth > 0] = (200, 120, 90)
    frame = np.clip(frame + np.random.default_rng(2).normal(0, 4, frame.shape), 0, 255).astype(np.uint8)
    moved = np.roll(truth, (2, 4), (0, 1))
    coarse = cv2.resize(moved, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    before = cv2.resize(coarse, (640, 360))
    after = refine(frame, coarse)
    error = [np.abs(m.astype(np.float32) / 255 - truth / 255.0).mean() for m in (before * 255, after)]
    assert error[1] < error[0] / 3 and error[1] < 0.004
    assert ((after > 127) != (truth > 127)).mean() < 0.001
