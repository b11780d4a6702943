"""Figures in the coarse mask of a subject, drawn by a network that knows where people stand."""

import cv2
import numpy as np
import pytest

from v2v.video.segmentation import networks
from v2v.video.segmentation.figures import draw_figures, find_box
from v2v.video.segmentation.networks import SIDE, PoseNetwork

FRAME = np.zeros((120, 200, 3), np.uint8)


def box(x, y, w, h):
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[y : y + h, x : x + w] = 1
    return mask


class People:
    """A network that draws the person who is nearest to the middle of its view, at most `reach` of the small mask away."""

    def __init__(self, *people, reach=60):
        self.people, self.reach, self.calls = people, reach, 0

    def draw_figure(self, frame, view):
        self.calls += 1
        x, y, w, h = view
        middle = np.array([(y + h / 2) / 120, (x + w / 2) / 200]) * SIDE
        distances = [np.linalg.norm(np.argwhere(person > 0).mean(0) - middle) for person in self.people]
        nearest = int(np.argmin(distances)) if distances else 0
        return self.people[nearest] if distances and distances[nearest] < self.reach else None


def draw(coarse, pose):
    _, numbers = cv2.connectedComponents((coarse > 0.5).astype(np.uint8))
    return draw_figures(FRAME, coarse, numbers, pose)


def test_one_figure_replaces_the_part():
    """A limb that the coarse mask lacks is there, a rock beside the person that it had is not."""
    person = np.maximum(box(100, 50, 40, 150), box(60, 90, 40, 12))
    coarse = np.maximum(box(100, 50, 40, 150), box(140, 110, 30, 60))
    np.testing.assert_array_equal(draw(coarse, People(person)), person)


def test_several_figures_are_added_to_the_part():
    left, right = box(40, 60, 50, 140), box(120, 60, 50, 140)
    coarse = np.maximum(box(40, 60, 130, 140), 0)
    pose = People(left, right)
    np.testing.assert_array_equal(draw(coarse, pose), coarse)
    assert 2 <= pose.calls <= 5


def test_no_figure_leaves_the_mask():
    coarse = np.maximum(box(20, 20, 60, 90), 0.7 * box(150, 30, 60, 100))
    np.testing.assert_array_equal(draw(coarse, People()), coarse)


def test_a_person_seen_again_ends_the_search():
    """What is left of a part is not looked at for ever, where the network draws the same person again."""
    pose = People(box(100, 50, 40, 150), reach=500)
    drawn = draw(np.maximum(box(100, 50, 40, 150), box(150, 60, 90, 100)), pose)
    assert pose.calls <= 3
    np.testing.assert_array_equal(drawn, box(100, 50, 40, 150))


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
