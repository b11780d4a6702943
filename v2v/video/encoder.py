"""Encoding of frames, with their times and sound, to files: by default H.264 that browsers play.

The default picture is yuv420p with the index in front ("faststart"). 4:2:0 stores chroma for 2x2 pixels, hence only even sizes: an odd
clip is stored with its last column or row repeated and its true size in the file's comment, from which `decoder.py` restores it;
other players show the line more. Times are kept as whole ticks: frame numbers where the rate is constant, else 1/90000 s.
"""

import heapq
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from v2v.video.audio import add_tracks
from v2v.video.container_metadata import SIZE_NOTE, ContainerMetadata, add_metadata, needs_quicktime_tags
from v2v.video.frame_sequence import FrameSequence
from v2v.video.output_format import CODECS, Encoding, OutputFormat, choose_encoding
from v2v.video.palette import PaletteConverter

H264 = choose_encoding(Path("clip.mp4"), OutputFormat())
# x264's 512-bit sums over the frames ahead (macroblock trees) read memory that nobody wrote: the same frames came out a level
# apart on average from run to run, and with narrower code they don't. 13 is OpenCV's number of AVX-512.
ASSEMBLY = "asm=avx2" if cv2.checkHardwareSupport(13) else "asm=auto"
DETERMINISTIC = {"x264-params": ASSEMBLY}
# Of the presets that keep up with the rest of the pipeline the one with the most dB at a given size. x264 spends fewer bits on
# chroma, which 4:2:0 has already made coarse; the offset takes that back.
PRESET = {"preset": "faster", "x264-params": f"{ASSEMBLY}:chroma-qp-offset=-2"}
# Pixels from which a frame takes the quicker preset: a third of the time, two to three times the bytes.
LARGE_FRAME = 1 << 22
FAST_PRESET = {"preset": "ultrafast", "x264-params": "cabac=1:deblock=0,0"}
LARGE_FRAME_CRF = "14"
PRORES_PROFILES = {"high": "hq", "medium": "standard", "low": "lt"}
RGB_FORMATS = ("bgr0",)
# H.273 number of the matrix of RGB.
RGB_MATRIX = 0
# Endings of the containers that take options of MP4.
QUICKTIME_FAMILY = (".mp4", ".m4v", ".mov")
# Ticks per second of GIF.
GIF_CLOCK = 100
# Ticks per second: whole for 24, 25, 30 and 60 frames per second and for milliseconds.
VARIABLE_CLOCK = 90_000
# Seconds by which containers round the times of frames.
TIME_TOLERANCE = 1e-3
# Frames from which on B-frames are used: for the first of fewer than it delays x265 gives decoding times that nobody wrote.
LEAST_REORDERED = 8
NO_METADATA = ContainerMetadata()
# FFmpeg's quick conversions truncate, which darkens each round trip by a level; these round.
EXACT_CONVERSION = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# FFmpeg's names of colour matrices, by H.273 number.
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}


