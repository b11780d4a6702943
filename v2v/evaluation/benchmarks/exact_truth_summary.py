"""Summary of exact-truth outcomes as a JSON-able dict, and its table.

exact_truth.py -> **summary** -> tools/checks/score_embedded.py. Items are pairs; every interval is at 95 %: `intervals.rate` for
success, `difference` for what the mask adds, `ratio` for flicker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from v2v.evaluation import intervals
from v2v.evaluation.intervals import Interval
from v2v.evaluation.metrics.success import Outcome
from v2v.evaluation.metrics.temporal import Flicker


class ScoredPair(NamedTuple):
    """Edit type, size "HxW" and outcomes by setting of one pair."""

    edit: str
    size: str
    outcomes: dict[str, Outcome]


def summarize(
    rows: list[ScoredPair], flickers: list[tuple[Flicker, Flicker]], real: dict[str, dict[str, float]]
) -> dict:
    """Summarize all outcomes as plain numbers.

    Args:
      rows: scored pairs.
      flickers: (whole clip, frame by frame) per pair of a subset; may be empty.
      real: PSNR in dB by file and edit; may be empty.

    Returns:
      pairs; success, success_masked, success_reference (absent without such pairs), success_rms, mask_gain and
      flicker_ratio (absent without flickers); by_type, by_type_masked, by_size; psnr_inside and psnr_outside, means
      over pairs in dB; flicker; real_psnr; "intervals", the ends [low, high] of most of these; "detail" by type.
    """
    sentence = [row.outcomes["sentence"] for row in rows]
    rated = {
        "success": _rate(sentence),
        "success_masked": _rate(row.outcomes["masked"] for row in rows),
        "success_reference": _rate(row.outcomes["reference"] for row in rows if "reference" in row.outcomes),
        "success_rms": intervals.rate([o.success_rms for o in sentence]),
        "mask_gain": intervals.difference(
            [row.outcomes["masked"].success for row in rows], [o.success for o in sentence]
        ),
    }
    if flickers:
        clip_departures, single = ([f.departure for f in side] for side in zip(*flickers, strict=True))
        rated["flicker_ratio"] = intervals.ratio(clip_departures, single)
    rated = {name: value for name, value in rated.items() if value is not None}
    types = {
        name: [row for row in rows if row.edit == name] for name in dict.fromkeys(row.edit for row in rows)
    }
    sizes = {
        name: [row for row in rows if row.size == name] for name in dict.fromkeys(row.size for row in rows)
    }
    by_type = {name: _rate(row.outcomes["sentence"] for row in group) for name, group in types.items()}
    masked = {name: _rate(row.outcomes["masked"] for row in group) for name, group in types.items()}
    return {
        "pairs": len(rows),
        **{name: value.mean for name, value in rated.items()},
        "by_type": {name: value.mean for name, value in by_type.items()},
        "by_type_masked": {name: value.mean for name, value in masked.items()},
        "by_size": {
            name: _rate(row.outcomes["sentence"] for row in group).mean for name, group in sizes.items()
        },
        "psnr_inside": _mean(o.psnr_inside for o in sentence),
        "psnr_outside": _mean(o.psnr_outside for o in sentence),
        "flicker": _flicker(flickers),
        "real_psnr": real,
        "intervals": {
            **{name: value[1:] for name, value in rated.items()},
            "by_type": {name: value[1:] for name, value in by_type.items()},
            "by_type_masked": {name: value[1:] for name, value in masked.items()},
        },
        "detail": {name: {"pairs": len(group), **_detail(group)} for name, group in types.items()},
    }


def format_table(summary: dict) -> str:
    """Format the summary: success in percent with its interval, PSNR in dB."""
    ends = summary["intervals"]
    lines = [
        f"{'edit type':<16}{'n':>4}  {'success':<18}{'with mask':<18}{'in 1/4 RMS':<12}{'PSNR inside':<13}outside"
    ]
    for name, detail in summary["detail"].items():
        cells = [_percent(summary[key][name], ends[key][name]) for key in ("by_type", "by_type_masked")]
        lines.append(
            f"{name:<16}{detail['pairs']:>4}  {cells[0]:<18}{cells[1]:<18}{100 * detail['success_rms']:<12.0f}"
            f"{detail['psnr_inside']:<13.1f}{_decibel(detail['psnr_outside'])}"
        )
    cells = [_percent(summary[key], ends[key]) for key in ("success", "success_masked")]
    lines.append(
        f"{'all':<16}{summary['pairs']:>4}  {cells[0]:<18}{cells[1]:<18}{100 * summary['success_rms']:<12.0f}"
        f"{summary['psnr_inside']:<13.1f}{_decibel(summary['psnr_outside'])}"
    )
    lines.append(
        f"\nthe mask adds {_span(summary['mask_gain'], ends['mask_gain'], '+.1f', 100)} points, on the same pairs"
    )
    if "success_reference" in summary:
        lines.append(
            f"with the optional reference picture: {_percent(summary['success_reference'], ends['success_reference'])}"
        )
    lines.append("success by size: " + ", ".join(f"{k} {100 * v:.0f}" for k, v in summary["by_size"].items()))
    if "flicker_ratio" in summary:
        f = summary["flicker"]
        lines.append(
            f"flicker (departure from the truth's, levels): {f['departure']:.2f} as a clip, "
            f"{f['frames_departure']:.2f} frame by frame, "
            f"ratio {_span(summary['flicker_ratio'], ends['flicker_ratio'], '.2f')}\n  warped frame difference "
            f"itself: truth {f['truth']:.2f}, clip {f['output']:.2f}, frame by frame {f['frames_output']:.2f}"
        )
    for file, scores in summary["real_psnr"].items():
        worst = min(scores, key=scores.get)
        lines.append(
            f"{file}: photometric PSNR {_mean(scores.values()):.1f} dB, least {scores[worst]:.1f} ({worst}): "
            + ", ".join(f"{k} {v:.1f}" for k, v in scores.items())
        )
    return "\n".join(lines)


def to_json_values(value):
    """Replace nan by None and round floats to five digits."""
    if isinstance(value, dict):
        return {k: to_json_values(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_values(v) for v in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.5g}")
    return value


def _rate(outcomes: Iterable[Outcome]) -> Interval | None:
    successes = [o.success for o in outcomes]
    return intervals.rate(successes) if successes else None


def _detail(group: list[ScoredPair]) -> dict[str, float]:
    sentence = [row.outcomes["sentence"] for row in group]
    return {name: _mean(get(o) for o in sentence) for name, get in _DETAILS.items()}


_DETAILS: dict[str, Callable[[Outcome], float]] = {
    "success_rms": lambda o: o.success_rms,
    "error_ratio": lambda o: o.error_ratio,
    "psnr_inside": lambda o: o.psnr_inside,
    "psnr_outside": lambda o: o.psnr_outside,
}


def _flicker(flickers: list[tuple[Flicker, Flicker]]) -> dict[str, float]:
    if not flickers:
        return {}
    return {
        "pairs": len(flickers),
        "truth": _mean(w.truth for w, _ in flickers),
        "output": _mean(w.output for w, _ in flickers),
        "departure": _mean(w.departure for w, _ in flickers),
        "frames_output": _mean(s.output for _, s in flickers),
        "frames_departure": _mean(s.departure for _, s in flickers),
    }


def _mean(values: Iterable[float]) -> float:
    """Mean of those that exist; nan where none does."""
    finite_values = [v for v in values if not math.isnan(v)]
    return sum(finite_values) / len(finite_values) if finite_values else math.nan


def _percent(value: float, ends) -> str:
    return _span(value, ends, ".0f", 100)


def _span(value: float, ends, digits: str, scale: float = 1) -> str:
    """Format a value with its interval, such as "86 [81, 90]"; without interval for a single item."""
    ends = "" if math.isnan(ends[0]) else f" [{scale * ends[0]:{digits}}, {scale * ends[1]:{digits}}]"
    return f"{scale * value:{digits}}{ends}"


def _decibel(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"
