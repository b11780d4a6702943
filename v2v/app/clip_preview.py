"""Previews of clips for browsers: a small MP4 in which every frame can be shown at once, a strip of thumbnails, and the first of them.

Browsers decode few of the formats that people have, and find a frame in the middle of a clip only by decoding from the key frame before it.
A preview has the clip's own frame times, and each of its frames is a key frame.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from v2v.video.decoder import StreamInfo

# Longer side of a preview in pixels, and its quality on x264's scale.
LONGEST_SIDE = 960
QUALITY = "21"
# Height of a thumbnail, and how many a strip holds at most.
THUMBNAIL_HEIGHT = 54
MOST_THUMBNAILS = 32
CLOCK = 90_000
# Names of the files in the clip's folder.
PREVIEW, STRIP, THUMBNAIL = "preview.mp4", "strip.jpg", "thumbnail.jpg"


@dataclass(frozen=True)
class ClipFacts:
    """What a page must know of a clip.

    Attributes:
      width: in pixels.
      height: in pixels.
      fps: frames per second, the mean where the rate varies.
      begin: seconds at which the first frame appears.
      times: seconds after that at which each frame appears.
      duration: seconds.
      thumbnails: how many the strip holds.
    """

    width: int
    height: int
    fps: float
    begin: float
    times: tuple[float, ...]
    duration: float
    thumbnails: int

    def to_json(self) -> dict[str, Any]:
        """Return them for the HTTP interface."""
        return {
            "width": self.width, "height": self.height, "fps": self.fps, "frames": len(self.times), "duration": self.duration, "begin": self.begin,
            "times": list(self.times), "thumbnails": self.thumbnails,
        }  # fmt: skip


class PreviewWriter:
    """Writes the preview of a clip, frame by frame: use it as a context, call `append` with every frame, then `complete`."""

    def __init__(self, folder: Path):
        """Take the folder that it writes to."""
        self._folder = folder
        self._thumbnails: list[np.ndarray] = []
        self._interval, self._count, self._size = 1, 0, (0, 0)
        self._output: Any = None
        self._stream: Any = None
        self._ticks = -1

    def __enter__(self) -> "PreviewWriter":
        return self

    def __exit__(self, *error: object) -> None:
        if self._output is not None:
            self._output.close()
            self._output = None

    def append(self, frame: np.ndarray, time: float) -> None:
        """Add a frame.

        Args:
          frame: uint8 [H, W, 3] RGB.
          time: seconds at which it appears.
        """
        if self._output is None:
            self._output = self._open(frame.shape[0], frame.shape[1])
        if self._count % self._interval == 0:
            self._keep_thumbnail(frame)
        self._count += 1
        small = cv2.resize(frame, (self._stream.width, self._stream.height), interpolation=cv2.INTER_AREA)
        picture = av.VideoFrame.from_ndarray(np.asarray(small, np.uint8), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=1, dst_color_range=1
        )
        self._ticks = max(self._ticks + 1, round(time * CLOCK))
        picture.pts, picture.time_base = self._ticks, Fraction(1, CLOCK)
        self._output.mux(self._stream.encode(picture))

    def complete(self, info: StreamInfo) -> ClipFacts:
        """Write what is left; return the clip's facts.

        Args:
          info: of the complete pass.
        """
        assert self._output is not None, "a clip has a frame"
        self._output.mux(self._stream.encode(None))
        self._output.close()
        self._output = None
        thumbnails = self._thumbnails[:: -(-len(self._thumbnails) // MOST_THUMBNAILS)]
        for name, picture in ((STRIP, np.concatenate(thumbnails, 1)), (THUMBNAIL, thumbnails[0])):
            data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
            (self._folder / name).write_bytes(data.tobytes())
        times = np.asarray(info.times[: self._count]) - info.times[0]
        duration = float(times[-1]) + (info.tail or 1 / info.fps)
        rounded = tuple(np.round(times, 6).tolist())
        begin = round(float(info.times[0]), 6)
        return ClipFacts(
            self._size[1], self._size[0], info.fps, begin, rounded, round(duration, 6), len(thumbnails)
        )

    def _open(self, height: int, width: int) -> Any:
        """Return the file, opened for frames of a size."""
        self._size = height, width
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        output: Any = av.open(f"file:{self._folder / PREVIEW}", "w", options={"movflags": "+faststart"})
        options = {"crf": QUALITY, "preset": "veryfast", "g": "1", "bf": "0"}
        stream = output.add_stream("libx264", rate=30, options=options)
        # 4:2:0 needs even sizes.
        stream.width, stream.height = (max(2, round(side * scale / 2) * 2) for side in (width, height))
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, CLOCK)
        stream.codec_context.colorspace = stream.codec_context.color_primaries = 1
        stream.codec_context.color_trc = 1
        self._stream = stream
        return output

    def _keep_thumbnail(self, frame: np.ndarray) -> None:
        width = max(8, min(192, round(frame.shape[1] * THUMBNAIL_HEIGHT / frame.shape[0])))
        self._thumbnails.append(cv2.resize(frame, (width, THUMBNAIL_HEIGHT), interpolation=cv2.INTER_AREA))
        if len(self._thumbnails) == 2 * MOST_THUMBNAILS:
            del self._thumbnails[1::2]
            self._interval *= 2
