"""The HTML report of a sweep: tables, plots and synchronized players in one file.

The page is page/*.html, *.css and *.js with the results and the clips (base64) put in; it opens from disk. Clips are previews: small
H.264 with a key frame every half second, all clips of an item at the source's frame rate, so that frame k stands beside frame k. When
they would exceed the budget, items are shown in turns by kind until it is used up, and the page says how many are left out.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from string import Template

import av

from v2v.errors import InputError
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.items import Item
from v2v.evaluation.metrics.clips import Clip, resize_frame
from v2v.evaluation.sweep.runner import SweepRun
from v2v.video.encoder import DETERMINISTIC

PAGE_FOLDER = Path(__file__).parents[1] / "page"
SCRIPTS = ("report.js", "viewer.js")
SIDE, CRF, VERSION = 384, "23", 1  # longest side of a preview in pixels, and x264's quality


def build_report(results: dict, run: SweepRun, cache: SweepCache, *, megabytes: float = 60) -> str:
    """Build the report; `megabytes` limits the clips before base64."""
    media = {"media": {}, "items": {}, "note": ""}
    used_bytes, left_out = 0, []
    for item in _in_turns(run.sweep.benchmark.items):
        entry, clips = _entry(item, run, cache)
        size = sum(len(c["data"]) for k, c in clips.items() if k not in media["media"]) * 3 // 4
        if entry is None or used_bytes + size > megabytes * 2**20:
            left_out.append(item.id)
            continue
        used_bytes += size
        media["media"].update(clips)
        media["items"][item.id] = entry
    media["note"] = (
        f"Previews of at most {SIDE} pixels, not the scored files. Space plays, arrow keys step."
        + (
            f" {len(left_out)} items are left out to keep this file small (or their source can't be read)."
            if left_out
            else ""
        )
    )
    return Template((PAGE_FOLDER / "report.html").read_text()).substitute(
        title=html.escape(results["title"]),
        css=(PAGE_FOLDER / "report.css").read_text(),
        data=inline_json(_without_paths(results)),
        media=inline_json(media),
        player=(PAGE_FOLDER / "player.js").read_text(),
        script="\n".join((PAGE_FOLDER / name).read_text() for name in SCRIPTS),
    )


def encode_preview(path: Path, fps: float, cache: SweepCache, side: int = SIDE) -> tuple[dict, str]:
    """Return a small H.264 copy for browsers, ({data, frames, width, height}, hash of the original); cached.

    Raises:
      InputError: it can't be read.
    """
    name = cache.hash_of(path)
    key = {"preview": VERSION, "of": name, "fps": round(fps, 3), "side": side}
    record, file = cache.load("previews", key), cache.path("previews", key, ".mp4")
    if record is None or not file.exists():
        with cache.writing("previews", key, ".mp4") as partial:
            record = _encode(Clip(path), partial, fps, side)
        cache.store("previews", key, record)
    shape = {k: record[k] for k in ("frames", "width", "height")}
    return {"data": base64.b64encode(file.read_bytes()).decode(), **shape}, name


def _entry(item: Item, run: SweepRun, cache: SweepCache) -> tuple[dict | None, dict]:
    """What the page shows of an item, and its clips by hash."""
    clip_paths = [("source", item.source, None)]
    for method in run.sweep.methods:
        output = run.outputs[method.name, item.id]
        clip_paths += [(method.name, output.path, method.name)] if output.path else []
    clip_paths += [("truth", item.truth, None)] if item.truth else []
    try:
        fps = _rate(item.source, cache)
        clips, entries = {}, []
        for label, path, method in clip_paths:
            clip, name = encode_preview(path, fps, cache)
            clips[name] = clip
            entries.append({"label": label, "id": name, **({} if method is None else {"method": method})})
    except (InputError, OSError):
        return None, {}
    return {"fps": fps, "clips": entries}, clips


def _rate(source: Path, cache: SweepCache) -> float:
    key = {"rate": 1, "of": cache.hash_of(source)}
    record = cache.load("previews", key)
    if record is None:
        record = {"fps": round(min(60.0, max(1.0, Clip(source).fps)), 3)}
        cache.store("previews", key, record)
    return record["fps"]


def _encode(clip: Clip, path: Path, fps: float, side: int) -> dict:
    scale = min(1.0, side / max(clip.size))
    height, width = (max(2, round(n * scale / 2) * 2) for n in clip.size)
    rate = Fraction(fps).limit_denominator(1001)
    options = {"crf": CRF, "preset": "veryfast", "g": str(max(1, round(fps / 2))), "bf": "0"} | DETERMINISTIC
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as out:
        stream = out.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in clip:
            picture = av.VideoFrame.from_ndarray(resize_frame(frame, height, width), format="rgb24")
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return {"frames": len(clip), "width": width, "height": height}


def _in_turns(items: tuple[Item, ...]) -> Iterator[Item]:
    """One of each kind, then the second of each, and so on."""
    kinds: dict[str, list[Item]] = {}
    for item in items:
        kinds.setdefault(item.kind, []).append(item)
    for turn in range(max(map(len, kinds.values()))):
        yield from (group[turn] for group in kinds.values() if turn < len(group))


def _without_paths(results: dict) -> dict:
    """A page travels; where files lie on this machine is nobody's business."""
    strip = {"source", "path"}
    rows = {
        k: [{n: v for n, v in r.items() if n not in strip} for r in results[k]] for k in ("items", "edits")
    }
    return {**results, **rows}


def inline_json(value) -> str:
    """Format JSON so that it may stand inside a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
