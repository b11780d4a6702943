"""Lossless H.264: exact RGB clips as bytes, faster to write than PNG (several times) and smaller. Used by `data/pair.py`.

libx264rgb at quantiser 0 codes RGB planes (GBR, 4:4:4) without any transform, so decoding gives the encoded bytes back exactly.
One thread and no clock in the file: the same clip gives the same bytes with the same PyAV.
"""

from __future__ import annotations

import io

import av
import numpy as np

# Bytes handed to Python at a time: about what four frames take.
BUFFER = 1 << 22
# The first bytes of every Matroska file.
MAGIC = b"\x1a\x45\xdf\xa3"


def encode_lossless(video: np.ndarray) -> bytes:
    """Return a clip uint8 [T, H, W, 3] RGB as the bytes of a Matroska file."""
    return encode_clip(video, "libx264rgb", "rgb24", {"qp": "0", "preset": "ultrafast"})


def encode_clip(video: np.ndarray, codec: str, pix_fmt: str, options: dict[str, str]) -> bytes:
    """Return a clip as the bytes of a Matroska file, the same ones each time.

    Args:
      video: uint8 [T, H, W, 3] RGB.
      codec: FFmpeg's name of the encoder.
      pix_fmt: pixel format that is encoded.
      options: of the encoder.
    """
    file = io.BytesIO()
    with av.open(
        file, "w", format="matroska", options={"fflags": "+bitexact"}, buffer_size=BUFFER
    ) as container:
        stream = container.add_stream(codec, rate=16)
        assert isinstance(stream, av.VideoStream), "encoders of pictures are asked for alone"
        stream.width, stream.height = video.shape[2], video.shape[1]
        stream.pix_fmt = pix_fmt
        stream.options = {**options, "flags": "+bitexact"}
        stream.codec_context.thread_count = 1
        for picture in video:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame if pix_fmt == "rgb24" else frame.reformat(format=pix_fmt)))
        container.mux(stream.encode())
    return file.getvalue()


def decode_lossless(data: bytes) -> np.ndarray | None:
    """Return the clip, uint8 [T, H, W, 3] RGB, of bytes that `encode_lossless` returned; None where they are not readable."""
    try:
        with av.open(io.BytesIO(data), "r") as container:
            container.streams.video[0].codec_context.thread_count = 1
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    except (av.FFmpegError, ValueError, IndexError):
        return None


def lossless_size(data: bytes) -> tuple[int, int]:
    """Return height and width of an encoded clip, from its header."""
    with av.open(io.BytesIO(data), "r") as container:
        context = container.streams.video[0].codec_context
        return context.height, context.width
