"""The bytes that travel between the engine and an external expert.

jobs → **one .npz** → expert → **one .npz** → clips. A request holds, for job i, `clip_i` uint8 [T, H, W, 3], and, where the job has
them, `mask_i` uint8 [T, H, W] and `reference_i` uint8 [h, w, 3]; `prompts` is a JSON list of strings as uint8. The
answer holds `clip_i` for every i. An .npz is a zip of .npy arrays, readable without NumPy; nothing in it is pickled.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Job:
    """One clip for an expert to edit.

    Attributes:
      clip: uint8 [T, H, W, 3].
      prompt: Instruction; "" for experts that need none.
      mask: uint8 [T, H, W] in {0, 255}, or None.
      reference: Picture, uint8 [h, w, 3], or None.
    """

    clip: np.ndarray
    prompt: str = ""
    mask: np.ndarray | None = None
    reference: np.ndarray | None = None


def pack_jobs(jobs: Sequence[Job]) -> bytes:
    """Encode a request."""
    arrays = {"prompts": np.frombuffer(json.dumps([j.prompt for j in jobs]).encode(), np.uint8)}
    for i, job in enumerate(jobs):
        for name, array in (("clip", job.clip), ("mask", job.mask), ("reference", job.reference)):
            if array is not None:
                arrays[f"{name}_{i}"] = array
    return _encode_npz(arrays)


def unpack_jobs(data: bytes) -> list[Job]:
    """Decode a request; an expert that is written in Python begins with this."""
    arrays = _decode_npz(data)
    prompts = json.loads(arrays["prompts"].tobytes())
    return [
        Job(arrays[f"clip_{i}"], prompt, arrays.get(f"mask_{i}"), arrays.get(f"reference_{i}"))
        for i, prompt in enumerate(prompts)
    ]


def pack_clips(clips: Sequence[np.ndarray]) -> bytes:
    """Encode an answer."""
    return _encode_npz({f"clip_{i}": clip for i, clip in enumerate(clips)})


def unpack_clips(data: bytes, n: int) -> list[np.ndarray]:
    """Decode an answer of n clips.

    Raises:
      ValueError: The bytes are not an .npz of n clips.
    """
    try:
        arrays = _decode_npz(data)
    except (ValueError, OSError, zipfile.BadZipFile, EOFError):
        raise ValueError(f"answered {len(data)} bytes that are no .npz") from None
    missing = [i for i in range(n) if f"clip_{i}" not in arrays]
    if missing:
        raise ValueError(f"answered {n - len(missing)} of {n} clips")
    return [arrays[f"clip_{i}"] for i in range(n)]


def _encode_npz(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _decode_npz(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
