"""Masks painted on some frames of a clip, carried to all others by optical flow.

painted frames → signed distances → flow from frame to frame, away from each painted frame → distances between two painted frames blended → masks

A painted frame is a keyframe: its mask is kept as it was painted. Between two of them the mask is carried forward from the earlier and
backward from the later, and the signed distances to the outline are blended by how near either is, so that a second painted frame
corrects what the flow lost. Flow is that of "Fast Optical Flow using Dense Inverse Search" (Kroeger et al., 2016), of small gray frames;
memory doesn't grow with the clip's length.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.video.frame_store import FrameStore
from v2v.video.segmentation.base import ClipMask

# Longer side of the frames that flow is computed on.
FLOW_SIDE = 512
# Pixels of these frames up to which distances count: an outline that a keyframe lacks is gone within so many.
FARTHEST = 24.0
# Pixels by which the flow there and back may miss where it began; where it misses by more, something appears that was hidden.
INCONSISTENT = 1.0
# Width and height of the surroundings whose colours tell on which side a pixel is that was hidden, and their least variance.
WINDOW = (41, 41)
RIDGE = 25.0
# Share of the surroundings that a side must have for its colours to count.
LEAST_SHARE = 1e-3


class TrackedMask(ClipMask):
    """Masks of all frames of a clip, computed from stored distances as they are iterated.

    Attributes:
      keyframes: painted masks by frame number, uint8 [H, W].
    """

    def __init__(
        self,
        keyframes: Mapping[int, np.ndarray],
        forward: FrameStore,
        backward: FrameStore,
        scale: float,
    ):
        """Take the distances.

        Args:
          keyframes: painted masks by frame number, uint8 [H, W]; white is inside.
          forward: distances carried forward, of the frames in order.
          backward: distances carried backward, of the frames from the last to the first.
          scale: pixels of a frame to one of a distance map.
        """
        self.keyframes = dict(sorted(keyframes.items()))
        self._forward, self._backward, self._scale = forward, backward, scale

    def __len__(self) -> int:
        return len(self._forward)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[frame] for frame in range(len(self)))

    def __getitem__(self, frame: int) -> np.ndarray:
        """Return the mask of a frame, uint8 [H, W]."""
        if frame in self.keyframes:
            return self.keyframes[frame]
        earlier = max((n for n in self.keyframes if n < frame), default=None)
        later = min((n for n in self.keyframes if n > frame), default=None)
        # Of the earlier keyframe; distances of 0 where there is none aren't used.
        weight = 1.0 if later is None else 0.0
        if earlier is not None and later is not None:
            weight = (later - frame) / (later - earlier)
        distance = np.zeros(self._forward.shape[1:], np.float32)
        if weight:
            distance += weight * self._forward[frame]
        if weight < 1:
            distance += (1 - weight) * self._backward[len(self) - 1 - frame]
        height, width = next(iter(self.keyframes.values())).shape
        distance = cv2.resize(distance, (width, height), interpolation=cv2.INTER_LINEAR) * self._scale
        return np.rint(255 * np.clip(distance + 0.5, 0, 1)).astype(np.uint8)


def track_mask(
    frames: Iterable[np.ndarray],
    keyframes: Mapping[int, np.ndarray],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrackedMask:
    """Carry painted masks to all frames of a clip.

    Args:
      frames: uint8 [H, W, 3] RGB in order; iterated once.
      keyframes: painted masks by frame number, uint8 [H, W]; 255 is inside. An empty one says that the place isn't seen there.
      on_progress: called with the frames that are done in either direction and their number; what it raises ends the work.

    Returns:
      The masks, as many as frames.

    Raises:
      InputError: no painted frame, one beyond the clip's end, or of another size than the clip's.
    """
    small = FrameStore()
    size = 0, 0
    for frame in frames:
        size = frame.shape[:2]
        small.append(_reduce(frame))
    count = len(small)
    check_keyframes(keyframes, count, size)
    height, width = small.shape[1:3]
    scale = max(size) / max(height, width)
    distances = {number: measure_distance(mask, height, width) for number, mask in keyframes.items()}
    done = 0

    def track(numbers: range) -> FrameStore:
        """Carry distances from keyframe to keyframe in one direction."""
        nonlocal done
        store = FrameStore()
        carrier: _Carrier | None = None
        previous = np.empty(0)
        for number in numbers:
            current = small[number]
            if number in distances:
                carrier = _Carrier(distances[number])
            elif carrier is not None:
                carrier.advance(previous, current)
            store.append(np.zeros((height, width), np.float32) if carrier is None else carrier.distance)
            previous = current
            done += 1
            on_progress(done, 2 * count)
        return store

    forward = track(range(count))
    return TrackedMask(keyframes, forward, track(range(count - 1, -1, -1)), scale)


def check_keyframes(keyframes: Mapping[int, np.ndarray], count: int, size: tuple[int, int]) -> None:
    """Check painted masks.

    Args:
      keyframes: uint8 [H, W] by frame number.
      count: frames of the clip.
      size: its height and width.

    Raises:
      InputError: no painted frame, one beyond the clip's end, or of another size than the clip's.
    """
    if not any(np.any(mask) for mask in keyframes.values()):
        raise InputError("mask: expected a painted place, got none; paint over what is to be edited")
    for number, mask in keyframes.items():
        if not 0 <= number < count:
            raise InputError(f"mask: expected a frame from 0 to {count - 1}, got {number}")
        if mask.shape != size:
            raise InputError(
                f"mask: expected {size[1]}x{size[0]} pixels, got {mask.shape[1]}x{mask.shape[0]} at frame {number}"
            )


def measure_distance(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return how far pixels lie inside a mask's outline, in pixels of a smaller size.

    Args:
      mask: uint8 [H, W]; from 128 on is inside.
      height: of the result.
      width: of the result.

    Returns:
      float32 [height, width]: above 0 inside, below outside, `FARTHEST` at most.
    """
    inside = (mask >= 128).astype(np.uint8)
    scale = max(height, width) / max(mask.shape)
    if not inside.any():
        return np.full((height, width), -FARTHEST, np.float32)
    if inside.all():
        return np.full((height, width), FARTHEST, np.float32)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(
        1 - inside, cv2.DIST_L2, 5
    )
    # The outline lies between the first pixels of either side, whose distances are 1.
    distance = (distance - 0.5 * np.sign(distance)) * scale
    distance = cv2.resize(distance, (width, height), interpolation=cv2.INTER_AREA)
    return np.clip(distance, -FARTHEST, FARTHEST)


