"""What a container holds beside picture and sound: tags, timecode, chapters and subtitles.

`MetadataReader` collects it while `decoder.py` decodes a file, `add_metadata` adds it to the file that `encoder.py` writes, and
`find_missing` names what that file's format couldn't hold. Subtitles that are text travel as lines of ASS, the form in which FFmpeg
decodes and encodes all kinds of them; those that are pictures are only named.
"""

import heapq
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from v2v.video.audio import TrackTags

# Tags that muxers write themselves.
MUXER_TAGS = {
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "duration",
    "handler_name",
    "vendor_id",
    "timecode",
}
# Codec of text subtitles by container format, as FFmpeg names it.
SUBTITLE_CODECS = {
    "mp4": "mov_text",
    "ipod": "mov_text",
    "mov": "mov_text",
    "matroska": "subrip",
    "webm": "webvtt",
}
# Those that keep their fonts and places where the container holds ASS.
STYLED_CODECS = ("ass", "ssa")
# Comment of files with an odd size: width and height.
SIZE_NOTE = "v2v size {}x{}"
# Prefix of the tags of QuickTime files, which other formats don't hold.
QUICKTIME_TAG = "com.apple.quicktime."
# Header of ASS for lines without styles.
PLAIN_HEADER = b"""\
[Script Info]
ScriptType: v4.00+
PlayResX: 384
PlayResY: 288

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, \
ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
# Unit of the times of subtitles and chapters, in seconds.
CLOCK = Fraction(1, 1000)
# Seconds for which a line is shown that has no duration.
LINE_DURATION = Fraction(2)


@dataclass(frozen=True)
class Chapter:
    """A chapter: its start and end in seconds of the clip, and its title."""

    start: Fraction
    end: Fraction
    title: str


@dataclass(frozen=True)
class SubtitleLine:
    """A line of subtitles: its start and duration in seconds of the clip, and an event of ASS."""

    start: Fraction
    duration: Fraction
    event: bytes


@dataclass
class SubtitleTrack:
    """A track of subtitles.

    Attributes:
      codec: FFmpeg's name of its codec.
      tags: language, title and flags.
      header: header of ASS, with its styles.
      lines: its lines in order.
    """

    codec: str
    tags: TrackTags
    header: bytes = PLAIN_HEADER
    lines: list[SubtitleLine] = field(default_factory=list)


@dataclass(frozen=True)
class ContainerMetadata:
    """What a container holds beside picture and sound.

    Attributes:
      tags: title, date of creation and the like, by FFmpeg's names.
      timecode: of the first frame, such as "01:00:00:00", or None.
      chapters: in order.
      subtitles: tracks of text.
      picture_subtitles: codecs of the tracks of pictures, which aren't kept.
      picture_losses: words for what frames of 8 bits don't hold of the picture.
    """

    tags: dict[str, str] = field(default_factory=dict)
    timecode: str | None = None
    chapters: tuple[Chapter, ...] = ()
    subtitles: tuple[SubtitleTrack, ...] = ()
    picture_subtitles: tuple[str, ...] = ()
    picture_losses: tuple[str, ...] = ()


class MetadataReader:
    """The metadata of a file that is being read: `add` every packet of `streams`, then call `to_metadata`.

    Attributes:
      streams: the streams of text subtitles.
      picture_losses: words for what frames of 8 bits don't hold of the picture; set by the decoder.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream, origin: Fraction):
        """Read what lies in the file's header.

        Args:
          container: the open file.
          stream: the video stream that is read.
          origin: the second of the file's clock that becomes 0.
        """
        self._origin = origin
        self.picture_losses: tuple[str, ...] = ()
        size_note = re.compile(SIZE_NOTE.format(r"\d+", r"\d+"))
        tags = {key: size_note.sub("", text).strip() for key, text in container.metadata.items()}
        self._tags = {key: text for key, text in tags.items() if text and key.lower() not in MUXER_TAGS}
        self._timecode = _find_timecode(container, stream)
        self._chapters = tuple(
            Chapter(
                max(Fraction(0), chapter["start"] * (chapter["time_base"] or CLOCK) - origin),
                chapter["end"] * (chapter["time_base"] or CLOCK) - origin,
                chapter["metadata"].get("title", ""),
            )
            for chapter in container.chapters()
        )
        streams = [s for s in container.streams.subtitles if s.codec_context is not None]
        self.streams = tuple(s for s in streams if s.codec_context.codec.text_sub)
        self._picture_subtitles = tuple(s.codec_context.name for s in streams if s not in self.streams)
        self._tracks = {
            stream.index: SubtitleTrack(stream.codec_context.name, TrackTags.of(stream))
            for stream in self.streams
        }

    def add(self, packet: av.Packet) -> None:
        """Decode a packet of one of `streams`; a damaged one is left out.

        Args:
          packet: the packet.
        """
        stream = packet.stream
        if not packet.size or packet.pts is None or not isinstance(stream, SubtitleStream):
            return
        with suppress(FFmpegError):
            decoded = stream.codec_context.decode2(packet)
            if decoded is None:
                return
            unit = packet.time_base or CLOCK
            start = packet.pts * unit - self._origin
            duration = Fraction(packet.duration or 0) * unit
            duration = duration or decoded.end_display_time * CLOCK or LINE_DURATION
            lines = self._tracks[stream.index].lines
            for event in decoded:
                if isinstance(event, AssSubtitle) and start + duration > 0:
                    lines.append(SubtitleLine(max(start, Fraction(0)), duration, bytes(event.ass)))

    def to_metadata(self) -> ContainerMetadata:
        """Return what was collected."""
        for stream in self.streams:
            self._tracks[stream.index].header = bytes(stream.codec_context.subtitle_header or PLAIN_HEADER)
        tracks = tuple(track for track in self._tracks.values() if track.lines)
        return ContainerMetadata(
            self._tags, self._timecode, self._chapters, tracks, self._picture_subtitles, self.picture_losses
        )


