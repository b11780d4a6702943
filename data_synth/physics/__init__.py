"""Rooms with physics: scenes simulated and rendered by MuJoCo, and their edited twins with exact masks.

The flow is: seed → draw.py → world.py (plain data) → model.py (MuJoCo) → simulate.py (paths) → render.py → video, parts, depth.
choose.py chooses an intervention and edits.py renders its twin; figure.py is a person of capsules, surfaces.py the materials,
truth.py depth, motion, parts and pose. Instructions are in `data_synth.language.rooms`, pairs in `data_synth.recipes.physics`.

Needs the extra `scenes` (mujoco) and OpenGL without a screen: EGL (Debian's libegl1, libegl-mesa0, libgl1-mesa-dri), or
OSMesa with MUJOCO_GL=osmesa. Only `model.py`, `simulate.py` and `render.py` use MuJoCo; it is imported on first use.
"""