class _Carrier:
    """Distances of a keyframe on their way through a clip.

    Attributes:
      distance: those of the present frame, float32 [h, w].
    """

    def __init__(self, distance: np.ndarray):
        self.distance = distance
        h, w = distance.shape
        y, x = np.mgrid[:h, :w].astype(np.float32)
        self._grid = np.stack([x, y], -1)
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def advance(self, previous: np.ndarray, current: np.ndarray) -> None:
        """Go on to the next frame.

        Args:
          previous: the frame that was the present one, uint8 [h, w, 3].
          current: the next.
        """
        gray_before, gray_after = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (previous, current))
        back = self._flow.calc(gray_after, gray_before, np.empty(0))
        forward = self._flow.calc(gray_before, gray_after, np.empty(0))
        x, y = cv2.split(self._grid + back)
        distance = cv2.remap(self.distance, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        miss = back + cv2.remap(forward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        is_new = np.einsum("hwc,hwc->hw", miss, miss) > INCONSISTENT**2
        self.distance = self._settle(distance, is_new & (np.abs(distance) < FARTHEST / 2), current)

    def _settle(self, distance: np.ndarray, is_new: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Decide by their colours where pixels belong that were hidden before, and measure distances anew.

        Args:
          distance: as the flow has it.
          is_new: the pixels that it can't know.
          frame: uint8 [h, w, 3].
        """
        if not is_new.any():
            return distance
        colors, costs = frame.astype(np.float32), []
        for side in (distance > 0, distance <= 0):
            weight = (side & ~is_new).astype(np.float32)
            share = cv2.blur(weight, WINDOW)[..., None] + np.float32(1e-6)
            mean = cv2.blur(colors * weight[..., None], WINDOW) / share
            square = cv2.blur(colors**2 * weight[..., None], WINDOW) / share
            variance = np.maximum(square - mean**2, 0) + RIDGE
            cost = ((colors - mean) ** 2 / variance + np.log(variance)).sum(-1)
            costs.append(np.where(share[..., 0] < LEAST_SHARE, np.inf, cost))
        inside = np.where(is_new, costs[0] < costs[1], distance > 0).astype(np.uint8)
        inside = np.where(is_new, cv2.medianBlur(inside, 5), inside)
        exact = measure_distance(inside * np.uint8(255), *distance.shape)
        # Near the outline what the flow has is finer than whole pixels.
        return np.where(is_new | (np.abs(exact) > 1.5), exact, distance).astype(np.float32)


def _reduce(frame: np.ndarray) -> np.ndarray:
    """Return a frame for the flow, uint8 [h, w, 3]."""
    H, W = frame.shape[:2]
    scale = min(1.0, FLOW_SIDE / max(H, W))
    # The flow needs a few blocks of 8 pixels.
    size = max(16, round(W * scale)), max(16, round(H * scale))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
