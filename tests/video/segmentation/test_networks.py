"""The real networks on real pictures: people, their steadiness, text and its removal.

Needs the extras subject and text, scikit-image for its photographs, and the networks' files by V2V_SUBJECT_MODEL and V2V_POSE_MODEL;
where CI is set, what is missing fails.
"""

import importlib.util
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.example_clips import psnr
from v2v import read
from v2v.assets import SAMPLE
from v2v.errors import InputError
from v2v.runtime import environment
from v2v.video.segmentation.model_files import ModelFiles
from v2v.video.segmentation.registry import build_mask_source
from v2v.video.text_removal import TextFreeFrames
from v2v.video.video import Video

VARIABLES = (environment.SUBJECT_MODEL, environment.POSE_MODEL)
MISSING = [
    name for name in ("ai_edge_litert", "rapidocr", "skimage") if importlib.util.find_spec(name) is None
]
MISSING += [v.name for v in VARIABLES if not v.get()]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING) and not os.environ.get("CI"), reason=f"needs {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def files():
    return ModelFiles(Path("nowhere"), {v.name: v.get() for v in VARIABLES})


def photograph(name):
    from skimage import data

    return np.ascontiguousarray(getattr(data, name)()[..., :3])


def test_people_are_found_and_other_things_are_not(files):
    people = build_mask_source("person", files)
    (mask,) = people.find([photograph("astronaut")])
    assert 0.4 < (mask > 127).mean() < 0.7
    # Her face; the flag behind her.
    assert mask[110, 220] > 230 and mask[60, 30] < 25
    for name in ("coffee", "chelsea", "rocket"):
        with pytest.raises(InputError, match="no person found"):
            people.find([photograph(name)])
    (background,) = build_mask_source("background", files).find([photograph("astronaut")])
    np.testing.assert_array_equal(background, 255 - mask)


def test_a_frozen_frame_with_fresh_compression_noise_keeps_its_mask(files, tmp_path):
    """The bar is 1 % of the pixels from frame to frame; every frame is compressed alone, so its noise is its own."""
    picture, frames = photograph("astronaut"), []
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(0, 4, picture.shape)
        noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
        Video.from_array(noisy[None], 25).save(tmp_path / f"{seed}.mp4", crf=23)
        frames.append(read(tmp_path / f"{seed}.mp4").frames[0])
    masks = [mask > 127 for mask in build_mask_source("person", files).find(frames)]
    changes = [float(np.mean(a ^ b)) for a, b in zip(masks, masks[1:], strict=False)]
    assert max(changes) < 0.01, changes


def test_subtitles_are_found_read_and_removed(files, tmp_path):
    """28 dB inside the boxes against the clean clip, nothing readable left, and the rest is the source's."""
    clean = np.stack([cv2.resize(frame, (640, 360)) for frame in read(SAMPLE).frames[:30]])
    burnt = clean.copy()
    for t in range(4, 24):
        for color, width in (((0, 0, 0), 5), ((255, 255, 255), 2)):
            cv2.putText(burnt[t], "I have been waiting", (170, 320), cv2.FONT_HERSHEY_SIMPLEX, 0.9, color, width, cv2.LINE_AA)  # fmt: skip
    Video.from_array(burnt, 25).save(tmp_path / "burnt.mp4")
    clip = read(tmp_path / "burnt.mp4")
    subtitles = build_mask_source("subtitles", files)
    found = subtitles.find(clip.frames)
    boxes = np.stack(list(found)) > 0
    assert [bool(box.any()) for box in boxes] == [4 <= t < 24 for t in range(30)]
    out = np.stack(list(TextFreeFrames(clip, found)))
    np.testing.assert_array_equal(out[~boxes], clip.frames[~boxes])
    assert psnr(out[boxes], clean[boxes]) > 28 > 18 > psnr(clip.frames[boxes], clean[boxes])
    with pytest.raises(InputError, match="no still lines"):
        subtitles.find(out)
