"""A person of capsules: joint angles of its actions, joint positions, and its limbs.

Figure, T, seconds → **joints** → model.py (limbs), truth.py (pose video). Forward kinematics with angles in the sagittal
plane (x forward in the figure's own frame, y to its left, z up) and, for the arms, sideways:

    child = parent + length · (sin s, ± sin a cos s, -cos a cos s)      s swing forward, a out to the side

phi = 2 pi (f t + phase), f the action's frequency. The whole body is lifted so that the lower foot stands on z = 0
(or at the height of a jump).
"""

from __future__ import annotations

import numpy as np

from data_synth.physics.world import Figure

JOINTS = ("head", "neck", "hip", "shoulder_l", "elbow_l", "wrist_l", "shoulder_r", "elbow_r", "wrist_r",
          "hip_l", "knee_l", "ankle_l", "hip_r", "knee_r", "ankle_r")  # fmt: skip
# (from, to, capsule radius, part): parts are painted alike.
LIMBS = (
    ("neck", "hip", 0.105, "shirt"),
    ("shoulder_l", "shoulder_r", 0.06, "shirt"),
    ("shoulder_l", "elbow_l", 0.045, "shirt"),
    ("elbow_l", "wrist_l", 0.036, "skin"),
    ("shoulder_r", "elbow_r", 0.045, "shirt"),
    ("elbow_r", "wrist_r", 0.036, "skin"),
    ("hip_l", "hip_r", 0.085, "trousers"),
    ("hip_l", "knee_l", 0.065, "trousers"),
    ("knee_l", "ankle_l", 0.05, "trousers"),
    ("hip_r", "knee_r", 0.065, "trousers"),
    ("knee_r", "ankle_r", 0.05, "trousers"),
    ("head", "neck", 0.04, "skin"),
)
HEAD_RADIUS = 0.105  # meters
SKIN_COLOR = (224, 178, 146)
# Name → words for "make the person {0}", "a person {1}".
ACTIONS = {
    "walk": ("walk in place", "walking in place"),
    "wave": ("wave", "waving"),
    "squat": ("do squats", "doing squats"),
    "jacks": ("do jumping jacks", "doing jumping jacks"),
    "raise": ("raise both arms", "raising both arms"),
    "punch": ("punch the air", "punching the air"),
}
_TORSO, _UPPER, _FORE, _THIGH, _SHIN = 0.46, 0.26, 0.24, 0.38, 0.38


def compute_joints(figure: Figure, T: int, seconds: float) -> np.ndarray:
    """Compute joint positions, float [T, len(JOINTS), 3], in meters in the room."""
    t = np.arange(T) * (seconds / max(T, 1))
    angles = _angles(figure.action, t, figure.phase)
    positions = {"hip": np.zeros((T, 3))}
    lean = angles["lean"]
    positions["neck"] = positions["hip"] + _TORSO * np.stack([np.sin(lean), np.zeros(T), np.cos(lean)], 1)
    positions["head"] = positions["neck"] + 0.2 * np.stack([np.sin(lean), np.zeros(T), np.cos(lean)], 1)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        positions[f"shoulder_{side}"] = positions["neck"] + np.array([0, sign * 0.19, -0.05])
        positions[f"hip_{side}"] = positions["hip"] + np.array([0, sign * 0.1, -0.03])
        arm, out, elbow = (angles[f"{k}_{side}"] for k in ("arm", "out", "elbow"))
        positions[f"elbow_{side}"] = positions[f"shoulder_{side}"] + _UPPER * _direction(arm, out, sign)
        positions[f"wrist_{side}"] = positions[f"elbow_{side}"] + _FORE * _direction(
            arm + elbow, out + angles[f"turn_{side}"], sign
        )
        leg, knee, spread = (angles[f"{k}_{side}"] for k in ("leg", "knee", "wide"))
        positions[f"knee_{side}"] = positions[f"hip_{side}"] + _THIGH * _direction(leg, spread, sign)
        positions[f"ankle_{side}"] = positions[f"knee_{side}"] + _SHIN * _direction(leg - knee, spread, sign)
    local = np.stack([positions[name] for name in JOINTS], 1)
    foot = np.minimum(positions["ankle_l"][:, 2], positions["ankle_r"][:, 2])
    local[..., 2] += (angles["lift"] - foot + 0.05)[:, None]
    cos, sin = np.cos(figure.yaw), np.sin(figure.yaw)
    x, y = local[..., 0].copy(), local[..., 1].copy()
    local[..., 0] = cos * x - sin * y + figure.position[0]
    local[..., 1] = sin * x + cos * y + figure.position[1]
    return local


