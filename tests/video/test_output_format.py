"""Containers, codecs and qualities of written clips, and what is said of those that don't go together."""

import av
import cv2
import numpy as np
import pytest

from tests.example_clips import picture, psnr
from tests.example_clips import write as make
from v2v.errors import InputError, collect_notes
from v2v.video import video
from v2v.video.output_format import CODECS, CONTAINERS, OutputFormat

FORMATS = [
    (suffix, codec, pix_fmt)
    for suffix, codecs in CONTAINERS.items()
    for codec in codecs
    for pix_fmt in CODECS[codec].pix_fmts
]
# What decoders call the formats that were encoded.
DECODED_NAMES = {"pal8": "bgra", ("prores", "yuv444p10le"): "yuv444p12le"}


@pytest.mark.parametrize("suffix,codec,pix_fmt", FORMATS)
def test_every_container_and_codec(tmp_path, suffix, codec, pix_fmt):
    """An odd size and times that vary come back."""
    clip = video.Video.from_array(picture(8, 81, 95))
    clip.times, clip.tail, clip.fps = np.array([0, 0.1, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]), 0.5, 7.0
    path = clip.save(tmp_path / f"a{suffix}", codec=codec, pix_fmt=pix_fmt)
    back = video.read_video(path)
    assert back.frames.shape == clip.frames.shape and psnr(back.frames, clip.frames) > 38
    np.testing.assert_allclose(back.times, clip.times, atol=1e-3)
    assert back.duration == pytest.approx(1.5, abs=2e-3)
    with av.open(str(path)) as file:
        context = file.streams.video[0].codec_context
        name = DECODED_NAMES.get(pix_fmt) or DECODED_NAMES.get((codec, pix_fmt), pix_fmt)
        assert context.pix_fmt == name
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9])
def test_clips_of_a_few_frames(tmp_path, count):
    """The encoder of HEVC gives arbitrary times to clips of fewer frames than it delays, which MP4 can't hold."""
    clip = video.Video.from_array(picture(count, 80, 80))
    for number in range(3):
        back = video.read_video(clip.save(tmp_path / f"{number}.mp4", codec="hevc", crf=30))
        np.testing.assert_allclose(back.times, clip.times, atol=1e-3)


def test_ffv1_is_lossless(tmp_path):
    clip = video.Video.from_array(np.random.default_rng(0).integers(0, 256, (3, 47, 63, 3), np.uint8))
    back = video.read_video(clip.save(tmp_path / "a.mkv", codec="ffv1"))
    np.testing.assert_array_equal(back.frames, clip.frames)


@pytest.mark.parametrize(
    "suffix,codec", [(".mp4", "hevc"), (".mp4", "av1"), (".webm", "vp9"), (".mp4", "h264")]
)
def test_quality_and_crf(tmp_path, suffix, codec):
    rng = np.random.default_rng(0)
    noisy = np.clip(picture(8, 96, 128) + rng.normal(0, 6, (8, 96, 128, 1)), 0, 255).astype(np.uint8)
    clip = video.Video.from_array(noisy)
    sizes = [
        clip.save(tmp_path / f"a{suffix}", codec=codec, **settings).stat().st_size
        for settings in (
            {"crf": 5},
            {},
            {"quality": "high"},
            {"quality": "medium"},
            {"quality": "low"},
            {"crf": 51},
        )
    ]
    assert sizes[0] > sizes[1] == sizes[2] > sizes[3] > sizes[4] > sizes[5]


@pytest.mark.parametrize(
    "suffix,codec", [(".webm", "opus"), (".mov", "aac"), (".mkv", "aac"), (".mp4", "aac")]
)
@pytest.mark.parametrize("source", ["aac", "libopus"])
def test_sound_is_encoded_where_the_container_needs_it(tmp_path, suffix, codec, source):
    make(tmp_path / "in.mkv", picture(25, 48, 64), tones=(440, 880), audio_codec=source)
    clip = video.read_video(tmp_path / "in.mkv")
    clip.times -= clip.times[0]
    path = clip.save(tmp_path / f"out{suffix}")
    np.testing.assert_allclose(video.read_video(path).times, clip.times, atol=8e-3)
    with av.open(str(path)) as file:
        codecs = [stream.codec.canonical_name for stream in file.streams.audio]
        seconds = file.duration / 1e6
    is_copied = suffix in (".mkv", ".mp4")
    assert codecs == 2 * [source.removeprefix("lib") if is_copied else codec]
    assert seconds == pytest.approx(1.0, abs=0.05)


def test_gif_names_what_it_loses(tmp_path):
    make(tmp_path / "in.mp4", picture(), tones=(440,))
    with collect_notes() as notes:
        video.read_video(tmp_path / "in.mp4").save(tmp_path / "out.gif")
    assert len(notes) == 1 and notes[0].endswith("can't keep the sound in .gif")


def test_times_that_gif_cannot_hold(tmp_path):
    with pytest.raises(InputError, match=r"a frame for 655\.35 s at most, the clip one for 1500 s"):
        video.Video.from_array(picture(2), 1 / 1500).save(tmp_path / "a.gif")
    with collect_notes() as notes:
        video.Video.from_array(picture(6), 60).save(tmp_path / "a.gif")
    assert len(notes) == 1 and "at least 0.02 s" in notes[0]
    with collect_notes() as notes:
        video.Video.from_array(picture(6), 50).save(tmp_path / "b.gif")
    assert not notes


