"""The stream of a file that is decoded, and checks of the file's header. The first step of `decoder.py`."""

import re
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition

from v2v.errors import InputError
from v2v.video.clock import is_discontinuous

# Text that FFmpeg would "play", or follow to other files.
NON_VIDEO_FORMATS = ("tty", "hls", "concat", "dash", "sdp", "ffmetadata")
# Formats whose header tells their length; MP4 is checked by its index.
FORMATS_WITH_DURATION = ("matroska,webm", "avi", "flv", "asf", "mxf", "ivf")
# Rate of files that state none.
DEFAULT_FPS = Fraction(25)
# Frames per second from which on a rate is no rate, but the unit of a clock.
LARGEST_RATE = 10_000
# Pictures beside the video.
SIDE_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
# Bytes of frames for which room is made on the word of a file's duration alone.
ROOM_BYTES = 256 << 20


def open_container(path: Path) -> InputContainer:
    """Open a file, whatever its name: FFmpeg would take "12:30.mp4" for a protocol and "img%03d.png" for a pattern.

    Args:
      path: the file; nothing else is opened, even if it refers to other files.

    Raises:
      FFmpegError: its format is unknown.
      UnicodeDecodeError: PyAV can't decode its metadata.
    """
    options = {"protocol_whitelist": "file"}
    if "%" in str(path):
        # FFmpeg guesses from the name that it is a picture, and which kind of picture from its ending.
        options["pattern_type"] = "none"
    return av.open(f"file:{path}", options=options)


def select_stream(container: InputContainer, path: Path) -> av.VideoStream:
    """Return the video stream that players show, ready to be decoded.

    Films go before pictures, and what the file marks as its default before the rest: HEIC and AVIF files also hold thumbnails,
    alternative pictures and alpha. Of a picture of tiles this is one of them.

    Args:
      container: the open file.
      path: of the file, for messages.

    Raises:
      InputError: there is none, its codec is unknown, or the file is cut short.
    """
    streams = [s for s in container.streams.video if not s.disposition & SIDE_PICTURES]
    if not streams or container.format.name in NON_VIDEO_FORMATS:
        contents = ", ".join(sorted({s.type for s in container.streams})) or container.format.long_name
        raise InputError(f"{path}: expected a video stream, got a file that holds none (found: {contents})")
    candidates = [s for s in streams if not is_tile(s)]
    if len(candidates) < len(streams):
        # The picture that tiles make up has no stream; a thumbnail beside them has one, but isn't marked as the default.
        candidates = [s for s in candidates if s.disposition & Disposition.default or not is_still_item(s)]
    if not candidates:
        # The first tile; `tiles.py` joins it with the others.
        candidates = [s for s in streams if is_tile(s)]
    elif "mp4" in container.format.name and not any(
        s.disposition & Disposition.default or not is_still_item(s) for s in candidates
    ):
        raise InputError(
            f"{path}: its picture is put together from others in a way that isn't known here; save it as PNG or JPEG"
        )
    top = max(map(_preference, candidates))
    candidates = [s for s in candidates if _preference(s) == top]
    best = container.streams.best("video")
    if container.format.name == "ico":
        # An icon is there in several sizes.
        best = max(candidates, key=lambda s: s.width)
    stream = next((s for s in candidates if s is best), candidates[0])
    if stream.codec_context is None:
        raise InputError(
            f"{path}: its video is in a format this FFmpeg can't decode; convert it to H.264 first"
        )
    if container.format.name == "webp_pipe" and _is_animated_webp(path):
        raise InputError(f"{path}: an animated WebP, which FFmpeg can't decode; save it as GIF, APNG or MP4")
    stream.thread_type = "AUTO"
    check_complete(stream, path)
    return stream


def is_tile(stream: av.VideoStream) -> bool:
    """Return whether a stream is a piece of a picture that has no stream of its own."""
    return bool(stream.disposition & Disposition.dependent)


def find_rate(stream: av.VideoStream) -> Fraction:
    """Return the frames per second that a file's header tells; `DEFAULT_FPS` where it tells none.

    Of some files, such as DV, FFmpeg's mean is the unit of their clock.
    """
    rates = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate and rate < LARGEST_RATE]
    return rates[0] if rates else DEFAULT_FPS


