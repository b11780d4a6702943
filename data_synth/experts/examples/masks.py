"""Example experts of role mask: the people and the text of clips, found by the mask sources of `v2v edit --mask`.

person.toml    MediaPipe's networks, Apache-2.0; pip install 'v2v-edit[subject]'
text.toml      RapidOCR, Apache-2.0; pip install 'v2v-edit[text]'

v2v synth --out pairs --pairs 8 --recipes removal --clips FOLDER --expert data_synth/experts/examples/person.toml
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from data_synth.experts import wire
from v2v.errors import InputError
from v2v.runtime import environment
from v2v.video.segmentation.base import MaskSource
from v2v.video.segmentation.model_files import ModelFiles
from v2v.video.segmentation.registry import build_mask_source


def find_people(jobs: Sequence[wire.Job]) -> list[np.ndarray]:
    """Return one mask video for each job, white where there are people."""
    return [_find(_build("person"), job.clip) for job in jobs]


def find_text(jobs: Sequence[wire.Job]) -> list[np.ndarray]:
    """Return one mask video for each job, white where there is readable text."""
    return [_find(_build("text"), job.clip) for job in jobs]


@functools.cache
def _build(name: str) -> MaskSource:
    """Build a mask source once, since its networks take a while to load."""
    variables = (environment.SUBJECT_MODEL, environment.POSE_MODEL)
    files = ModelFiles(environment.cache_folder("networks"), {v.name: v.get() for v in variables})
    return build_mask_source(name, files)


def _find(source: MaskSource, clip: np.ndarray) -> np.ndarray:
    """Return what a source finds, uint8 [T, H, W, 3]; black where it finds nothing."""
    try:
        masks = np.stack(list(source.find(clip)))
    except InputError:
        return np.zeros_like(clip)
    levels = np.where(masks > 127, np.uint8(255), np.uint8(0))[..., None]
    # A source may find the same place in all frames.
    return np.broadcast_to(levels, clip.shape).copy()
