"""The mask sources `text`, all readable text of a clip or the word after the colon, and `subtitles`.

Frames a stride apart are read (`text_reading.py`). Between them each line is followed in both directions by its strokes, until they are
no longer there: reading takes half a second a frame, following two milliseconds. A line that one reading misses goes on as long as its
strokes do, but not one that two miss.
"""

import difflib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.video.segmentation.base import ClipMask
from v2v.video.segmentation.text_reading import TextLine, TextReader

# Frames from one reading to the next.
STRIDE = 12
# Correlation of a line's strokes with those of a frame from which it counts as there.
MIN_CORRELATION = 0.55
# How far a line may move from frame to frame, as a share of its height.
MAX_MOVE = 0.5
# By how much boxes grow on every side, as a share of their height: outlines and shadows of letters.
GROWTH = 0.2
# Share of letters that two readings of one line have in common at least.
MIN_LIKENESS = 0.6
# Subtitles: upper end of their place as a share of the frame's height, how far from the middle they are centred as a share of its width,
# and how far they move as a share of their height.
SUBTITLE_TOP, SUBTITLE_OFFSET, SUBTITLE_MOVE = 0.6, 0.12, 0.5
# Texts that a message names.
MOST_NAMED = 5


@dataclass(frozen=True)
class TextMask(ClipMask):
    """The text of a clip.

    Attributes:
      size: (H, W) of the frames.
      lines: the lines of every frame.
    """

    size: tuple[int, int]
    lines: Sequence[Sequence[TextLine]]

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[np.ndarray]:
        for lines in self.lines:
            mask = np.zeros(self.size, np.uint8)
            for line in lines:
                cv2.fillConvexPoly(mask, np.rint(grow(line)).astype(np.int32), 255)
            yield mask


@dataclass
class _Track:
    """A line followed over time.

    Attributes:
      lines: by frame number.
      strokes: of the line where it was read last, float32 [h, w].
      is_live: it was there in the frame before.
      missed_at: number of the last read frame, where it wasn't read though its strokes were there; None where it was.
    """

    lines: dict[int, TextLine]
    strokes: np.ndarray
    is_live: bool = True
    missed_at: int | None = None


class TextSource:
    """Finds text in clips."""

    def __init__(self, reader: TextReader, word: str = ""):
        """Take a reader.

        Args:
          reader: reads one frame.
          word: a word or words to find; "" for all text.
        """
        self._reader, self._word = reader, word

    def find(self, frames: Iterable[np.ndarray]) -> TextMask:
        """Find the text; see `MaskSource.find`.

        Raises:
          InputError: no readable text, or not the word.
        """
        size, count, tracks = _track(frames, self._reader)
        return _build_mask(size, count, self._select(tracks, size))

    def _select(self, tracks: list[_Track], size: tuple[int, int]) -> list[_Track]:
        if not tracks:
            raise InputError("mask text: no readable text found in the clip")
        if not self._word:
            return tracks
        parts = [_cut_word(track, self._word) for track in tracks]
        selected = [part for part in parts if part is not None]
        if not selected:
            raise InputError(f'mask text: "{self._word}" not found; the clip shows {_name_texts(tracks)}')
        return selected


class SubtitleSource(TextSource):
    """Finds subtitles: lines that stand still in the lower part of the frame, about its middle."""

    def _select(self, tracks: list[_Track], size: tuple[int, int]) -> list[_Track]:
        selected = [track for track in tracks if _is_subtitle(track, *size)]
        if not selected:
            hint = f"; the clip shows {_name_texts(tracks)}, which --mask text finds" if tracks else ""
            raise InputError(f"mask subtitles: no still lines found in the lower middle of the frame{hint}")
        return selected


def grow(line: TextLine) -> np.ndarray:
    """Return the corners of a line with its letters' outlines, float32 [4, 2]."""
    a, b, c, d = line.quad
    along, down = (b - a) + (c - d), (d - a) + (c - b)
    along, down = (v / max(float(np.linalg.norm(v)), 1e-6) * GROWTH * line.height for v in (along, down))
    return np.stack([a - along - down, b + along - down, c + along + down, d - along + down])


def find_strokes(part: np.ndarray, height: float) -> np.ndarray:
    """Return how much brighter or darker pixels are, in any colour, than all that is wider than a stroke, float32 [h, w].

    Args:
      part: uint8 [h, w, 3].
      height: of the letters in pixels.
    """
    width = max(3, round(height * 0.35) | 1)
    kernel = np.ones((width, width), np.uint8)
    bright = cv2.morphologyEx(part, cv2.MORPH_TOPHAT, kernel)
    dark = cv2.morphologyEx(part, cv2.MORPH_BLACKHAT, kernel)
    return cv2.max(bright, dark).max(-1).astype(np.float32)


