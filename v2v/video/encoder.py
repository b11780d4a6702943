"""Frames, times and kept sound -> an H.264 file that browsers play. The writing half of `video/video.py`.

The picture is yuv420p with the index in front ("faststart"). 4:2:0 stores chroma for 2x2 pixels, hence only even sizes: an odd
clip is stored with its last column or row repeated and its true size in the file's comment, from which `video.read` restores it;
other players show the one line more.

Times are kept as whole ticks: frame numbers where the rate is constant, else 1/90000 s.
"""

import heapq
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from v2v.video import audio

CRF = "16"  # x264's quality scale; about 41 dB against the frames handed in
# x264's 512-bit sums over the frames ahead (macroblock trees) read memory that nobody wrote: the same frames came out a level
# apart on average from run to run, and with narrower code they don't. 13 is OpenCV's number of AVX-512.
DETERMINISTIC = {"x264-params": "asm=avx2" if cv2.checkHardwareSupport(13) else "asm=auto"}
PRESET = {"preset": "veryfast"} | DETERMINISTIC  # at a fixed CRF slower presets save bytes, not quality
LARGE_FRAME = (
    1 << 22
)  # pixels from which a frame takes the quicker preset: a third of the time, two to three times the bytes
FAST_PRESET = {"preset": "ultrafast", "x264-params": "cabac=1:deblock=0,0"}
VARIABLE_CLOCK = 90_000  # ticks a second: whole for 24, 25, 30 and 60 frames a second and for milliseconds
SIZE_NOTE = "v2v size {}x{}"  # width, height
# FFmpeg's quick conversions truncate, which darkens each round trip by a level; these round.
EXACT_CONVERSION = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}  # by H.273 number


def encode_video(video, path: Path) -> None:
    """Writes a `video.Video` to `path` (MP4 or MOV by its ending). Raises what the disk and FFmpeg raise."""
    height, width = video.frames.shape[1:3]
    ticks, base = compute_ticks(video.times, video.fps)
    tail = max(1, round((video.tail or 1 / video.fps) / float(base)))
    spans = np.diff(ticks, append=ticks[-1] + tail)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as out:
        if height % 2 or width % 2:
            out.metadata["comment"] = SIZE_NOTE.format(width, height)
        preset = FAST_PRESET if height * width >= LARGE_FRAME else PRESET
        stream = out.add_stream("libx264", rate=_rate(video.fps), options={"crf": CRF, **preset})
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        context = stream.codec_context
        context.time_base, context.sample_aspect_ratio = base, video.pixel_aspect
        context.colorspace, context.color_primaries, context.color_trc = video.colour
        context.color_range = ColorRange.MPEG
        sound = audio.add_tracks(video.audio, out)

        def picture() -> Iterator[av.Packet]:
            convert = _ToYuv(stream.width, stream.height, video.colour)
            for rgb, tick, span in zip(video.frames, ticks, spans, strict=True):
                frame = convert(rgb)
                frame.pts, frame.duration, frame.time_base = int(tick), int(span), base
                yield from stream.encode(frame)
            yield from stream.encode(None)

        for packet in heapq.merge(picture(), sound, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)


def compute_ticks(times: np.ndarray, fps: float) -> tuple[np.ndarray, Fraction]:
    """Strictly increasing integer pts of `times` (seconds) and their unit in seconds."""
    rate = _rate(fps)
    numbers = np.rint(times * float(rate)).astype(np.int64)
    if np.all(np.diff(numbers) == 1) and np.abs(numbers / float(rate) - times).max() < 1e-4:
        return numbers, 1 / rate
    ticks, steps = np.rint(times * VARIABLE_CLOCK).astype(np.int64), np.arange(len(times))
    return np.maximum.accumulate(ticks - steps) + steps, Fraction(1, VARIABLE_CLOCK)


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)  # 30000/1001 and the like come back exactly


class _ToYuv:
    """RGB frames [H, W, 3] -> yuv420p ones of an even size.

    FFmpeg's exact conversion is vectorised for planes, and plain C for interleaved RGB; the bytes are the same. The planes are
    one frame's memory, written anew for every frame.
    """

    def __init__(self, width: int, height: int, colour: tuple[int, int, int]):
        self._planar, self._colour, self._convert = (
            av.VideoFrame(width, height, "gbrp"),
            colour,
            VideoReformatter(),
        )
        green, blue, red = (
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :width]
            for plane in self._planar.planes
        )
        self._planes = [red, green, blue]

    def __call__(self, rgb: np.ndarray) -> av.VideoFrame:
        height, width = self._planes[0].shape
        missing = height - rgb.shape[0], width - rgb.shape[1]
        if any(missing):
            rgb = np.pad(rgb, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        cv2.split(np.ascontiguousarray(rgb), self._planes)
        # Of an unknown matrix FFmpeg takes ITU 601 when decoding.
        frame = self._convert.reformat(
            self._planar,
            format="yuv420p",
            dst_colorspace=MATRICES.get(self._colour[0], Colorspace.ITU601),
            dst_color_range=ColorRange.MPEG,
            interpolation=EXACT_CONVERSION,
            threads=1,
        )
        frame.colorspace, frame.color_primaries, frame.color_trc = self._colour
        return frame
