"""Simple image operations in the places of the networks of the paper's compositions.

They let a composition be run, tested and read before the weights are there. Their clips look nothing like those of the networks,
and every pair says so (`stand_in`).

    edges       Canny edges                  where the paper uses an edge, depth or pose estimator
    restyle     colours turned about the grey axis by an angle that the prompt's bytes give, then four tones
                                             where it uses an image editor (FLUX.1-Kontext, Qwen-Image-Edit)
    controlled  the reference picture's colours, blurred by an eighth of the frame, under the control video's lines
                                             where it uses a controlled video generator (Wan-Fun-Control, Wan-Animate)
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import cv2
import numpy as np

from data_synth.experts import wire
from data_synth.operators import control


def edges(jobs: Sequence[wire.Job]) -> list[np.ndarray]:
    """Return each clip's Canny edges, white on black."""
    return [control.canny(job.clip, np.random.default_rng(0)).video for job in jobs]


def restyle(jobs: Sequence[wire.Job]) -> list[np.ndarray]:
    """Return each clip in colours that depend on the prompt, the same for every frame."""
    return [np.stack([_rotate_hue(frame, job.prompt) for frame in job.clip]) for job in jobs]


def controlled(jobs: Sequence[wire.Job]) -> list[np.ndarray]:
    """Return each control video's lines, dark over the blurred colours of the reference picture.

    Raises:
      ValueError: A job has no reference picture.
    """
    clips = []
    for job in jobs:
        if job.reference is None:
            raise ValueError("expected a reference picture, got none")
        _, H, W, _ = job.clip.shape
        background = cv2.GaussianBlur(cv2.resize(job.reference, (W, H)), (0, 0), min(H, W) / 8).astype(
            np.float32
        )
        clips.append((background * (1 - job.clip.astype(np.float32) / 300) + 0.5).astype(np.uint8))
    return clips


def _rotate_hue(frame: np.ndarray, prompt: str) -> np.ndarray:
    """Turn a frame's hue by 40 to 139 of OpenCV's 180 steps, and round its channels to four tones."""
    angle = 40 + zlib.crc32(prompt.encode()) % 100
    hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + angle) % 180
    hsv[..., 1] = np.maximum(hsv[..., 1], 90)
    return (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) // 64 * 85).astype(np.uint8)
