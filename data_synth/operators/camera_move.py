"""Affine camera moves that turn an image pair into a video pair, the same on both pictures (EasyV2V §4, App. C).

(source picture, edited picture, mask) → **lifting** → Pair. The move takes the frame from the whole picture to a
turned, smaller, shifted window of it. With N frames, u = i / (N - 1), and a final pose (theta, z, t):

    theta_u = u theta,   z_u = 1 + u (z - 1),   t_u = u t          |theta| <= 15 deg, 0.66 <= z <= 1, |t| <= 0.33 (W, H)
    frame i at (x, y)  =  picture at  z_u R(theta_u) (x, y) + t_u      (coordinates from the picture's centre)

and half of the moves run backwards. No frame may look outside the picture. With A = W - 1, B = H - 1 (the extent of
the pixel centres) that is, for every i,

    z_u (A cos|theta_u| + B sin|theta_u|) / 2 + |t_u,x| <= A / 2,       the same with A, B exchanged for y.

The paper solves a linear programme; here the bounds are in closed form, one unknown after the other. Let
g(u) = min(A / (A cos + B sin), B / (B cos + A sin)) at |theta_u|; then

    z <= 1 + min_i (g(u_i) - 1) / u_i,          |t_x| <= min_i (A - z_u (A cos + B sin)) / (2 u_i),   y alike,

over the frames i >= 1. The first frames are the ones that bind, not the last: the window turns at once but shrinks slowly.
Hence at 832 x 480 x 81 the angle cannot pass 11.2 degrees unless the zoom may fall below 0.66; both stated ranges hold,
and the angle is drawn from what they leave. Every unknown is drawn uniformly from its feasible interval.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

MAX_ANGLE = np.deg2rad(15.0)
MIN_ZOOM = 0.66
# Of the picture's width and height.
MAX_SHIFT = 0.33
# Pictures are lifted at this many times the clip's size where they have it, so that a frame at zoom 0.66 is still sharp.
PICTURE_SCALE = 2


def sample_trajectories(rng: np.random.Generator, n: int, frames: int, H: int, W: int) -> np.ndarray:
    """Draw camera moves.

    Args:
      rng: Generator that draws everything.
      n: Number of moves.
      frames: Number of frames, N.
      H: Height of the pictures in pixels.
      W: Width of the pictures in pixels.

    Returns:
      float64 [n, N, 2, 3]: maps from a frame's pixel index (x, y, 1) to the picture's, as `warp_picture` takes them.
      A single frame (N = 1) is the picture as it is.
    """
    unit = rng.uniform(-1, 1, (n, 4))
    backwards = rng.random(n) < 0.5
    if frames == 1:
        return np.broadcast_to(np.eye(2, 3), (n, 1, 2, 3)).copy()
    theta = unit[:, 0] * max_angle(frames, H, W)
    u = np.arange(frames) / (frames - 1)
    widths, heights = _spans(
        np.abs(theta)[:, None] * u, H, W
    )  # [n, N] each, in units of the picture's extent
    max_zoom = 1 + np.min((1 / np.maximum(widths, heights)[:, 1:] - 1) / u[1:], axis=1)
    zoom = MIN_ZOOM + (unit[:, 1] + 1) / 2 * (np.clip(max_zoom, MIN_ZOOM, 1) - MIN_ZOOM)
    zooms = 1 + u * (zoom - 1)[:, None]
    shift = np.empty((n, 2))
    for axis, (span, extent) in enumerate(((widths, W - 1), (heights, H - 1))):
        slack = np.min((1 - zooms * span)[:, 1:] / u[1:], axis=1) * extent / 2
        shift[:, axis] = unit[:, 2 + axis] * np.clip(slack, 0, MAX_SHIFT * (extent + 1))
    out = _matrices(theta[:, None] * u, zooms, shift[:, None] * u[:, None], H, W)
    out[backwards] = out[backwards, ::-1]
    return out


@functools.lru_cache(maxsize=64)
def max_angle(frames: int, H: int, W: int) -> float:
    """Return the greatest angle, at most 15 degrees, in radians, for which some zoom >= 0.66 keeps every frame inside."""
    u = np.arange(1, frames) / (frames - 1)

    def is_feasible(angle: float) -> bool:
        return bool(1 + np.min((1 / np.maximum(*_spans(angle * u, H, W)) - 1) / u) >= MIN_ZOOM)

    if is_feasible(float(MAX_ANGLE)):
        return float(MAX_ANGLE)
    low, high = 0.0, float(MAX_ANGLE)
    for _ in range(60):  # bisection: the feasible interval of the zoom only shrinks as the angle grows
        middle = (low + high) / 2
        low, high = (middle, high) if is_feasible(middle) else (low, middle)
    return low


def warp_picture(picture: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Return the picture seen along one trajectory, bilinear at exact sub-pixel positions.

    Args:
      picture: uint8 [H, W] or [H, W, 3].
      moves: float64 [N, 2, 3], one of `sample_trajectories`.

    Returns:
      uint8 [N, H, W] or [N, H, W, 3].
    """
    H, W = picture.shape[:2]
    values = picture.astype(np.float32)  # on floats OpenCV interpolates exactly, on bytes in steps
    out = np.empty((len(moves), *picture.shape), np.uint8)
    for k, matrix in enumerate(moves):
        # A replicated border only serves positions that rounding puts 1e-12 pixels outside.
        frame = cv2.warpAffine(
            values,
            matrix,
            (W, H),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        out[k] = np.clip(frame + 0.5, 0, 255)
    return out


def lift_pictures(
    source: np.ndarray, target: np.ndarray, mask: np.ndarray, moves: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lift an image pair and its mask along one trajectory.

    Args:
      source: uint8 [H, W, 3].
      target: uint8 [H, W, 3].
      mask: uint8 [H, W] in {0, 255}.
      moves: float64 [N, 2, 3], one of `sample_trajectories`.

    Returns:
      Videos uint8 [N, H, W, 3] of source and target, and mask uint8 [N, H, W]. Where the mask is 0 the videos are as
      equal as the pictures were: a pixel is masked when any of the four it is interpolated from is.
    """
    dilated_mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    return (
        warp_picture(source, moves),
        warp_picture(target, moves),
        np.where(warp_picture(dilated_mask, moves) > 0, 255, 0).astype(np.uint8),
    )


def picture_size(height: int, width: int, H: int, W: int) -> tuple[int, int]:
    """Return the height and width at which pictures are lifted: of the clip's aspect, at most `PICTURE_SCALE` times as large.

    Args:
      height: Height of the pictures in pixels.
      width: Width of the pictures in pixels.
      H: Height of the clip in pixels.
      W: Width of the clip in pixels.
    """
    scale = min(PICTURE_SCALE, max(1.0, min(height / H, width / W)))
    return round(H * scale), round(W * scale)


def scale_down(video: np.ndarray, H: int, W: int) -> np.ndarray:
    """Scale down by area. A mask pixel stays above 0 where any pixel under it was 255 (at most 16 to one: 255 / 16 > 0)."""
    if video.shape[1:3] == (H, W):
        return video
    return np.stack([cv2.resize(frame, (W, H), interpolation=cv2.INTER_AREA) for frame in video])


def vary_reference(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random crop and rotation of a reference picture, of the same size and never past its border.

    Image editors shift and zoom what they edit; a model trained on unchanged references learns to copy positions
    from them (EasyV2V §3). The pose is the last one of a two-frame trajectory.
    """
    H, W = picture.shape[:2]
    poses = sample_trajectories(rng, 1, 2, H, W)[0]
    distances = np.abs(poses - np.eye(2, 3)).sum((1, 2))  # from the unmoved pose, which one of the two is
    return warp_picture(picture, poses[[int(distances.argmax())]])[0]


def _spans(angle: np.ndarray, H: int, W: int) -> tuple[np.ndarray, np.ndarray]:
    """Return width and height of the turned frame at zoom 1, each divided by the picture's own."""
    A, B = max(W - 1, 1), max(H - 1, 1)
    cos, sin = np.cos(angle), np.sin(angle)
    return cos + B / A * sin, cos + A / B * sin


def _matrices(theta: np.ndarray, zoom: np.ndarray, shift: np.ndarray, H: int, W: int) -> np.ndarray:
    """Turn [n, N] poses and [n, N, 2] shifts into [n, N, 2, 3] maps between pixel indices."""
    cos, sin = zoom * np.cos(theta), zoom * np.sin(theta)
    x0, y0 = (W - 1) / 2, (H - 1) / 2
    row_x = np.stack([cos, -sin, x0 + shift[..., 0] - cos * x0 + sin * y0], -1)
    row_y = np.stack([sin, cos, y0 + shift[..., 1] - sin * x0 - cos * y0], -1)
    return np.stack([row_x, row_y], -2)
