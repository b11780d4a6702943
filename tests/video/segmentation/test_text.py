"""Text followed through clips, with a stand-in reader that knows what was drawn."""

import cv2
import numpy as np
import pytest

from v2v.errors import InputError
from v2v.video.segmentation import text
from v2v.video.segmentation.text import STRIDE, SubtitleSource, TextSource
from v2v.video.segmentation.text_reading import TextLine

H, W, T = 120, 240, 2 * STRIDE + 6
FONT, SCALE, THICKNESS = cv2.FONT_HERSHEY_SIMPLEX, 0.7, 2


class Clip:
    """Frames of moving texture with lines of text; reads a frame as its own reader does, but for the readings that it skips."""

    def __init__(self, *lines, skipped=()):
        """Each line is (words, first frame, end, x, y, pixels that it moves a frame)."""
        texture = cv2.GaussianBlur(
            np.random.default_rng(0).integers(0, 256, (H, W + T, 3), dtype=np.uint8), (0, 0), 4
        )
        texture = cv2.normalize(texture, np.empty(0), 30, 160, cv2.NORM_MINMAX).astype(np.uint8)
        self.frames, self._shown, self._skipped = [], {}, skipped
        for t in range(T):
            frame = np.ascontiguousarray(texture[:, t : t + W])
            shown = []
            for words, first, end, x, y, speed in lines:
                if first <= t < end:
                    x = x + speed * t
                    for color, width in (((0, 0, 0), THICKNESS + 3), ((255, 255, 255), THICKNESS)):
                        cv2.putText(frame, words, (x, y), FONT, SCALE, color, width, cv2.LINE_AA)
                    (w, h), _ = cv2.getTextSize(words, FONT, SCALE, THICKNESS)
                    quad = np.array([(x, y - h), (x + w, y - h), (x + w, y), (x, y)], np.float32)
                    shown.append(TextLine(words, quad))
            self.frames.append(frame)
            self._shown[frame.tobytes()] = t, shown
        self.reads = []

    def __call__(self, frame):
        t, shown = self._shown[frame.tobytes()]
        self.reads.append(t)
        return [] if t in self._skipped else shown


def frames_with_text(mask):
    return [t for t, lines in enumerate(mask.lines) if lines]


@pytest.mark.parametrize("speed", [0, 2])
def test_lines_are_followed_from_their_first_to_their_last_frame(speed):
    clip = Clip(("HELLO YOU", 5, 20, 20, 60, speed))
    mask = TextSource(clip).find(clip.frames)
    assert frames_with_text(mask) == list(range(5, 20))
    assert clip.reads == [0, STRIDE, 2 * STRIDE, T - 1]
    for t, picture in enumerate(mask):
        assert picture.shape == (H, W) and set(np.unique(picture)) <= {0, 255}
        if 5 <= t < 20:
            x = 20 + speed * t
            assert picture[55, x + 4] == picture[55, x + 100] == 255 and not picture[:30].any()


def test_a_line_that_is_missed_once_goes_on_and_twice_ends():
    lines = ("HELLO YOU", 0, T, 20, 60, 0)
    clip = Clip(lines, skipped=(STRIDE,))
    assert frames_with_text(TextSource(clip).find(clip.frames)) == list(range(T))
    clip = Clip(lines, skipped=(STRIDE, 2 * STRIDE, T - 1))
    assert frames_with_text(TextSource(clip).find(clip.frames)) == list(range(STRIDE + 1))


def test_two_lines_one_after_the_other():
    clip = Clip(("FIRST LINE", 0, 15, 30, 100, 0), ("OTHER WORDS", 17, T, 30, 100, 0))
    mask = TextSource(clip).find(clip.frames)
    assert [{line.text for line in lines} for lines in mask.lines] == [{"FIRST LINE"}] * 15 + [set()] * 2 + [{"OTHER WORDS"}] * (T - 17)  # fmt: skip


def test_a_word_is_a_part_of_its_line():
    clip = Clip(("BIG SALE TODAY", 0, T, 20, 60, 0))
    pictures = list(TextSource(clip, "sale").find(clip.frames))
    whole = list(TextSource(clip).find(clip.frames))
    columns = np.flatnonzero(pictures[3].any(0))
    everything = np.flatnonzero(whole[3].any(0))
    assert everything[0] + 20 < columns[0] and columns[-1] < everything[-1] - 30
    with pytest.raises(InputError, match='"bargain" not found; the clip shows "BIG SALE TODAY"'):
        TextSource(clip, "bargain").find(clip.frames)


def test_subtitles_are_still_lines_below():
    below, above = ("GOOD NIGHT", 0, T, 50, 105, 0), ("A SIGN", 0, T, 60, 40, 0)
    clip = Clip(below, above)
    mask = SubtitleSource(clip).find(clip.frames)
    assert {line.text for lines in mask.lines for line in lines} == {"GOOD NIGHT"}
    clip = Clip(above)
    with pytest.raises(InputError, match='no still lines.*shows "A SIGN", which --mask text finds'):
        SubtitleSource(clip).find(clip.frames)
    clip = Clip(("MOVING", 0, T, 40, 105, 2))
    with pytest.raises(InputError, match="no still lines"):
        SubtitleSource(clip).find(clip.frames)


@pytest.mark.parametrize("count", [1, 3])
def test_no_text_is_refused(count):
    clip = Clip()
    with pytest.raises(InputError, match="no readable text found"):
        TextSource(clip).find(clip.frames[:count])


def test_text_cut_by_the_edge_of_the_frame():
    clip = Clip(("HELLO YOU", 0, T, -20, 12, 0))
    mask = TextSource(clip).find(clip.frames)
    assert frames_with_text(mask) == list(range(T)) and all(picture.any() for picture in mask)


def test_boxes_grow_by_the_outlines_of_letters():
    line = TextLine("AB", np.array([(10, 10), (50, 10), (50, 30), (10, 30)], np.float32))
    np.testing.assert_allclose(text.grow(line), [(6, 6), (54, 6), (54, 34), (6, 34)])
    np.testing.assert_allclose(line.cut(1, 2).quad, [(30, 10), (50, 10), (50, 30), (30, 30)])
