"""Sound that travels with a clip: file -> tracks in memory -> file. Used by `video/video.py` alone.

`Tracks` collects a file's audio while its picture is decoded and ends as the bytes of an MP4 whose clock is the clip's own.
What browsers play is copied packet by packet; the rest is encoded to AAC once, on reading, so that writing only ever copies.
"""

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av

from v2v.errors import note

COPIED_CODECS = ("aac", "mp3", "opus")  # what MP4 holds and browsers play
AAC_RATES = [
    k * 1000 for k in (8, 11.025, 12, 16, 22.05, 24, 32, 44.1, 48, 64, 88.2, 96)
]  # what AAC can hold, Hz
BITS_PER_CHANNEL = 96_000  # a second, of the AAC encoder


class AudioTracks:
    """The audio of one file while it is being read: `take` every packet, then `finish`."""

    def __init__(self, streams: Iterable[av.AudioStream], origin: Fraction):
        """Starts a track for each stream of an open file.

        Args:
          streams: audio streams; those without a known codec or rate are left out.
          origin: the second of the file's clock that becomes 0.
        """
        self.streams = tuple(
            s for s in streams if s.codec_context is not None and s.codec_context.sample_rate
        )
        self.origin = origin
        self._buffer = io.BytesIO()
        self._out = av.open(self._buffer, "w", format="mp4") if self.streams else None
        self._targets = {stream.index: self._target(stream) for stream in self.streams}
        self._empty, self._broken = True, False

    def take(self, packet: av.Packet) -> None:
        """Copies or transcodes one packet; a packet without dts ends its track. Sound that can't be kept never costs the picture."""
        if self._broken:
            return
        try:
            self._take(packet)
        except av.error.InvalidDataError:
            note("a damaged piece of sound was skipped")
        except av.error.FFmpegError as error:
            self._broken = True
            note(f"the sound ({packet.stream.codec.canonical_name}) can't be kept: {error.strerror}")

    def finish(self) -> bytes | None:
        """The tracks as an MP4, or None where the file was silent."""
        if self._empty or self._broken:
            return None
        self._out.close()
        return self._buffer.getvalue()

    def _take(self, packet: av.Packet) -> None:
        source, target = packet.stream, self._targets[packet.stream.index]
        if _copied(source):
            if packet.dts is None or packet.pts is None:
                return
            shift = round(self.origin / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, target
            self._mux([packet])
            return
        for frame in packet.decode():
            if frame.pts is not None:
                frame.pts -= round(self.origin / frame.time_base)
            self._mux(target.encode(frame))
        if packet.dts is None:
            self._mux(target.encode(None))

    def _target(self, stream: av.AudioStream) -> av.AudioStream:
        if _copied(stream):
            return self._out.add_stream_from_template(stream)
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        layout = "mono" if channels == 1 else "stereo" if channels < 6 else "5.1"
        target = self._out.add_stream("aac", rate=rate if rate in AAC_RATES else 48000, layout=layout)
        target.bit_rate = BITS_PER_CHANNEL * min(channels, 6)
        return target

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            self._empty = False
            self._out.mux(packet)


def add_tracks(audio: bytes | None, out: av.container.OutputContainer) -> Iterator[av.Packet]:
    """Adds kept tracks to a file being written and returns their packets in order of time, to be muxed by the caller."""
    if audio is None:
        return iter(())
    kept = av.open(io.BytesIO(audio))
    targets = {stream.index: out.add_stream_from_template(stream) for stream in kept.streams.audio}

    def packets() -> Iterator[av.Packet]:
        with kept:
            for packet in kept.demux(kept.streams.audio):
                if packet.dts is not None:
                    packet.stream = targets[packet.stream.index]
                    yield packet

    return packets()


def _copied(stream: av.AudioStream) -> bool:
    return stream.codec.canonical_name in COPIED_CODECS
