"""ComfyUI's tensors to frames and files, and back.

IMAGE is float [B, H, W, C] in 0..1, a batch of pictures or the frames of a clip; MASK is float [B, H, W] in 0..1, where 1 is to be edited. Both are
torch's tensors; NumPy's arrays are taken as well, and given where torch is not installed.
"""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np

try:
    import torch
except ImportError:
    torch = None


class NodeInputError(ValueError):
    """An input that doesn't fit: one line."""


def to_frames(images: Any, name: str = "images") -> np.ndarray:
    """Return frames, uint8 [T, H, W, 3], of an IMAGE.

    Args:
      images: the batch; gray and transparent ones become RGB.
      name: of the input, for messages.

    Raises:
      NodeInputError: no pictures, or values that are no numbers.
    """
    array = _to_array(images)
    if array.ndim != 4 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise NodeInputError(f"{name}: expected pictures [B, H, W, C], got {list(array.shape)}")
    array = np.repeat(array, 3, -1) if array.shape[-1] == 1 else array[..., :3]
    return _to_bytes(array, name)


def to_mask(mask: Any, frames: np.ndarray) -> np.ndarray | None:
    """Return a mask, uint8 [T, H, W] or [H, W], white where to edit; None for one that is black everywhere.

    LoadImage gives a black mask of 64x64 for pictures without transparency, which is no mask.

    Args:
      mask: one for the clip, or one for each frame.
      frames: of the clip.

    Raises:
      NodeInputError: another size or number.
    """
    array = _to_array(mask)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or 0 in array.shape:
        raise NodeInputError(f"mask: expected [B, H, W], got {list(array.shape)}")
    if not array.any():
        return None
    if array.shape[1:] != frames.shape[1:3]:
        raise NodeInputError(
            f"mask: expected the clip's size, {frames.shape[2]}x{frames.shape[1]}, got {array.shape[2]}x{array.shape[1]}; resize it"
        )
    if len(array) not in (1, len(frames)):
        raise NodeInputError(f"mask: expected one, or one for each of {len(frames)} frames, got {len(array)}")
    levels = _to_bytes(array, "mask")
    return levels[0] if len(levels) == 1 else levels


def to_images(frames: np.ndarray) -> Any:
    """Return frames, uint8 [T, H, W, 3], as an IMAGE."""
    array = np.ascontiguousarray(frames).astype(np.float32) / 255
    return array if torch is None else torch.from_numpy(array)


def encode_clip(frames: np.ndarray, fps: float) -> bytes:
    """Return frames as a file without loss: FFV1 in Matroska.

    Args:
      frames: uint8 [T, H, W, 3], or [T, H, W] for a mask.
      fps: frames per second.
    """
    if frames.ndim == 3:
        frames = np.repeat(frames[..., None], 3, -1)
    file, rate = io.BytesIO(), Fraction(fps).limit_denominator(1001)
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24").reformat(format="bgr0")
                )
            )
        container.mux(stream.encode())
    return file.getvalue()


def encode_picture(frame: np.ndarray) -> bytes:
    """Return a frame, uint8 [H, W, 3] or [H, W], as a PNG."""
    if frame.ndim == 2:
        frame = np.repeat(frame[..., None], 3, -1)
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width = frame.shape[:2]
    codec.pix_fmt, codec.time_base = "rgb24", Fraction(1, 25)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
    return b"".join(bytes(packet) for packet in [*codec.encode(picture), *codec.encode(None)])


def decode_clip(data: bytes) -> np.ndarray:
    """Return the frames of a file, uint8 [T, H, W, 3].

    Raises:
      NodeInputError: it has none.
    """
    try:
        with av.open(io.BytesIO(data)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (av.FFmpegError, IndexError) as error:
        raise NodeInputError(f"the server's clip can't be decoded: {error}") from None
    if not frames:
        raise NodeInputError("the server's clip has no frames")
    return np.stack(frames)


def _to_array(tensor: Any) -> np.ndarray:
    if torch is not None and isinstance(tensor, torch.Tensor):
        tensor = tensor.detach().to("cpu", torch.float32).numpy()
    return np.asarray(tensor, np.float32)


def _to_bytes(array: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(array).all():
        raise NodeInputError(f"{name}: expected numbers, got some that are not finite")
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
