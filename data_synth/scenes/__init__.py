"""Procedural clips with exact ground truth.

    seed → scene.py (draw) → edits.py (the twin) → render.py → video, twin, mask, reference, captions
                              objects.py, textures.py draw the parts
"""
