"""Files that others made: odd pictures, streams, sound and clocks, each read right or refused in one line."""

import json
import os
import re
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import ColorRange

from tests.example_clips import picture, psnr, sound, write
from tests.notes import expect_no_notes
from v2v.errors import InputError, collect_notes
from v2v.evaluation.metrics.clips import Clip
from v2v.video import streams
from v2v.video.decoder import StreamInfo, iterate_frames
from v2v.video.video import Video, open_video, read_video

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


def _exif(orientation: int, order: str) -> bytes:
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    return head + struct.pack(order + "HHHIHH", 1, 0x112, 3, 1, orientation, 0) + bytes(4)


def _write_photo(path, frame, exif: bytes) -> None:
    """Write a picture with EXIF data, of which a TIFF takes the orientation alone."""
    _, encoded = cv2.imencode(path.suffix, frame[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])
    data = encoded.tobytes()
    if path.suffix == ".jpg":
        segment = b"Exif\0\0" + exif
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    elif path.suffix == ".png":
        data = _add_chunk(data, b"eXIf", exif)
    elif path.suffix == ".webp":
        height, width = frame.shape[:2]
        canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks = [(b"VP8X", b"\x08\0\0\0" + canvas), (b"EXIF", exif)]
        packed = [kind + struct.pack("<I", len(body)) + body for kind, body in chunks]
        body = b"WEBP" + packed[0] + data[12:] + packed[1]
        data = b"RIFF" + struct.pack("<I", len(body)) + body
    elif path.suffix == ".tif":
        data = _tiff(frame, exif[18])
    path.write_bytes(data)


def _tiff(frame, orientation: int) -> bytes:
    """Return a plain TIFF: sizes, bits, no compression, RGB, place of the pixels, orientation, channels, rows."""
    height, width = frame.shape[:2]
    numbers = {
        256: width,
        257: height,
        258: 8,
        259: 1,
        262: 2,
        273: 200,
        274: orientation,
        277: 3,
        278: height,
        279: frame.size,
    }
    entries = [
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, number) for tag, number in numbers.items()
    ]
    # Three numbers don't fit an entry: bits for each channel lie elsewhere.
    entries[2] = struct.pack("<HHII", 258, 3, 3, 190)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(entries)
    return head.ljust(190, b"\0") + struct.pack("<HHH", 8, 8, 8).ljust(10, b"\0") + frame.tobytes()


UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, 3),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    "suffix,order", [(".jpg", "<"), (".jpg", ">"), (".png", ">"), (".webp", "<"), (".tif", "<")]
)
def test_photographs_are_turned_and_mirrored(tmp_path, suffix, order, orientation):
    """What EXIF asks for, as cameras write it and as other programs show it."""
    frame, path = picture(1)[0], tmp_path / f"a{suffix}"
    _write_photo(path, frame, _exif(orientation, order))
    assert psnr(read_video(path).frames[0], UPRIGHT[orientation](frame)) > 30


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.skipif(not hasattr(cv2, "imwriteWithMetadata"), reason="this OpenCV writes no metadata")
def test_turned_avif_with_exif(tmp_path, orientation):
    """The boxes of the file turn it; the EXIF beside them, which says the same, isn't applied on top."""
    frame, path = picture(1)[0], tmp_path / "a.avif"
    exif = np.frombuffer(_exif(orientation, "<"), np.uint8)
    try:
        cv2.imwriteWithMetadata(str(path), frame[..., ::-1], [cv2.IMAGE_METADATA_EXIF], [exif])
    except cv2.error:
        pytest.skip("this OpenCV writes no AVIF")
    assert psnr(read_video(path).frames[0], UPRIGHT[orientation](frame)) > 30


@pytest.mark.parametrize("exif", [b"", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"II*\0\x08\0\0\0\xff\xff", b"XX"])
def test_damaged_exif_is_ignored(tmp_path, exif):
    frame, path = picture(1)[0], tmp_path / "a.jpg"
    _write_photo(path, frame, exif)
    assert psnr(read_video(path).frames[0], frame) > 30


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


def _write_streams(path, clips, is_default, codec="libx264", **options) -> None:
    """Write several video streams; `is_default` marks those that players show."""
    with av.open(str(path), "w", **options) as out:
        streams = []
        for frames, default in zip(clips, is_default, strict=True):
            stream = out.add_stream(codec, rate=25)
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
            stream.disposition = Disposition.default if default else Disposition(0)
            streams.append(stream)
        for stream, frames in zip(streams, clips, strict=True):
            for t, rgb in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
                frame.pts = t
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_stream_is_read(tmp_path, default):
    clips = [picture(4, 32, 32), picture(6, 48, 64)]
    _write_streams(tmp_path / "a.mkv", clips, [k == default for k in range(2)])
    frames = read_video(tmp_path / "a.mkv").frames
    assert frames.shape == clips[default].shape and psnr(frames, clips[default]) > 30
    assert Clip(tmp_path / "a.mkv").size == clips[default].shape[1:3]


