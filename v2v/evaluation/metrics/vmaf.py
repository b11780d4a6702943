"""VMAF (Netflix, model vmaf_v0.6.1) by an FFmpeg with libvmaf, whose wheel `imageio-ffmpeg` brings one (extra `[vmaf]`).

The frames go through a pipe, both clips beside one another, as colours; FFmpeg turns them into 4:2:0 as the model expects, and pools the frames'
scores by their mean, 0 to 100. PyAV's own FFmpeg has no libvmaf. VMAF was made for the loss by compression and scaling of what should be equal:
against the truth of an edit it says how near the result looks; against the source only for regions and times that should not change.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from v2v.errors import install_hint
from v2v.evaluation.metrics.base import Case, Column, Metric, Score, ScoringError
from v2v.evaluation.metrics.clips import ResizedClip

MODEL = "vmaf_v0.6.1"


@dataclass(frozen=True)
class Vmaf(Metric):
    """VMAF of the output.

    Attributes:
      against: what the output is compared with.
      name: unique in a sweep.
    """

    against: Literal["truth", "source"] = "truth"
    name: str = "VMAF"

    @property
    def columns(self) -> tuple[Column, ...]:
        """Return the one column."""
        return (Column(self.name, about=f"{MODEL}, mean over frames, against the {self.against}, 0 to 100"),)

    @property
    def required_fields(self) -> tuple[str, ...]:
        """Return what the output is compared with."""
        return (self.against,)

    @property
    def identity(self) -> dict:
        """Return the model and what is compared."""
        return {"metric": "VMAF", "name": self.name, "version": 1, "model": MODEL, "against": self.against}

    def missing(self) -> str | None:
        """Return that there is no FFmpeg with libvmaf, or None."""
        if find_ffmpeg():
            return None
        return f"wants an FFmpeg with libvmaf, found none on the PATH; {install_hint('vmaf')}"

    def score(self, case: Case) -> Score:
        """Compute the mean of the frames' scores.

        Raises:
          ScoringError: FFmpeg failed, such as on frames that are too small for it.
        """
        output, other = case.against_truth if self.against == "truth" else case.against_source
        return Score({self.name: compute_vmaf(output, other)})


def compute_vmaf(output: ResizedClip, reference: ResizedClip) -> float:
    """Return the mean VMAF of a clip against another of the same length and size.

    Raises:
      ScoringError: no FFmpeg with libvmaf, or it failed.
    """
    height, width = reference.size
    program = find_ffmpeg()
    if not program:
        raise ScoringError("VMAF: no FFmpeg with libvmaf")
    with tempfile.TemporaryDirectory() as folder:
        # FFmpeg runs in the folder, since a path in a filter would need its special characters escaped.
        filters = (
            "[0:v]split[a][b];"
            f"[a]crop={width}:{height}:0:0,format=yuv420p[output];[b]crop={width}:{height}:{width}:0,format=yuv420p[reference];"
            f"[output][reference]libvmaf=model=version={MODEL}:log_fmt=json:log_path=scores.json:n_threads=1"
        )
        command = [program, "-hide_banner", "-loglevel", "error", "-f", "rawvideo", "-pixel_format", "rgb24",
                   "-video_size", f"{2 * width}x{height}", "-framerate", "25", "-i", "pipe:0", "-lavfi", filters, "-f", "null", "-"]  # fmt: skip
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, cwd=folder)  # fmt: skip
            assert process.stdin is not None
            try:
                for x, y in zip(output, reference, strict=True):
                    process.stdin.write(np.concatenate([x, y], 1).tobytes())
                process.stdin.close()
            except BrokenPipeError:
                pass  # it has ended, and its last words say why
            finally:
                if process.poll() is None and not process.stdin.closed:
                    process.kill()
                code = process.wait()
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
        scores = Path(folder) / "scores.json"
        if code or not scores.is_file():
            raise ScoringError(f"VMAF: FFmpeg failed: {lines[-1][:200] if lines else f'code {code}'}")
        return float(json.loads(scores.read_text())["pooled_metrics"]["vmaf"]["mean"])


@functools.cache
def find_ffmpeg() -> str:
    """Return an FFmpeg with libvmaf, that on the PATH or else that of imageio-ffmpeg; "" where there is none."""
    candidates = [shutil.which("ffmpeg")]
    try:
        import imageio_ffmpeg

        candidates.append(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        pass
    return next((path for path in candidates if path and _has_libvmaf(path)), "")


def _has_libvmaf(path: str) -> bool:
    try:
        listing = subprocess.run([path, "-hide_banner", "-filters"], capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return False
    return b" libvmaf " in listing.stdout
