"""Where pixels go from frame to frame, and motion as colours. clip → **motion** → control.py; physics and scenes colour theirs.

Flow is classical: OpenCV's DIS (Kroeger et al. 2016). s is the shorter side of the frame.
"""

import cv2
import numpy as np

FINE = 480  # s, pixels, from which flow is estimated on half of it and coloured by quicker means


def luma(video: np.ndarray) -> np.ndarray:
    """uint8 [T, H, W, 3] → its BT.601 luma, uint8 [T, H, W]."""
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video])


def estimate(video: np.ndarray) -> np.ndarray:
    """uint8 [T, H, W, 3], T of at least 2 → float32 [T - 1, H, W, 2] pixels from each frame to the next, x before y."""
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # DIS needs a few octaves: small frames are shown to it enlarged, and large ones reduced, which costs no accuracy that
    # the colours could show.
    _, height, width, _ = video.shape
    side = min(height, width)
    scale = max(1, int(np.ceil(192 / side))) if side < FINE else FINE / 2 / side
    there = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    back = cv2.INTER_AREA if scale >= 1 else cv2.INTER_LINEAR
    shown = [cv2.resize(y, None, fx=scale, fy=scale, interpolation=there) for y in luma(video)]
    moves = [method.calc(a, b, None) for a, b in zip(shown[:-1], shown[1:], strict=True)]
    return np.stack([cv2.resize(m, (width, height), interpolation=back) / np.float32(scale) for m in moves])


def colours(moves: np.ndarray) -> np.ndarray:
    """float [T, H, W, 2] pixels a frame → uint8 [T, H, W, 3]: hue is the direction, saturation |v| over the clip's
    98th percentile; white stands still."""
    if min(moves.shape[1:3]) >= FINE:
        return _colours_fast(moves)
    size = np.hypot(moves[..., 0], moves[..., 1])
    most = max(float(np.percentile(size, 98)), 0.05)
    hue = (np.degrees(np.arctan2(moves[..., 1], moves[..., 0])) % 360).astype(np.float32)
    hsv = np.stack([hue, np.minimum(size / most, 1).astype(np.float32), np.ones_like(hue)], -1)
    return np.stack([(255 * cv2.cvtColor(frame, cv2.COLOR_HSV2RGB) + 0.5).astype(np.uint8) for frame in hsv])


def _colours_fast(moves: np.ndarray) -> np.ndarray:
    """The same to a grey level or two: OpenCV's polar form (0.3 degrees), the percentile of every sixteenth pixel."""
    sample = moves[:, ::4, ::4].astype(np.float32)
    most = max(float(np.percentile(np.hypot(sample[..., 0], sample[..., 1]), 98)), 0.05)
    out = np.empty((*moves.shape[:3], 3), np.uint8)
    for k, move in enumerate(moves.astype(np.float32)):
        size, hue = cv2.cartToPolar(move[..., 0], move[..., 1], angleInDegrees=True)
        hsv = cv2.merge([hue, np.minimum(size / most, 1), np.ones_like(hue)])
        out[k] = 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) + 0.5
    return out
