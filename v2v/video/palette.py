"""Palettes for GIF: each frame gets 256 colours of its own, so that a clip is never held in memory."""

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph


class PaletteConverter:
    """A converter of RGB frames [H, W, 3] to frames of 256 colours, chosen by FFmpeg's median cut and dithered."""

    def __init__(self, width: int, height: int):
        graph = Graph()
        source = graph.add(
            "buffer", f"video_size={width}x{height}:pix_fmt=rgb24:time_base=1/1:pixel_aspect=1/1"
        )
        split, sink = graph.add("split"), graph.add("buffersink")
        palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
        use = graph.add("paletteuse", "new=1:dither=sierra2_4a")
        source.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(palette, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        self._graph, self._source, self._sink, self._count = graph, source, sink, 0

    def __call__(self, rgb: np.ndarray) -> av.VideoFrame:
        """Return a frame of the format pal8."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame.pts, frame.time_base = self._count, Fraction(1)
        self._count += 1
        self._source.push(frame)
        out = self._sink.pull()
        assert isinstance(out, av.VideoFrame)
        return out
