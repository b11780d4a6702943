"""Decoding of audio packets whatever the order of their channels; `audio.py` encodes the result again.

PyAV shares the memory of a custom channel order between FFmpeg's objects and its own `AudioLayout`s, and both free it, which ends
the process. So every layout that PyAV makes here is kept alive for ever (some 50 bytes for each decoded frame), and samples in a
custom order are put in FFmpeg's own order, which needs no such memory.
"""

import ctypes

import av
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream

# FFmpeg's names of channels in its native order.
NATIVE_ORDER: tuple[str, ...] = tuple(
    "FL FR FC LFE BL BR FLC FRC BC SL SR TC TFL TFC TFR TBL TBC TBR DL DR WL WR SDL SDR LFE2 TSL TSR BFC BFL BFR SSL SSR TTL TTR".split()
)
# PyAV reads beyond the end of the list of planes of frames that have as many.
MAX_PLANES = 8


def count_channels(stream: AudioStream) -> int:
    """Return the number of channels of a stream."""
    return _keep_alive(stream.codec_context.layout).nb_channels


def decode_audio(packet: av.Packet) -> list[AudioFrame]:
    """Decode a packet of an audio stream.

    Args:
      packet: the packet; one without data gives what the decoder still holds.

    Returns:
      Frames whose channels are in FFmpeg's order or unnamed.

    Raises:
      FFmpegError: it can't be decoded.
      ValueError: a custom order of samples in a format that isn't handled.
    """
    frames = [frame for frame in packet.decode() if isinstance(frame, AudioFrame)]
    for frame in frames:
        _keep_alive(frame.layout)
    return [_to_native_order(frame) for frame in frames]


def _to_native_order(frame: AudioFrame) -> AudioFrame:
    names = [channel.name for channel in frame.layout.channels]
    count = len(names)
    is_known = set(names) <= set(NATIVE_ORDER) and len(set(names)) == count
    native_names = sorted(names, key=NATIVE_ORDER.index) if is_known else []
    if names == native_names or set(names) == {"NONE"}:
        return frame
    # Where places are unknown or double, FFmpeg takes the usual ones for this number of channels.
    layout = "+".join(native_names) or f"{count} channels"
    order = [names.index(name) for name in native_names] or range(count)
    if frame.format.is_planar and count >= MAX_PLANES:
        raise ValueError(f"{count} channels in an order of their own")
    samples = frame.to_ndarray()
    if frame.format.is_planar:
        samples = samples[list(order)]
    else:
        samples = samples.reshape(-1, count)[:, list(order)].reshape(1, -1)
    out = AudioFrame.from_ndarray(samples, frame.format.name, layout)
    out.sample_rate, out.pts, out.time_base = frame.sample_rate, frame.pts, frame.time_base
    return out


def _keep_alive(layout: AudioLayout) -> AudioLayout:
    """Let a layout outlive the interpreter, so that only FFmpeg frees what both refer to."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return layout
