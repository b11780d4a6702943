"""World and paths → frames: colour with shadows and reflections, whose each pixel is, and how far away.

World, paths → **render** → edits.py, truth.py. MuJoCo's OpenGL renderer, off screen; in software (Mesa) a 480 x 832 frame
takes about 0.08 s of one core, parts and depth a quarter of that. The same World at the same size gives the same bytes in
every process of one machine; another OpenGL may round differently, so pairs record which one drew them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from data_synth.physics import figure as fg
from data_synth.physics import model as md
from data_synth.physics.world import World
from v2v.errors import InputError


class View:
    """One world on screen; `with View(...) as view`, then its methods in any order."""

    def __init__(self, world: World, paths: dict[int, np.ndarray], T: int, H: int, W: int, seconds: float):
        self._mj = md.mujoco()
        self.world, self.paths, self.size, self.seconds = world, paths, (T, H, W), seconds
        self._built = md.build(world, H, W, free=False)
        self._data = self._mj.MjData(self._built.model)
        self._option = self._mj.MjvOption()
        self._camera = self._mj.MjvCamera()
        self.joints = fg.joints(world.figure, T, seconds) if world.figure else None
        self.eye, self.axes = world.camera.poses(T)
        with _opengl():
            self._renderer = self._mj.Renderer(self._built.model, H, W)

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_) -> None:
        self._renderer.close()

    def video(self) -> np.ndarray:
        """uint8 [T, H, W, 3]."""
        T, H, W = self.size
        out = np.empty((T, H, W, 3), np.uint8)
        for k in self._frames():
            self._renderer.render(out=out[k])
        return out

    def parts(self) -> np.ndarray:
        """uint8 [T, H, W]: the owner of each pixel's centre (model.SKY, FLOOR, WALLS, PERSON, THINGS + key)."""
        T, H, W = self.size
        out = np.empty((T, H, W), np.uint8)
        owner = np.concatenate([self._built.owner, [md.SKY]]).astype(
            np.uint8
        )  # id -1, nothing, picks the last
        self._renderer.enable_segmentation_rendering()
        for k in self._frames():
            out[k] = owner[self._renderer.render()[..., 0]]
        self._renderer.disable_segmentation_rendering()
        return out

    def depth(self) -> np.ndarray:
        """float32 [T, H, W]: metres from the camera's plane; the sky is at the far plane (40 m)."""
        T, H, W = self.size
        out = np.empty((T, H, W), np.float32)
        self._renderer.enable_depth_rendering()
        for k in self._frames():
            out[k] = self._renderer.render()
        self._renderer.disable_depth_rendering()
        return out

    def project(self, k: int, points: np.ndarray) -> np.ndarray:
        """Room coordinates [..., 3] → (x, y) in pixels at frame k, centres at integers, and depth in metres."""
        _, H, W = self.size
        local = (points - self.eye[k]) @ self.axes[k].T
        focal = H / 2 / np.tan(np.radians(self.world.camera.fovy) / 2)
        far = np.maximum(-local[..., 2], 1e-6)
        return np.stack(
            [
                focal * local[..., 0] / far + (W - 1) / 2,
                -focal * local[..., 1] / far + (H - 1) / 2,
                far,
            ],
            -1,
        )

    def _frames(self) -> Iterator[int]:
        """Puts everything where it is at frame 0, 1, ... and hands the scene to the renderer."""
        model, data, mj = self._built.model, self._data, self._mj
        scene = self._renderer.scene
        for k in range(self.size[0]):
            for key, body in self._built.bodies.items():
                i = int(model.body_mocapid[body])
                data.mocap_pos[i], data.mocap_quat[i] = self.paths[key][k, :3], self.paths[key][k, 3:]
            if self._built.limbs:
                self._pose(k)
            mj.mj_kinematics(model, data)
            mj.mj_camlight(model, data)
            self._renderer.update_scene(data, self._camera, self._option)
            for camera in scene.camera:  # both eyes of a stereo pair, the same
                camera.pos, camera.forward, camera.up = self.eye[k], -self.axes[k, 2], self.axes[k, 1]
            yield k

    def _pose(self, k: int) -> None:
        mj, data, joints = self._mj, self._data, self.joints[k]
        for (a, b, _, _), i in zip(fg.LIMBS, self._built.limbs, strict=False):
            start, end = joints[fg.JOINTS.index(a)], joints[fg.JOINTS.index(b)]
            data.mocap_pos[i] = (start + end) / 2
            quat = np.empty(4)
            mj.mju_quatZ2Vec(quat, (end - start) / np.linalg.norm(end - start))
            data.mocap_quat[i] = quat
        data.mocap_pos[self._built.limbs[-1]] = joints[fg.JOINTS.index("head")]


def drawn_by() -> dict:
    """What a pair says of its renderer: MuJoCo's version and OpenGL's way."""
    import os

    return {"mujoco": md.mujoco().__version__, "opengl": os.environ.get("MUJOCO_GL", "egl")}


@contextlib.contextmanager
def _opengl():
    try:
        yield
    except Exception as error:  # MuJoCo raises what its backend raises
        raise InputError(
            f"physics scenes: expected OpenGL without a screen, got '{error}'; apt-get install libegl1 "
            "libegl-mesa0 libgl1-mesa-dri, or libosmesa6 with MUJOCO_GL=osmesa"
        ) from None
