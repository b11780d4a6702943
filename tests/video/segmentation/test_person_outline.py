"""Figures in the coarse mask of a subject, drawn by a network that knows where people stand."""

import cv2
import numpy as np
import pytest

from v2v.video.segmentation import networks
from v2v.video.segmentation.networks import SIDE, PoseNetwork
from v2v.video.segmentation.person_outline import find_box, has_second_figure, replace_part

FRAME = np.zeros((120, 200, 3), np.uint8)


def box(x, y, w, h):
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[y : y + h, x : x + w] = 1
    return mask


class People:
    """A network that draws the person who is nearest to the middle of its view, at most 40 pixels of the small mask away."""

    def __init__(self, *people):
        self.people = people

    def _find(self, view):
        x, y, w, h = view
        middle = np.array([(y + h / 2) / 120, (x + w / 2) / 200]) * SIDE
        distances = [np.linalg.norm(np.argwhere(person > 0).mean(0) - middle) for person in self.people]
        return next(
            (p for p, d in zip(self.people, distances, strict=True) if d < 40 and d == min(distances)), None
        )

    def draw_figure(self, frame, view):
        return self._find(view)

    def find_presence(self, frame, view):
        return 0.2 if self._find(view) is None else 1.0


def test_a_figure_replaces_its_part():
    """A limb that the coarse mask lacks is there, a rock beside the person that it had is not, and other parts stay."""
    person, other = np.maximum(box(100, 50, 40, 150), box(60, 90, 40, 12)), 0.7 * box(200, 30, 40, 100)
    part = np.maximum(box(100, 50, 40, 150), box(140, 110, 30, 60))
    drawn, place = replace_part(FRAME, np.maximum(part, other), part > 0, People(person))
    np.testing.assert_array_equal(drawn, np.maximum(person, other))
    assert place == find_box(person > 0, FRAME)
    # The place of the previous frame is looked at first, and the part where nobody is there any more.
    beside = np.maximum(box(100, 50, 40, 150), box(140, 50, 110, 200))
    assert replace_part(FRAME, beside, beside > 0, People(person))[1] is None
    assert replace_part(FRAME, beside, beside > 0, People(person), place)[1] == place
    assert replace_part(FRAME, part, part > 0, People(person), (0, 0, 9, 9))[1] == place


def test_no_figure_leaves_the_mask():
    coarse = np.maximum(box(20, 20, 60, 90), 0.7 * box(150, 30, 60, 100))
    drawn, place = replace_part(FRAME, coarse, box(20, 20, 60, 90) > 0, People())
    np.testing.assert_array_equal(drawn, coarse)
    assert place is None


def test_several_people_in_a_part_are_told_from_one_with_a_thing():
    left, right = box(60, 60, 50, 140), box(130, 60, 50, 140)
    assert has_second_figure(FRAME, box(60, 60, 120, 140) > 0, People(left, right))
    assert not has_second_figure(FRAME, box(60, 60, 90, 140) > 0, People(left))
    assert not has_second_figure(FRAME, left > 0, People(left, right))
    assert not has_second_figure(FRAME, box(60, 60, 120, 140) > 0, People())


@pytest.mark.parametrize("shape", [(240, 320), (1080, 1920)])
def test_a_figure_is_drawn_where_it_is(shape, monkeypatch):
    """The view's mask lands on the frame's own pixels, from a small frame and from one that is shrunk for the view."""
    frame = np.zeros((*shape, 3), np.uint8)
    h, w = shape
    frame[h // 4 : h // 2, w // 2 : w // 2 + h // 8] = 255

    def run(interpreter, view):
        return [np.array([[1.0]]), (view[None, ..., :1].astype(np.float32) - 127.5) / 20]

    monkeypatch.setattr(networks, "_load", lambda path, shape: None)
    monkeypatch.setattr(networks, "_run", run)
    truth = cv2.resize(frame[..., 0], (SIDE, SIDE), interpolation=cv2.INTER_AREA) > 127
    figure = PoseNetwork("none").draw_figure(frame, find_box(truth, frame))
    assert np.mean((figure > 0.5) ^ truth) < 0.002
