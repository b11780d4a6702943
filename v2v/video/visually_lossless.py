"""Visually lossless H.264: clips as bytes, about a twentieth of the bytes of lossless ones. Used by `data/pair.py`.

libx264 with full color resolution (4:4:4) at a quantiser at which nobody sees a difference: 40 to 45 dB on footage. One thread and no clock
in the file: the same clip gives the same bytes with the same PyAV.
"""

from __future__ import annotations

import numpy as np

from v2v.video.encoder import ASSEMBLY
from v2v.video.lossless import encode_clip

# Quality of libx264, and its effort: slower presets gain 5 % of the bytes for twice the time.
CRF, PRESET = "15", "fast"


def encode_visually_lossless(video: np.ndarray) -> bytes:
    """Return a clip uint8 [T, H, W, 3] RGB as the bytes of a Matroska file, which `lossless.decode_lossless` decodes."""
    options = {"crf": CRF, "preset": PRESET, "x264-params": ASSEMBLY}
    return encode_clip(video, "libx264", "yuv444p", options)
