"""The recipe "captions": a timed caption says what happens next, so a long video is already a pair (EasyV2V §4, App. C).

(video, event [t_i, t_j], caption) → **captions** → Pair. Resampled to 15 frames a second, with i = round(15 t_i):

    source = V[i - N : i],    target = V[i : i + N],    instruction = imperative(caption)       N = T = 81 in the paper

and an event is used only if, as in the paper, the video has at least 2 N resampled frames, t_i >= N / 15, t_j - t_i >
2 s, t_j - t_i is not far longer than the clip (here: at most 3 N / 15, or 5 s if that is more), and no scene cut lies inside the two clips.
Bad times (negative, empty, past the end) and events that begin inside an earlier one, whose source would already show
what is asked for, are dropped. Every drop has a reason, and one event is one row: rows fail alone.

Files: ActivityNet-Captions' JSON, {"v_ID": {"duration": s, "timestamps": [[t_i, t_j], ...], "sentences": [...]}}, with
v_ID.mp4 in the file's folder or in videos/ beside it; or JSONL of {"video": path, "start": s, "end": s, "caption": text}.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from data_synth import footage as cl
from data_synth.file_cache import cached_by_file
from data_synth.language import caption_rewriting as cw
from data_synth.recipes.base import FileRecipe, Recipe, RecipeFamily, RecipeInfo
from data_synth.recipes.published.rows import MalformedRowError, abbreviate, first_existing, parse_fields
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from v2v.data.pair import Pair
from v2v.errors import InputError
from v2v.runtime import text_files

# 2: captions that sum up a video hide no event, continuations run on without a transition, damaged videos give none. 3: rules are right or silent.
VERSION = "3"
FPS = 15.0
# An event must last longer than this, in seconds.
MIN_SECONDS = 2.0
# An event must not last longer than so many lengths of the clip, or so many seconds where that is more, which lets clips much shorter
# than the paper's have events at all.
MAX_CLIP_LENGTHS = 3.0
MAX_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Event:
    """One timed caption.

    Attributes:
      video: File of the video.
      start: Seconds from the beginning of the video.
      end: Seconds from the beginning of the video.
      caption: What happens, as text.
      rejection: Why the event cannot be used; None where nothing in the file speaks against it.
      is_malformed: Whether the entry could not be read at all.
    """

    video: Path
    start: float
    end: float
    caption: str
    rejection: Rejected | None = None
    is_malformed: bool = False


@dataclasses.dataclass(frozen=True)
class CaptionRecipe(FileRecipe):
    """The recipe of one caption file: seed s is its event s.

    Attributes:
      events: The events, unusable ones included.
      writer: Turns captions into instructions, "" where it finds none.
      cuts: Returns the scene cuts of a video file, in seconds.
      license: License of the videos.
    """

    events: tuple[Event, ...]
    writer: cw.Writer
    cuts: Callable[[str], Sequence[float]]
    license: str = "unknown"

    @property
    def rows(self) -> int:
        """Return the number of events."""
        return len(self.events)

    @property
    def batch(self) -> int:
        """Return the number of captions that the writer handles best at once."""
        return self.writer.batch

    def source_file(self, row: int) -> Path | None:
        """Return the video of an event, None where it has none."""
        return None if row >= self.rows or self.events[row].rejection else self.events[row].video

    def __call__(self, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        """Return the pair of an event, or why it gives none."""
        return self.make_pairs([seed], T, H, W)[0]

    def make_pairs(self, seeds: Sequence[int], T: int, H: int, W: int) -> list[Pair | Rejected]:
        """Return what each event gives, in order; the writer gets all their captions at once."""
        results: list[Pair | Rejected] = [Rejected("past the last row")] * len(seeds)
        usable = []
        for i, seed in enumerate(seeds):
            if seed >= self.rows:
                continue
            if rejection := self.events[seed].rejection or reject_span(self.events[seed], T):
                results[i] = rejection
            else:
                usable.append(i)
        for i, text in zip(usable, self.writer([self.events[seeds[i]].caption for i in usable]), strict=True):
            if isinstance(text, Rejected):
                results[i] = text
            elif text:
                results[i] = self._build_pair(self.events[seeds[i]], text, seeds[i], T, H, W)
            else:
                results[i] = Rejected("empty instruction")
        return results

    def _build_pair(self, event: Event, text: str, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
        try:
            video = cl.decode_clip(str(event.video))
        except InputError as error:
            return Rejected(f"unreadable clip {event.video.name}: {cl.short_cause(error)}")
        index = cl.resample_indices(video.times, video.duration, FPS)
        if len(index) < 2 * T:
            return Rejected("video too short")
        i = round(event.start * FPS)
        if i + T > len(index):
            return Rejected("too close to the end")
        if any((i - T) / FPS < cut < (i + T) / FPS for cut in self.cuts(str(event.video))):
            return Rejected("scene cut inside")
        both = cl.select_frames(video, index[i - T : i + T].tolist(), H, W)
        return Pair(
            source=both[:T],
            target=both[T:],
            mask=np.full((T, H, W), 255, np.uint8),
            reference=None,
            instructions=(text,),
            source_caption="a video",
            target_caption=event.caption,
            edit="continuation",
            recipe="captions",
            seed=seed,
            active=(0, T),
            provenance={
                "clip": event.video.name,
                "start": event.start,
                "end": event.end,
                "license": self.license,
                "writer": self.writer.version,
            },
        )


def build_caption_recipe(path: str | Path, writer: str = "", license: str = "unknown") -> CaptionRecipe:
    """Return the recipe of one caption file.

    Args:
      path: JSON or JSONL as in the module docstring.
      writer: TOML file of an endpoint (`language.caption_rewriting`); "" for rules.
      license: License of the videos.

    Raises:
      InputError: The file is not one of the two kinds, or PySceneDetect is not installed.
    """
    _import_scenedetect()
    return CaptionRecipe(
        tuple(read_events(path)),
        cw.load_endpoint_writer(writer) if writer else cw.RuleWriter(),
        detect_cuts,
        license,
    )


def read_events(path: str | Path) -> list[Event]:
    """Return all events of a file, by video and start; unusable ones carry their rejection.

    Raises:
      InputError: The file is not one of the two kinds.
    """
    path = Path(path)
    text = text_files.read_text(path)
    try:
        jsonl = path.suffix == ".jsonl"
        events = (
            _parse_lines(text, path.parent)
            if jsonl
            else _parse_activitynet(text_files.parse_json(text), path.parent)
        )
        if events and events[0].rejection and all(event.is_malformed for event in events):
            raise MalformedRowError(events[0].rejection.reason)  # not a slip: another layout
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected ActivityNet-Captions JSON or JSONL of video, start, end, caption; "
            f"got {getattr(error, 'strerror', None) or error}"
        ) from None
    events.sort(key=lambda e: (str(e.video), e.start, e.end))
    groups = itertools.groupby(events, key=lambda e: str(e.video))
    return [event for _, group in groups for event in _reject_overlaps(list(group))]


def _reject_overlaps(events: Sequence[Event]) -> list[Event]:
    """Return the events of one video, in order; one that begins inside an earlier one comes as rejected.

    A caption that sums up all others hides none of them: its own clip ends before they begin.
    """
    usable = [event for event in events if not event.rejection]
    first, last = (min((e.start for e in usable), default=0.0), max((e.end for e in usable), default=0.0))
    checked, open_until = [], 0.0
    for event in events:
        is_summary = len(usable) > 1 and (event.start, event.end) == (first, last)
        if not event.rejection and event.start < open_until:
            event = dataclasses.replace(event, rejection=Rejected("begins inside an earlier event"))
        elif not event.rejection and not is_summary:
            open_until = event.end
        checked.append(event)
    return checked


def reject_span(event: Event, T: int) -> Rejected | None:
    """Return a rejection where an event's times break a condition of the paper for clips of T frames."""
    length = event.end - event.start
    if event.start < T / FPS:
        return Rejected("too close to the beginning")
    if length <= MIN_SECONDS:
        return Rejected("event too short")
    if length > max(MAX_CLIP_LENGTHS * T / FPS, MAX_SECONDS):
        return Rejected("event far longer than the clip")
    return None


