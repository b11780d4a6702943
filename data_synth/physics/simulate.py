"""Physics: where every thing is at every frame.

World → **paths** → render.py. Rigid bodies with friction, integrated at 4 ms from rest (or the drawn velocities); frame k
shows time k · seconds / (T - 1). A counterfactual twin is this function on the edited World: nothing else is done to it.
"""

from __future__ import annotations

import numpy as np

from data_synth.physics import model as md
from data_synth.physics.world import Room

MIN_SECONDS, FPS = 1.6, 16.0


def duration(T: int) -> float:
    """Seconds that a clip of T frames spans: T / 16 fps, but long enough for something to happen."""
    return max(MIN_SECONDS, T / FPS)


def simulate_paths(world: Room, T: int, seconds: float) -> dict[int, np.ndarray]:
    """Thing key → float64 [T, 7]: position (metres) and unit quaternion (w, x, y, z) at each frame."""
    mj = md.load_mujoco()
    built = md.build_model(world, 16, 16, free=True)
    data = mj.MjData(built.model)
    for t in world.things:
        joint = int(built.model.body_jntadr[built.bodies[t.key]])
        at, to = built.model.jnt_qposadr[joint], built.model.jnt_dofadr[joint]
        data.qpos[at : at + 7] = (*t.place, np.cos(t.yaw / 2), 0, 0, np.sin(t.yaw / 2))
        data.qvel[to : to + 6] = (*t.velocity, *t.spin)
    out = {t.key: np.empty((T, 7)) for t in world.things}
    mj.mj_forward(built.model, data)
    step = built.model.opt.timestep
    for k in range(T):
        due = round(k * seconds / max(T - 1, 1) / step)
        while round(data.time / step) < due:
            mj.mj_step(built.model, data)
        for key, body in built.bodies.items():
            at = built.model.jnt_qposadr[int(built.model.body_jntadr[body])]
            out[key][k] = data.qpos[at : at + 7]
    return out


def resting_paths(world: Room, T: int) -> dict[int, np.ndarray]:
    """Paths of things that stay where they were put."""
    rows = {t.key: (*t.place, np.cos(t.yaw / 2), 0.0, 0.0, np.sin(t.yaw / 2)) for t in world.things}
    return {key: np.repeat(np.array([row]), T, 0) for key, row in rows.items()}


def max_displacement(path: np.ndarray) -> float:
    """Metres that a thing travels from its start, at most."""
    return float(np.linalg.norm(path[:, :3] - path[0, :3], axis=1).max())