def encode_video(
    path: Path,
    frames: FrameSequence,
    *,
    times: np.ndarray,
    fps: float,
    tail: float | None = None,
    audio: bytes | None = None,
    pixel_aspect: Fraction = Fraction(1),
    colour: tuple[int, int, int] = (1, 1, 1),
    metadata: ContainerMetadata = NO_METADATA,
    encoding: Encoding = H264,
) -> None:
    """Write a clip to a file.

    Args:
      path: the file; its ending names the container.
      frames: uint8 [T, H, W, 3] RGB; iterated once.
      times: seconds at which each frame appears, float64 [T].
      fps: frames per second, the mean where the rate varies.
      tail: seconds the last frame stays; None for 1 / fps.
      audio: the sound as the bytes of an MP4 on the same clock, or None.
      pixel_aspect: width of a pixel divided by its height.
      colour: ITU-T H.273 numbers (matrix, primaries, transfer).
      metadata: tags, timecode, chapters and subtitles.
      encoding: codec, quality and pixel format.

    Raises:
      OSError: the file can't be written.
      FFmpegError: FFmpeg can't encode it.
    """
    height, width = frames.shape[1:3]
    ticks, time_base = compute_ticks(times, fps, tail, GIF_CLOCK if encoding.codec == "gif" else None)
    last_duration = max(1, round((tail or 1 / fps) / float(time_base)))
    durations = np.diff(ticks, append=ticks[-1] + last_duration)
    duration_by_tick = dict(zip(ticks.tolist(), durations.tolist(), strict=True))
    flags = "+faststart+use_metadata_tags" if needs_quicktime_tags(metadata, path) else "+faststart"
    options = {"movflags": flags} if path.suffix.lower() in QUICKTIME_FAMILY else {}
    # MP4 stores durations in decoding order; without B-frames that is the order of the frames.
    is_regular = np.ptp(durations) * float(time_base) <= 2 * TIME_TOLERANCE
    with av.open(f"file:{path}", "w", options=options) as output:
        reorders = bool(is_regular) and len(ticks) >= LEAST_REORDERED
        stream = _add_stream(output, encoding, _to_rate(fps), (height, width), colour, reorders)
        context = stream.codec_context
        context.time_base, context.sample_aspect_ratio = time_base, pixel_aspect
        sound, subtitles = iter(()), iter(())
        if encoding.holds_metadata:
            sound = add_tracks(audio, output)
            subtitles = add_metadata(metadata, output, stream)
            if (stream.height, stream.width) != (height, width):
                comment = metadata.tags.get("comment", "")
                output.metadata["comment"] = f"{comment} {SIZE_NOTE.format(width, height)}".strip()

        def restore_duration(packet: av.Packet) -> av.Packet:
            # Encoders drop the frames' durations; muxers then take 1 / fps for the last one.
            assert packet.pts is not None and packet.time_base is not None
            packet.duration = duration_by_tick[round(packet.pts * packet.time_base / time_base)]
            return packet

        def picture() -> Iterator[av.Packet]:
            convert = _PixelConverter(stream.width, stream.height, colour, context.pix_fmt or "")
            palettes = PaletteConverter(stream.width, stream.height) if encoding.codec == "gif" else None
            for rgb, tick, duration in zip(frames, ticks, durations, strict=True):
                frame = palettes(rgb) if palettes else convert(rgb)
                frame.pts, frame.duration, frame.time_base = int(tick), int(duration), time_base
                yield from map(restore_duration, stream.encode(frame))
            yield from map(restore_duration, stream.encode(None))

        for packet in heapq.merge(picture(), sound, subtitles, key=_decoding_time):
            output.mux(packet)


def compute_ticks(
    times: np.ndarray, fps: float, tail: float | None = None, clock: int | None = None
) -> tuple[np.ndarray, Fraction]:
    """Return the times of frames as strictly increasing integers, and their unit in seconds.

    Args:
      times: seconds, float64 [T], strictly increasing.
      fps: frames per second, the mean where the rate varies.
      tail: seconds the last frame stays; None for 1 / fps.
      clock: ticks per second; None for frame numbers where the rate is constant, else 90000.
    """
    rate = _to_rate(fps)
    numbers = np.rint(times * float(rate)).astype(np.int64)
    is_constant = np.all(np.diff(numbers) == 1) and np.abs(numbers / float(rate) - times).max() < 1e-4
    if clock is None and is_constant and (tail is None or abs(tail - 1 / fps) < TIME_TOLERANCE):
        return numbers, 1 / rate
    clock = clock or VARIABLE_CLOCK
    ticks, steps = np.rint(times * clock).astype(np.int64), np.arange(len(times))
    return np.maximum.accumulate(ticks - steps) + steps, Fraction(1, clock)


def rgb_planes(frame: av.VideoFrame, height: int, width: int) -> list[np.ndarray]:
    """Return the memory of a frame of the format gbrp as R, G and B, uint8 [height, width] each."""
    green, blue, red = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height, :width]
        for plane in frame.planes
    )
    return [red, green, blue]


def _to_rate(fps: float) -> Fraction:
    """Return the frame rate as a fraction; 30000/1001 and the like come back exactly, as do whole seconds per frame."""
    if fps < 1:
        return 1 / Fraction(1 / fps).limit_denominator(1001)
    return Fraction(fps).limit_denominator(1001)


def _decoding_time(packet: av.Packet) -> Fraction:
    assert packet.dts is not None
    return packet.dts * packet.time_base


