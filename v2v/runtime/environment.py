"""The environment variables of v2v, and the folders of its caches.

This table is the only place that reads a `V2V_*` variable; v2v/README.md shows it.
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Variable:
    """An environment variable.

    Attributes:
      name: of the variable.
      default: its value where it is not set; "" for none.
      description: what it does, one line.
    """

    name: str
    default: str
    description: str

    def get(self) -> str:
        """Return the value; the default where it is unset or empty."""
        return os.environ.get(self.name) or self.default


LOG_LEVEL = Variable(
    "V2V_LOG_LEVEL", "info", "debug, info, warning or error: the least severe messages shown"
)
CACHE = Variable("V2V_CACHE", "", "folder of all caches; $XDG_CACHE_HOME/v2v or ~/.cache/v2v where unset")
MODEL = Variable("V2V_MODEL", "embedded", "the model of `v2v edit` where --model is not given")
# Read by experiments/sweep_benchmark.py.
BENCHMARK = Variable("V2V_BENCHMARK", "EditVerseBench", "folder of EditVerseBench with its source videos")
RESULTS = Variable("V2V_RESULTS", "", "folder of another editor's results, ID/generate.mp4")
WEIGHTS = Variable("V2V_WEIGHTS", "weights", "folder of the networks of learned metrics")
JUDGE = Variable("V2V_JUDGE", "", "address of an OpenAI-compatible server that judges edits")
JUDGE_MODEL = Variable("V2V_JUDGE_MODEL", "default", "the judge's model")
SUBJECT_MODEL = Variable(
    "V2V_SUBJECT_MODEL",
    "",
    "selfie_segmentation.tflite of the npm package @mediapipe/selfie_segmentation, for --mask person and background; fetched where unset",
)
POSE_MODEL = Variable(
    "V2V_POSE_MODEL",
    "",
    "pose_landmark_heavy.tflite of the npm package @mediapipe/pose, for the same",
)

VARIABLES = (
    LOG_LEVEL, CACHE, MODEL, BENCHMARK, RESULTS, WEIGHTS, JUDGE, JUDGE_MODEL, SUBJECT_MODEL, POSE_MODEL,
)  # fmt: skip

# Folders in the cache folder; beside them lie the hashes of weights that learned metrics remember.
CACHES = {
    "code": "hashes of the package's sources, by which sweeps know finished work of other code",
    "jax": "compiled programs (JAX_COMPILATION_CACHE_DIR goes before it)",
    "networks": "small networks that find people, fetched at their first use",
    "webdataset": "pairs unpacked from tar files",
    "staged": "sets and latents of buckets that training reads, until they are removed",
    "footage": "clips fetched from buckets, the newest 20 GB",
    "app": "clips and results of `v2v app`, of the last 30 days",
}


def cache_folder(name: str = "") -> Path:
    """Return a folder for caches; it need not exist.

    Args:
      name: one of `CACHES`; "" for the folder that holds them all.
    """
    root = CACHE.get()
    base = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "v2v"
    return base / name if name else base
