"""Tags, timecode, chapters and subtitles of a source: in the output, or named in one note."""

from fractions import Fraction

import av
import numpy as np
import pytest

from tests.example_clips import picture
from tests.notes import expect_no_notes
from v2v.errors import collect_notes
from v2v.video import video
from v2v.video.audio import TrackTags
from v2v.video.container_metadata import PLAIN_HEADER, Chapter, ContainerMetadata, SubtitleLine, SubtitleTrack

TAGS = {"title": "My clip", "creation_time": "2023-05-06T07:08:09.000000Z", "comment": "a walk"}
GERMAN = TrackTags("deu", "Untertitel", av.stream.Disposition.default)
LINES = [
    SubtitleLine(Fraction(0), Fraction(1, 10), b"0,0,Default,,0,0,0,,Hello"),
    SubtitleLine(Fraction(1, 5), Fraction(1, 10), "1,0,Default,,0,0,0,,grüß dich".encode()),
]
METADATA = ContainerMetadata(
    TAGS,
    "01:00:00:00",
    (Chapter(Fraction(0), Fraction(1, 5), "One"), Chapter(Fraction(1, 5), Fraction(2, 5), "Two")),
    (SubtitleTrack("subrip", GERMAN, lines=LINES),),
)


def clip(metadata=METADATA, size=(48, 64), fps=25.0) -> video.Video:
    out = video.Video.from_array(picture(10, *size), fps)
    out.metadata = metadata
    return out


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_everything_survives_two_generations(tmp_path, suffix, size):
    with expect_no_notes():
        first = video.read_video(clip(size=size).save(tmp_path / f"a{suffix}"))
        second = video.read_video(first.save(tmp_path / f"b{suffix}"))
    for back in (first, second):
        assert back.frames.shape[1:3] == size
        assert dict(back.metadata.tags) == TAGS and back.metadata.timecode == "01:00:00:00"
        assert back.metadata.chapters == METADATA.chapters
        (track,) = back.metadata.subtitles
        assert track.codec == "mov_text" and track.tags.title == "Untertitel"
        assert track.tags.language == ("ger" if suffix == ".mov" else "deu")
        assert [(line.start, line.duration) for line in track.lines] == [
            (line.start, line.duration) for line in LINES
        ]
        assert [line.event.split(b",", 8)[-1] for line in track.lines] == [b"Hello", "grüß dich".encode()]


def test_subtitles_and_chapters_follow_the_clips_clock(tmp_path):
    """A file that starts at 5 s: the clip starts at 0."""
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        text = out.add_stream("subrip")
        text.codec_context.subtitle_header = PLAIN_HEADER
        text.time_base = text.codec_context.time_base = Fraction(1, 1000)
        out.set_chapters(
            [{"id": 1, "start": 5100, "end": 5300, "time_base": Fraction(1, 1000), "metadata": {}}]
        )
        for index, rgb in enumerate(picture(10)):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = 125 + index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        packet = av.Packet(b"<i>Hello</i>")
        packet.stream, packet.time_base = text, Fraction(1, 1000)
        packet.pts, packet.dts, packet.duration = 5200, 5200, 100
        out.mux(packet)
        out.mux(stream.encode(None))
    back = video.read_video(video.read_video(tmp_path / "a.mkv").save(tmp_path / "b.mp4"))
    # MP4 gives the starts of chapters.
    assert [chapter.start for chapter in back.metadata.chapters] == [Fraction(1, 10)]
    (line,) = back.metadata.subtitles[0].lines
    assert (line.start, line.duration) == (Fraction(1, 5), Fraction(1, 10)) and b"Hello" in line.event


def test_what_a_container_cannot_hold_is_named_in_one_note(tmp_path):
    metadata = ContainerMetadata({"title": "x", "camera": "B"}, picture_subtitles=("hdmv_pgs_subtitle",))
    with collect_notes() as notes:
        clip(metadata).save(tmp_path / "a.mp4")
    (note,) = notes
    assert note.endswith("""can't keep subtitles of pictures (hdmv_pgs_subtitle), the tag "camera" in .mp4""")
    still = clip()
    still.frames = still.frames[:1]
    with collect_notes() as notes:
        still.save(tmp_path / "a.png")
    (note,) = notes
    for word in ("subtitles", "chapters", "the timecode 01:00:00:00", '"title"', '"comment"'):
        assert word in note


@pytest.mark.parametrize("fps", [12.34, 1 / 7, 30000 / 1001])
@pytest.mark.parametrize("timecode", ["01:00:00;00", "00:59:59:02"])
def test_timecodes_at_odd_rates(tmp_path, fps, timecode):
    with collect_notes() as notes:
        path = clip(ContainerMetadata({}, timecode), fps=fps).save(tmp_path / "a.mov")
    back = video.read_video(path)
    assert len(back.frames) == 10
    assert (back.metadata.timecode == timecode) != bool(notes)


def test_tags_of_quicktime_files_stay_in_quicktime_files(tmp_path):
    metadata = ContainerMetadata({"com.apple.quicktime.make": "Example", "title": "x"})
    with expect_no_notes():
        back = video.read_video(clip(metadata).save(tmp_path / "a.mov"))
    assert back.metadata.tags["com.apple.quicktime.make"] == "Example" and back.metadata.tags["title"] == "x"


def test_arrays_carry_nothing(tmp_path):
    back = video.read_video(
        video.Video.from_array(np.zeros((3, 48, 64, 3), np.uint8)).save(tmp_path / "a.mp4")
    )
    assert back.metadata == ContainerMetadata()
