"""Off-screen rendering of rooms: color with shadows and reflections, pixel owners, and depth.

Room, paths → **render** → edits.py, truth.py. MuJoCo's OpenGL renderer; in software (Mesa) a 480 x 832 frame takes about
0.065 s of one core, parts and depth a sixth of that. The same Room at the same size gives the same bytes in every process
of one machine; another OpenGL may round differently, so pairs record the versions.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import cv2
import numpy as np

from data_synth.physics import figure as fg
from data_synth.physics import model as md
from data_synth.physics.world import Room
from v2v.errors import InputError

# Each geom's number must fit one byte; rooms have fewer than a hundred.
MAX_GEOMS = 254


class RoomView:
    """One room with an OpenGL context; a context manager, whose methods may be called in any order.

    Attributes:
      room: The room.
      paths: Body key → float64 [T, 7], see `simulate.simulate_paths`.
      size: (T, H, W).
      seconds: Duration of the clip.
      joints: float [T, joints, 3] of the person, or None.
      eye: float [T, 3], camera positions.
      axes: float [T, 3, 3], camera axes in rows: right, up, back.
    """

    def __init__(self, room: Room, paths: dict[int, np.ndarray], T: int, H: int, W: int, seconds: float):
        self._mj = md.load_mujoco()
        self.room, self.paths, self.size, self.seconds = room, paths, (T, H, W), seconds
        self._compiled = md.build_model(room, H, W, has_free_joints=False)
        self._data = self._mj.MjData(self._compiled.model)
        self._option, self._camera = self._mj.MjvOption(), self._mj.MjvCamera()
        self._scene = self._mj.MjvScene(self._compiled.model, maxgeom=MAX_GEOMS)
        self.joints = fg.compute_joints(room.figure, T, seconds) if room.figure else None
        self.eye, self.axes = room.camera.poses(T)
        with _opengl():
            self._gl = self._mj.GLContext(W, H)
            self._gl.make_current()
            self._context = self._mj.MjrContext(
                self._compiled.model, self._mj.mjtFontScale.mjFONTSCALE_100.value
            )
        self._mj.mjr_setBuffer(self._mj.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = self._mj.mjtDepthMap.mjDEPTH_ZEROFAR

    def __enter__(self) -> RoomView:
        return self

    def __exit__(self, *_) -> None:
        self._gl.make_current()
        self._context.free()
        self._gl.free()

    def video(self) -> np.ndarray:
        """Render the colors, uint8 [T, H, W, 3]."""
        T, H, W = self.size
        out, flipped = np.empty((T, H, W, 3), np.uint8), np.empty((H, W, 3), np.uint8)
        for k in self._frames(segmented=False):
            self._read_pixels(flipped, None)
            cv2.flip(flipped, 0, dst=out[k])
        return out

    def parts(self) -> np.ndarray:
        """Render uint8 [T, H, W]: the owner of each pixel's center (`model.SKY`, FLOOR, WALLS, PERSON, FIRST_BODY + key)."""
        T, H, W = self.size
        out, flipped = np.empty((T, H, W), np.uint8), np.empty((H, W, 3), np.uint8)
        for k in self._frames(segmented=True):
            self._read_pixels(flipped, None)
            cv2.flip(cv2.LUT(cv2.extractChannel(flipped, 0), self._owner_table()), 0, dst=out[k])
        return out

    def depth(self) -> np.ndarray:
        """Render float32 [T, H, W]: meters from the camera's plane; the sky is at the far plane (40 m)."""
        T, H, W = self.size
        out, flipped = np.empty((T, H, W), np.float32), np.empty((H, W), np.float32)
        clip, extent = self._compiled.model.vis.map, self._compiled.model.stat.extent
        near, far = clip.znear * extent, clip.zfar * extent
        for k in self._frames(segmented=True):
            self._read_pixels(None, flipped)  # 1 at the near plane, 0 at the far one, linear in 1 / z
            out[k] = far * near / (flipped[::-1].astype(np.float64) * (far - near) + near)
        return out

    def project(self, k: int, points: np.ndarray) -> np.ndarray:
        """Project room coordinates [..., 3] to (x, y) in pixels at frame k, centers at integers, and depth in meters."""
        _, H, W = self.size
        local = (points - self.eye[k]) @ self.axes[k].T
        focal = H / 2 / np.tan(np.radians(self.room.camera.fovy) / 2)
        far = np.maximum(-local[..., 2], 1e-6)
        return np.stack(
            [
                focal * local[..., 0] / far + (W - 1) / 2,
                -focal * local[..., 1] / far + (H - 1) / 2,
                far,
            ],
            -1,
        )

    def _frames(self, segmented: bool) -> Iterator[int]:
        """Pose and draw one frame after the other, in color or with each geom's number as its color; yield the frame index."""
        model, data, mj, scene = self._compiled.model, self._data, self._mj, self._scene
        everything, rectangle = mj.mjtCatBit.mjCAT_ALL.value, self._rectangle()
        self._gl.make_current()
        for flag in (mj.mjtRndFlag.mjRND_SEGMENT, mj.mjtRndFlag.mjRND_IDCOLOR):
            scene.flags[flag] = segmented
        for k in range(self.size[0]):
            for key, body in self._compiled.body_ids.items():
                i = int(model.body_mocapid[body])
                data.mocap_pos[i], data.mocap_quat[i] = self.paths[key][k, :3], self.paths[key][k, 3:]
            if self._compiled.limb_ids:
                self._place_limbs(k)
            mj.mj_kinematics(model, data)
            mj.mj_camlight(model, data)
            mj.mjv_updateScene(model, data, self._option, None, self._camera, everything, scene)
            for camera in scene.camera:  # both eyes of a stereo pair are equal
                camera.pos, camera.forward, camera.up = self.eye[k], -self.axes[k, 2], self.axes[k, 1]
            mj.mjr_render(rectangle, scene, self._context)
            yield k

    def _read_pixels(self, color: np.ndarray | None, depth: np.ndarray | None) -> None:
        """Read the last drawing into uint8 [H, W, 3] and float32 [H, W], the lowest row first."""
        self._mj.mjr_readPixels(color, depth, self._rectangle(), self._context)

    def _rectangle(self):
        return self._mj.MjrRect(0, 0, self.size[2], self.size[1])

    def _owner_table(self) -> np.ndarray:
        """Return uint8 [256]: the number of a geom in a drawing (0: none) → its owner."""
        table = np.full(256, md.SKY, np.uint8)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0:
                table[geom.segid + 1] = self._compiled.geom_owners[geom.objid]
        return table

    def _place_limbs(self, k: int) -> None:
        assert self.joints is not None
        mj, data, joints = self._mj, self._data, self.joints[k]
        for (a, b, _, _), i in zip(fg.LIMBS, self._compiled.limb_ids, strict=False):
            start, end = joints[fg.JOINTS.index(a)], joints[fg.JOINTS.index(b)]
            data.mocap_pos[i] = (start + end) / 2
            quat = np.empty(4)
            mj.mju_quatZ2Vec(quat, (end - start) / np.linalg.norm(end - start))
            data.mocap_quat[i] = quat
        data.mocap_pos[self._compiled.limb_ids[-1]] = joints[fg.JOINTS.index("head")]


def renderer_versions() -> dict:
    """Return MuJoCo's version and the kind of OpenGL, for the provenance of pairs."""
    return {"mujoco": md.load_mujoco().__version__, "opengl": os.environ.get("MUJOCO_GL", "egl")}


@contextlib.contextmanager
def _opengl():
    try:
        yield
    except Exception as error:  # MuJoCo passes on any exception of its backend
        raise InputError(
            f"physics scenes: expected OpenGL without a screen, got '{error}'; apt-get install libegl1 "
            "libegl-mesa0 libgl1-mesa-dri, or libosmesa6 with MUJOCO_GL=osmesa"
        ) from None
