"""Cuts of footage: moments at which one shot ends and another begins.

frames → mean |frame - next| → **has_cut**.
"""

from __future__ import annotations

import cv2
import numpy as np

# A cut: mean |frame - next| above this many grey levels, and above this many times the clip's median. Cuts between dark shots are smaller.
CUT_LIMITS = ((40.0, 4.0), (20.0, 10.0))


def has_cut(video: np.ndarray) -> bool:
    """Return whether a clip, uint8 [T, H, W, 3], is cut; of fewer than 4 frames nobody can tell."""
    if len(video) < 4:
        return False
    steps = np.array([measure_mean(cv2.absdiff(a, b)) for a, b in zip(video[:-1], video[1:], strict=True)])
    median = float(np.median(steps))
    return any(steps.max() > max(least, ratio * median) for least, ratio in CUT_LIMITS)


def measure_mean(levels: np.ndarray) -> float:
    """Return the mean of uint8 values, by an exact sum."""
    return sum(cv2.sumElems(levels.reshape(-1, levels.shape[-2] * levels.shape[-1], 1))) / levels.size
