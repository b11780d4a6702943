"""The report of a build: report.json for programs, report.html for people.

facts of pairs, rejections → **report**. The JSON holds the request, the number of pairs, also per edit and per recipe, rejections per reason,
histograms of clip size, clip length, instruction length and edited area, and licenses. The page shows the same as tables and bars, and
for every edit a few pairs that play: each is one strip of frames as a JPEG inside the page, moved by CSS, so the file needs no script,
no network and no video codec.
"""

from __future__ import annotations

import base64
import html
import json
from collections import Counter
from typing import Any

import cv2
import numpy as np

from data_synth.dataset.facts import PairFacts
from data_synth.rejection import Rejected
from v2v.data import pair as pr

# Pairs shown for each edit, and frames of each.
EXAMPLES_PER_EDIT = 3
EXAMPLE_FRAMES = 16
# Height of a thumbnail in pixels.
THUMBNAIL_HEIGHT = 112
# Edits with examples, and exceptions listed one by one, at most.
MAX_EDITS = 80
MAX_FAILURES = 1000


class Report:
    """Counts of a build, collected while facts pass by; holds a bounded number of thumbnails, never the pairs.

    Args:
      request: `SynthRequest.table`.
    """

    def __init__(self, request: dict):
        self.request = request
        self.edits: Counter[str] = Counter()
        self.recipes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.lengths: Counter[int] = Counter()
        self.words: Counter[int] = Counter()
        self.area: Counter[int] = Counter()
        self.licenses: Counter[str] = Counter()
        self.makers: Counter[str] = Counter()
        self.example_count: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.failures: list[dict[str, Any]] = []

    def keep(self, facts: PairFacts) -> bool:
        """Count one stored pair; return whether the page should show it (`add_example`)."""
        self.edits[facts.edit] += 1
        self.recipes[facts.recipe] += 1
        self.sizes[f"{facts.height} x {facts.width}"] += 1
        self.lengths[facts.frames] += 1
        self.words.update(len(sentence.split()) for sentence in facts.instructions)
        self.area[min(9, int(10 * facts.area))] += 1
        self.licenses[facts.license] += 1
        self.makers.update(facts.makers)
        if facts.edit not in self.example_count and len(self.example_count) >= MAX_EDITS:
            return False
        self.example_count[facts.edit] += 1
        return self.example_count[facts.edit] <= EXAMPLES_PER_EDIT

    def add_example(self, edit: str, example: str) -> None:
        """Show a pair on the page.

        Args:
          edit: Its edit.
          example: `format_example` of it.
        """
        self.examples.setdefault(edit, []).append(example)

    def drop(self, seed: int, rejection: Rejected) -> None:
        """Count one seed that gave no pair; list it where an exception was the reason, for a person to look at."""
        if not rejection.error:
            self.reasons[rejection.reason] += 1
            return
        self.reasons["failed"] += 1
        if len(self.failures) < MAX_FAILURES:
            self.failures.append({"seed": seed, "error": rejection.reason})

    def table(self) -> dict:
        """Return the content of report.json."""
        area = {f"{10 * k}-{10 * k + 10} %": n for k, n in sorted(self.area.items())}
        return {
            "request": self.request,
            "pairs": sum(self.edits.values()),
            "edits": _sort_counts(self.edits),
            "recipes": _sort_counts(self.recipes),
            "dropped": _sort_counts(self.reasons),
            **({"failed": self.failures} if self.failures else {}),
            "sizes": _sort_counts(self.sizes),
            "lengths": _sort_counts(self.lengths),
            "instruction_words": _sort_counts(self.words),
            "edited_area": area,
            "licenses": _sort_counts(self.licenses),
        }

    def add_rejections(self, table: dict) -> None:
        """Count the rejections of an earlier report.

        Args:
          table: Its `table`.
        """
        self.reasons.update(table.get("dropped", {}))
        self.failures += table.get("failed", [])

    def describe(self) -> str:
        """Return what the pairs are and what made them, for dataset_info.json."""
        makers = ", ".join(f"{maker} ({n})" for maker, n in sorted(self.makers.items()))
        sources = self.request.get("sources", {})
        inputs = [
            f"footage of {sources['clips']}" if sources.get("clips") else "",
            *(f"{name} of {path}" for name, path in sources.get("sets", ())),
        ]
        return (
            f"{sum(self.edits.values())} pairs (source, target, mask, reference, instructions) for instruction-based video editing, written "
            f"by v2v synth from {' and '.join(filter(None, inputs)) or 'rendered scenes'}. "
            f"Kinds of recipes: {', '.join(f'{name} ({n})' for name, n in sorted(self.recipes.items()))}. "
            + (f"Made by external programs: {makers}. " if makers else "")
            + "One record is one pair, encoded by v2v.data.pair.encode_pair; the request is in report.json, the origin and licence of every "
            "pair in its provenance."
        )

    def describe_license(self) -> str:
        """Return the licenses of the pairs with their numbers, for dataset_info.json."""
        return ", ".join(f"{name} ({n} pairs)" for name, n in sorted(self.licenses.items()))

    def page(self) -> str:
        """Return the text of report.html."""
        table = self.table()
        tables = "".join(
            _format_bars(title, table[key])
            for key, title in (
                ("edits", "Pairs per edit"),
                ("recipes", "Pairs per recipe"),
                ("dropped", "Dropped seeds, by reason"),
                ("sizes", "Clip size"),
                ("lengths", "Clip length, frames"),
                ("instruction_words", "Instruction length, words"),
                ("edited_area", "Share of pixels that the mask covers"),
                ("licenses", "Licence"),
            )
        )
        examples = "".join(
            f"<h3>{html.escape(edit)}</h3><div class=row>{''.join(parts)}</div>"
            for edit, parts in sorted(self.examples.items())
        )
        return (
            f"<!doctype html><meta charset=utf-8><title>{table['pairs']} pairs</title><style>{STYLE}</style>"
            f"<h1>{table['pairs']} pairs</h1><details><summary>Request</summary><pre>"
            f"{html.escape(json.dumps(self.request, indent=1, sort_keys=True))}</pre></details>"
            f"<div class=tables>{tables}</div><h2>Pairs</h2><p>Source above, target below, mask last. Reference at the right."
            f"</p>{examples}\n"
        )


