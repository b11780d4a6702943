"""Figures of a clip by itself, in the definitions of VBench (arXiv 2311.17982) as far as they need no network: 100 x a share.

temporal flickering: 1 - mean |x_{k+1} - x_k| / 255 over neighbouring frames, pixels and channels, exactly VBench's formula. VBench computes it on
clips whose scene stands still; on others it is a measure of motion too, so compare it with that of the source. IVEBench uses the same.

motion smoothness: every second frame is left out and interpolated from its two neighbours, and 1 - mean |interpolated - x| / 255 is taken over
those frames. VBench interpolates with the network AMT-S; here both neighbours are moved half-way along DIS optical flow and averaged, so that
figures belong beside one another but not beside VBench's.
"""

from __future__ import annotations

import cv2
import numpy as np

from v2v.evaluation.metrics.pixel import Frames
from v2v.evaluation.metrics.temporal import check_flow_size


def temporal_flickering(clip: Frames) -> float:
    """Return 100 x (1 - mean absolute difference of neighbouring frames / 255); nan with fewer than two frames."""
    previous, differences = None, []
    for frame in clip:
        if previous is not None:
            differences.append(float(cv2.norm(frame, previous, cv2.NORM_L1)) / frame.size)
        previous = frame
    return 100 * (1 - float(np.mean(differences)) / 255) if differences else float("nan")


def motion_smoothness(clip: Frames) -> float:
    """Return 100 x (1 - mean absolute error of interpolated frames / 255); nan with fewer than three frames.

    Raises:
      InputError: frames too small for optical flow.
    """
    flow, errors = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST), []
    window: list[np.ndarray] = []
    for frame in clip:
        window.append(frame)
        if len(window) == 3:
            first, middle, last = window
            check_flow_size(first.shape[0], first.shape[1], "motion smoothness")
            estimate = _interpolate(flow, first, last)
            errors.append(float(cv2.norm(estimate, middle, cv2.NORM_L1)) / middle.size)
            window = [last]
    return 100 * (1 - float(np.mean(errors)) / 255) if errors else float("nan")


def _interpolate(flow: cv2.DISOpticalFlow, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the frame half-way between two, uint8 [H, W, 3]."""
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, last)]
    parts = []
    for frame, a, b in ((first, gray[0], gray[1]), (last, gray[1], gray[0])):
        # Motion to the middle is half of that to the other frame; a pixel of the middle came from about where it goes to.
        motion = flow.calc(a, b, None)  # pyright: ignore[reportCallIssue, reportArgumentType]
        rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
        x, y = columns - motion[..., 0] / 2, rows - motion[..., 1] / 2
        parts.append(cv2.remap(frame, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return cv2.addWeighted(parts[0], 0.5, parts[1], 0.5, 0)
