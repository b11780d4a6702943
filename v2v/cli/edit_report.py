"""What `v2v edit` tells of an edit: its report as one line, skipped steps, and the plan of memory."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from v2v.errors import note
from v2v.pipeline.settings import EditReport

if TYPE_CHECKING:  # heavy
    from v2v.pipeline.model import EditingModel


def format_report(report: EditReport, is_picture: bool = False) -> str:
    """Format the report of an edit as one line.

    Args:
      report: of the edit.
      is_picture: leave out times, which a picture doesn't have.
    """
    parts = [f'"{report["prompt"]}"']
    if edits := report.get("edits"):
        parts.append(f"read as: {'; '.join(edits)}")
    if report["strength"] < 1:
        parts.append(f"strength {report['strength']:g}")
    area = f"{report['mask_area']:.1%} of the frame" if report["mask_area"] < 1 else "the whole frame"
    seconds = (
        f" for {report['edited_seconds']:.2f} s ({report['edited_from']:.2f} to {report['edited_to']:.2f})"
    )
    parts.append(area if is_picture else area + seconds)
    if "leak" in report:
        unrestored = report.get("leak_model")
        detail = f"; {unrestored:.2f} before restoring" if unrestored else ""
        state = "unchanged" if report["leak"] == 0 else "changed"
        parts.append(f"outside the mask: {state} (mean difference {report['leak']:.2f} of 255{detail})")
    return ", ".join([*parts, *format_skips([report])])


def format_skips(reports: Iterable[EditReport | dict[str, Any]]) -> list[str]:
    """Format the share of skipped steps and the error they cost, as a list of one phrase; empty if none were skipped."""
    measured = [report for report in reports if "skipped" in report and "skip_snr" in report]
    if not measured:
        return []
    shares, snr = [report["skipped"] for report in measured], [report["skip_snr"] for report in measured]
    error = f"{min(snr)}" if min(snr) == max(snr) else f"{min(snr)} to {max(snr)}"
    share = sum(shares) / len(shares)
    return [f"{share:.0%} of steps skipped after the first windows, error {error} dB below the edit"]


def tell_memory(model: "EditingModel", quiet: bool = False) -> None:
    """Print what the plan of memory does, where parts make room for others; note if it expects that memory won't do.

    Args:
      model: the model.
      quiet: print the note alone.
    """
    from v2v.pipeline.pretrained_model import Pretrained

    if not isinstance(model, Pretrained):
        return
    plan = model.plan_memory()
    if not plan.fits:
        peak, gib = plan.peak, 2**30
        note(
            f"memory: {peak.name} is expected to take {peak.peak_bytes / gib:.1f} GiB, the device has {plan.device_bytes / gib:.1f}; "
            "if it fails choose a smaller --size, or --weights-dtype int8"
        )
    elif plan.makes_room and not quiet:
        print(f"v2v: memory: {plan.summary()}", file=sys.stderr)