def _add_stream(
    output: OutputContainer,
    encoding: Encoding,
    rate: Fraction,
    size: tuple[int, int],
    colour: tuple[int, int, int],
    reorders: bool,
) -> av.VideoStream:
    """Add the video stream to a file.

    Args:
      output: the file.
      encoding: codec, quality and pixel format.
      rate: frames per second.
      size: height and width of the clip; those of the stream are whole numbers of chroma samples.
      colour: ITU-T H.273 numbers (matrix, primaries, transfer).
      reorders: whether frames may be decoded in another order than they are shown (B-frames).
    """
    assert encoding.codec != "jpeg"
    pix_fmt = encoding.choose_pix_fmt(colour[2])
    height, width = size
    options = _encoder_options(encoding, pix_fmt, height * width)
    if not reorders and encoding.codec in ("h264", "hevc"):
        key = "bf" if encoding.codec == "h264" else "x265-params"
        options[key] = "0" if encoding.codec == "h264" else f"{options[key]}:bframes=0"
    stream = output.add_stream(CODECS[encoding.codec].encoder, rate=rate, options=options)
    assert isinstance(stream, av.VideoStream)
    across = 2 if pix_fmt.startswith(("yuv420", "yuv422")) else 1
    down = 2 if pix_fmt.startswith("yuv420") else 1
    stream.width, stream.height, stream.pix_fmt = width + width % across, height + height % down, pix_fmt
    context = stream.codec_context
    if encoding.codec == "gif":
        return stream
    context.colorspace, context.color_primaries, context.color_trc = colour
    context.color_range = ColorRange.MPEG
    if pix_fmt in RGB_FORMATS:
        context.colorspace, context.color_range = RGB_MATRIX, ColorRange.JPEG
    if encoding.codec == "hevc" and output.format.name in ("mp4", "mov", "ipod"):
        # The name under which players of Apple take it.
        context.codec_tag = "hvc1"
    return stream


def _encoder_options(encoding: Encoding, pix_fmt: str, pixels: int) -> dict[str, str]:
    """Return FFmpeg's options of an encoder for frames of so many pixels."""
    crf = {} if encoding.crf is None else {"crf": f"{encoding.crf:g}"}
    match encoding.codec:
        case "h264" if pixels >= LARGE_FRAME:
            is_default = encoding.crf == H264.crf
            return crf | FAST_PRESET | ({"crf": LARGE_FRAME_CRF} if is_default else {})
        case "h264":
            return crf | PRESET
        case "hevc":
            return crf | {"preset": "fast", "x265-params": "log-level=error"}
        case "av1":
            # The library prints its settings otherwise.
            os.environ.setdefault("SVT_LOG", "1")
            return crf | {"preset": "8"}
        case "vp9":
            return crf | {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
        case "prores":
            profile = "4444" if pix_fmt.startswith("yuv444") else PRORES_PROFILES[encoding.quality]
            return {"profile": profile, "vendor": "apl0"}
        case "ffv1":
            return {"level": "3", "g": "1"}
    return {}


class _PixelConverter:
    """A converter of RGB frames [H, W, 3] to those of an encoder, which may be a row or column larger.

    FFmpeg's exact conversion is vectorised for planes, and plain C for interleaved RGB; the bytes are the same. The planes are one
    frame's memory, written anew for every frame.
    """

    def __init__(self, width: int, height: int, colour: tuple[int, int, int], pix_fmt: str):
        self._frame, self._colour = av.VideoFrame(width, height, "gbrp"), colour
        self._reformatter, self._pix_fmt = VideoReformatter(), pix_fmt
        self._planes = rgb_planes(self._frame, height, width)

    def __call__(self, rgb: np.ndarray) -> av.VideoFrame:
        height, width = self._planes[0].shape
        missing = height - rgb.shape[0], width - rgb.shape[1]
        if any(missing):
            rgb = np.pad(rgb, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        cv2.split(np.ascontiguousarray(rgb), self._planes)
        if self._pix_fmt in RGB_FORMATS:
            return self._reformatter.reformat(self._frame, format=self._pix_fmt, threads=1)
        # FFmpeg decodes an unknown matrix as ITU 601.
        frame = self._reformatter.reformat(
            self._frame,
            format=self._pix_fmt,
            dst_colorspace=MATRICES.get(self._colour[0], Colorspace.ITU601),
            dst_color_range=ColorRange.MPEG,
            interpolation=EXACT_CONVERSION,
            threads=1,
        )
        frame.colorspace, frame.color_primaries, frame.color_trc = self._colour
        return frame
