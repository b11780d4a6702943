"""Procedural clips with exact ground truth.

seed → draw.py → scene.py → edits.py (the twin) → render.py → video, twin, mask, reference, captions
                                                  objects.py, textures.py: the parts
"""
