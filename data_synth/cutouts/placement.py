"""Where a cut-out may stand: on a background that one camera motion explains, and that nothing crosses.

clip → track, unrest, surfaces → **Ground** → place. An object without a depth of its own can be drawn neither behind nor in front of what moves
through its place, so places are taken only where the stabilized clip changes little; and a clip whose background follows no common motion
has none at all. Where no mask says what is in front, an object stands before one surface alone (`surfaces.py`).
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from data_synth.cutouts.surfaces import Surfaces
from data_synth.operators import camera_track
from data_synth.operators.camera_track import CameraTrack
from data_synth.operators.pixel_math import luma_of
from data_synth.rejection import Rejected

# Least share of corners that follow the camera.
MIN_AGREEMENT = 0.7
# Frames that are compared with the first, and the height at which they are.
_SAMPLES, _LINES = 9, 120
# Grey levels: greatest mean and 95th percentile of the unrest under an object.
_MAX_MEAN_UNREST, _MAX_UNREST = 7.0, 26.0
_TRIES = 200
# Greatest share of an object's box that is hidden in any frame.
_MAX_HIDDEN = 0.4
# An object's height as a share of the frame's, at the farthest and at the nearest ground.
_FAR_HEIGHT, _NEAR_HEIGHT = 0.16, 0.4
_HORIZON, _NEAREST = 0.5, 0.97


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an object stands in the first frame.

    Attributes:
      x: Column of its lowest point's middle, in pixels.
      y: Row of its lowest point.
      height: Height in pixels.
      aspect: Width divided by height.
    """

    x: float
    y: float
    height: float
    aspect: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Return left, top, right, bottom in pixels."""
        half = self.height * self.aspect / 2
        return self.x - half, self.y - self.height, self.x + half, self.y

    def scaled(self, factor: float) -> Place:
        """Return the place of an object of another size that stands on the same ground."""
        return dataclasses.replace(self, height=self.height * factor)


@dataclasses.dataclass(frozen=True)
class Ground:
    """A clip in which objects can stand.

    Attributes:
      track: The camera's motion.
      unrest: float32 [H, W], how far the stabilized clip ever differs from the first frame, in grey levels.
      luma: float32 [H, W], smooth luma of the first frame, 0..1.
      surfaces: What is seen in the first frame; None where `moving` tells what is in front.
      moving: bool [T, H, W], what moves by itself; None where that is unknown.
    """

    track: CameraTrack
    unrest: np.ndarray
    luma: np.ndarray
    surfaces: Surfaces | None = None
    moving: np.ndarray | None = None

    def find_place(
        self,
        rng: np.random.Generator,
        aspect: float,
        others: tuple[Place, ...] = (),
        height: float | None = None,
    ) -> Place | None:
        """Draw a place beside others; None where there is none.

        Args:
          rng: Draws it.
          aspect: Width of the object divided by its height.
          others: Places that are taken, or must stay free.
          height: Height in pixels; None draws one that suits the distance.
        """
        H, W = self.unrest.shape
        for _ in range(_TRIES):
            depth, x, factor = rng.random(), rng.uniform(0.08, 0.92) * W, rng.uniform(0.8, 1.25)
            y = (_HORIZON + depth * (_NEAREST - _HORIZON)) * H
            size = height or (_FAR_HEIGHT + depth * (_NEAR_HEIGHT - _FAR_HEIGHT)) * H * factor
            place = Place(x, y, size / max(1.0, aspect) ** 0.5, aspect)
            if self.is_free(place, others):
                return place
        return None

    def is_free(self, place: Place, others: tuple[Place, ...] = ()) -> bool:
        """Return whether an object can stand there in all frames, beside others."""
        H, W = self.unrest.shape
        left, top, right, bottom = place.box
        if min(left, top) < 1 or right > W - 1 or bottom > H - 1:
            return False
        if any(_overlap(place, other) for other in others):
            return False
        is_behind = self.hides(place)
        for k, matrix in enumerate(self.track.matrices):
            corners = matrix @ np.array([[left, top, 1], [right, bottom, 1]]).T
            (x0, x1), (y0, y1) = corners[0] / corners[2], corners[1] / corners[2]
            width, height = 0.2 * (x1 - x0), 0.2 * (y1 - y0)
            if x0 < -width or x1 > W + width or y0 < -height or y1 > H - 1:
                return False
            if self.moving is not None and is_behind:
                rows, columns = (slice(max(0, int(a)), max(0, int(b)) + 1) for a, b in ((y0, y1), (x0, x1)))
                if self.moving[k][rows, columns].mean() > _MAX_HIDDEN:
                    return False
        if self.surfaces and not self.surfaces.is_one(left / W, top / H, right / W, bottom / H):
            return False
        under = self.unrest[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
        return bool(under.mean() < _MAX_MEAN_UNREST and np.percentile(under, 95) < _MAX_UNREST)

    def hides(self, place: Place) -> bool:
        """Return whether what moves by itself is nearer than an object there: it ends lower in the first frame."""
        rows = () if self.moving is None else np.flatnonzero(self.moving[0].any(1))
        return len(rows) > 0 and rows[-1] >= place.y

    def surrounding_luma(self, place: Place) -> float:
        """Return the luma around a place, 0..1."""
        H, W = self.luma.shape
        left, top, right, bottom = place.box
        margin = place.height / 3
        rows = slice(max(0, int(top)), min(H, int(bottom + margin / 2)) + 1)
        columns = slice(max(0, int(left - margin)), min(W, int(right + margin)) + 1)
        return float(self.luma[rows, columns].mean())


def survey_ground(video: np.ndarray, moving: np.ndarray | None = None) -> Ground | Rejected:
    """Return where objects can stand in a clip, or why they can't.

    Args:
      video: uint8 [T, H, W, 3].
      moving: bool [T, H, W], what moves by itself, where that is known: it hides objects that stand behind it, and they may cross it.
    """
    track = camera_track.track_camera(video, moving)
    if track is None:
        return Rejected("too little texture to follow the camera")
    if track.agreement < MIN_AGREEMENT:
        return Rejected("no camera motion that the background follows")
    H, W = video.shape[1:3]
    unrest = measure_unrest(video, track, moving)
    luma = cv2.blur(luma_of(video[0].astype(np.float32) / 255), (9, 9))
    surfaces = Surfaces.of(video[0]) if moving is None else None
    return Ground(track, cv2.resize(unrest, (W, H)), luma, surfaces, moving)


def measure_unrest(video: np.ndarray, track: CameraTrack, moving: np.ndarray | None = None) -> np.ndarray:
    """Return how far the stabilized clip ever differs from its first frame, in grey levels; float32 at `_LINES` lines."""
    T, H, W, _ = video.shape
    scale = min(1.0, _LINES / H)
    size = max(1, round(W * scale)), max(1, round(H * scale))
    numbers = np.unique(np.linspace(0, T - 1, _SAMPLES).round().astype(int))
    unrest = np.zeros(size[::-1], np.float32)
    first = _reduce(video[0], size)
    for k in numbers[1:]:
        frame = _reduce(
            cv2.warpPerspective(
                video[k], track.matrices[k], (W, H), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            ),
            size,
        )
        difference = np.abs(frame - first).max(-1)
        if moving is not None:
            moving_area = (moving[k] | moving[0]).astype(np.uint8)
            difference[cv2.resize(cv2.dilate(moving_area, np.ones((9, 9))), size) > 0] = 0
        unrest = np.maximum(unrest, difference)
    return unrest


def _reduce(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.GaussianBlur(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), (0, 0), 1.0).astype(
        np.float32
    )


def _overlap(a: Place, b: Place) -> bool:
    """Return whether two objects, or their shadows, would touch."""
    (l0, t0, r0, b0), (l1, t1, r1, b1) = a.box, b.box
    gap = 0.15 * min(a.height, b.height)
    return l0 < r1 + gap and l1 < r0 + gap and t0 < b1 + gap and t1 < b0 + gap