needs_av1 = pytest.mark.skipif("libsvtav1" not in av.codecs_available, reason="no encoder of AV1")


@needs_av1
def test_of_a_picture_and_a_track_the_track_is_read(tmp_path):
    """Animated AVIF: the first frame is also there as a still."""
    frames = picture(4, 64, 64)
    _write_streams(tmp_path / "a.avif", [frames], [True], codec="libsvtav1")
    assert len(read_video(tmp_path / "a.avif").frames) == 4


def _join(path, *starts: int) -> None:
    """Write recordings of a second, one behind the other, whose clocks start at these seconds; each has a higher tone."""
    parts = []
    for number, start in enumerate(starts):
        part = path.with_name(f"part{number}.ts")
        pts = [90000 * start + 3600 * t for t in range(25)]
        write(
            part,
            picture(25),
            pts=pts,
            time_base=Fraction(1, 90000),
            tones=(400 + 400 * number,),
            audio_start=start,
            codec_options={"g": "25"},
        )
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))


@pytest.mark.parametrize("starts", [(10, 4), (10, 10), (10, 50_000), (10, 50_000, 3), (10, 11)])
def test_clocks_that_jump_are_joined(tmp_path, starts):
    _join(tmp_path / "a.ts", *starts)
    with collect_notes() as notes:
        clip = read_video(tmp_path / "a.ts")
    assert len(clip.frames) == 25 * len(starts) and clip.duration == pytest.approx(len(starts), abs=0.05)
    assert len(notes) == (0 if starts == (10, 11) else 1)
    assert not notes or re.search(
        r"a\.ts: its clock jumps (2 times, first )?by [-+][0-9.]+ s near (0\.9|1\.0)", notes[0]
    )
    out = clip.save(tmp_path / "out.mp4")
    samples, start = sound(out)
    assert len(samples) / 48000 == pytest.approx(len(starts), abs=0.15)
    for number in range(len(starts)):
        first = round((number + 0.25 - start) * 48000)
        spectrum = np.abs(np.fft.rfft(samples[first : first + 24000]))
        assert 2 * np.argmax(spectrum) == pytest.approx(400 + 400 * number, abs=4)


