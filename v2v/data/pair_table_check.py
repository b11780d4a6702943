"""The check of a table of pairs: what of it would be used, cut and left out, and why.

pair_table.py, video/clip_pair.py -> **pair_table_check** -> `v2v pairs check`

Every file is decoded, a few frames at a time, so that damage is found and clips of any length take little memory.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from v2v.data.pair_row import PairRow, UnusableRow
from v2v.data.pair_table import PairTable
from v2v.errors import InputError
from v2v.video import clip_pair
from v2v.video.clip_pair import ClipPair, Moment, UnusablePairError

# Least root mean square of source - target inside the mask, in levels; below it a pair shows no edit.
MIN_CHANGE = 1.0

# Frames, height, width.
Size = tuple[int, int, int]


@dataclass(frozen=True)
class RowCheck:
    """A row that can be used.

    Attributes:
      row: the row.
      frames: number of frames, matched in time.
      height: of the source in pixels.
      width: of the source in pixels.
      fps: frames per second.
      seconds: length of the matched part.
      cuts: what of the files is not used, one reason each; () where all is.
      notes: what may surprise.
      drift: mean difference outside the mask in levels, None where there is no outside.
    """

    row: PairRow
    frames: int
    height: int
    width: int
    fps: float
    seconds: float
    cuts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    drift: float | None = None


@dataclass
class TableReport:
    """What a check found.

    Attributes:
      table: the table.
      usable: rows that can be used, in the table's order.
      left_out: the others.
    """

    table: PairTable
    usable: list[RowCheck] = field(default_factory=list)
    left_out: list[UnusableRow] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {
            "table": str(self.table.path),
            "rows": len(self.table.rows),
            "used": len(self.usable),
            "cut": sum(bool(check.cuts) for check in self.usable),
            "left_out": len(self.left_out),
            "reasons": dict(Counter(row.kind for row in self.left_out).most_common()),
            "sizes": self._count(lambda check: f"{check.width}x{check.height}"),
            "rates": self._count(lambda check: f"{check.fps:g}" if check.frames > 1 else "picture"),
            "pairs": [_row_to_json(check) for check in self.usable],
            "unusable": [
                {"line": row.line, "place": row.place, "reason": row.kind, "detail": row.detail}
                for row in self.left_out
            ],
            "ignored": list(self.table.ignored),
        }

    def format(self) -> str:
        """Return a summary for people, and every row that is cut, noted or left out."""
        cut = sum(bool(check.cuts) for check in self.usable)
        lines = [
            f"{self.table.path}: {len(self.table.rows)} rows, {len(self.usable)} used ({cut} of them cut), "
            f"{len(self.left_out)} left out"
        ]
        if self.usable:
            lines += self._format_summary()
        for check in self.usable:
            lines += [f"  {check.row.place} cut: {reason}" for reason in check.cuts]
            lines += [f"  {check.row.place}: {note}" for note in check.notes]
        lines += [f"  {row.place} left out: {row.reason}" for row in self.left_out]
        if self.table.ignored:
            kind = "files" if self.table.path.is_dir() else "columns"
            lines.append(f"  {kind} not read: {', '.join(self.table.ignored)}")
        return "\n".join(lines)

    def _format_summary(self) -> list[str]:
        rows = [check.row for check in self.usable]
        words = [len(sentence.split()) for row in rows for sentence in row.instructions]
        held_out = sum(row.split == "held_out" for row in rows)
        facts = {
            "for": f"{len(rows) - held_out} training, {held_out} held out",
            "frames": _format_range([check.frames for check in self.usable]),
            "seconds": _format_range([round(check.seconds, 2) for check in self.usable if check.frames > 1]),
            "fps": _format_counts(
                self._count(lambda check: f"{check.fps:g}" if check.frames > 1 else "picture")
            ),
            "size": _format_counts(self._count(lambda check: f"{check.width}x{check.height}")),
            "instructions": f"{len(words)}, of {_format_range(words)} words",
            "masks": str(sum(row.mask is not None for row in rows)),
            "references": str(sum(row.reference is not None for row in rows)),
            "licenses": _format_counts(dict(Counter(row.license or "unknown" for row in rows).most_common())),
        }
        drifts = [check.drift for check in self.usable if check.drift is not None]
        if drifts:
            facts["drift"] = (
                f"outside the mask the target differs by {statistics.median(drifts):.1f} levels in the median pair, "
                f"{max(drifts):.1f} at most"
            )
        return [f"  {name:<14}{text}" for name, text in facts.items() if text]

    def _count(self, label: Callable[[RowCheck], str]) -> dict[str, int]:
        """Return how many used rows have each label, the most frequent first."""
        return dict(Counter(map(label, self.usable)).most_common())


def check_table(
    table: PairTable,
    size: Size | None = None,
    progress: Callable[[int], object] | None = None,
    find_rejection: Callable[[int], str] | None = None,
) -> TableReport:
    """Check every row of a table.

    Args:
      table: the table.
      size: frames (0 for any number), height and width that clips are cut to; None leaves them as they are.
      progress: called with 1 after every row.
      find_rejection: returns for the position of a usable row, from 0, why a set would still not take its pair; "" where it would.
    """
    report = TableReport(table)
    for position, row in enumerate(table.rows):
        outcome = row if isinstance(row, UnusableRow) else check_row(row, size)
        if find_rejection and isinstance(outcome, RowCheck) and (reason := find_rejection(position)):
            outcome = UnusableRow(row.place, row.line, reason, "v2v synth would drop it at this size")
        if isinstance(outcome, UnusableRow):
            report.left_out.append(outcome)
        else:
            report.usable.append(outcome)
        if progress:
            progress(1)
    return report


def check_row(row: PairRow, size: Size | None = None) -> RowCheck | UnusableRow:
    """Decode the files of a row; return what they are, or why they can't be used.

    Args:
      row: the row.
      size: as for `check_table`.
    """
    try:
        pair = clip_pair.open_clip_pair(row.source, row.target, row.mask, row.start, row.end)
        if row.reference is not None:
            clip_pair.read_reference(row.reference)
        cuts, notes = _find_cuts(pair, size), _find_notes(pair, size)
        drift = _measure_pair(pair)
        if row.mask is not None and drift is None:
            notes += ("its mask is white everywhere, which is the same as none",)
    except UnusablePairError as error:
        return UnusableRow(row.place, row.line, error.kind, error.detail)
    except InputError as error:
        return UnusableRow(row.place, row.line, "unreadable file", str(error))
    seconds = float(pair.times[-1]) + 1 / pair.fps
    height, width = pair.source.height, pair.source.width
    return RowCheck(row, pair.count, height, width, pair.fps, seconds, cuts, notes, drift)


def _measure_pair(pair: ClipPair) -> float | None:
    """Return the drift outside the mask, None where there is no outside.

    Raises:
      UnusablePairError: nothing changes, the mask is black, or the drift is too large.
    """
    drifts: list[float] = []
    is_equal, square_sum, value_count = True, 0.0, 0
    for moment in pair.iterate():
        scaled = _fit_to_source(moment)
        is_equal = is_equal and np.array_equal(scaled.source, scaled.target)
        square_sum += cv2.norm(scaled.source, scaled.target, cv2.NORM_L2SQR, scaled.mask)
        value_count += 3 * cv2.countNonZero(scaled.mask)
        if pair.is_limited and not scaled.mask.all():
            drifts.append(clip_pair.measure_drift(scaled))
    if is_equal:
        raise UnusablePairError("source and target are the same", "every frame is equal")
    if not value_count:
        raise UnusablePairError("black mask", "it marks nothing; white = edited here")
    drift = statistics.fmean(drifts) if drifts else None
    if drift is not None and drift > clip_pair.MAX_DRIFT:
        raise UnusablePairError(
            "drift outside the mask",
            f"the target differs by {drift:.1f} levels there, at most {clip_pair.MAX_DRIFT:g} may; is the mask inverted or too small?",
        )
    change = (square_sum / value_count) ** 0.5
    if change < MIN_CHANGE:
        raise UnusablePairError("nothing changes", f"source and target differ by {change:.2f} levels")
    return drift


def _fit_to_source(moment: Moment) -> Moment:
    """Return the moment with target and mask at the source's size."""
    height, width = moment.source.shape[:2]
    target = moment.target
    if target.shape != moment.source.shape:
        target = cv2.resize(target, (width, height), interpolation=cv2.INTER_AREA)
    return Moment(moment.source, target, clip_pair.resize_mask(moment.mask, height, width))


