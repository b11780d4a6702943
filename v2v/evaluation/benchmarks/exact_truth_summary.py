"""The summary of exact-truth outcomes: intervals by edit type, as a table and as JSON values.

Items are pairs and every interval is at 95 %: `intervals.rate` for success, `difference` for the gain of the mask, `ratio` for flicker.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from v2v.evaluation import intervals
from v2v.evaluation.intervals import Interval
from v2v.evaluation.metrics.success import Outcome
from v2v.evaluation.metrics.temporal import Flicker


@dataclass(frozen=True)
class ScoredPair:
    """The scores of one pair.

    Attributes:
      edit_type: kind of the edit.
      size: "HxW" of the clip.
      outcomes: by setting: "sentence", "masked", and "reference" where that applies.
      outputs: edited clips by setting.
    """

    edit_type: str
    size: str
    outcomes: Mapping[str, Outcome]
    outputs: Mapping[str, Path] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class FlickerComparison:
    """The flicker of one pair edited as a clip, and frame by frame."""

    clip: Flicker
    frames: Flicker


@dataclass(frozen=True)
class TypeSummary:
    """The scores of one edit type; PSNR in dB and error ratio are means over pairs, in the setting "sentence".

    Attributes:
      pairs: number of pairs.
      success: rate.
      success_masked: rate with the mask.
      success_rms: share of the stricter success.
      error_ratio: squared error inside the mask divided by that of doing nothing.
      psnr_inside: against the truth inside the mask.
      psnr_outside: outside; nan where no pair has an outside.
    """

    pairs: int
    success: Interval
    success_masked: Interval
    success_rms: float
    error_ratio: float
    psnr_inside: float
    psnr_outside: float


@dataclass(frozen=True)
class FlickerSummary:
    """Flicker in levels, means over pairs.

    Attributes:
      pairs: number of pairs.
      truth: warped frame difference of the truth.
      output: of the clip edited as a clip.
      departure: of its error.
      frames_output: of the clip edited frame by frame.
      frames_departure: of its error.
      ratio: `departure` divided by `frames_departure`.
    """

    pairs: int
    truth: float
    output: float
    departure: float
    frames_output: float
    frames_departure: float
    ratio: Interval


@dataclass(frozen=True)
class ExactTruthSummary:
    """The scores of all pairs, in the setting "sentence" where nothing else is said.

    Attributes:
      pairs: number of pairs.
      success: rate.
      success_masked: rate with the mask.
      success_reference: rate with the optional reference picture; None without such pairs.
      success_rms: rate of the stricter success.
      mask_gain: success with the mask minus success without, on the same pairs.
      by_type: scores by edit type.
      by_size: success by size.
      psnr_inside: mean over pairs in dB, against the truth inside the mask.
      psnr_outside: outside; nan where no pair has an outside.
      flicker: None where it was not compared.
      real_psnr: PSNR in dB of photometric edits of real clips, by file and edit.
    """

    pairs: int
    success: Interval
    success_masked: Interval
    success_reference: Interval | None
    success_rms: Interval
    mask_gain: Interval
    by_type: dict[str, TypeSummary]
    by_size: dict[str, float]
    psnr_inside: float
    psnr_outside: float
    flicker: FlickerSummary | None
    real_psnr: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict:
        """Return plain values: means under their names, the ends [low, high] of most of them under "intervals", means by type under "detail".

        What does not apply (success_reference, flicker_ratio) is absent.
        """
        rates = {
            "success": self.success,
            "success_masked": self.success_masked,
            "success_reference": self.success_reference,
            "success_rms": self.success_rms,
            "mask_gain": self.mask_gain,
            "flicker_ratio": self.flicker and self.flicker.ratio,
        }
        intervals_by_name = {name: value for name, value in rates.items() if value is not None}
        return {
            "pairs": self.pairs,
            **{name: value.mean for name, value in intervals_by_name.items()},
            "by_type": {name: t.success.mean for name, t in self.by_type.items()},
            "by_type_masked": {name: t.success_masked.mean for name, t in self.by_type.items()},
            "by_size": self.by_size,
            "psnr_inside": self.psnr_inside,
            "psnr_outside": self.psnr_outside,
            "flicker": self._flicker_json(),
            "real_psnr": {clip: dict(scores) for clip, scores in self.real_psnr.items()},
            "intervals": {
                **{name: value.ends for name, value in intervals_by_name.items()},
                "by_type": {name: t.success.ends for name, t in self.by_type.items()},
                "by_type_masked": {name: t.success_masked.ends for name, t in self.by_type.items()},
            },
            "detail": {
                name: {
                    "pairs": t.pairs,
                    "success_rms": t.success_rms,
                    "error_ratio": t.error_ratio,
                    "psnr_inside": t.psnr_inside,
                    "psnr_outside": t.psnr_outside,
                }
                for name, t in self.by_type.items()
            },
        }

    def _flicker_json(self) -> dict:
        if self.flicker is None:
            return {}
        values = dataclasses.asdict(self.flicker)
        del values["ratio"]
        return values

    def format_table(self) -> str:
        """Return the table for people: success in percent with its interval, PSNR in dB."""
        lines = [
            f"{'edit type':<16}{'n':>4}  {'success':<18}{'with mask':<18}{'in 1/4 RMS':<12}{'PSNR inside':<13}outside"
        ]
        for name, t in self.by_type.items():
            lines.append(
                f"{name:<16}{t.pairs:>4}  {_percent(t.success):<18}{_percent(t.success_masked):<18}{100 * t.success_rms:<12.0f}"
                f"{t.psnr_inside:<13.1f}{_decibel(t.psnr_outside)}"
            )
        lines.append(
            f"{'all':<16}{self.pairs:>4}  {_percent(self.success):<18}{_percent(self.success_masked):<18}"
            f"{100 * self.success_rms.mean:<12.0f}{self.psnr_inside:<13.1f}{_decibel(self.psnr_outside)}"
        )
        lines.append(
            f"\nthe mask adds {_format_interval(self.mask_gain, '+.1f', 100)} points, on the same pairs"
        )
        if self.success_reference is not None:
            lines.append(f"with the optional reference picture: {_percent(self.success_reference)}")
        sizes = ", ".join(f"{size} {100 * rate:.0f}" for size, rate in self.by_size.items())
        lines.append(f"success by size: {sizes}")
        if self.flicker is not None:
            f = self.flicker
            lines.append(
                f"flicker (departure from the truth's, levels): {f.departure:.2f} as a clip, "
                f"{f.frames_departure:.2f} frame by frame, ratio {_format_interval(f.ratio, '.2f')}\n"
                f"  warped frame difference itself: truth {f.truth:.2f}, clip {f.output:.2f}, "
                f"frame by frame {f.frames_output:.2f}"
            )
        for file, scores in self.real_psnr.items():
            worst = min(scores, key=lambda name: scores[name])
            lines.append(
                f"{file}: photometric PSNR {_mean(scores.values()):.1f} dB, least {scores[worst]:.1f} ({worst}): "
                + ", ".join(f"{name} {value:.1f}" for name, value in scores.items())
            )
        return "\n".join(lines)


def summarize(
    pairs: Sequence[ScoredPair],
    flickers: Sequence[FlickerComparison] = (),
    real_psnr: Mapping[str, Mapping[str, float]] | None = None,
) -> ExactTruthSummary:
    """Summarize the scores of at least one pair.

    Args:
      pairs: scored pairs.
      flickers: comparisons on other pairs; may be empty.
      real_psnr: PSNR in dB by real clip and edit; None for no such clips.
    """
    sentence = [pair.outcomes["sentence"] for pair in pairs]
    reference = [pair.outcomes["reference"] for pair in pairs if "reference" in pair.outcomes]
    types: dict[str, list[ScoredPair]] = {}
    sizes: dict[str, list[Outcome]] = {}
    for pair in pairs:
        types.setdefault(pair.edit_type, []).append(pair)
        sizes.setdefault(pair.size, []).append(pair.outcomes["sentence"])
    return ExactTruthSummary(
        pairs=len(pairs),
        success=_success_rate(sentence),
        success_masked=_success_rate([pair.outcomes["masked"] for pair in pairs]),
        success_reference=_success_rate(reference) if reference else None,
        success_rms=intervals.rate([o.success_rms for o in sentence]),
        mask_gain=intervals.difference(
            [pair.outcomes["masked"].success for pair in pairs], [o.success for o in sentence]
        ),
        by_type={name: _summarize_type(group) for name, group in types.items()},
        by_size={size: _success_rate(group).mean for size, group in sizes.items()},
        psnr_inside=_mean(o.psnr_inside for o in sentence),
        psnr_outside=_mean(o.psnr_outside for o in sentence),
        flicker=_summarize_flicker(flickers) if flickers else None,
        real_psnr=real_psnr or {},
    )


def _summarize_type(group: Sequence[ScoredPair]) -> TypeSummary:
    sentence = [pair.outcomes["sentence"] for pair in group]
    return TypeSummary(
        pairs=len(group),
        success=_success_rate(sentence),
        success_masked=_success_rate([pair.outcomes["masked"] for pair in group]),
        success_rms=_mean(o.success_rms for o in sentence),
        error_ratio=_mean(o.error_ratio for o in sentence),
        psnr_inside=_mean(o.psnr_inside for o in sentence),
        psnr_outside=_mean(o.psnr_outside for o in sentence),
    )


def _summarize_flicker(flickers: Sequence[FlickerComparison]) -> FlickerSummary:
    return FlickerSummary(
        pairs=len(flickers),
        truth=_mean(f.clip.truth for f in flickers),
        output=_mean(f.clip.output for f in flickers),
        departure=_mean(f.clip.departure for f in flickers),
        frames_output=_mean(f.frames.output for f in flickers),
        frames_departure=_mean(f.frames.departure for f in flickers),
        ratio=intervals.ratio([f.clip.departure for f in flickers], [f.frames.departure for f in flickers]),
    )


def _success_rate(outcomes: Sequence[Outcome]) -> Interval:
    return intervals.rate([o.success for o in outcomes])


def _mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are not nan; nan where all are."""
    finite_values = [v for v in values if not math.isnan(v)]
    return sum(finite_values) / len(finite_values) if finite_values else math.nan


def _percent(rate: Interval) -> str:
    return _format_interval(rate, ".0f", 100)


def _format_interval(value: Interval, digits: str, scale: float = 1) -> str:
    """Format a value with its interval, such as "86 [81, 90]"; without interval for a single item."""
    low, high = value.ends
    ends = "" if math.isnan(low) else f" [{scale * low:{digits}}, {scale * high:{digits}}]"
    return f"{scale * value.mean:{digits}}{ends}"


def _decibel(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"
