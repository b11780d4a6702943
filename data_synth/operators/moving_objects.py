"""The mask of one moving object in footage of a fixed camera, without a network: what differs from the median of all frames.

clip → difference from the background → connected areas, followed from frame to frame → **mask**. Of all things that move the one is taken that
can be followed longest and never touches another. Parts whose color is that of the background are missed; `object_removal` finds them again.
"""

from __future__ import annotations

import cv2
import numpy as np

from data_synth.operators.background import find_median

# Grey levels by which a moving thing differs, and the share of the frame that it covers at least.
_STEP, _MIN_AREA = 22.0, 0.002
# Greatest share of the frame that may move: more is a moving camera.
_MAX_MOVING = 0.25
# Share of the clip that an object must be in view.
_MIN_TIME = 0.6


def find_moving_object(video: np.ndarray) -> np.ndarray | None:
    """Return the mask of one moving object, bool [T, H, W]; None where there is none, or none by itself.

    Args:
      video: uint8 [T, H, W, 3], of a camera that stands still.
    """
    T, H, W, _ = video.shape
    plate, _ = find_median(video, np.zeros((T, H, W), bool))
    labels, boxes = [], []
    for frame in video:
        moving = _find_moving(frame, plate)
        if moving.mean() > _MAX_MOVING:
            return None
        count, areas, stats, _ = cv2.connectedComponentsWithStats(moving.astype(np.uint8), connectivity=8)
        labels.append(areas)
        boxes.append([(n, *stats[n][:5]) for n in range(1, count) if stats[n][4] >= 0.25 * _MIN_AREA * H * W])
    tracks = _link(boxes)
    candidates = [t for t in tracks if _is_alone(t, boxes, min(H, W) // 40) and _is_one_thing(t, H, W, T)]
    if not candidates:
        return None
    best = max(candidates, key=lambda track: sum(box[5] for box in track.values()))
    mask = np.zeros((T, H, W), bool)
    for k, box in best.items():
        mask[k] = labels[k] == box[0]
    return mask


def _find_moving(frame: np.ndarray, plate: np.ndarray) -> np.ndarray:
    """Return where a frame differs from the background, bool [H, W]."""
    sigma = max(0.8, min(frame.shape[:2]) / 300)
    soft, soft_plate = (cv2.GaussianBlur(p, (0, 0), sigma).astype(np.int16) for p in (frame, plate))
    moving = (np.abs(soft - soft_plate).max(-1) > _STEP).astype(np.uint8)
    size = max(3, min(frame.shape[:2]) // 60) | 1
    return cv2.morphologyEx(moving, cv2.MORPH_CLOSE, np.ones((2 * size + 1, size), np.uint8)) > 0


def _link(boxes: list[list[tuple]]) -> list[dict[int, tuple]]:
    """Return tracks, frame → (label, left, top, width, height, area), of areas that overlap from frame to frame."""
    tracks: list[dict[int, tuple]] = []
    for k, frame_boxes in enumerate(boxes):
        labels = set()
        for track in sorted(tracks, key=len, reverse=True):
            last = track.get(k - 1)
            if last is None:
                continue
            overlaps = [(_overlap(last, box), box) for box in frame_boxes if box[0] not in labels]
            share, box = max(overlaps, default=(0, None), key=lambda item: item[0])
            if box is not None and share > 0:
                track[k] = box
                labels.add(box[0])
        tracks += [{k: box} for box in frame_boxes if box[0] not in labels]
    return tracks


def _overlap(a: tuple, b: tuple) -> int:
    width = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    height = min(a[2] + a[4], b[2] + b[4]) - max(a[2], b[2])
    return max(0, width) * max(0, height)


def _is_alone(track: dict[int, tuple], boxes: list[list[tuple]], gap: int) -> bool:
    """Return whether no other moving thing comes near."""
    for k, (label, left, top, width, height, _) in track.items():
        near = (label, left - gap, top - gap, width + 2 * gap, height + 2 * gap, 0)
        if any(box[0] != label and _overlap(near, box) for box in boxes[k]):
            return False
    return True


def _is_one_thing(track: dict[int, tuple], H: int, W: int, T: int) -> bool:
    """Return whether a track is long and large enough, goes steadily, and begins and ends with the clip or at the frame's border."""
    numbers = sorted(track)
    boxes = np.array([track[k][1:] for k in numbers], float)
    left, top, width, height, area = boxes.T
    if len(numbers) < _MIN_TIME * T or np.median(area) < _MIN_AREA * H * W:
        return False
    at_border = (left <= 1) | (top <= 1) | (left + width >= W - 1) | (top + height >= H - 1)
    if (numbers[0] > 0 and not at_border[0]) or (numbers[-1] < T - 1 and not at_border[-1]):
        return False
    steps = np.hypot(np.diff(left + width / 2), np.diff(top + height / 2))
    # Two things that meet, or of which one is followed in place of the other, change size or place in a jump.
    if (steps > 0.35 * np.median(height)).any():
        return False
    inside = area[~at_border]
    return bool(
        not inside.size or (inside.max() < 2.0 * np.median(area) and inside.min() > 0.4 * np.median(area))
    )
