"""Image and video operators: photometric looks, control videos, optical flow, camera moves and transitions."""