@cached_by_file()
def detect_cuts(path: str) -> tuple[float, ...]:
    """Return the seconds at which PySceneDetect's content detector sees a cut."""
    detect, detector = _import_scenedetect()
    starts = [start for start, _ in detect(path, detector())[1:]]
    # 0.7 deprecates get_seconds(), which is all that 0.6 has.
    if starts and not hasattr(starts[0], "seconds"):
        return tuple(float(start.get_seconds()) for start in starts)
    return tuple(float(start.seconds) for start in starts)  # pyright: ignore[reportAttributeAccessIssue]


def _import_scenedetect():
    """Return PySceneDetect's function and its content detector."""
    try:
        from scenedetect import ContentDetector, detect
    except ImportError:
        raise InputError(
            "captions: expected PySceneDetect to find scene cuts, which is not installed; "
            "install it with: pip install 'v2v-edit[captions]'"
        ) from None
    return detect, ContentDetector


def _parse_activitynet(table: dict, folder: Path) -> list[Event]:
    """Return an event for each timestamp; what is malformed costs itself alone."""
    if not isinstance(table, dict):
        raise MalformedRowError(f"{abbreviate(table)} where an object is expected")
    events = []
    for name, entry in table.items():
        try:
            video = first_existing((folder / f"{name}.mp4", folder / "videos" / f"{name}.mp4"))
        except OSError as error:
            events.append(_build_malformed_event(folder, name[:60], error.strerror or str(error)))
            continue
        times, texts = (
            (entry.get("timestamps"), entry.get("sentences")) if isinstance(entry, dict) else (None, None)
        )
        if not isinstance(times, list) or not isinstance(texts, list) or len(times) != len(texts):
            fault = f"expected duration and as many timestamps as sentences, got {abbreviate(entry)}"
            events.append(_build_malformed_event(video, name, fault))
            continue
        for number, (span, caption) in enumerate(zip(times, texts, strict=True), 1):
            start, end = span if isinstance(span, list) and len(span) == 2 else (span, span)
            item = {"start": start, "end": end, "caption": caption, "duration": entry.get("duration")}
            events.append(_parse_event(video, f"{name}, event {number}", item))
    return events


