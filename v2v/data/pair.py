"""The pair: one (source, target, mask, reference, instructions) example, and its bytes.

**pair** -> datasets.py, latent_cache.py

`data_synth` makes pairs; this file defines a pair and its record; `latent_cache` encodes pairs for the loader. Videos are stored without
loss: small ones as PNG, with their T frames stacked vertically to one [T·H, W] picture, which every image library can read; large ones
as H.264 in RGB with quantiser 0 (video/lossless.py). The first bytes distinguish them. On request clips are stored visually lossless
instead (video/visually_lossless.py).

The mask says where *and* when: mask[k, i, j] = 255 if and only if pixel (i, j) of frame k may differ between source and target (the
edited object together with its side effects, such as its shadow). Hence for every exact recipe
    source[k, i, j] == target[k, i, j]   wherever   mask[k, i, j] == 0.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.video import lossless
from v2v.video.visually_lossless import encode_visually_lossless

# The file of a set that holds facts of its pairs, a line of JSON each, in the order of its records; sets made before have none.
INDEX_FILE = "pairs.jsonl"
SCHEMA_VERSION = 2
# Schema of records whose clips are visually lossless.
LOSSY_SCHEMA = 3
# Schemas that are read; records of schema 1 have no effect and are always PNG.
READABLE = (1, 2, LOSSY_SCHEMA)
# How clips are stored; masks, effects and references are exact in both.
Storage = Literal["lossless", "visually-lossless"]
STORAGES: tuple[Storage, ...] = ("lossless", "visually-lossless")
# Level of `Pair.effect` where the object hides a side effect. Below 128, so that a threshold gives what is visible of it.
OVERLAP = 127
# Levels of `build_quadmask`.
REMOVE, REMOVE_AND_AFFECTED, AFFECTED, KEEP = 0, 63, 127, 255
# Bytes of pixels from which a clip is stored as video (two million pixels).
LARGE = 3 << 21
_TEXTS = ("source_caption", "target_caption", "edit", "recipe")
_PNG = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
)


@dataclasses.dataclass(frozen=True)
class Pair:
    """One training example. Arrays are uint8; T, H, W are shared by source, target and mask.

    Attributes:
      source: [T, H, W, 3] RGB, the clip before the edit.
      target: [T, H, W, 3] RGB, the clip after it.
      mask: [T, H, W] in {0, 255}; 255 = edited here and now.
      reference: [h, w, 3] RGB picture of what the edit should look like, or None.
      instructions: imperative sentences, all true of this pair.
      source_caption: description of the source.
      target_caption: description of the target, with which alignment metrics compare.
      edit: name of the edit type, e.g. "recolour".
      recipe: name of the recipe that made the pair, e.g. "scenes/local".
      seed: the seed that reproduces it.
      provenance: facts that JSON can hold: parameters, versions, licence.
      active: frames [start, end) in which the edit is on; (0, T) when it is on throughout.
      effect: [T, H, W] in {0, OVERLAP, 255}: 255 in the part of the mask that is a side effect (shadow, reflection, motion that the edit
        causes) and not the edited object itself; OVERLAP where that is known to go on behind the object; None where it is unknown.

    Raises:
      InputError: an array of another shape or type, no instruction, or active frames outside of the clip.
    """

    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    reference: np.ndarray | None
    instructions: tuple[str, ...]
    source_caption: str
    target_caption: str
    edit: str
    recipe: str
    seed: int
    provenance: dict
    active: tuple[int, int]
    effect: np.ndarray | None = None

    def __post_init__(self):
        T, H, W = _check_video("source", self.source)
        if self.target.shape != self.source.shape or self.target.dtype != np.uint8:
            raise InputError(
                f"pair.target: expected uint8 {self.source.shape} like the source, "
                f"got {self.target.dtype} {self.target.shape}"
            )
        if self.mask.shape != (T, H, W) or self.mask.dtype != np.uint8:
            raise InputError(
                f"pair.mask: expected uint8 {(T, H, W)}, got {self.mask.dtype} {self.mask.shape}; "
                "pass one plane of 0/255 a frame"
            )
        if self.effect is not None and (self.effect.shape != (T, H, W) or self.effect.dtype != np.uint8):
            raise InputError(
                f"pair.effect: expected uint8 {(T, H, W)} or None, got {self.effect.dtype} {self.effect.shape}"
            )
        ref = self.reference
        if ref is not None and (ref.ndim != 3 or ref.shape[-1] != 3 or ref.dtype != np.uint8):
            raise InputError(f"pair.reference: expected uint8 [h, w, 3] or None, got {ref.dtype} {ref.shape}")
        if not self.instructions or not all(self.instructions):
            raise InputError(
                f"pair.instructions: expected at least one non-empty sentence, got {self.instructions!r}"
            )
        start, end = self.active
        if not 0 <= start < end <= T:
            raise InputError(f"pair.active: expected 0 <= start < end <= {T}, got {self.active}")


def build_quadmask(pair: Pair) -> np.ndarray:
    """Return mask and effect as one four-valued mask, as editors of objects and their physical effects take it.

    Returns:
      uint8 [T, H, W]: REMOVE where the edited object is, REMOVE_AND_AFFECTED where it hides a side effect, AFFECTED where a side effect is,
      KEEP elsewhere.

    Raises:
      InputError: The effect is unknown.
    """
    if pair.effect is None:
        raise InputError(f"pair of seed {pair.seed}: expected an effect map for a quadmask, got none")
    inside = np.where(
        pair.effect == 0, REMOVE, np.where(pair.effect > OVERLAP, AFFECTED, REMOVE_AND_AFFECTED)
    )
    return np.where(pair.mask > 0, inside, KEEP).astype(np.uint8)


def encode_pair(pair: Pair, storage: Storage = "lossless") -> dict[str, bytes | str | int]:
    """Encode a pair as a flat record of bytes, strings and integers, ready for any container.

    Args:
      pair: the pair. Stored visually lossless it comes back a little different, but source and target still agree outside its mask, if
        they did before.
      storage: how its clips are stored.

    Returns:
      schema_version, frames (T), seed, source and target (PNG or lossless H.264, by size), mask, effect and reference (PNG, empty when
      None), instructions, provenance and active (JSON), source_caption, target_caption, edit, recipe.
    """
    is_exact = storage == "lossless"
    encode = _to_bytes if is_exact else encode_visually_lossless
    return {
        "schema_version": SCHEMA_VERSION if is_exact else LOSSY_SCHEMA,
        "frames": int(pair.source.shape[0]),
        "seed": int(pair.seed),
        "source": encode(pair.source),
        "target": encode(pair.target),
        "mask": _to_png(_strip(pair.mask)),
        "effect": b"" if pair.effect is None else _to_png(_strip(pair.effect)),
        "reference": b"" if pair.reference is None else _to_png(pair.reference),
        "instructions": json.dumps(list(pair.instructions)),
        "provenance": json.dumps(pair.provenance, sort_keys=True),
        "active": json.dumps(list(pair.active)),
        **{name: getattr(pair, name) for name in _TEXTS},
    }


def decode_pair(record: dict) -> Pair:
    """Decode a record: exactly as it was encoded, or with clips that look the same. Strings may be bytes, as TFDS returns them.

    Raises:
      InputError: the record was written by another schema, or a picture in it does not decode.
    """
    _check_schema(record)
    T = int(record["frames"])
    reference, effect = bytes(record["reference"]), bytes(record.get("effect", b""))
    source, target = (_from_bytes(record[name], name, T) for name in ("source", "target"))
    mask = _unstrip(_from_png(record["mask"], "mask"), T)
    if int(record["schema_version"]) == LOSSY_SCHEMA:
        np.copyto(target, source, where=(mask == 0)[..., None])
    return Pair(
        source=source,
        target=target,
        mask=mask,
        effect=_unstrip(_from_png(effect, "effect"), T) if effect else None,
        reference=_from_png(reference, "reference") if reference else None,
        instructions=tuple(json.loads(_text(record["instructions"]))),
        seed=int(record["seed"]),
        provenance=json.loads(_text(record["provenance"])),
        active=tuple(json.loads(_text(record["active"]))),
        **{name: _text(record[name]) for name in _TEXTS},
    )


def _check_schema(record: dict) -> None:
    """Check that records of this schema are read."""
    version = int(record["schema_version"])
    if version not in READABLE:
        raise InputError(
            f"pair record: expected schema {' or '.join(map(str, READABLE))}, got {version}; "
            "build the pairs again with `v2v synth`"
        )


def pair_size(record: dict) -> tuple[int, int, int]:
    """Return (T, H, W) of a record from the header of its source, without decoding it.

    Raises:
      InputError: the source is neither a PNG nor a video, or the record was written by another schema.
    """
    _check_schema(record)
    data, T = bytes(record["source"]), int(record["frames"])
    if data[:4] == lossless.MAGIC:
        height, width = lossless.lossless_size(data)
        return T, height, width
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise InputError("pair record: source is neither a PNG nor a clip; the record is damaged")
    # Of the header chunk.
    width, rows = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    return T, rows // T, width


def _to_bytes(video: np.ndarray) -> bytes:
    """Encode a small clip as one PNG, a large one as lossless H.264, which then takes a third of the time and less room."""
    return _to_png(_strip(video)) if video.size < LARGE else lossless.encode_lossless(video)


def _from_bytes(data: bytes, name: str, T: int) -> np.ndarray:
    """Decode a clip of T frames; `name` is for messages."""
    if bytes(data[:4]) != lossless.MAGIC:
        return _unstrip(_from_png(data, name), T)
    video = lossless.decode_lossless(bytes(data))
    if video is None or len(video) != T:
        raise InputError(f"pair record: {name} is not a readable clip of {T} frames; the record is damaged")
    return video


def _check_video(name: str, video: np.ndarray) -> tuple[int, int, int]:
    """Check that a clip is non-empty uint8 RGB; return T, H, W."""
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8 or 0 in video.shape:
        raise InputError(
            f"pair.{name}: expected non-empty uint8 [T, H, W, 3], got {video.dtype} {video.shape}"
        )
    return video.shape[:3]


def _strip(video: np.ndarray) -> np.ndarray:
    """Stack frames [T, H, W, ...] vertically to [T·H, W, ...]."""
    return np.ascontiguousarray(video).reshape(-1, *video.shape[2:])


def _unstrip(picture: np.ndarray, T: int) -> np.ndarray:
    """Split a picture [T·H, W, ...] into frames [T, H, W, ...]."""
    if T < 1 or picture.shape[0] % T:
        raise InputError(
            f"pair record: {picture.shape[0]} rows do not divide into {T} frames; the record is damaged"
        )
    return picture.reshape(T, picture.shape[0] // T, *picture.shape[1:])


def _to_png(picture: np.ndarray) -> bytes:
    """Encode uint8 [h, w] or RGB [h, w, 3] as PNG, with one filter and run-length compression.

    About 2 % larger than with libpng's choice of a filter for every row and its search for matches, at little more than half of the
    time to write and a quarter less to read.
    """
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".png", picture, _PNG)
    if not ok:
        raise ValueError(f"PNG encoding of a {picture.shape} picture failed")
    return data.tobytes()


def _from_png(data: bytes, name: str) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise InputError(
            f"pair record: {name} is not a readable PNG ({len(data)} bytes); the record is damaged"
        )
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) if picture.ndim == 3 else picture


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def describe_unopened(folder: str | Path, error: Exception) -> str:
    """Return what is in the place of a set of pairs that can't be opened, for the message about it.

    Args:
      folder: the path that was given, or an address.
      error: what opening it raised.
    """
    if "://" in str(folder) or Path(folder).is_dir():
        return f"one that can't be opened ({error})"
    return "a file" if Path(folder).exists() else "no such folder"
