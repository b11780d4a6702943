"""The audio of a clip: from a file into memory, and from memory into the file that is written.

`AudioTracks` collects a file's audio while `decoder.py` decodes its picture, and gives it as the bytes of an MP4 on the clip's own
clock. `add_tracks` copies these tracks into the file that `encoder.py` writes. Codecs that browsers play are copied packet by
packet; the others are encoded to AAC once, on reading, so that writing only ever copies.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition, Stream

from v2v.errors import note
from v2v.video.audio_decoding import count_channels, decode_audio
from v2v.video.file_checks import error_reason

# Codecs that MP4 holds and browsers play.
COPIED_CODECS = ("aac", "mp3", "opus")
# Those of containers that hold fewer, by FFmpeg's name; the first is what others are encoded to.
CONTAINER_CODECS = {"mov": ("aac", "mp3"), "webm": ("opus",)}
# Languages that QuickTime files call otherwise than ISO 639-2/T.
QUICKTIME_LANGUAGES = {
    "deu": "ger", "ell": "gre", "fre": "fra", "isl": "ice", "nld": "dut", "swe": "sve", "zho": "chi",
}  # fmt: skip
# Sampling rates of AAC, Hz.
AAC_RATES = [k * 1000 for k in (8, 11.025, 12, 16, 22.05, 24, 32, 44.1, 48, 64, 88.2, 96)]
# Sampling rate of Opus, Hz.
OPUS_RATE = 48_000
# Bits per second and channel of the encoders.
BITS_PER_CHANNEL = 96_000


@dataclass(frozen=True)
class TrackTags:
    """What a file says of a track of sound or subtitles.

    Attributes:
      language: three letters, or None.
      title: its name, or None.
      disposition: its flags, such as "default" and "forced".
    """

    language: str | None
    title: str | None
    disposition: Disposition

    @staticmethod
    def of(stream: Stream) -> "TrackTags":
        """Return the tags of a stream."""
        # MP4 is read with "name" for what is written as "title".
        title = stream.metadata.get("title") or stream.metadata.get("name")
        return TrackTags(stream.language, title, Disposition(stream.disposition))

    def give_to(self, stream: Stream) -> None:
        """Set the tags of a stream that is being written."""
        language = self.language
        if language and stream.container.format.name == "mov":
            language = QUICKTIME_LANGUAGES.get(language, language)
        tags = {"language": language, "title": self.title}
        stream.metadata.update({key: value for key, value in tags.items() if value})
        stream.disposition = self.disposition


class AudioTracks:
    """The audio tracks of a file that is being read: `add` every packet, then call `to_mp4`.

    Attributes:
      streams: the audio streams that are collected.
      origin: the second of the file's clock that becomes 0.
    """

    def __init__(self, streams: Iterable[AudioStream], origin: Fraction):
        """Start a track for each stream.

        Args:
          streams: audio streams of an open file; those without a known codec or rate are left out.
          origin: the second of the file's clock that becomes 0.
        """
        self.streams = tuple(
            s for s in streams if s.codec_context is not None and s.codec_context.sample_rate
        )
        self.origin = origin
        self._buffer = io.BytesIO()
        self._targets: dict[int, AudioStream] = {}
        self._last_times: dict[int, Fraction] = {}
        self._is_empty, self._is_broken = True, False
        self._output: OutputContainer | None = None
        if self.streams:
            self._output = av.open(self._buffer, "w", format="mp4")
            self._targets = {stream.index: _add_target(self._output, stream) for stream in self.streams}
            for stream in self.streams:
                TrackTags.of(stream).give_to(self._targets[stream.index])

    def add(self, packet: av.Packet) -> None:
        """Copy or transcode one packet; audio that cannot be kept is given up with a note.

        Args:
          packet: a packet of one of `streams`; one without dts ends its track.
        """
        if self._is_broken:
            return
        try:
            self._add(packet)
        except InvalidDataError:
            note("a damaged piece of sound was skipped")
        except (FFmpegError, ValueError) as error:
            self._is_broken = True
            note(f"the sound ({packet.stream.codec.canonical_name}) can't be kept: {error_reason(error)}")

    def to_mp4(self) -> bytes | None:
        """Return the tracks as the bytes of an MP4, or None for a silent file."""
        if self._output is None or self._is_empty or self._is_broken:
            return None
        self._output.close()
        return self._buffer.getvalue()

    def _add(self, packet: av.Packet) -> None:
        source, target = packet.stream, self._targets[packet.stream.index]
        if _is_copied(source):
            if packet.dts is None or packet.pts is None:
                return
            shift = round(self.origin / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            if self._advances(source, packet.dts * packet.time_base):
                packet.stream = target
                self._mux([packet])
            return
        for frame in decode_audio(packet):
            if frame.pts is not None and frame.time_base is not None:
                frame.pts -= round(self.origin / frame.time_base)
                if not self._advances(source, frame.pts * frame.time_base):
                    continue
            self._mux(target.encode(frame))
        if packet.dts is None:
            self._mux(target.encode(None))

    def _advances(self, source: AudioStream, time: Fraction) -> bool:
        """Return whether a piece is later than all before it; where recordings were joined they may overlap."""
        last = self._last_times.get(source.index)
        if last is not None and time <= last:
            return False
        self._last_times[source.index] = time
        return True

    def _mux(self, packets: list[av.Packet]) -> None:
        assert self._output is not None
        for packet in packets:
            self._is_empty = False
            self._output.mux(packet)


def add_tracks(audio: bytes | None, output: OutputContainer) -> Iterator[av.Packet]:
    """Add the tracks of a clip to a file that is being written.

    Args:
      audio: what `AudioTracks.to_mp4` returned.
      output: the file; its streams are added at once.

    Returns:
      The packets of the tracks in order of time, for the caller to mux.
    """
    if audio is None:
        return iter(())
    source = av.open(io.BytesIO(audio), "r")
    codecs = CONTAINER_CODECS.get(output.format.name, COPIED_CODECS)
    # Matroska has no negative times: it would begin with what AAC's decoder needs before 0, and show the picture that much later.
    is_matroska = output.format.name == "matroska"
    targets: dict[int, AudioStream] = {}
    for stream in source.streams.audio:
        is_copied = stream.codec.canonical_name in codecs
        target = (
            output.add_stream_from_template(stream) if is_copied else _add_encoder(output, stream, codecs[0])
        )
        TrackTags.of(stream).give_to(target)
        targets[stream.index] = target

    def packets() -> Iterator[av.Packet]:
        with source:
            for packet in source.demux(source.streams.audio):
                stream = source.streams[packet.stream.index]
                target = targets[stream.index]
                if stream.codec.canonical_name not in codecs:
                    for frame in decode_audio(packet):
                        yield from target.encode(frame)
                    if packet.dts is None:
                        yield from target.encode(None)
                elif packet.dts is not None and not (is_matroska and _ends_before_start(packet)):
                    packet.stream = target
                    yield packet

    return packets()


def _ends_before_start(packet: av.Packet) -> bool:
    return packet.pts is not None and packet.pts + (packet.duration or 0) <= 0


def _is_copied(stream: AudioStream) -> bool:
    return stream.codec.canonical_name in COPIED_CODECS


def _add_target(output: OutputContainer, stream: AudioStream) -> AudioStream:
    """Add the stream to `output` that takes the packets of `stream`."""
    if _is_copied(stream):
        return output.add_stream_from_template(stream)
    return _add_encoder(output, stream, "aac")


def _add_encoder(output: OutputContainer, stream: AudioStream, codec: str) -> AudioStream:
    """Add the stream to `output` that encodes the frames of `stream` by "aac" or "opus"."""
    rates = AAC_RATES if codec == "aac" else [OPUS_RATE]
    rate, channels = stream.codec_context.sample_rate, count_channels(stream)
    layout = "mono" if channels == 1 else "stereo" if channels < 6 else "5.1"
    encoder = "aac" if codec == "aac" else "libopus"
    target = output.add_stream(encoder, rate=rate if rate in rates else OPUS_RATE, layout=layout)
    target.bit_rate = BITS_PER_CHANNEL * min(channels, 6)
    return target
