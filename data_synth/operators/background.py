"""What lies behind an object: pixels that other frames of the clip show, for cameras that stand still and for those that turn.

clip, hidden pixels, camera track → **Background**. Every frame is laid onto one picture, the frame itself for a still camera and a panorama for a
moving one; the median of what is visible at a pixel is its background, which is then seen again from each frame. Slow changes of light are
followed: the difference between frame and background outside of what is hidden, smoothed, is added inside.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from data_synth.operators.camera_track import CameraTrack
from data_synth.rejection import Rejected

# Frames whose median is taken; pixels that none of them shows are looked for in all.
_SAMPLES = 31
# A panorama of more than this many frames' area means that the camera went too far.
_MAX_CANVAS = 3.0
# Scale at which light is compared, and the largest difference in grey levels that counts as light.
_LIGHT_SCALE, _MAX_LIGHT = 0.25, 24.0


@dataclasses.dataclass(frozen=True)
class Background:
    """The background of every frame.

    Attributes:
      frames: uint8 [T, H, W, 3].
      unseen: bool [T, H, W], where no frame shows it.
    """

    frames: np.ndarray
    unseen: np.ndarray


def build_background(video: np.ndarray, hidden: np.ndarray, track: CameraTrack) -> Background | Rejected:
    """Return the background of a clip, or why it has none.

    Args:
      video: uint8 [T, H, W, 3].
      hidden: bool [T, H, W], pixels that don't show it.
      track: The camera's motion.
    """
    T, H, W, _ = video.shape
    if track.is_still:
        plate, unseen = find_median(video, hidden)
        frames = np.repeat(plate[None], T, 0)
        gaps = np.repeat(unseen[None], T, 0)
    else:
        panorama = _build_panorama(video, hidden, track)
        if isinstance(panorama, Rejected):
            return panorama
        frames, gaps = panorama
    for k in range(T):
        frames[k] = _follow_light(frames[k], video[k], hidden[k] | gaps[k])
    return Background(frames, gaps)


def find_median(video: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median of what is visible at each pixel, uint8 [H, W, 3], and where nothing ever is, bool [H, W].

    Args:
      video: uint8 [T, H, W, 3].
      hidden: bool [T, H, W].
    """
    T, H, W, _ = video.shape
    numbers = np.unique(np.linspace(0, T - 1, min(T, _SAMPLES)).round().astype(int))
    plate, counts = np.empty((H, W, 3), np.uint8), np.zeros((H, W), int)
    for y in range(H):  # a row at a time: a long clip needs little memory
        plate[y], counts[y] = _median(video[numbers, y], hidden[numbers, y])
    if (counts == 0).any():
        rows, columns = np.nonzero(counts == 0)
        plate[rows, columns], counts[rows, columns] = _median(
            video[:, rows, columns], hidden[:, rows, columns]
        )
    return plate, counts == 0


def _median(values: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower median over the first axis of what is visible, uint8 [n, 3], 0 without any, and how many values are, [n]."""
    ordered = np.sort(np.where(hidden[..., None], np.int16(256), values.astype(np.int16)), axis=0)
    counts = (~hidden).sum(0)
    middle = np.maximum(counts - 1, 0) // 2
    median = np.take_along_axis(ordered, middle[None, :, None], axis=0)[0]
    return np.where(counts[:, None] > 0, median, 0).astype(np.uint8), counts


def _build_panorama(
    video: np.ndarray, hidden: np.ndarray, track: CameraTrack
) -> tuple[np.ndarray, np.ndarray] | Rejected:
    """Return background and gaps of every frame by way of a panorama around the middle frame."""
    T, H, W, _ = video.shape
    views = track.relative_to(T // 2)
    corners = np.array([[0, 0, 1], [W - 1, 0, 1], [0, H - 1, 1], [W - 1, H - 1, 1]], float).T
    points = np.linalg.inv(views) @ corners
    if (points[:, 2] < 0.2).any():
        return Rejected("the camera moves too far for a panorama")
    points = points[:, :2] / points[:, 2:]
    low, high = np.floor(points.min((0, 2))), np.ceil(points.max((0, 2)))
    width, height = (int(v) for v in high - low + 1)
    if width * height > _MAX_CANVAS * W * H:
        return Rejected("the camera moves too far for a panorama")
    shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]])
    frames_on_canvas = np.empty((T, height, width, 3), np.uint8)
    covered = np.empty((T, height, width), bool)
    inverse = cv2.WARP_INVERSE_MAP
    for k, view in enumerate(views):
        matrix = view @ np.linalg.inv(shift)
        size = width, height
        frames_on_canvas[k] = cv2.warpPerspective(
            video[k], matrix, size, flags=cv2.INTER_CUBIC | inverse, borderMode=cv2.BORDER_REPLICATE
        )
        visible = cv2.warpPerspective(
            (~hidden[k]).astype(np.float32), matrix, size, flags=cv2.INTER_LINEAR | inverse
        )
        covered[k] = visible < 0.999
    canvas, gap = find_median(frames_on_canvas, covered)
    frames, gaps = np.empty_like(video), np.empty((T, H, W), bool)
    for k, view in enumerate(views):
        matrix = shift @ np.linalg.inv(view)
        frames[k] = cv2.warpPerspective(
            canvas, matrix, (W, H), flags=cv2.INTER_CUBIC | inverse, borderMode=cv2.BORDER_REPLICATE
        )
        share = cv2.warpPerspective(gap.astype(np.float32), matrix, (W, H), flags=cv2.INTER_LINEAR | inverse)
        gaps[k] = share > 0.001
    return frames, gaps


def _follow_light(background: np.ndarray, frame: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return the background in the light of a frame, uint8 [H, W, 3]."""
    H, W = unknown.shape
    size = max(1, round(W * _LIGHT_SCALE)), max(1, round(H * _LIGHT_SCALE))
    small, small_frame = (
        cv2.resize(p, size, interpolation=cv2.INTER_AREA).astype(np.float32) for p in (background, frame)
    )
    difference = small_frame - small
    visible_share = cv2.resize((~unknown).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    weight = np.where(np.abs(difference).max(-1) < _MAX_LIGHT, visible_share, 0).astype(np.float32)
    sigma = 0.08 * min(size)
    total = cv2.GaussianBlur(weight, (0, 0), sigma)
    light = (
        cv2.GaussianBlur(difference * weight[..., None], (0, 0), sigma) / np.maximum(total, 1e-3)[..., None]
    )
    light = cv2.resize(light, (W, H), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.rint(background + light), 0, 255).astype(np.uint8)
