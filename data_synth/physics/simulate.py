"""Rigid-body simulation: the pose of every body at every frame.

Room → **paths** → render.py. Rigid bodies with friction, integrated at 4 ms from rest (or the sampled velocities); frame k
shows time k · seconds / (T - 1). A counterfactual twin is this function applied to the edited Room.
"""

from __future__ import annotations

import numpy as np

from data_synth.physics import model as md
from data_synth.physics.world import Room

MIN_SECONDS, FPS = 1.6, 16.0


def duration(T: int) -> float:
    """Return the seconds that a clip of T frames spans: T / 16 fps, but at least MIN_SECONDS, for visible motion."""
    return max(MIN_SECONDS, T / FPS)


def simulate_paths(room: Room, T: int, seconds: float) -> dict[int, np.ndarray]:
    """Return body key → float64 [T, 7]: position (meters) and unit quaternion (w, x, y, z) at each frame."""
    mj = md.load_mujoco()
    compiled = md.build_model(room, 16, 16, has_free_joints=True)
    data = mj.MjData(compiled.model)
    for body in room.bodies:
        joint = int(compiled.model.body_jntadr[compiled.body_ids[body.key]])
        position_start, velocity_start = compiled.model.jnt_qposadr[joint], compiled.model.jnt_dofadr[joint]
        data.qpos[position_start : position_start + 7] = (
            *body.position,
            np.cos(body.yaw / 2),
            0,
            0,
            np.sin(body.yaw / 2),
        )
        data.qvel[velocity_start : velocity_start + 6] = (*body.velocity, *body.spin)
    out = {body.key: np.empty((T, 7)) for body in room.bodies}
    mj.mj_forward(compiled.model, data)
    step = compiled.model.opt.timestep
    for k in range(T):
        target_step = round(k * seconds / max(T - 1, 1) / step)
        while round(data.time / step) < target_step:
            mj.mj_step(compiled.model, data)
        for key, body in compiled.body_ids.items():
            position_start = compiled.model.jnt_qposadr[int(compiled.model.body_jntadr[body])]
            out[key][k] = data.qpos[position_start : position_start + 7]
    return out


def resting_paths(room: Room, T: int) -> dict[int, np.ndarray]:
    """Return the paths of bodies that stay at their initial pose."""
    rows = {
        body.key: (*body.position, np.cos(body.yaw / 2), 0.0, 0.0, np.sin(body.yaw / 2))
        for body in room.bodies
    }
    return {key: np.repeat(np.array([row]), T, 0) for key, row in rows.items()}


def max_displacement(path: np.ndarray) -> float:
    """Return the greatest distance in meters of a path from its start."""
    return float(np.linalg.norm(path[:, :3] - path[0, :3], axis=1).max())