def _parse_lines(text: str, folder: Path) -> list[Event]:
    """Return an event for each line; what is malformed costs itself alone."""
    lines = enumerate(text.split("\n"), 1)
    return [_parse_event(folder, f"line {number}", line) for number, line in lines if line.strip()]


def _parse_event(place: Path, where: str, item: dict | str) -> Event:
    """Return the event in an item, or in its JSON.

    Args:
      place: The video, or the folder of videos that items name.
      where: The item's place in the file, for errors.
      item: Fields of the event, or a line of JSON.
    """
    try:
        fields = text_files.parse_json(item) if isinstance(item, str) else item
        (caption,) = parse_fields(fields, "caption")
        video = place / next(parse_fields(fields, "video")) if "video" in fields else place
        if video.is_dir():
            raise MalformedRowError(f"expected a field video, got {abbreviate(fields)}")
        start, end = (_parse_seconds(fields, key) for key in ("start", "end"))
        duration = _parse_seconds(fields, "duration") if "duration" in fields else float("inf")
    except json.JSONDecodeError as error:  # its count of lines begins anew in every line of JSONL
        return _build_malformed_event(place, where, f"{error.msg} at column {error.colno}")
    # OSError: of a path that can't be one. ValueError: of a line nested too deep or with a number of thousands of digits.
    except (OSError, ValueError) as error:
        return _build_malformed_event(place, where, str(error))
    return _build_event(video, start, end, caption, duration)


def _parse_seconds(item: dict, key: str) -> float:
    try:
        seconds = float(item[key])
        # Times that are no numbers could not be put in order.
        if math.isnan(seconds):
            raise ValueError
        return seconds
    # OverflowError: of an integer beyond what floats can hold.
    except (KeyError, TypeError, ValueError, OverflowError):
        raise MalformedRowError(f"{key}: expected seconds, got {abbreviate(item.get(key))}") from None


def _build_event(video: Path, start: float, end: float, caption: str, duration: float) -> Event:
    rejection = None
    if not video.is_file():
        rejection = Rejected("video missing")
    elif not 0 <= start < end or end > duration + 1.0:  # annotations round the end up
        rejection = Rejected("bad times")
    elif not caption.strip():
        rejection = Rejected("empty caption")
    return Event(video, start, end, caption.strip(), rejection)


def _build_malformed_event(video: Path, where: str, fault: str) -> Event:
    reason = text_files.escape_invalid(f"malformed: {where}: {fault}")
    return Event(video, 0.0, 0.0, "", Rejected(reason), is_malformed=True)


def _build_captions(sources: Sources) -> Recipe:
    return build_caption_recipe(sources.set_path("captions"), sources.writer, sources.license)


FAMILY = RecipeFamily(
    "captions",
    "a captioned long video, continued; needs --import captions=FILE and pip install 'v2v-edit[captions]'",
    (
        RecipeInfo(
            "captions",
            _build_captions,
            kind="captions",
            reads=("set", "writer", "license"),
            may_begin_late=False,
        ),
    ),
    renderer="captions",
    version=VERSION,
)
