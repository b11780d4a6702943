"""Example experts that call well-kept image programs: OpenCV's photo module and G'MIC; frei0r through FFmpeg needs only its TOML file.

    opencv_photo.toml    OpenCV, Apache-2.0; always there
    gmic.toml            G'MIC, CeCILL-2.1; Debian: apt install gmic
    frei0r.toml          FFmpeg with frei0r's plugins, GPL-2.0-or-later; Debian: apt install ffmpeg frei0r-plugins

The programs are called, not linked, and what they draw belongs to whoever owns the footage; each pair records the program's license.

    v2v synth --out pairs --pairs 8 --recipes gmic --clips FOLDER --expert data_synth/experts/examples/gmic.toml
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from data_synth.experts import wire

# Instruction of opencv_photo.toml → filter of one BGR frame.
_OPENCV_FILTERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "make the video look like a painting with dark outlines": lambda frame: cv2.stylization(frame, sigma_s=60, sigma_r=0.45),
    "turn the video into a colored pencil drawing": lambda frame: cv2.pencilSketch(frame, sigma_s=60, sigma_r=0.07, shade_factor=0.05)[1],
    "exaggerate all details of the video": lambda frame: cv2.detailEnhance(frame, sigma_s=12, sigma_r=0.35),
    "smooth all surfaces in the video but keep the edges": lambda frame: cv2.edgePreservingFilter(frame, flags=1, sigma_s=80, sigma_r=0.5),
}  # fmt: skip
# Instruction of gmic.toml → G'MIC's command and its arguments; "," leaves them at their defaults.
_GMIC_COMMANDS: dict[str, tuple[str, str]] = {
    "turn the video into a cubist painting": ("cubism", ","),
    "draw the video as an inked cartoon": ("cartoon", ","),
    "draw the video in pencil on white paper": ("pencilbw", ","),
    "paint the video with broad strokes": ("fx_painting", "5,2.5,1.5,50,1"),
}


def opencv_photo(jobs: Sequence[wire.Job]) -> list[np.ndarray]:
    """Return one clip for each job, filtered as its instruction says."""
    clips = []
    for job in jobs:
        function = _OPENCV_FILTERS[job.prompt]
        clips.append(np.stack([function(frame[..., ::-1].copy())[..., ::-1] for frame in job.clip]))
    return clips


def gmic(jobs: Sequence[wire.Job]) -> list[np.ndarray]:
    """Return one clip for each job, filtered by G'MIC as its instruction says."""
    return [_run_gmic(job.clip, *_GMIC_COMMANDS[job.prompt]) for job in jobs]


def _run_gmic(clip: np.ndarray, command: str, arguments: str) -> np.ndarray:
    """Return a clip whose frames went through G'MIC as PNG files.

    Raises:
      RuntimeError: G'MIC failed.
    """
    with tempfile.TemporaryDirectory(prefix="v2v-gmic-") as folder:
        paths = [Path(folder) / f"{k:05}.png" for k in range(len(clip))]
        for path, frame in zip(paths, clip, strict=True):
            cv2.imwrite(str(path), frame[..., ::-1])
        words = ["gmic", "-v", "0", *map(str, paths)]
        for k in range(len(clip)):
            # Noise that a filter draws is the same in every frame, so that it does not flicker.
            words += ["srand", "0", f"{command}[{k}]", arguments]
        words += ["cut", "0,255", "output", str(Path(folder) / "out.png")]
        process = subprocess.run(words, capture_output=True, text=True, check=False)
        if process.returncode:
            raise RuntimeError(f"gmic: {process.stderr.strip().splitlines()[-1:]}")
        # One picture is written under the name itself, several with their numbers.
        names = ["out.png"] if len(clip) == 1 else [f"out_{k:06}.png" for k in range(len(clip))]
        pictures = [cv2.imread(str(Path(folder) / name)) for name in names]
        return np.stack([picture[..., ::-1] for picture in pictures if picture is not None])
