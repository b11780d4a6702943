"""Files that others made: odd pictures, streams, sound and clocks, each read right or refused in one line."""

import json
import struct
import subprocess
import sys
import zlib

import av
import numpy as np
import pytest

from tests.example_clips import picture, write
from v2v.video.video import Video, read_video

READER = """
import json, sys
from v2v.errors import collect_notes
from v2v.video.video import read_video
with collect_notes() as notes:
    clip = read_video(sys.argv[1])
print(json.dumps([clip.frames.shape, clip.audio is not None, notes]))
"""


def _read_elsewhere(path) -> tuple[list[int], bool, list[str]]:
    """Read a file in a process of its own, which it must not kill; return the frames' shape, whether there is sound, and notes."""
    done = subprocess.run([sys.executable, "-c", READER, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr[-500:])
    return json.loads(done.stdout)


def _add_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """Put a chunk behind the header of a PNG."""
    end_of_header = 8 + 25
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:end_of_header] + chunk + png[end_of_header:]


def _write_png(path, frame, kind: bytes, data: bytes) -> None:
    Video.from_array(frame).save(path)
    path.write_bytes(_add_chunk(path.read_bytes(), kind, data))


def _colour_profile() -> bytes:
    """An iCCP chunk with the smallest header that passes for a profile."""
    size = 132
    profile = struct.pack(">I4sI4s4s4s", size, b"test", 0x04300000, b"mntr", b"RGB ", b"XYZ ").ljust(
        36, b"\0"
    )
    return b"a profile\0\0" + zlib.compress((profile + b"acsp").ljust(size, b"\0"))


@pytest.mark.parametrize("times", [1, 3])
def test_a_png_with_a_colour_profile_is_read(tmp_path, times):
    path = tmp_path / "a.png"
    _write_png(path, picture(1)[0], b"iCCP", _colour_profile())
    for _ in range(times):
        shape, _, _ = _read_elsewhere(path)
        assert shape == [1, 48, 64, 3]


def test_a_clip_of_png_frames_with_profiles_is_read(tmp_path):
    """PNG in a container, whose frames carry the profile as the frames of stills do."""
    path, png = tmp_path / "a.mov", tmp_path / "a.png"
    _write_png(png, picture(1)[0], b"iCCP", _colour_profile())
    write(tmp_path / "plain.mov", picture(3), codec="png", pix_fmt="rgb24", rotation={"degrees": 90})
    with av.open(str(tmp_path / "plain.mov")) as plain, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(plain.streams.video[0])
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                copy = av.Packet(png.read_bytes())
                copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
                copy.time_base, copy.stream = packet.time_base, stream
                out.mux(copy)
    shape, _, _ = _read_elsewhere(path)
    assert shape[0] == 3


def _write_with_channels(path, layout: str, codec: str) -> list[float]:
    """Write a clip of a second whose sound has a tone of its own in each channel; return the tones in Hz."""
    count = av.AudioLayout(layout).nb_channels
    tones = [400.0 + 200 * k for k in range(count)]
    seconds = np.arange(48000) / 48000
    samples = np.stack([np.sin(2 * np.pi * tone * seconds) for tone in tones]) / 4
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=5)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        track = out.add_stream(codec, rate=48000, layout=layout)
        for t, rgb in enumerate(picture(5)):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
            frame.pts = t
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        packed = (32000 * samples).astype(np.int16).T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, "s16", layout)
        frame.sample_rate, frame.pts = 48000, 0
        out.mux([*track.encode(frame), *track.encode(None)])
    return tones


# Layout tags of Core Audio: order of the places, and number of channels.
@pytest.mark.parametrize(
    "layout,tag,front_left", [("stereo", None, 0), ("7.1", 128 << 16 | 8, 0), ("6.1", 142 << 16 | 7, 1)]
)
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le"])
def test_sound_in_any_channel_order_is_kept(tmp_path, layout, tag, front_left, codec):
    """MOV has channel orders of its own, which FFmpeg reads as custom ones."""
    path = tmp_path / "a.mov"
    tones = _write_with_channels(path, layout, codec)
    if tag is not None:
        data = path.read_bytes()
        tag_and_flags = data.index(b"chan") + 8
        path.write_bytes(data[:tag_and_flags] + struct.pack(">II", tag, 0) + data[tag_and_flags + 8 :])
    shape, has_sound, notes = _read_elsewhere(path)
    assert (shape[0], has_sound, notes) == (5, True, [])
    audio = read_video(path).audio
    assert audio is not None
    (tmp_path / "sound.mp4").write_bytes(audio)
    with av.open(str(tmp_path / "sound.mp4")) as file:
        front_left_samples = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    spectrum = np.abs(np.fft.rfft(front_left_samples[:48000]))
    assert np.argmax([spectrum[int(tone)] for tone in tones]) == front_left