def _find_cuts(pair: ClipPair, size: Size | None) -> tuple[str, ...]:
    """Return what of the files is not used.

    Raises:
      UnusablePairError: the clip is shorter than the size.
    """
    cuts = []
    if not pair.source.count == pair.target.count == pair.count:
        rates = f"{pair.source.fps:g} and {pair.target.fps:g} fps"
        cuts.append(
            f"{pair.count} moments of {pair.source.count} source and {pair.target.count} target frames ({rates})"
        )
    if size is None:
        return tuple(cuts)
    frames, height, width = size
    if frames and pair.count < frames and not pair.is_picture:
        raise UnusablePairError("shorter than the clip", f"{pair.count} frames of {frames}")
    if 0 < frames < pair.count:
        cuts.append(f"{frames} of {pair.count} frames")
    scale = max(height / pair.source.height, width / pair.source.width)
    crop = 1 - height * width / (pair.source.height * pair.source.width * scale**2)
    if crop > 0.005:
        cuts.append(
            f"{crop:.0%} of the picture, {pair.source.width}x{pair.source.height} into {width}x{height}"
        )
    return tuple(cuts)


def _find_notes(pair: ClipPair, size: Size | None) -> tuple[str, ...]:
    """Return what may surprise about a pair that can be used."""
    notes = []
    source_size, target_size = ((clip.width, clip.height) for clip in (pair.source, pair.target))
    if source_size != target_size:
        notes.append(
            f"target scaled from {target_size[0]}x{target_size[1]} to the source's {source_size[0]}x{source_size[1]}"
        )
    if pair.source.count == pair.target.count and abs(pair.source.fps - pair.target.fps) > 0.01:
        notes.append(
            f"matched frame by frame, though source and target state {pair.source.fps:g} and {pair.target.fps:g} fps"
        )
    if size is not None and (pair.source.height < size[1] or pair.source.width < size[2]):
        notes.append(f"enlarged from {source_size[0]}x{source_size[1]}")
    return tuple(notes)


def _row_to_json(check: RowCheck) -> dict[str, Any]:
    return {
        "line": check.row.line,
        "place": check.row.place,
        "frames": check.frames,
        "width": check.width,
        "height": check.height,
        "fps": check.fps,
        "seconds": check.seconds,
        "split": check.row.split,
        "cut": list(check.cuts),
        "notes": list(check.notes),
        "drift": check.drift,
    }


def _format_range(values: Sequence[float]) -> str:
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _format_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({n})" for name, n in counts.items())
