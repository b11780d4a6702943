"""Success of an edit whose exact truth is known.

Let M be the edited region in space and time (mask nonzero), O everything else (mask zero, times outside the
edit included). With error meaning mean squared error, an edit succeeds iff

    MSE(output, truth; M) <= MSE(source, truth; M) / 4        and        PSNR(output, truth; O) >= 26 dB;

the second holds by definition where O is empty. Doing nothing has an error ratio of 1 and fails. A quarter of
the *squared* error is half the root mean square; `success_rms` requires a quarter of the root mean square, that is a
sixteenth of the squared error, and is otherwise the same.

Both are of the clip as a whole, so that a small object left as it was does not count. `gap_share` looks for such gaps: places as large as an
eighth of the frame's shorter side in which at least half of the squared error of doing nothing is left.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.evaluation.metrics.pixel import Frames, iterate_aligned, norm_by_region, psnr_from_mse

ERROR_RATIO = 1 / 4
ERROR_RATIO_RMS = 1 / 16
# A gap's window as a share of the shorter side, the change in levels (root mean square) that is asked for in one, and the share of the
# squared error of doing nothing that is left there. The change must also be at least a share of that of the whole mask.
GAP_WINDOW = 1 / 8
GAP_CHANGE = 16.0
GAP_USUAL_CHANGE = 1 / 2
GAP_RATIO = 1 / 2
# Share of frames with a gap above which an edit is incomplete.
MAX_GAP_SHARE = 1 / 4
# dB.
PSNR_OUTSIDE = 26.0


class Outcome(NamedTuple):
    """The result of scoring one edit.

    Attributes:
      success: whether the edit succeeds, as defined above.
      success_rms: whether it succeeds by the stricter criterion.
      error_ratio: MSE(output, truth; M) / MSE(source, truth; M).
      psnr_inside: dB against the truth in M.
      psnr_outside: dB against the truth in O; nan where O is empty.
    """

    success: bool
    success_rms: bool
    error_ratio: float
    psnr_inside: float
    psnr_outside: float


def score_edit(output: Frames, source: Frames, truth: Frames, mask: np.ndarray) -> Outcome:
    """Score one edited clip against its truth.

    Args:
      output: uint8 RGB frames [H, W, 3].
      source: frames of the same length and size.
      truth: frames of the same length and size.
      mask: [T, H, W], nonzero where the edit is.

    Raises:
      InputError: clips that don't match each other, an empty mask, or a source equal to the truth inside it.
    """
    if isinstance(source, np.ndarray) and len(source) != len(mask):
        raise InputError(f"success: expected a mask of {len(source)} frames like the source, got {len(mask)}")
    inside = outside = unedited = 0.0
    for (x, y, region), source_frame in zip(iterate_aligned(output, truth, mask), source, strict=True):
        if source_frame.shape != y.shape:
            raise InputError(
                f"success: expected source frames of {list(y.shape)} like the truth's, got {list(source_frame.shape)}"
            )
        errors = norm_by_region(x, y, region, cv2.NORM_L2SQR)
        inside, outside = inside + errors[0], outside + errors[1]
        unedited += cv2.norm(np.ascontiguousarray(source_frame), y, cv2.NORM_L2SQR, mask=region)
    pixels = 3 * int(np.count_nonzero(mask))
    others = 3 * mask.size - pixels
    if not pixels or not unedited:
        raise InputError(
            f"success: expected an edited region where truth and source differ, got {pixels // 3} pixels in the "
            f"mask and a squared difference of {unedited:.0f} there; such a pair can't be scored"
        )
    ratio = inside / unedited
    psnr_outside = psnr_from_mse(outside / others) if others else float("nan")
    is_preserved = not others or psnr_outside >= PSNR_OUTSIDE
    return Outcome(
        bool(is_preserved and ratio <= ERROR_RATIO),
        bool(is_preserved and ratio <= ERROR_RATIO_RMS),
        ratio,
        psnr_from_mse(inside / pixels),
        psnr_outside,
    )


def gap_share(output: Frames, source: Frames, truth: Frames, mask: np.ndarray) -> float:
    """Compute the share of frames in which a place was left as it was, of the frames that ask for a visible change.

    A frame has a gap where windows of a quarter of a window's area in all ask for a change of at least `GAP_CHANGE` levels, and of half that
    of the mask as a whole (root mean squares), and are left with more than `GAP_RATIO` of the squared error of doing nothing.

    Args:
      output: uint8 RGB frames [H, W, 3].
      source: frames of the same length and size.
      truth: frames of the same length and size.
      mask: [T, H, W], nonzero where the edit is.

    Returns:
      0 to 1; nan where no frame asks for a visible change.
    """
    gaps = []
    for (x, y, region), source_frame in zip(iterate_aligned(output, truth, mask), source, strict=True):
        window = max(4, round(min(y.shape[:2]) * GAP_WINDOW))
        change_error = _local_error(source_frame, y, region, window)
        # Where much less is asked for than elsewhere, what is left doesn't stand out.
        usual = _local_error(source_frame, y, region, 1)[region > 0].mean() if region.any() else 0.0
        has_change = change_error >= max(GAP_CHANGE**2, usual * GAP_USUAL_CHANGE**2)
        if has_change.any():
            is_gap = has_change & (_local_error(x, y, region, window) > GAP_RATIO * change_error)
            gaps.append(np.count_nonzero(is_gap) >= (window / 2) ** 2)
    return float(np.mean(gaps)) if gaps else float("nan")


def _local_error(frame: np.ndarray, truth: np.ndarray, region: np.ndarray, window: int) -> np.ndarray:
    """Return the mean squared error inside the region over windows around every pixel, float32 [H, W]."""
    squares = ((frame.astype(np.float32) - truth.astype(np.float32)) ** 2).mean(-1)
    return cv2.boxFilter(squares * (region > 0), -1, (window, window), borderType=cv2.BORDER_CONSTANT)
