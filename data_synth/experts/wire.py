"""The bytes that travel between the engine and an external expert.

jobs → **one .npz** → expert → **one .npz** → clips, or **JSON** → texts. A request holds, for job i, `clip_i` uint8 [T, H, W, 3], and, where the
job has them, `mask_i` uint8 [T, H, W], `reference_i` uint8 [h, w, 3] and `target_i` like the clip; `prompts` is a JSON list of strings as uint8,
`jobs` one of objects with `seed`, `fps` (0 where it isn't known), `frames`, `height`, `width` and `about`. The answer of an expert that makes clips
holds `clip_i` for every i; that of an expert that writes (roles caption, instruct, filter) is a JSON list with an entry a job. An .npz is a zip of .npy
arrays, readable without NumPy; nothing in it is pickled.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Job:
    """One clip for an expert to edit or to describe.

    Attributes:
      clip: uint8 [T, H, W, 3].
      prompt: Instruction; "" for experts that need none.
      mask: uint8 [T, H, W] in {0, 255}, or None.
      reference: Picture, uint8 [h, w, 3], or None.
      seed: Seed of the pair, by which a network draws its noise so that the same request gives the same pair.
      fps: Frames per second of the clip; 0 where they are not known.
      target: The clip after its edit, for experts that judge or describe pairs; None for others.
      about: What else is known, as JSON holds it: `role` and, of pairs, `edit`, `instructions` and captions.
    """

    clip: np.ndarray
    prompt: str = ""
    mask: np.ndarray | None = None
    reference: np.ndarray | None = None
    seed: int = 0
    fps: float = 0.0
    target: np.ndarray | None = None
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def info(self) -> dict[str, Any]:
        """Return what is sent beside the prompt and the arrays."""
        frames, height, width, _ = self.clip.shape
        sizes = {"frames": frames, "height": height, "width": width}
        return {"seed": self.seed, "fps": self.fps, **sizes, "about": dict(self.about)}


def pack_jobs(jobs: Sequence[Job]) -> bytes:
    """Encode a request."""
    arrays = {"prompts": _to_array([j.prompt for j in jobs]), "jobs": _to_array([j.info for j in jobs])}
    for i, job in enumerate(jobs):
        parts = (("clip", job.clip), ("mask", job.mask), ("reference", job.reference), ("target", job.target))
        for name, array in parts:
            if array is not None:
                arrays[f"{name}_{i}"] = array
    return _encode_npz(arrays)


def unpack_jobs(data: bytes) -> list[Job]:
    """Decode a request; an expert that is written in Python begins with this."""
    arrays = _decode_npz(data)
    prompts = json.loads(arrays["prompts"].tobytes())
    infos = json.loads(arrays["jobs"].tobytes()) if "jobs" in arrays else [{}] * len(prompts)
    return [
        Job(
            arrays[f"clip_{i}"],
            prompt,
            arrays.get(f"mask_{i}"),
            arrays.get(f"reference_{i}"),
            info.get("seed", 0),
            info.get("fps", 0.0),
            arrays.get(f"target_{i}"),
            info.get("about", {}),
        )
        for i, (prompt, info) in enumerate(zip(prompts, infos, strict=True))
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


def pack_texts(texts: Sequence[Any]) -> bytes:
    """Encode the answer of an expert that writes: anything JSON holds, one entry a job."""
    return json.dumps(list(texts)).encode()


def unpack_texts(data: bytes, n: int) -> list[Any]:
    """Decode the answer of an expert that writes.

    Raises:
      ValueError: The bytes are not a JSON list of n entries.
    """
    try:
        texts = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError(f"answered {len(data)} bytes that are no JSON") from None
    if not isinstance(texts, list) or len(texts) != n:
        raise ValueError(f"answered {len(texts) if isinstance(texts, list) else 'no list'} texts for {n}")
    return texts


def _to_array(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _encode_npz(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _decode_npz(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
