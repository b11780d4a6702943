"""Hidden places are filled from other frames, and text is removed, measured against the clip without it."""

import cv2
import numpy as np
import pytest

from tests.example_clips import psnr
from v2v.video import hidden_fill
from v2v.video.hidden_fill import fill_hidden
from v2v.video.segmentation.text import TextMask
from v2v.video.segmentation.text_reading import TextLine
from v2v.video.text_removal import TextFreeFrames
from v2v.video.video import Video

H, W, T = 96, 160, 24


def film(speed, noise=1.0):
    """Texture that moves to the left."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (H, W + speed * T, 3), dtype=np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, np.empty(0), 20, 235, cv2.NORM_MINMAX).astype(np.float32)
    frames = [texture[:, speed * t : speed * t + W] + rng.normal(0, noise, (H, W, 3)) for t in range(T)]
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


def hide(frames, first, end, x, y, w, h):
    hidden = np.zeros(frames.shape[:3], bool)
    hidden[first:end, y : y + h, x : x + w] = True
    source = frames.copy()
    source[hidden] = 255
    return source, hidden


@pytest.mark.parametrize(
    ("speed", "first", "end", "least"),
    [(0, 6, 18, 40), (0, 0, 12, 36), (0, 12, T, 36), (3, 0, T, 28)],
)
def test_what_other_frames_show_is_found(speed, first, end, least):
    """A still camera shows the place before or after; a moving one beside the hidden place."""
    truth = film(speed)
    source, hidden = hide(truth, first, end, 70, 40, 10, 16)
    filled = list(fill_hidden(zip(source, hidden, strict=True)))
    out = np.stack([item.frame for item in filled])
    np.testing.assert_array_equal(out[~hidden], source[~hidden])
    assert psnr(out[hidden], truth[hidden]) > least
    painted = [
        cv2.inpaint(f, h.astype(np.uint8), 3, cv2.INPAINT_TELEA) for f, h in zip(source, hidden, strict=True)
    ]
    assert psnr(np.stack(painted)[hidden], truth[hidden]) < least - 6
    assert max(item.unseen for item in filled) == (0 if speed == 0 else pytest.approx(0, abs=0.5))


def test_what_is_never_seen_is_told():
    source, hidden = hide(film(0), 0, T, 70, 40, 10, 16)
    assert [item.unseen for item in fill_hidden(zip(source, hidden, strict=True))] == [1.0] * T


def test_a_cut_carries_nothing_over():
    truth = film(0)
    truth[T // 2 :] = 255 - np.flip(truth[T // 2 :], 2)
    source, hidden = hide(truth, T // 2 - 4, T // 2 + 4, 70, 40, 10, 16)
    out = np.stack([item.frame for item in fill_hidden(zip(source, hidden, strict=True))])
    assert psnr(out[hidden], truth[hidden]) > 34


def test_long_clips_are_filled_in_blocks(monkeypatch):
    """A block's plate goes on into the next, so the result hardly depends on the blocks."""
    truth = film(0)
    source, hidden = hide(truth, 4, T, 70, 40, 10, 16)
    monkeypatch.setattr(hidden_fill, "LEAST_BLOCK", 6)
    monkeypatch.setattr(hidden_fill, "MEMORY", 1)
    drawn = []

    def pairs():
        for t in range(T):
            drawn.append(t)
            yield source[t], hidden[t]

    results = fill_hidden(pairs())
    first = next(results)
    assert len(drawn) == 6
    out = np.stack([first.frame, *(item.frame for item in results)])
    assert len(out) == T and psnr(out[hidden], truth[hidden]) > 34


def test_nothing_hidden_and_no_frames():
    truth = film(1)
    hidden = np.zeros(truth.shape[:3], bool)
    assert np.array_equal(
        np.stack([item.frame for item in fill_hidden(zip(truth, hidden, strict=True))]), truth
    )
    assert not list(fill_hidden([]))


@pytest.mark.parametrize(("first", "speed", "least"), [(0, 3, 24), (3, 0, 32)])
def test_text_is_removed(first, speed, least):
    """Only letters are replaced: within the boxes the clip is nearly that without text, outside not a byte differs."""
    clean = film(speed) // 3 + 50
    frames, lines = clean.copy(), []
    for t in range(first, T):
        for color, width in (((0, 0, 0), 5), ((255, 255, 255), 2)):
            cv2.putText(
                frames[t], "HELLO", (30, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.8, color, width, cv2.LINE_AA
            )
        lines.append([TextLine("HELLO", np.array([(30, 42), (108, 42), (108, 60), (30, 60)], np.float32))])
    text = TextMask((H, W), lines)
    free = TextFreeFrames(Video.from_array(frames, 25), text, first)
    out = np.stack(list(free))
    assert free.shape == frames.shape and np.array_equal(out, np.stack(list(free)))
    boxes = np.zeros(frames.shape[:3], bool)
    boxes[first:] = np.stack(list(text)) > 0
    np.testing.assert_array_equal(out[~boxes], frames[~boxes])
    assert psnr(frames[boxes], clean[boxes]) < 14 and psnr(out[boxes], clean[boxes]) > least
