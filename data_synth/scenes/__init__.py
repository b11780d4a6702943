"""Procedural planar scenes with exact ground truth.

The flow is: seed → draw.py → scene.py → edits.py (the twin) → render.py → video, twin, mask, reference, captions.
objects.py and textures.py draw the parts; truth.py gives depth, segmentation and motion.
"""
