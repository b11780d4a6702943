"""The camera's own motion in a clip: where the background of the first frame is in every other one.

clip (, what moves by itself) → corners, pyramidal Lucas-Kanade, RANSAC → **CameraTrack**. Corners are followed from a key frame until fewer
than `_MIN_LEFT` of them are left, then from a new one, so that errors add up at key frames alone. Every frame's matrix comes from all
corners that are left, as the similarity (shift, turn, zoom) or homography on which most agree; the share that agrees tells whether one
motion explains the background at all.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

# Corners per key frame, and the share of them below which a new key frame is taken.
_CORNERS, _MIN_LEFT = 400, 0.5
# Fewest corners from which a motion is believed.
_MIN_CORNERS = 12
# Pixels: greatest error of following there and back, and of a corner that agrees; both for frames of 240 lines and in proportion beyond.
_MAX_RETURN, _MAX_ERROR = 0.5, 1.0
# Pixels: a camera whose corners move by less stands still.
STILL = 0.4
# Frames of more lines are tracked at a reduced size.
_MAX_LINES = 480


@dataclasses.dataclass(frozen=True)
class CameraTrack:
    """The motion of a clip's background.

    Attributes:
      matrices: float64 [T, 3, 3]; matrices[k] maps pixels (x, y, 1) of frame 0 to those of frame k.
      agreement: Share, 0 to 1, of the corners that follow it; of the frame tenth from the worst of a hundred.
    """

    matrices: np.ndarray
    agreement: float

    @property
    def is_still(self) -> bool:
        """Whether the camera stands still."""
        return bool(np.array_equal(self.matrices, np.broadcast_to(np.eye(3), self.matrices.shape)))

    def relative_to(self, reference: int) -> np.ndarray:
        """Return float64 [T, 3, 3]: maps from frame `reference` to each frame."""
        return self.matrices @ np.linalg.inv(self.matrices[reference])


def track_camera(
    video: np.ndarray, ignored: np.ndarray | None = None, is_planar: bool = False
) -> CameraTrack | None:
    """Follow the background of a clip.

    Args:
      video: uint8 [T, H, W, 3].
      ignored: bool [T, H, W] or [H, W], pixels whose motion doesn't count: objects that move by themselves.
      is_planar: Whether to fit homographies rather than similarities.

    Returns:
      The track; None where too few corners can be followed.
    """
    T, H, W, _ = video.shape
    scale = min(1.0, _MAX_LINES / H)
    size = max(1, round(W * scale)), max(1, round(H * scale))
    grey = [
        cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA) for f in video
    ]
    tolerance = max(1.0, size[1] / 240)
    matrices, shares = [np.eye(3)], [1.0]
    key, points, start_count = np.eye(3), np.empty((0, 2), np.float32), 0
    positions = points
    for k in range(1, T):
        if len(points) < max(_MIN_CORNERS, _MIN_LEFT * start_count):
            points = _find_corners(grey[k - 1], _select(ignored, k - 1, size))
            positions, start_count, key = points, len(points), matrices[-1]
        if len(points) < _MIN_CORNERS:
            return None
        forward, is_found = _follow(grey[k - 1], grey[k], positions)
        backward, is_found_back = _follow(grey[k], grey[k - 1], forward)
        error = np.abs(backward - positions).max(-1)
        is_good = is_found & is_found_back & (error < _MAX_RETURN * tolerance)
        points, positions = points[is_good], forward[is_good]
        if len(points) < _MIN_CORNERS:
            return None
        matrix, agrees = _fit(points, positions, _MAX_ERROR * tolerance, is_planar)
        if matrix is None:
            return None
        matrices.append(matrix @ key)
        shares.append(float(np.mean(agrees)))
    full = np.diag([1 / scale, 1 / scale, 1.0])
    stacked = full @ np.stack(matrices) @ np.linalg.inv(full)
    if _largest_shift(stacked, H, W) < STILL:
        stacked = np.broadcast_to(np.eye(3), stacked.shape).copy()
    return CameraTrack(stacked, float(np.percentile(shares, 10)))


def stabilize(video: np.ndarray, track: CameraTrack, reference: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames as the camera of frame `reference` would have seen them.

    Args:
      video: uint8 [T, H, W, 3].
      track: Its track.
      reference: Number of a frame.

    Returns:
      uint8 [T, H, W, 3], and bool [T, H, W], where a frame shows that pixel.
    """
    T, H, W, _ = video.shape
    if track.is_still:
        return video, np.ones((T, H, W), bool)
    frames, visible = np.empty_like(video), np.empty((T, H, W), bool)
    for k, matrix in enumerate(track.relative_to(reference)):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frames[k] = cv2.warpPerspective(video[k], matrix, (W, H), flags=flags)
        inside = cv2.warpPerspective(np.ones((H, W), np.float32), matrix, (W, H), flags=flags)
        visible[k] = inside > 0.999
    return frames, visible


def _select(ignored: np.ndarray | None, k: int, size: tuple[int, int]) -> np.ndarray | None:
    """Return where corners may be in frame k, uint8 at the size of tracking; None for everywhere."""
    if ignored is None:
        return None
    plane = ignored if ignored.ndim == 2 else ignored[k]
    grown = cv2.dilate(plane.astype(np.uint8), np.ones((5, 5), np.uint8))
    return 255 * (1 - cv2.resize(grown, size, interpolation=cv2.INTER_NEAREST))


def _find_corners(grey: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    distance = max(3, min(grey.shape) // 40)
    corners = cv2.goodFeaturesToTrack(grey, _CORNERS, 0.01, distance, mask=mask)
    return np.empty((0, 2), np.float32) if corners is None else corners.reshape(-1, 2)


def _follow(frame: np.ndarray, other: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where points of a frame are in another one, float32 [n, 2], and which of them were found."""
    positions, status, _ = cv2.calcOpticalFlowPyrLK(frame, other, points, points.copy(), winSize=(21, 21))
    return positions, status.ravel() > 0


def _fit(
    points: np.ndarray, positions: np.ndarray, error: float, is_planar: bool
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the matrix on which most corners agree, float64 [3, 3], and which of them do; None without one."""
    if is_planar:
        matrix, agrees = cv2.findHomography(points, positions, cv2.RANSAC, error)
    else:
        matrix, agrees = cv2.estimateAffinePartial2D(points, positions, ransacReprojThreshold=error)
        matrix = None if matrix is None else np.vstack([matrix, [0, 0, 1]])
    return matrix, np.zeros(len(points)) if agrees is None else agrees.ravel()


def _largest_shift(matrices: np.ndarray, H: int, W: int) -> float:
    """Return the farthest that a corner of the frame moves, in pixels."""
    corners = np.array([[0, 0, 1], [W, 0, 1], [0, H, 1], [W, H, 1]], float).T
    moved = matrices @ corners
    moved = moved[:, :2] / moved[:, 2:]
    return float(np.linalg.norm(moved - corners[:2], axis=1).max())