def test_a_gap_in_the_sound_alone_is_no_jump_of_the_clock(tmp_path):
    """An interrupted microphone: the sound goes on where the picture is."""
    write(tmp_path / "long.ts", picture(25 * 14, 16, 16), tones=(440,))
    with av.open(str(tmp_path / "long.ts")) as source, av.open(str(tmp_path / "a.ts"), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            seconds = float(packet.dts * packet.time_base) - 1.4
            if packet.stream.type == "audio" and 1 < seconds < 12.5:
                continue
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    with expect_no_notes():
        clip = read_video(tmp_path / "a.ts")
    assert clip.duration == pytest.approx(14, abs=0.05)
    (tmp_path / "sound.mp4").write_bytes(clip.audio)
    with av.open(str(tmp_path / "sound.mp4")) as file:
        assert max(frame.time for frame in file.decode(audio=0)) == pytest.approx(14, abs=0.2)


def test_long_pauses_of_slides_are_kept(tmp_path):
    pts = [0, 20_000, 1_500_000]
    write(tmp_path / "a.mkv", picture(3), pts=pts, time_base=Fraction(1, 1000))
    with expect_no_notes():
        clip = read_video(tmp_path / "a.mkv")
    np.testing.assert_allclose(clip.times, np.array(pts) / 1000)


@pytest.mark.parametrize("name", ["12:30.mp4", "concat:a.mp4", "a%03d.mp4", "10%.mp4"])
def test_names_that_ffmpeg_would_parse(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write("plain.mp4", picture(4))
    os.rename("plain.mp4", name)
    assert read_video(name).frames.shape == (4, 48, 64, 3) and Clip(Path(name)).length == 4


@pytest.mark.parametrize("name", ["img%03d.png", "%d/img.png", "100%.png"])
def test_a_picture_named_like_a_pattern_is_itself(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    frame = picture(1)[0]
    for other in ("img001.png", "img002.png"):
        Video.from_array(255 - frame).save(other)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(cv2.imencode(".png", frame[..., ::-1])[1].tobytes())
    np.testing.assert_array_equal(read_video(name).frames, frame[None])


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("is_limited", [False, True])
def test_gray_of_limited_range(tmp_path, bits, is_limited):
    """Monochrome clips of cameras: black is level 16, white 235."""
    pix_fmt, scale = ("gray", 1) if bits == 8 else ("gray10le", 4)
    levels = np.linspace(16, 235, 64).round().astype(np.uint16) * scale
    stored = np.repeat(levels[None], 48, 0)
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        color_range = ColorRange.MPEG if is_limited else ColorRange.JPEG
        stream.codec_context.color_range = color_range
        frame = av.VideoFrame.from_ndarray(stored if bits == 10 else stored.astype(np.uint8), format=pix_fmt)
        frame.pts, frame.color_range = 0, color_range
        out.mux([*stream.encode(frame), *stream.encode(None)])
    clip = read_video(tmp_path / "a.mkv")
    shown = (levels / scale - 16) * 255 / 219 if is_limited else levels / (2**bits - 1) * 255
    assert np.abs(clip.frames[0, 0, :, 0] - shown).max() <= (0.51 if bits == 8 else 1.3)
    assert np.ptp(clip.frames, -1).max() == 0
    with av.open(str(clip.save(tmp_path / "b.mp4"))) as file:
        written = next(file.decode(video=0)).to_ndarray(format="yuv420p")[0, :64]
    assert (
        np.abs(written.astype(float) - (levels / scale if is_limited else 16 + shown * 219 / 255)).max() <= 4
    )


@pytest.mark.parametrize("matrix,name", [(8, "YCgCo"), (10, "constant luminance"), (14, "ICtCp")])
def test_colors_that_cant_be_converted_are_named(tmp_path, matrix, name):
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace = matrix
        frame = av.VideoFrame.from_ndarray(picture(1)[0], format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.colorspace = 0, matrix
        out.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(InputError, match=rf"a\.mp4: its colors are coded as .*{name}.*convert it to BT\.709"):
        read_video(tmp_path / "a.mp4")


def test_animated_webp_is_named(tmp_path):
    _, encoded = cv2.imencode(".webp", picture(1)[0], [cv2.IMWRITE_WEBP_QUALITY, 101])
    still = encoded.tobytes()[12:]
    canvas = (63).to_bytes(3, "little") + (47).to_bytes(3, "little")
    frame = bytes(6) + canvas + (100).to_bytes(3, "little") + b"\0" + still
    chunks = [(b"VP8X", b"\2\0\0\0" + canvas), (b"ANIM", bytes(6)), (b"ANMF", frame), (b"ANMF", frame)]
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    (tmp_path / "a.webp").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    with (
        collect_notes() as notes,
        pytest.raises(InputError, match="animated WebP.* save it as GIF, APNG or MP4"),
    ):
        read_video(tmp_path / "a.webp")
    assert not notes


def test_sizes_that_change_are_noted_once(tmp_path):
    for number, (height, width) in enumerate([(48, 64), (64, 64)]):
        pts = [90000 + 3600 * (5 * number + t) for t in range(5)]
        write(tmp_path / f"{number}.ts", picture(5, height, width), pts=pts, time_base=Fraction(1, 90000))
    (tmp_path / "a.ts").write_bytes(b"".join((tmp_path / f"{k}.ts").read_bytes() for k in range(2)))
    with collect_notes() as notes:
        clip = open_video(tmp_path / "a.ts", lambda frame: None)
        assert clip.frames.shape == (10, 48, 64, 3) and len(list(clip.frames)) == 10
    assert len(notes) == 1 and "changes from 64x48 to 64x64 near 0.20 s" in notes[0]


@pytest.mark.parametrize("alpha,count", [(255, 0), (254, 1)])
def test_transparency_is_noted(tmp_path, alpha, count):
    """An alpha channel that is opaque, as screenshots have, is no news."""
    stored = np.concatenate([picture(1)[0], np.full((48, 64, 1), 255, np.uint8)], -1)
    stored[3, 4, 3] = alpha
    cv2.imwrite(str(tmp_path / "a.png"), stored)
    with collect_notes() as notes:
        read_video(tmp_path / "a.png")
    assert len(notes) == count and all("transparency isn't kept" in text for text in notes)


@pytest.mark.parametrize(
    "name,codec", [("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4"), ("a.flv", "flv1")]
)
def test_a_clip_cut_short_is_noted(tmp_path, name, codec):
    path = tmp_path / name
    write(path, picture(100), codec=codec, codec_options={"g": "25"})
    with expect_no_notes():
        assert len(read_video(path).frames) == 100
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with collect_notes() as notes:
        assert len(read_video(path).frames) < 90
    matches = [re.search(r"says (\d\.\d+) s, but ends after \d\.\d+ s", text) for text in notes]
    assert any(match and float(match[1]) > 3.9 for match in matches), notes


def test_sizes_in_comments_are_numbers_of_sizes(tmp_path):
    """A comment with a number that is none is a comment."""
    clip = Video.from_array(picture(2))
    clip.metadata.tags["comment"] = f"v2v size {'9' * 5000}x48"
    assert read_video(clip.save(tmp_path / "a.mkv")).frames.shape == clip.frames.shape


def test_memory_follows_from_frames_not_from_promises(tmp_path):
    """A damaged header counts 2 billion frames."""
    path = tmp_path / "a.avi"
    write(path, picture(5), codec="mpeg4")
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, (1 << 31) - 1)
    path.write_bytes(data)
    with collect_notes() as notes:
        assert len(read_video(path).frames) == 5
    assert len(notes) == 1 and "ends after 0.20 s" in notes[0]


def test_matroska_s_duration_makes_room_for_frames(tmp_path, monkeypatch):
    """Its streams tell none, and a clip that is copied as it grows takes longer than its decoding. Much room isn't taken on its word."""
    write(tmp_path / "a.mkv", picture(5))
    with av.open(str(tmp_path / "a.mkv")) as container:
        stream = container.streams.video[0]
        assert streams.estimate_frame_count(stream) == 0 and streams.estimate_room(stream) == 5
        monkeypatch.setattr(streams, "ROOM_BYTES", 2 * 3 * stream.width * stream.height)
        assert streams.estimate_room(stream) == 2


def test_rates_that_are_clocks(tmp_path):
    """FFmpeg takes the unit of DV's clock for its rate, which would make of 3 frames several thousand."""
    write(tmp_path / "a.dv", picture(3, 576, 720), codec="dvvideo")
    info = StreamInfo()
    frames = iterate_frames(tmp_path / "a.dv", info)
    next(frames)
    assert info.frame_count == 4
    assert len([*frames]) == 2 and info.fps == pytest.approx(25)


def test_of_an_icon_the_largest_picture_is_read(tmp_path):
    sizes = (16, 48, 32)
    pictures = [cv2.imencode(".png", picture(1, size, size)[0])[1].tobytes() for size in sizes]
    offsets = [6 + 16 * len(sizes) + sum(map(len, pictures[:k])) for k in range(len(sizes))]
    entries = [
        struct.pack("<BBBBHHII", size, size, 0, 0, 1, 24, len(data), offset)
        for size, data, offset in zip(sizes, pictures, offsets, strict=True)
    ]
    (tmp_path / "a.ico").write_bytes(b"".join([struct.pack("<HHH", 0, 1, len(sizes)), *entries, *pictures]))
    clip = read_video(tmp_path / "a.ico")
    assert clip.frames.shape == (1, 48, 48, 3) and clip.fps == 25


def test_gray_with_alpha_has_the_colours_of_pictures(tmp_path):
    """FFmpeg calls its matrix that of RGB, by which no Y'CbCr can be written."""
    path, levels = tmp_path / "a.png", np.full((48, 64, 2), (90, 255), np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 4, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    clip = read_video(path)
    assert clip.colour == (1, 1, 1) and np.all(clip.frames == 90)


def test_interlacing_is_named(tmp_path):
    write(
        tmp_path / "a.mp4", picture(4, 96, 96), codec_options={"flags": "+ilme+ildct", "x264-params": "tff=1"}
    )
    with collect_notes() as notes:
        read_video(tmp_path / "a.mp4").save(tmp_path / "b.mp4")
    assert len(notes) == 1 and "can't keep interlacing" in notes[0]


@pytest.mark.parametrize("name", ["a.mkv", "a.avi"])
def test_sound_longer_than_the_picture_is_no_cut(tmp_path, name):
    write(tmp_path / name, picture(10), codec="mpeg4", tones=(440,), audio_codec="pcm_s16le")
    with av.open(str(tmp_path / name)) as source, av.open(str(tmp_path / f"b{name}"), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is None or (packet.stream.type == "video" and packet.dts * packet.time_base > 0.2):
                continue
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    with expect_no_notes():
        assert len(read_video(tmp_path / f"b{name}").frames) < 10