def _direction(swing: np.ndarray, out: np.ndarray, sign: float) -> np.ndarray:
    return np.stack([np.sin(swing), sign * np.sin(out) * np.cos(swing), -np.cos(out) * np.cos(swing)], 1)


def _angles(action: str, t: np.ndarray, phase: float) -> dict[str, np.ndarray]:
    zero = np.zeros_like(t)
    out = {f"{k}_{s}": zero for k in ("arm", "elbow", "leg", "knee", "wide", "turn") for s in "lr"}
    out |= {"lean": zero, "lift": zero, "out_l": zero + 0.15, "out_r": zero + 0.15, "elbow_l": zero + 0.2,
            "elbow_r": zero + 0.2}  # fmt: skip
    if action == "walk":
        w = 2 * np.pi * (1.0 * t + phase)
        out |= {"leg_l": 0.55 * np.sin(w), "leg_r": -0.55 * np.sin(w), "knee_l": 0.7 * np.maximum(0, np.cos(w)) + 0.05,
                "knee_r": 0.7 * np.maximum(0, -np.cos(w)) + 0.05, "arm_l": -0.5 * np.sin(w), "arm_r": 0.5 * np.sin(w),
                "elbow_l": zero + 0.5, "elbow_r": zero + 0.5, "lean": zero + 0.06}  # fmt: skip
    elif action == "wave":
        w = 2 * np.pi * (1.4 * t + phase)
        out |= {"out_r": zero + 1.5, "turn_r": 1.35 + 0.55 * np.sin(w), "elbow_r": zero}
    elif action == "squat":
        bend = 0.5 - 0.5 * np.cos(2 * np.pi * (0.7 * t + phase))
        for s in "lr":
            out |= {
                f"leg_{s}": 1.25 * bend,
                f"knee_{s}": 2.2 * bend,
                f"arm_{s}": 1.4 * bend,
                f"wide_{s}": zero + 0.12,
            }
        out["lean"] = 0.5 * bend
    elif action == "jacks":
        w = 0.5 - 0.5 * np.cos(2 * np.pi * (1.1 * t + phase))
        for s in "lr":
            out |= {f"out_{s}": 0.2 + 2.5 * w, f"wide_{s}": 0.05 + 0.4 * w, f"elbow_{s}": zero}
        out["lift"] = 0.12 * np.sin(np.pi * w)
    elif action == "raise":
        w = 0.5 - 0.5 * np.cos(2 * np.pi * (0.5 * t + phase))
        for s in "lr":
            out |= {f"arm_{s}": 2.9 * w, f"elbow_{s}": zero + 0.1}
    elif action == "punch":
        w = 2 * np.pi * (1.0 * t + phase)
        for s, shift in (("l", 0.0), ("r", np.pi)):
            reach = np.maximum(0, np.sin(w + shift))
            out |= {
                f"arm_{s}": 0.2 + 1.3 * reach,
                f"elbow_{s}": 2.0 * (1 - reach) + 0.05,
                f"leg_{s}": zero + 0.1,
            }
        out |= {"knee_l": zero + 0.25, "knee_r": zero + 0.25}
    else:
        raise ValueError(f"action: expected one of {', '.join(ACTIONS)}, got {action}")
    return out