def _track(frames: Iterable[np.ndarray], reader: TextReader) -> tuple[tuple[int, int], int, list[_Track]]:
    """Return the frames' size, their number, and all lines that were read, followed."""
    tracks: list[_Track] = []
    size, count, recent = (0, 0), 0, []
    for frame, following in itertools.pairwise(itertools.chain(frames, (None,))):
        assert frame is not None
        size = (frame.shape[0], frame.shape[1])
        recent.append(frame)
        for track in tracks:
            if track.is_live:
                line = _step(track, track.lines[count - 1], recent[-1])
                track.is_live = line is not None
                if line is not None:
                    track.lines[count] = line
        if count % STRIDE == 0 or following is None:
            _take_reading(tracks, reader(frame), count, recent)
            recent = recent[-1:]
        count += 1
    return size, count, tracks


def _take_reading(tracks: list[_Track], lines: list[TextLine], number: int, recent: list[np.ndarray]) -> None:
    """Match a frame's lines with those followed so far; follow new ones back to the reading before.

    Args:
      tracks: all tracks, in place.
      lines: what was read in frame `number`.
      number: of the frame.
      recent: the frames from the last reading on; the last is frame `number`.
    """
    free = [track for track in tracks if track.is_live]
    for line in lines:
        same = [track for track in free if _is_same(track.lines[number], line)]
        if same:
            free.remove(same[0])
            same[0].lines[number] = line
            same[0].strokes = _strokes_of(line, recent[-1])
            same[0].missed_at = None
            continue
        track = _Track({number: line}, _strokes_of(line, recent[-1]))
        tracks.append(track)
        for past, frame in zip(range(number - 1, -1, -1), recent[-2::-1], strict=False):
            earlier = _step(track, track.lines[past + 1], frame)
            if earlier is None:
                break
            track.lines[past] = earlier
    for track in free:
        if track.missed_at is not None:  # twice in a row: what was followed since was something else
            track.is_live = False
            track.lines = {t: line for t, line in track.lines.items() if t <= track.missed_at}
        track.missed_at = number


def _step(track: _Track, line: TextLine, frame: np.ndarray) -> TextLine | None:
    """Return a line where it is in the next frame; None where it isn't any more."""
    x, y, w, h = _box(line, frame.shape)
    reach = max(2, round(MAX_MOVE * line.height))
    if track.strokes.shape != (h, w):  # cut by the frame's edge
        return None
    left, top = max(0, x - reach), max(0, y - reach)
    part = frame[top : y + h + reach, left : x + w + reach]
    match = cv2.matchTemplate(find_strokes(part, line.height), track.strokes, cv2.TM_CCOEFF_NORMED)
    _, correlation, _, (dx, dy) = cv2.minMaxLoc(match)
    if correlation < MIN_CORRELATION:
        return None
    return replace(line, quad=line.quad + np.array([left + dx - x, top + dy - y], np.float32))


def _strokes_of(line: TextLine, frame: np.ndarray) -> np.ndarray:
    x, y, w, h = _box(line, frame.shape)
    return find_strokes(frame[y : y + h, x : x + w], line.height)


def _box(line: TextLine, size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the upright box x, y, w, h of a line within the frame."""
    low = np.clip(np.floor(line.quad.min(0)), 0, (size[1] - 1, size[0] - 1)).astype(int)
    high = np.clip(np.ceil(line.quad.max(0)), low + 1, (size[1], size[0])).astype(int)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def _is_same(old: TextLine, new: TextLine) -> bool:
    """Return whether a line that was followed is the one that was read: about the same place and letters."""
    distance = float(np.linalg.norm(old.quad.mean(0) - new.quad.mean(0)))
    likeness = difflib.SequenceMatcher(None, old.text.lower(), new.text.lower()).ratio()
    return distance < max(old.height, new.height) and likeness >= MIN_LIKENESS


def _cut_word(track: _Track, word: str) -> _Track | None:
    """Return the part of a line that is a word, None where the line doesn't hold it."""
    texts = {line.text for line in track.lines.values()}
    for text in sorted(texts, key=len):
        start = text.lower().find(word.lower())
        if start >= 0:
            end = start + len(word)
            lines = {t: replace(line, text=text).cut(start, end) for t, line in track.lines.items()}
            return replace(track, lines=lines)
    return None


def _is_subtitle(track: _Track, height: int, width: int) -> bool:
    centers = np.stack([line.quad.mean(0) for line in track.lines.values()])
    line = next(iter(track.lines.values()))
    is_still = float(np.ptp(centers, axis=0).max()) <= SUBTITLE_MOVE * line.height
    is_central = abs(float(centers[:, 0].mean()) - width / 2) <= SUBTITLE_OFFSET * width
    return is_still and is_central and float(centers[:, 1].mean()) >= SUBTITLE_TOP * height


def _name_texts(tracks: list[_Track]) -> str:
    """Return what a clip shows, for messages."""
    texts = list(dict.fromkeys(next(iter(track.lines.values())).text for track in tracks))
    return ", ".join(f'"{text}"' for text in texts[:MOST_NAMED]) + (
        ", ..." if len(texts) > MOST_NAMED else ""
    )


def _build_mask(size: tuple[int, int], count: int, tracks: list[_Track]) -> TextMask:
    return TextMask(size, [[track.lines[t] for track in tracks if t in track.lines] for t in range(count)])
