"""The HTML report of a sweep: tables, plots and synchronized players in one file.

The page consists of page/*.html, *.css and *.js with the results and the clips (base64) inserted; it opens from disk. Clips are previews:
small H.264 with a key frame every half second, all clips of an item at the source's frame rate, so that frame k stands beside frame k. Where
they would exceed the budget, items are shown in turns by kind until it is spent, and the page says how many are left out.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from v2v.errors import InputError
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.counts import format_count
from v2v.evaluation.html_page import encode_small, fill_page
from v2v.evaluation.items import Item
from v2v.evaluation.metrics.clips import Clip
from v2v.evaluation.sweep.results import SweepResults
from v2v.evaluation.sweep.runner import SweepRun

# Fields of the results document whose texts may hold paths, and such a path with its last name.
PATH_FIELDS = ("methods", "notes", "plan", "problems", "skipped")
ABSOLUTE_PATH = re.compile(r"""(?<![\w/:<.])/(?:[^\s/:;,'"]+/)+([^\s/:;,'"]+)""")
SCRIPTS = ("player.js", "elements.js", "report.js", "viewer.js", "controls.js")
# Longest side of a preview in pixels, x264's quality, and the version of previews in the cache.
SIDE, CRF, VERSION = 384, "23", 1


def build_report(results: SweepResults, cache: SweepCache, *, megabytes: float = 60) -> str:
    """Build the report as HTML.

    Args:
      results: the results of a sweep.
      cache: encoded previews.
      megabytes: limit of the clips before base64.
    """
    clips: dict[str, dict] = {}
    entries: dict[str, dict] = {}
    total_bytes, omitted = 0, 0
    for item in _in_turns(results.run.sweep.benchmark.items):
        previews = _item_previews(item, results.run, cache)
        new_clips = {name: clip.to_json() for name, clip in previews.clips.items() if name not in clips}
        size = sum(len(clip["data"]) for clip in new_clips.values()) * 3 // 4
        if not previews.entries or total_bytes + size > megabytes * 2**20:
            omitted += 1
            continue
        total_bytes += size
        clips |= new_clips
        entries[item.id] = {"fps": previews.fps, "clips": previews.entries}
    note = f"Previews of at most {SIDE} pixels, not the scored files. Space plays, arrow keys step."
    if omitted:
        left_out = format_count(omitted, "item is", "items are")
        note += f" {left_out} left out to keep this file small (or their source can't be read)."
    media = {"media": clips, "items": entries, "note": note}
    return fill_page("report", results.title, _without_paths(results.to_json()), media, SCRIPTS)


@dataclass(frozen=True)
class Preview:
    """A small H.264 copy of a clip for browsers; the field names but `source_hash` are read by player.js.

    Attributes:
      data: the MP4 file, base64.
      frames: number of frames.
      width: in pixels.
      height: in pixels.
      source_hash: SHA-256 of the original.
    """

    data: str
    frames: int
    width: int
    height: int
    source_hash: str

    def to_json(self) -> dict[str, Any]:
        """Return what the page needs."""
        return {"data": self.data, "frames": self.frames, "width": self.width, "height": self.height}


@dataclass(frozen=True)
class _ItemPreviews:
    """The previews of one item: the entries of its screens, and clips by hash. Without entries it can't be shown."""

    fps: float = 0.0
    entries: list[dict] = field(default_factory=list)
    clips: dict[str, Preview] = field(default_factory=dict)


def encode_preview(path: Path, fps: float, cache: SweepCache, side: int = SIDE) -> Preview:
    """Encode a preview, or take it from the cache.

    Args:
      path: any clip.
      fps: frames a second of the preview; frames are kept as they are.
      cache: where previews are stored.
      side: longest side in pixels.

    Raises:
      InputError: the clip can't be read.
    """
    source_hash = cache.hash_of(path)
    key = {"preview": VERSION, "of": source_hash, "fps": round(fps, 3), "side": side}
    record, file = cache.load("previews", key), cache.path("previews", key, ".mp4")
    if record is None or not file.exists():
        with cache.writing("previews", key, ".mp4") as partial:
            record = encode_small(Clip(path), partial, fps, side, CRF)
        cache.store("previews", key, record)
    data = base64.b64encode(file.read_bytes()).decode()
    return Preview(data, record["frames"], record["width"], record["height"], source_hash)


def _item_previews(item: Item, run: SweepRun, cache: SweepCache) -> _ItemPreviews:
    screens: list[tuple[dict, Path]] = [({"label": "source"}, item.source)]
    for method in run.sweep.methods:
        output = run.outputs[method.name, item.id]
        if output.path:
            screens.append(({"label": method.name, "method": method.name}, output.path))
    if item.truth:
        screens.append(({"label": "truth"}, item.truth))
    try:
        previews = _ItemPreviews(_preview_fps(item.source, cache))
        for entry, path in screens:
            clip = encode_preview(path, previews.fps, cache)
            previews.clips[clip.source_hash] = clip
            previews.entries.append({"label": entry["label"], "id": clip.source_hash, **entry})
    except (InputError, OSError):
        return _ItemPreviews()
    return previews


def _preview_fps(source: Path, cache: SweepCache) -> float:
    key = {"rate": 1, "of": cache.hash_of(source)}
    record = cache.load("previews", key)
    if record is None:
        record = {"fps": round(min(60.0, max(1.0, Clip(source).fps)), 3)}
        cache.store("previews", key, record)
    return record["fps"]


def _in_turns(items: tuple[Item, ...]) -> Iterator[Item]:
    """Iterate over the first item of each kind, then the second of each, and so on."""
    kinds: dict[str, list[Item]] = {}
    for item in items:
        kinds.setdefault(item.kind, []).append(item)
    for turn in range(max(map(len, kinds.values()))):
        yield from (group[turn] for group in kinds.values() if turn < len(group))


def _without_paths(document: dict) -> dict:
    """Remove the paths of this machine's files, as a page is passed on to others; sentences and settings keep the last name of a path."""
    tables = {
        name: [{k: v for k, v in row.items() if k not in ("source", "path")} for row in document[name]]
        for name in ("items", "edits")
    }
    scores = [{**row, "reason": _shorten_paths(row["reason"])} for row in document["scores"]]
    short = {name: _shorten_paths(document[name]) for name in PATH_FIELDS if name in document}
    return {**document, **tables, "edits": _shorten_paths(tables["edits"]), "scores": scores, **short}


def _shorten_paths(value: Any) -> Any:
    """Return a nested value with the last name in place of every absolute path in its texts."""
    if isinstance(value, dict):
        return {k: _shorten_paths(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_shorten_paths(v) for v in value]
    return ABSOLUTE_PATH.sub(r"\1", value) if isinstance(value, str) else value
