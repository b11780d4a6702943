"""Exact depth, motion, parts and pose of a rendered room.

RoomView → **truth** → control videos. With z the distance from the camera's plane (meters), R_i(k), p_i(k) the pose of the
body seen at a pixel, X its point in the room at frame k, and P_k the projection at frame k:

    depth         gray = 255 (1/z - 1/z_far) / (1/z_near - 1/z_far), near and far the clip's own: near is white
    motion        P_{k+1}(R_i(k+1) R_i(k)^T (X - p_i(k)) + p_i(k+1)) - P_k(X), pixels; the last frame repeats
    segmentation  one saturated color a body; floor, walls and sky dark
    pose          limbs as colored bars, joints as dots, on black, at their projections
"""

from __future__ import annotations

import cv2
import numpy as np

from data_synth.physics import figure as fg
from data_synth.physics import model as md
from data_synth.physics.render import RoomView
from data_synth.scenes.truth import SEGMENT_COLORS

# Meters; anything farther is black in a depth video.
FAR_DEPTH = 12.0
_GROUND = {md.SKY: (0, 0, 0), md.FLOOR: (44, 44, 44), md.WALLS: (84, 84, 84), md.PERSON: (255, 255, 255)}
# One bar a limb of the skeleton, left and right in different hues, as is usual in pose videos.
BONES = (
    ("head", "neck", (255, 0, 85)), ("neck", "shoulder_l", (255, 85, 0)), ("shoulder_l", "elbow_l", (255, 170, 0)),
    ("elbow_l", "wrist_l", (255, 255, 0)), ("neck", "shoulder_r", (170, 255, 0)), ("shoulder_r", "elbow_r", (85, 255, 0)),
    ("elbow_r", "wrist_r", (0, 255, 0)), ("neck", "hip_l", (0, 255, 170)), ("hip_l", "knee_l", (0, 255, 255)),
    ("knee_l", "ankle_l", (0, 170, 255)), ("neck", "hip_r", (0, 85, 255)), ("hip_r", "knee_r", (0, 0, 255)),
    ("knee_r", "ankle_r", (85, 0, 255)),
)  # fmt: skip


def render_depth(view: RoomView) -> np.ndarray:
    """Render the inverse depth, uint8 [T, H, W, 3]."""
    inverse_depth = 1 / np.minimum(view.depth(), FAR_DEPTH)
    max_inverse_depth = float(inverse_depth.max())
    gray = 255 * (inverse_depth - 1 / FAR_DEPTH) / max(max_inverse_depth - 1 / FAR_DEPTH, 1e-6) + 0.5
    return np.repeat(gray.astype(np.uint8)[..., None], 3, -1)


def render_segmentation(view: RoomView) -> np.ndarray:
    """Render the segmentation, uint8 [T, H, W, 3]."""
    table = np.zeros((256, 3), np.uint8)
    for owner, color in _GROUND.items():
        table[owner] = color
    for body in view.room.bodies:
        table[md.FIRST_BODY + body.key] = SEGMENT_COLORS[1 + body.key % 7]
    return table[view.parts()]


def compute_motion(view: RoomView) -> np.ndarray:
    """Compute float64 [T, H, W, 2]: (x, y) displacement of the visible surface, in pixels from one frame to the next.

    Points on a person move with the nearest limb.
    """
    T, H, W = view.size
    out = np.zeros((T, H, W, 2))
    if T == 1:
        return out
    parts, depth = view.parts(), view.depth()
    focal = H / 2 / np.tan(np.radians(view.room.camera.fovy) / 2)
    x, y = np.meshgrid(np.arange(W), np.arange(H))
    ray = np.stack([(x - (W - 1) / 2) / focal, -(y - (H - 1) / 2) / focal, np.full((H, W), -1.0)], -1)
    for k in range(T - 1):
        points = ray * depth[k][..., None] @ view.axes[k] + view.eye[k]
        next_points = points.copy()
        for body in view.room.bodies:
            selected_pixels = parts[k] == md.FIRST_BODY + body.key
            a, b = view.paths[body.key][k : k + 2]
            rotation = _rotation_matrix(b[3:]) @ _rotation_matrix(a[3:]).T
            next_points[selected_pixels] = (points[selected_pixels] - a[:3]) @ rotation.T + b[:3]
        if view.joints is not None:
            selected_pixels = parts[k] == md.PERSON
            next_points[selected_pixels] = points[selected_pixels] + _limb_displacement(
                points[selected_pixels], view.joints[k], view.joints[k + 1]
            )
        out[k] = view.project(k + 1, next_points)[..., :2] - np.stack([x, y], -1)
    out[-1] = out[-2]
    return out


def render_pose(view: RoomView) -> np.ndarray:
    """Render the person's skeleton, uint8 [T, H, W, 3]; the room must have a person."""
    assert view.joints is not None
    T, H, W = view.size
    out = np.zeros((T, H, W, 3), np.uint8)
    thickness = max(1, round(min(H, W) / 60))
    index = {name: i for i, name in enumerate(fg.JOINTS)}
    for k in range(T):
        positions = view.project(k, view.joints[k])[:, :2]
        joint_pixels = [tuple(int(round(float(v) * 16)) for v in p) for p in positions]  # 4 fractional bits
        for a, b, color in BONES:
            cv2.line(out[k], joint_pixels[index[a]], joint_pixels[index[b]], color, thickness, cv2.LINE_AA, 4)
        for joint_pixel in joint_pixels:
            cv2.circle(out[k], joint_pixel, 16 * thickness, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return out


def _rotation_matrix(q: np.ndarray) -> np.ndarray:
    """Convert a unit quaternion (w, x, y, z) to a rotation matrix."""
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _limb_displacement(points: np.ndarray, current_joints: np.ndarray, next_joints: np.ndarray) -> np.ndarray:
    """Return the displacement of points [n, 3] on a person: that of the nearest place on a limb's axis (or the head)."""
    nearest_distance, displacement = np.full(len(points), np.inf), np.zeros_like(points)
    head = fg.JOINTS.index("head")
    bones = [(fg.JOINTS.index(a), fg.JOINTS.index(b), r) for a, b, r, _ in fg.LIMBS] + [
        (head, head, fg.HEAD_RADIUS)
    ]
    for a, b, radius in bones:
        axis = current_joints[b] - current_joints[a]
        fraction = np.clip((points - current_joints[a]) @ axis / max(float(axis @ axis), 1e-9), 0, 1)[:, None]
        # Distance from the capsule's surface, as limbs differ in width.
        distance = np.abs(np.linalg.norm(points - current_joints[a] - fraction * axis, axis=1) - radius)
        nearer = distance < nearest_distance
        nearest_distance[nearer] = distance[nearer]
        displacement[nearer] = (
            (1 - fraction) * (next_joints[a] - current_joints[a])
            + fraction * (next_joints[b] - current_joints[b])
        )[nearer]
    return displacement
