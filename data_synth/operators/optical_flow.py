"""Optical flow of a clip, and displacements shown as colours.

clip → **estimate_flow** → displacements → **flow_colors** → `control.py`; the renderers' exact motion is shown by the same colours.
The flow is OpenCV's DIS (Kroeger et al. 2016), a classical method.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

# Shorter side in pixels from which approximations are used: flow at half the size, colours exact to a level or two.
FAST_SIDE = 480


def estimate_flow(luma: np.ndarray) -> list[np.ndarray]:
    """Estimate the displacements from each frame to the next.

    Args:
      luma: uint8 [T, H, W].

    Returns:
      T - 1 arrays float32 [H, W, 2], (x, y) in pixels.
    """
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # DIS needs a few octaves: small frames are enlarged for it, and large ones reduced, which costs no accuracy
    # that the colours could show.
    T, H, W = luma.shape
    side = min(H, W)
    scale = max(1, int(np.ceil(192 / side))) if side < FAST_SIDE else FAST_SIDE / 2 / side
    enlarging = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    reducing = cv2.INTER_AREA if scale >= 1 else cv2.INTER_LINEAR
    scaled = [cv2.resize(y, None, fx=scale, fy=scale, interpolation=enlarging) for y in luma]
    moves = []
    for a, b in zip(scaled[:-1], scaled[1:], strict=True):
        # OpenCV's stubs lack the None that asks for a new array without an initial flow.
        move = estimator.calc(a, b, None)  # pyright: ignore[reportCallIssue, reportArgumentType]
        moves.append(cv2.resize(move, (W, H), interpolation=reducing) / np.float32(scale))
    return moves


def flow_colors(moves: Sequence[np.ndarray]) -> np.ndarray:
    """Show displacements as colours.

    Args:
      moves: T arrays, float [H, W, 2], in pixels a frame.

    Returns:
      uint8 [T, H, W, 3]: hue is the direction, saturation the speed over the clip's 98th percentile; what stands still is white.
    """
    if min(moves[0].shape[:2]) >= FAST_SIDE:
        return _flow_colors_fast(moves)
    vectors = np.asarray(moves)
    size = np.hypot(vectors[..., 0], vectors[..., 1])
    peak = max(float(np.percentile(size, 98)), 0.05)
    hue = (np.degrees(np.arctan2(vectors[..., 1], vectors[..., 0])) % 360).astype(np.float32)
    hsv = np.stack([hue, np.minimum(size / peak, 1).astype(np.float32), np.ones_like(hue)], -1)
    return np.stack([(255 * cv2.cvtColor(frame, cv2.COLOR_HSV2RGB) + 0.5).astype(np.uint8) for frame in hsv])


def _flow_colors_fast(moves: Sequence[np.ndarray]) -> np.ndarray:
    """Show displacements exact to a grey level or two: OpenCV's polar form (0.3 degrees), the percentile of every sixteenth pixel."""
    sample = np.stack([move[::4, ::4].astype(np.float32) for move in moves])
    peak = max(float(np.percentile(np.hypot(sample[..., 0], sample[..., 1]), 98)), 0.05)
    out = np.empty((len(moves), *moves[0].shape[:2], 3), np.uint8)
    value = np.ones(moves[0].shape[:2], np.float32)
    for k, move in enumerate(moves):
        size, hue = cv2.cartToPolar(*cv2.split(move.astype(np.float32, copy=False)), angleInDegrees=True)
        hsv = cv2.merge([hue, np.minimum(size / peak, 1), value])
        out[k] = 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) + 0.5
    return out
