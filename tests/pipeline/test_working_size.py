"""The size at which clips are edited: those of another shape than the model's are not squeezed."""

import dataclasses

import numpy as np
import pytest

from tests.example_clips import picture
from tests.fake_model import FakePretrained
from tests.notes import expect_note
from v2v import EasyV2VEditor, load_pretrained
from v2v.cli.main import COMMANDS
from v2v.cli.parsers import build_parser
from v2v.config import debug, wan22_ti2v_5b
from v2v.models.editor_presets import bernini_r_1_3b, kiwi_edit_5b
from v2v.pipeline.working_size import LONGEST_ASPECT, choose_size

WAN = wan22_ti2v_5b()


@pytest.mark.parametrize(
    "clip, size",
    [
        ((1080, 1920), (480, 832)), ((480, 832), (480, 832)), ((1920, 1080), (832, 480)), ((1000, 1000), (608, 608)),
        ((480, 640), (544, 704)), ((2160, 1), (992, 384)),
    ],
)  # fmt: skip
def test_sizes(clip, size):
    """16:9 is edited at the model's own size, portrait clips at the same turned, others at one of nearly its area."""
    assert choose_size(WAN, *clip) == size
    assert all(n % 32 == 0 for n in size) and 0.85 < size[0] * size[1] / (480 * 832) <= 1


@pytest.mark.parametrize(
    "clip, size",
    [
        ((1080, 1920), (480, 848)), ((720, 1280), (480, 848)), ((1080, 1440), (640, 848)), ((1920, 1080), (848, 480)), ((500, 500), (496, 496)),
        ((300, 400), (304, 400)),
    ],
)  # fmt: skip
def test_sizes_by_the_longest_edge(clip, size):
    """As Bernini-R was sampled: at most 848, never enlarged, sides to the nearest 16."""
    assert choose_size(bernini_r_1_3b(), *clip) == size


@pytest.mark.parametrize(
    "clip, size",
    [
        ((1080, 1920), (736, 1280)),
        ((720, 1280), (736, 1280)),
        ((480, 832), (480, 832)),
        ((300, 400), (320, 416)),
    ],
)
def test_sizes_by_pixels(clip, size):
    """As Kiwi-Edit's demo: at most 720x1280 pixels in steps of 16, then raised to 32; never enlarged else."""
    assert choose_size(kiwi_edit_5b(), *clip) == size


def test_any_shape_is_stretched_little():
    for height, width in np.random.default_rng(0).integers(100, 2000, (200, 2)).tolist():
        h, w = choose_size(WAN, height, width)
        aspect = np.clip(height / width, 1 / LONGEST_ASPECT, LONGEST_ASPECT)
        assert max(h / w / aspect, aspect * w / h) < 1.11 and h * w <= 480 * 832


def test_a_portrait_clip_is_not_squeezed():
    """A square in the clip is one in what the model sees; explicit sizes stretch with a note, and models of one size as ever."""
    config = dataclasses.replace(debug(), height=32, width=64, largest=(5, 32, 64))
    frames = picture(5, 128, 64)
    for any_aspect, size in ((True, [32, 64]), (False, [64, 32])):
        fake = FakePretrained(config, any_aspect=any_aspect)
        if any_aspect:
            report = EasyV2VEditor(fake).edit_video(frames, "make it grey").report
        else:
            with expect_note("edited at 64x32, stretched 4.0 times"):
                report = EasyV2VEditor(fake).edit_video(frames, "make it grey").report
        assert report["worked_at"] == [*size, 5]
        assert {call["shape"][2:4] for call in fake.calls} == {tuple(size[::-1])}
    one_size = FakePretrained(dataclasses.replace(debug(), largest=(0, 0, 0)))
    assert EasyV2VEditor(one_size).edit_video(frames, "make it grey").report["worked_at"] == [32, 32, 5]


def test_the_packaged_model_keeps_its_size():
    model = load_pretrained("embedded")
    assert not model.any_aspect and model.for_clip(1920, 1080) is model


def test_models_at_sizes_of_clips():
    model = load_pretrained("embedded", any_aspect=True)
    turned = model.for_clip(1920, 1080)
    assert (turned.config.height, turned.config.width) == (80, 48) and turned is not model
    assert not load_pretrained("embedded", height=64, width=64).any_aspect


def test_the_command_line():
    parser = build_parser(COMMANDS)
    size = lambda text: parser.parse_args(["edit", "a", "b", "--size", text]).size  # noqa: E731
    assert size("720p") == {"height": 704, "width": 1280, "any_aspect": True}
    assert size("480px49") == {"height": 480, "width": 832, "frames": 49, "any_aspect": True}
    assert size("832x480x81") == {"width": 832, "height": 480, "frames": 81}
    with pytest.raises(SystemExit):
        size("721p")