def estimate_frame_count(stream: av.VideoStream) -> int:
    """Return the number of frames that the file's header promises; 0 where it promises none, or its clock may jump."""
    if is_discontinuous(stream.container):
        return max(stream.frames, 0)
    seconds = float((stream.duration or 0) * (stream.time_base or 0))
    return max(stream.frames, round(seconds * float(find_rate(stream))), 0)


def estimate_room(stream: av.VideoStream) -> int:
    """Return the number of frames to make room for before they are decoded; 0 where nothing tells.

    Matroska's streams promise none; its duration of the whole file may be that of the sound, so little room is taken on its word. Room that
    grows with the frames is copied and given by the system anew each time, which takes longer than decoding.
    """
    count = estimate_frame_count(stream)
    container = stream.container
    if count or not isinstance(container, InputContainer) or is_discontinuous(container):
        return count
    seconds = max(container.duration or 0, 0) / av.time_base
    return int(
        min(seconds * float(find_rate(stream)), ROOM_BYTES // max(1, 3 * stream.width * stream.height))
    )


def check_length(
    container: InputContainer, stream: av.VideoStream, picture_end: float, last_end: float, longest_gap: float
) -> str:
    """Compare where a file ended with what its header promises.

    Args:
      container: the open file.
      stream: the video stream that was decoded.
      picture_end: the second of the file's clock at which the picture ended.
      last_end: the second at which the last of all streams ended; infinity where some weren't read.
      longest_gap: the longest time between two frames, in seconds.

    Returns:
      A sentence for the user; "" where the file is as long as it should be, or promises nothing.
    """
    if container.format.name not in FORMATS_WITH_DURATION:
        return ""
    promised, end, slack = _stream_duration(stream), picture_end, 0.0
    if not promised:
        # Only the longest stream has this duration, and some programs round it.
        promised, end, slack = (container.duration or 0) / av.time_base, max(picture_end, last_end), 1.0
    if promised - end <= max(3 * longest_gap, 0.02 * promised, slack):
        return ""
    return (
        f"says {promised:.2f} s, but ends after {end:.2f} s; if it was cut short, copy or download it again"
    )


def _stream_duration(stream: av.VideoStream) -> float:
    """Return the seconds at which a stream should end, 0 where the file doesn't tell."""
    if stream.duration and stream.time_base is not None:
        duration = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
        # FFmpeg shortens the duration of an AVI that lost its index, not the number of its frames.
        is_counted = stream.container.format.name == "avi"
        return max(duration, float(stream.frames / find_rate(stream)) if is_counted else 0.0)
    # Of Matroska, as 00:00:06.040000000.
    match = re.fullmatch(r"(\d{1,9}):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3]) if match else 0.0


def _preference(stream: av.VideoStream) -> tuple[bool, bool]:
    return not is_still_item(stream), bool(stream.disposition & Disposition.default)


def is_still_item(stream: av.VideoStream) -> bool:
    """Return whether a stream is a picture of a HEIC or AVIF file rather than a track."""
    return stream.frames == 1 and not stream.duration


def _is_animated_webp(path: Path) -> bool:
    """Return whether the flag of animation is set in a WebP file's header."""
    with path.open("rb") as file:
        head = file.read(21)
    return head[12:16] == b"VP8X" and bool(head[20] & 2)


def check_complete(stream: av.VideoStream, path: Path) -> None:
    """Check that the index of an MP4 or MOV doesn't point past its end, as that of a broken download or copy does.

    Of other containers an index may lie at the end and be lost; what they promise is compared with what is decoded.

    Raises:
      InputError: it does.
    """
    if "mp4" not in stream.container.format.name:
        return
    size = path.stat().st_size
    missing = sum(entry.pos + entry.size > size for entry in stream.index_entries)
    if missing:
        raise InputError(
            f"{path}: truncated, {missing} of {len(stream.index_entries)} indexed frames lie past its end ({size} bytes); "
            "copy or download it again"
        )