def add_metadata(
    metadata: ContainerMetadata, output: OutputContainer, stream: av.VideoStream
) -> Iterator[av.Packet]:
    """Add the metadata of a clip to a file that is being written, as far as its format takes it.

    Args:
      metadata: of the clip.
      output: the file; its streams are added at once.
      stream: its video stream, whose rate is set.

    Returns:
      The packets of the subtitles in order of time, for the caller to mux.
    """
    output.metadata.update(metadata.tags)
    if metadata.timecode and _is_timecode_possible(metadata.timecode, stream):
        stream.metadata["timecode"] = metadata.timecode
    if metadata.chapters:
        output.set_chapters([_describe_chapter(n, c) for n, c in enumerate(metadata.chapters)])
    codec = SUBTITLE_CODECS.get(output.format.name)
    if codec is None:
        return iter(())
    tracks = []
    for track in metadata.subtitles:
        keeps_style = output.format.name == "matroska" and track.codec in STYLED_CODECS
        target = output.add_stream("ass" if keeps_style else codec)
        assert isinstance(target, SubtitleStream)
        track.tags.give_to(target)
        target.codec_context.subtitle_header = track.header
        target.time_base = target.codec_context.time_base = CLOCK
        tracks.append(_encode_lines(track, target))
    return heapq.merge(*tracks, key=lambda packet: packet.pts)


def needs_quicktime_tags(metadata: ContainerMetadata, path: Path) -> bool:
    """Return whether a clip has tags that only QuickTime files hold, and the output is one."""
    is_quicktime = any(key.startswith(QUICKTIME_TAG) for key in metadata.tags)
    return is_quicktime and path.suffix.lower() == ".mov"


def find_tag(tags: Mapping[str, str], name: str) -> str:
    """Return a tag whose name is written in small or capital letters, as Matroska's are; "" for none."""
    return next((text for key, text in tags.items() if key.lower() == name), "")


def find_missing(metadata: ContainerMetadata, path: Path | None) -> list[str]:
    """Return words for the metadata that a written file doesn't hold.

    Args:
      metadata: what it should hold.
      path: the file; None for one that holds none at all.
    """
    tags: set[str] = set()
    timecode: str | None = None
    chapters = subtitles = 0
    if path is not None:
        with av.open(f"file:{path}", metadata_errors="replace") as file:
            tags = {key.lower() for key in file.metadata}
            timecode = _find_timecode(file, file.streams.video[0])
            chapters, subtitles = len(file.chapters()), len(file.streams.subtitles)
    missing = list(metadata.picture_losses)
    missing += [f"subtitles of pictures ({codec})" for codec in metadata.picture_subtitles]
    if subtitles < len(metadata.subtitles):
        missing.append("subtitles")
    if chapters < len(metadata.chapters):
        missing.append("chapters")
    if metadata.timecode and timecode is None:
        missing.append(f"the timecode {metadata.timecode}")
    missing += [f'the tag "{key}"' for key in metadata.tags if key.lower() not in tags]
    return missing


def _find_timecode(container: InputContainer, stream: av.VideoStream) -> str | None:
    return find_tag(stream.metadata, "timecode") or find_tag(container.metadata, "timecode") or None


def _encode_lines(track: SubtitleTrack, target: SubtitleStream) -> Iterator[av.Packet]:
    for line in track.lines:
        start, duration = round(line.start / CLOCK), max(1, round(line.duration / CLOCK))
        packet = target.codec_context.encode_subtitle(SubtitleSet.create(line.event, 0, duration))
        packet.stream, packet.time_base = target, CLOCK
        packet.pts, packet.dts, packet.duration = start, start, duration
        yield packet


def _describe_chapter(number: int, chapter: Chapter) -> Any:
    """Return a chapter as PyAV takes it."""
    return {
        "id": number,
        "start": round(chapter.start / CLOCK),
        "end": round(chapter.end / CLOCK),
        "time_base": CLOCK,
        "metadata": {"title": chapter.title} if chapter.title else {},
    }


def _is_timecode_possible(timecode: str, stream: av.VideoStream) -> bool:
    """Return whether FFmpeg takes a timecode at a stream's rate; those that drop numbers (";") belong to 29.97 and 59.94."""
    rate = stream.codec_context.framerate
    return ";" not in timecode or rate in (Fraction(30000, 1001), Fraction(60000, 1001))