STYLE = """body{font:14px/1.4 system-ui,sans-serif;margin:2em;background:#eee;color:#222}
.tables{display:flex;flex-wrap:wrap;gap:2em}td{padding:0 .6em 0 0}td.n{text-align:right}
.bar{display:inline-block;height:.7em;background:#47a}.row{display:flex;flex-wrap:wrap;gap:1.5em}
.pair{max-width:26em}.film{background-size:auto 100%;margin:2px}
@keyframes play{from{background-position-x:0}to{background-position-x:var(--end)}}"""


def _format_bars(title: str, counts: dict) -> str:
    peak = max(counts.values(), default=1)
    rows = "".join(
        f"<tr><td>{html.escape(str(name))}<td class=n>{n}<td><span class=bar style='width:{120 * n / peak:.0f}px'>"
        "</span>"
        for name, n in counts.items()
    )
    return f"<div><h3>{title}</h3><table>{rows}</table></div>"


def format_example(pair: pr.Pair) -> str:
    """Return the HTML of a pair that plays: source, target and mask, one below the other, the reference, and its words."""
    T, H, W, _ = pair.source.shape
    index = np.unique(np.linspace(0, T - 1, min(T, EXAMPLE_FRAMES)).round().astype(int))
    mask = np.repeat(pair.mask[index, ..., None], 3, -1)
    films = "".join(_format_film(video) for video in (pair.source[index], pair.target[index], mask))
    reference = (
        ""
        if pair.reference is None
        else f"<img height={THUMBNAIL_HEIGHT} src='{_encode_jpeg(_resize_thumbnail(pair.reference))}'>"
    )
    caption = html.escape("; ".join(pair.instructions[:3]))
    return f"<div class=pair><div style='display:flex;gap:4px'><div>{films}</div>{reference}</div>{caption}</div>"


def _format_film(video: np.ndarray) -> str:
    frames = [_resize_thumbnail(frame) for frame in video]
    width, n = frames[0].shape[1], len(frames)
    return (
        f"<div class=film style=\"width:{width}px;height:{THUMBNAIL_HEIGHT}px;background-image:url('{_encode_jpeg(np.hstack(frames))}');"
        f'--end:-{width * n}px;animation:play {n / 8:.2f}s steps({n}) infinite"></div>'
    )


def _resize_thumbnail(picture: np.ndarray) -> np.ndarray:
    h, w = picture.shape[:2]
    return cv2.resize(
        picture,
        (max(1, round(w * THUMBNAIL_HEIGHT / h)), THUMBNAIL_HEIGHT),
        interpolation=cv2.INTER_AREA if h > THUMBNAIL_HEIGHT else cv2.INTER_NEAREST,
    )


def _encode_jpeg(picture: np.ndarray) -> str:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, 80))
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _sort_counts(counts: Counter) -> dict:
    return {str(name): n for name, n in sorted(counts.items())}
