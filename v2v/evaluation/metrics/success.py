"""Success of an edit whose exact truth is known.

Let M be the edited region in space and time (mask nonzero), O everything else (mask zero, times outside the
edit included). With error meaning mean squared error, an edit succeeds iff

    MSE(output, truth; M) <= MSE(source, truth; M) / 4        and        PSNR(output, truth; O) >= 26 dB;

the second holds by definition where O is empty. Doing nothing has an error ratio of 1 and fails. A quarter of
the *squared* error is half the root mean square; `success_rms` requires a quarter of the root mean square, that is a
sixteenth of the squared error, and is otherwise the same.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.evaluation.metrics.pixel import Frames, iterate_aligned, norm_by_region, psnr_from_mse

ERROR_RATIO = 1 / 4
ERROR_RATIO_RMS = 1 / 16
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
