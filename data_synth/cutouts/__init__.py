"""Cut-out objects on footage: pictures with a transparent background that stand in a clip as if they had been filmed there.

library → placement (camera track, stable ground) → appearance (light, blur, grain of the footage) → render. `recipes/cutouts.py` makes pairs of it.
"""