def test_a_folder_of_frames(tmp_path):
    frames = picture(12)
    clip = video.Video.from_array(frames)
    assert clip.save(tmp_path / "out", codec="png") == tmp_path / "out"
    names = [f"frame_{n:06d}.png" for n in range(1, 13)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out" / names[4]))[..., ::-1], frames[4])
    # A shorter clip leaves none of the longer one's frames.
    video.Video.from_array(frames[:3]).save(tmp_path / "out", codec="png")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names[:3]
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(InputError, match=r"got one with mine\.txt"):
        clip.save(tmp_path / "out", codec="png")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="folder of frames, got a file"):
        clip.save(tmp_path / "file", codec="png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out"]


@pytest.mark.parametrize(
    "colour,codec,suffix,pix_fmt",
    [
        ((9, 9, 16), "hevc", ".mp4", "yuv420p10le"),
        ((9, 9, 18), "av1", ".mkv", "yuv420p10le"),
        ((9, 9, 16), "h264", ".mov", "yuv420p"),
        ((9, 9, 18), "vp9", ".webm", "yuv420p"),
        ((9, 9, 16), "prores", ".mov", "yuv422p10le"),
        ((1, 1, 1), "hevc", ".mp4", "yuv420p"),
    ],
)
def test_colours_of_hdr_are_tagged(tmp_path, colour, codec, suffix, pix_fmt):
    clip = video.Video.from_array(picture(4, 96, 128))
    clip.colour = colour
    path = clip.save(tmp_path / f"a{suffix}", codec=codec)
    assert video.read_video(path).colour == colour
    with av.open(str(path)) as file:
        context = file.streams.video[0].codec_context
        assert context.pix_fmt == pix_fmt and context.color_trc == colour[2]


def test_what_is_lost_of_hdr_is_named_in_one_note(tmp_path):
    options = {
        "x265-params": "log-level=none:colorprim=9:transfer=16:colormatrix=9:max-cll=1000,400:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    }
    make(
        tmp_path / "in.mkv",
        picture(3, 96, 128),
        codec="libx265",
        pix_fmt="yuv420p10le",
        codec_options=options,
    )
    clip = video.read_video(tmp_path / "in.mkv")
    with collect_notes() as notes:
        back = video.read_video(clip.save(tmp_path / "out.mp4", codec="hevc"))
    assert clip.colour == back.colour == (9, 9, 16)
    (note,) = notes
    assert note.endswith(
        "can't keep 10 bits a color (frames are edited with 8), the mastering display's HDR metadata, the content light level in .mp4"
    )


def test_pictures_of_hdr(tmp_path):
    clip = video.Video.from_array(picture(1))
    clip.colour = (9, 9, 16)
    data = clip.save(tmp_path / "a.png").read_bytes()
    assert data[data.index(b"cICP") + 4 :][:4] == bytes([9, 16, 0, 1])
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], clip.frames[0])
    with collect_notes() as notes:
        clip.save(tmp_path / "a.jpg")
    assert len(notes) == 1 and notes[0].endswith("can't keep the colors of BT.2020 PQ in .jpg")


@pytest.mark.parametrize(
    "name,settings,message",
    [
        (
            "a.webm",
            {"codec": "h264"},
            ".webm holds vp9, av1, not h264; for h264 use .mp4 or .m4v or .mov or .mkv",
        ),
        ("a.mp4", {"codec": "prores"}, "for prores use .mov or .mkv"),
        ("a.mp4", {"codec": "png"}, "for png use a folder's name"),
        ("a.mp4", {"codec": "vhs"}, "codec: expected one of h264, hevc"),
        ("a.mp4", {"quality": "best"}, "quality: expected one of high, medium, low"),
        ("a.mp4", {"crf": 60}, "the crf of h264 is 0 (best) to 51, got 60"),
        ("a.mp4", {"crf": -1}, "crf: expected 0 (best)"),
        ("a.mp4", {"crf": "12"}, "crf: expected 0 (best)"),
        ("a.mp4", {"crf": 12, "quality": "low"}, "got both"),
        ("a.mkv", {"codec": "ffv1", "crf": 12}, "ffv1 has no quality to choose"),
        ("a.gif", {"quality": "low"}, "gif has no quality to choose"),
        ("a.mp4", {"pix_fmt": "yuv9"}, "pix_fmt: expected one of bgr0"),
        ("a.webm", {"pix_fmt": "yuv420p10le"}, "pix_fmt of vp9 is one of yuv420p"),
        ("a.png", {"crf": 12}, "those of clips"),
        ("a.png", {"quality": "low"}, "PNG is lossless"),
        ("a.jpg", {"codec": "hevc"}, "a still is no hevc; use .mp4 or .mov or .mkv"),
        ("a.avi", {"codec": "h264"}, "expected to end in one of .mp4, .m4v, .mov, .mkv, .webm, .gif, .png"),
        ("a", {}, "expected to end in one of"),
        ("a.mp4", {"codec": "hevc"}, "hevc takes frames from 80x80 on, got 64x48"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, name, settings, message):
    with pytest.raises(InputError) as caught:
        video.Video.from_array(picture(1)).save(tmp_path / name, **settings)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_quality_of_jpeg(tmp_path):
    clip = video.Video.from_array(picture(1))
    sizes = [clip.save(tmp_path / "a.jpg", quality=q).stat().st_size for q in ("high", "medium", "low")]
    assert sizes == sorted(sizes, reverse=True)


def test_endings_of_outputs_without_a_name():
    endings = [OutputFormat(codec).suffix for codec in (None, "hevc", "vp9", "prores", "ffv1", "gif", "png")]
    assert endings == [".mp4", ".mp4", ".webm", ".mov", ".mkv", ".gif", ""]
