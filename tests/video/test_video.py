"""Files in and out: what is kept, what is turned upright, and what is said of files that can't be read."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests.example_clips import picture, psnr, sound
from tests.example_clips import write as make
from tests.notes import expect_no_notes
from v2v.assets import SAMPLE
from v2v.errors import InputError, collect_notes
from v2v.video import video
from v2v.video.video import Video


def test_round_trip_keeps_pixels_timing_and_colour(tmp_path):
    frames = picture(T=12)
    Video.from_array(frames, fps=24).save(tmp_path / "a.mp4")
    back = video.read_video(tmp_path / "a.mp4")
    assert back.frames.shape == frames.shape and back.fps == 24 and back.audio is None
    np.testing.assert_allclose(back.times, np.arange(12) / 24, atol=1e-6)
    assert psnr(back.frames, frames) > 36
    assert np.abs((back.frames.astype(float) - frames).mean((0, 1, 2))).max() < 1  # no tint, no darkening
    assert back.colour == (1, 1, 1) and [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    with av.open(str(tmp_path / "a.mp4")) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.color_range) == ("h264", "yuv420p", 1)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # faststart


@pytest.mark.parametrize("size", [(360, 640), (144, 176)])
def test_what_is_not_edited_looks_the_same(tmp_path, size):
    """The sample clip, and a small noisy file of 4:2:0 as phones of old made them."""
    path = SAMPLE
    if size != (360, 640):
        noise = np.random.default_rng(0).normal(0, 4, (12, *size, 1))
        path = make(
            tmp_path / "in.mp4",
            np.clip(picture(12, *size) + noise, 0, 255).astype(np.uint8),
            codec_options={"crf": "4"},
        )
    clip = video.read_video(path)
    back = video.read_video(clip.save(tmp_path / "out.mp4"))
    assert clip.frames.shape[1:3] == size and psnr(back.frames, clip.frames) >= 40


def test_the_same_frames_give_the_same_bytes(tmp_path):
    """With other things in the memory that the encoder is given."""
    clip, contents, rng = Video.from_array(picture(9, 40, 56, 2)), set(), np.random.default_rng(0)
    for _ in range(12):
        memory = [np.full(rng.integers(1_000, 400_000), rng.integers(255), np.uint8) for _ in range(60)]
        del memory
        clip.save(tmp_path / "a.mp4")
        contents.add((tmp_path / "a.mp4").read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize("matrix", [1, 2, 6, 9])
def test_colour_description_travels(tmp_path, matrix):
    clip = Video.from_array(picture())
    clip.colour = (matrix, matrix if matrix != 2 else 2, 2)
    clip.save(tmp_path / "a.mp4")
    back = video.read_video(tmp_path / "a.mp4")
    assert back.colour == clip.colour and psnr(back.frames, clip.frames) > 36


@pytest.mark.parametrize("H,W", [(47, 64), (48, 63), (33, 31), (1, 1)])
def test_odd_sizes_come_back(tmp_path, H, W):
    frames = picture(T=3, H=H, W=W)
    Video.from_array(frames).save(tmp_path / "odd.mp4")
    back = video.read_video(tmp_path / "odd.mp4")
    assert back.frames.shape == frames.shape and psnr(back.frames, frames) > 30


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("hflip,vflip", [(False, False), (True, False), (False, True)])
def test_display_matrix_is_applied(tmp_path, degrees, hflip, vflip):
    """What a player shows: the stored picture turned anticlockwise, then mirrored."""
    frames = picture()
    make(tmp_path / "a.mp4", frames, rotation={"degrees": degrees, "hflip": hflip, "vflip": vflip})
    expected = np.rot90(frames, degrees // 90, axes=(1, 2))
    assert all(
        frame.flags.c_contiguous for frame in video.open_video(tmp_path / "a.mp4", lambda _: None).frames
    )
    expected = expected[:, :, ::-1] if hflip else expected
    expected = expected[:, ::-1] if vflip else expected
    if not (hflip or vflip):
        with av.open(str(tmp_path / "a.mp4")) as file:
            assert next(file.decode(video=0)).rotation % 360 == degrees
    back = video.read_video(tmp_path / "a.mp4").frames
    assert back.shape == expected.shape and psnr(back, expected) > 30


def test_variable_frame_rate_is_kept(tmp_path):
    ticks = [0, 40, 55, 120, 121, 300, 333, 500]
    make(tmp_path / "vfr.mkv", picture(), pts=ticks, time_base=Fraction(1, 1000))
    clip = video.read_video(tmp_path / "vfr.mkv")
    np.testing.assert_allclose(clip.times, np.array(ticks) / 1000, atol=1e-6)
    clip.save(tmp_path / "out.mp4")
    np.testing.assert_allclose(video.read_video(tmp_path / "out.mp4").times, clip.times, atol=2e-5)


def test_ntsc_rate_is_exact(tmp_path):
    clip = Video.from_array(picture(T=30), fps=30000 / 1001)
    back = video.read_video(clip.save(tmp_path / "a.mp4"))
    assert back.fps == pytest.approx(30000 / 1001, abs=1e-9)
    np.testing.assert_allclose(back.times, clip.times, atol=1e-9)
    assert back.duration == pytest.approx(30 * 1001 / 30000)


@pytest.mark.parametrize(
    "times,tail",
    [
        ([0, 0.1, 0.6, 0.8], 3.0),
        ([0, 2, 4], 0.04),
        ([0, 1500, 3000], 0.04),
        ([0, 1500, 3000], 1500),
        ([0, 0.3, 0.4, 1.1, 1.2, 1.9, 2.7], 1.0),
    ],
)
def test_the_last_frame_stays_as_long_as_in_the_source(tmp_path, times, tail):
    clip = Video.from_array(picture(len(times)))
    clip.times, clip.tail, clip.fps = np.array(times, float), tail, (len(times) - 1) / times[-1]
    back = video.read_video(clip.save(tmp_path / "a.mp4"))
    np.testing.assert_allclose(back.times, times, atol=2e-5)
    assert back.duration == pytest.approx(times[-1] + tail, abs=2e-5)
    with av.open(str(tmp_path / "a.mp4")) as file:
        stream = file.streams.video[0]
        assert file.duration == pytest.approx(1e6 * (times[-1] + tail), abs=1e3)
        assert float(stream.duration * stream.time_base) == pytest.approx(times[-1] + tail, abs=1e-3)


def test_rates_below_one_frame_per_second(tmp_path):
    for fps in (1 / 1500, 1 / 7200, 0.3):
        clip = Video.from_array(picture(4), fps=fps)
        back = video.read_video(clip.save(tmp_path / "a.mp4"))
        assert back.fps == pytest.approx(fps) and back.duration == pytest.approx(4 / fps)


def test_missing_frame_rate(tmp_path):
    """A bare H.264 stream carries no times."""
    make(tmp_path / "bare.h264", picture(), codec="libx264")
    clip = video.read_video(tmp_path / "bare.h264")
    assert len(clip.frames) == 8 and np.all(np.diff(clip.times) > 0) and 1 < clip.fps < 100


@pytest.mark.parametrize(
    "name,codec,pix_fmt",
    [
        ("grey.mkv", "ffv1", "gray"),
        ("ten.mkv", "libx265", "yuv420p10le"),
        ("ten422.mkv", "ffv1", "yuv422p10le"),
        ("alpha.mkv", "ffv1", "yuva420p"),
        ("rgb.avi", "ffv1", "bgr0"),
        ("full.avi", "mjpeg", "yuvj420p"),
        ("web.webm", "libvpx-vp9", "yuv420p"),
        ("old.mpg", "mpeg2video", "yuv420p"),
        ("444.mp4", "libx264", "yuv444p"),
    ],
)
def test_formats(tmp_path, name, codec, pix_fmt):
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    frames = picture()
    options = (
        {"x265-params": "log-level=none"}
        if codec == "libx265"
        else {"qscale": "2"}
        if codec == "mjpeg"
        else {}
    )
    make(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt, codec_options=options)
    clip = video.read_video(tmp_path / name)
    if pix_fmt == "gray":
        frames = np.repeat(clip.frames[..., :1], 3, -1)
    assert clip.frames.shape == frames.shape and psnr(clip.frames, frames) > 24
    back = video.read_video(clip.save(tmp_path / "out.mp4"))
    assert psnr(back.frames, clip.frames) > 36
    np.testing.assert_allclose(back.times, clip.times, atol=2e-5)


@pytest.mark.parametrize(
    "name,codec",
    [("a.mp4", "aac"), ("a.mkv", "libopus"), ("a.mkv", "pcm_s16le"), ("a.mov", "ac3"), ("a.ts", "aac")],
)
def test_sound_is_kept_in_sync(tmp_path, name, codec):
    make(tmp_path / name, picture(T=25), tones=(440,), audio_codec=codec, audio_start=0.2)
    clip = video.read_video(tmp_path / name)
    clip.save(tmp_path / "out.mp4")
    (samples_in, start_in), (samples_out, start_out) = sound(tmp_path / name), sound(tmp_path / "out.mp4")
    assert len(video.read_video(tmp_path / "out.mp4").frames) == 25

    def onset(samples, offset):
        loud = np.abs(samples.astype(np.float64)) > 0.2 * np.abs(samples).max()
        return offset + np.argmax(loud) / 48000

    with av.open(str(tmp_path / name)) as file:
        shift = file.streams.video[0].start_time * file.streams.video[0].time_base
    assert onset(samples_out, start_out) == pytest.approx(
        onset(samples_in, start_in) - float(shift), abs=0.03
    )
    assert len(samples_out) == pytest.approx(len(samples_in), abs=4096)


def test_every_track_is_kept(tmp_path):
    make(tmp_path / "two.mkv", picture(), tones=(440, 880))
    out = video.read_video(video.read_video(tmp_path / "two.mkv").save(tmp_path / "out.mp4"))
    with av.open(str(out.path)) as file:
        assert len(file.streams.audio) == 2


@pytest.mark.parametrize("name,codec", [("two.mkv", "aac"), ("two.mkv", "pcm_s16le"), ("two.mp4", "aac")])
def test_tracks_keep_language_title_and_default(tmp_path, name, codec):
    make(tmp_path / "plain.mkv", picture(), tones=(440, 880), audio_codec=codec)
    with av.open(str(tmp_path / "plain.mkv")) as plain, av.open(str(tmp_path / name), "w") as tagged:
        targets = [tagged.add_stream_from_template(stream) for stream in plain.streams]
        german, japanese = targets[1:]
        german.metadata.update(language="deu")
        japanese.metadata.update(language="jpn", title="Commentary")
        german.disposition, japanese.disposition = Disposition(0), Disposition.default
        for packet in plain.demux():
            if packet.size:
                packet.stream = targets[packet.stream.index]
                tagged.mux(packet)
    video.read_video(tmp_path / name).save(tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as file:
        first, second = file.streams.audio
        assert (first.language, second.language) == ("deu", "jpn")
        assert second.metadata["name"] == "Commentary" and "name" not in first.metadata
        assert (first.disposition & Disposition.default, second.disposition & Disposition.default) == (
            0,
            Disposition.default,
        )


def test_stills(tmp_path):
    frames = picture(T=1)
    Video.from_array(frames[0]).save(tmp_path / "a.png")
    clip = video.read_video(tmp_path / "a.png")
    np.testing.assert_array_equal(clip.frames, frames)
    assert psnr(video.read_video(clip.save(tmp_path / "a.jpg")).frames, frames) > 30
    assert len(video.read_video(clip.save(tmp_path / "a.mp4")).frames) == 1
    with pytest.raises(InputError, match="one frame"):
        Video.from_array(picture()).save(tmp_path / "b.png")


def test_anamorphic_pixels(tmp_path):
    clip = Video.from_array(picture())
    clip.pixel_aspect = Fraction(64, 45)
    assert video.read_video(clip.save(tmp_path / "a.mp4")).pixel_aspect == Fraction(64, 45)


def _text(path):
    path.write_text("hello, this is no video\n" * 50)


def _empty(path):
    path.touch()


def _cut(path, options=None):
    make(path, picture(T=30, seed=3), container_options=options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def _cut_faststart(path):
    _cut(path, {"movflags": "+faststart"})


def _sound_only(path):
    with av.open(str(path), "w") as out:
        track = out.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        out.mux([*track.encode(frame), *track.encode(None)])


def _zero_frames(path):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.start_encoding()


@pytest.mark.parametrize("make_bad", [_text, _empty, _cut, _cut_faststart, _sound_only, _zero_frames])
def test_bad_files_are_named_in_one_line(tmp_path, make_bad):
    path = tmp_path / "bad.mp4"
    make_bad(path)
    with pytest.raises(InputError) as caught:
        video.read_video(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_and_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        video.read_video(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="folder"):
        video.read_video(tmp_path)


@pytest.mark.parametrize("name", ["", "none/out.mp4", "out.txt", "out", "dir.mp4", "file/out.mp4", "a\0.mp4"])
def test_bad_outputs(tmp_path, name):
    (tmp_path / "dir.mp4").mkdir()
    (tmp_path / "file").touch()
    entries = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError):
        Video.from_array(picture()).save(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == entries


@pytest.mark.parametrize(
    "name", ["12:30.mp4", "pipe:1.mp4", "file:a.mp4", "a%03d.mp4", "caf\udce9.mp4", "a#b?.mp4"]
)
def test_names_that_ffmpeg_would_parse(tmp_path, monkeypatch, name):
    """A colon is no protocol, and the file is the one that was named; relative, as protocols come first."""
    monkeypatch.chdir(tmp_path)
    Video.from_array(picture()).save(name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failed_write_leaves_nothing(tmp_path):
    clip = Video.from_array(picture())
    clip.audio = b"no audio file"
    with pytest.raises(InputError, match="can't be written"):
        clip.save(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3)), np.zeros((0, 8, 8, 3), np.uint8)]
)
def test_bad_arrays(bad):
    with pytest.raises(InputError, match="expected uint8"):
        Video.from_array(bad)


def test_reading_warns_of_nothing(tmp_path):
    make(tmp_path / "a.mp4", picture(), tones=(440,))
    with expect_no_notes():
        video.read_video(tmp_path / "a.mp4").save(tmp_path / "b.mp4")


@pytest.mark.parametrize("orientation,turns", [(3, 2), (6, 3), (8, 1)])
def test_photographs_are_turned_upright(tmp_path, orientation, turns):
    """EXIF orientation, as phones write it into the pictures people use as references."""
    frame = picture(T=1)[0]
    Video.from_array(frame).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    entry = struct.pack("<HHHII", 1, 0x112, 3, 1, orientation)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + entry + bytes(4)
    (tmp_path / "b.jpg").write_bytes(
        data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    )
    assert psnr(video.read_video(tmp_path / "b.jpg").frames[0], np.rot90(frame, turns)) > 30


def test_damaged_files_are_read_or_refused(tmp_path):
    """Whatever is broken in a file, the answer is a clip or one line."""
    make(tmp_path / "a.mp4", picture(T=12), tones=(440,))
    data = np.frombuffer((tmp_path / "a.mp4").read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(25):
        broken = data.copy()
        broken[rng.integers(0, len(data), 20)] = rng.integers(0, 256, 20)
        (tmp_path / "b.mp4").write_bytes(broken.tobytes())
        with collect_notes():
            try:
                assert len(video.read_video(tmp_path / "b.mp4").frames)
            except InputError as error:
                assert "\n" not in str(error)


def test_a_clip_is_described_and_shown_in_a_notebook():
    clip = Video.from_array(np.zeros((5, 48, 64, 3), np.uint8), 25)
    assert repr(clip) == "Video(5 frames, 64x48, 25 fps, 0.20 s, no sound)"
    page = clip._repr_html_()
    assert 'src="data:video/mp4;base64,' in page and repr(clip) in page


def test_channels_first_are_told_apart():
    with pytest.raises(InputError, match="channels first; transpose"):
        Video.from_array(np.zeros((5, 3, 48, 64), np.uint8))
