"""Rooms with physics: scenes simulated and rendered by MuJoCo, and their edited twins with exact masks.

seed → draw.py → world.py (plain data) → model.py (MuJoCo) → simulate.py (paths) → render.py → video, parts, depth
                 choose.py: the intervention · edits.py: the twin · figure.py: a person of capsules · surfaces.py: materials
                 truth.py: depth, motion, parts, pose · words.py: sentences · recipe.py: Pair

Needs the extra `scenes` (mujoco) and OpenGL without a screen: EGL (Debian's libegl1, libegl-mesa0, libgl1-mesa-dri), or
OSMesa with MUJOCO_GL=osmesa. Only `model.py`, `simulate.py` and `render.py` import MuJoCo, when first used.
"""
