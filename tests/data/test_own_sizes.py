"""Sizes of training clips taken from the clips themselves."""

import dataclasses

from v2v.config import debug, wan22_ti2v_5b
from v2v.data import own_sizes
from v2v.data.buckets import choose_size
from v2v.data.own_sizes import SizeLimits, choose_own_sizes

WAN = SizeLimits.of(wan22_ti2v_5b())
AREA = 480 * 832


def test_a_clip_keeps_its_shape_and_length_within_the_models():
    assert WAN.lengths[:4] == (81, 61, 45, 33) and WAN.lengths[-1] == 5
    assert WAN.own_size((200, 1080, 1920)) == (81, 448, 832)
    assert WAN.own_size((81, 480, 832)) == (81, 480, 832)
    assert WAN.own_size((60, 1920, 1080)) == (45, 832, 448)
    assert WAN.own_size((1, 512, 512)) == (1, 512, 512)
    assert WAN.own_size((33, 256, 256)) == (33, 256, 256)  # not enlarged
    assert WAN.own_size((4, 480, 832)) is None and WAN.own_size((81, 20, 832)) is None
    for clip in ((99, 720, 1280), (7, 1000, 333), (1, 4000, 3000)):
        frames, height, width = WAN.own_size(clip)
        assert height * width <= AREA and height % 32 == width % 32 == 0 and frames <= clip[0]


def test_every_clip_trains_and_rare_sizes_join_others():
    clips = [(81, 480, 832)] * 6 + [(81, 480, 768)] + [(60, 832, 480)] * 5 + [(1, 640, 640)] * 3
    sizes = choose_own_sizes(clips, WAN, 4)
    assert sizes == ((81, 480, 832), (81, 480, 768), (45, 832, 480), (1, 608, 608))
    assert all(choose_size(clip, sizes).size is not None for clip in clips)
    # A larger clip joins a size that enough others have, and gives up its own.
    assert choose_own_sizes([(81, 448, 800)] * 6 + [(81, 480, 832)], WAN, 4) == ((81, 448, 800),)
    # A shorter one can't, and nothing is dropped.
    assert choose_own_sizes([(81, 480, 832)] * 6 + [(70, 480, 832)], WAN, 4) == (
        (81, 480, 832),
        (61, 480, 832),
    )


def test_many_shapes_become_few(monkeypatch):
    clips = [(40 + k, 400 + 8 * k, 700 - 3 * k) for k in range(40)]
    sizes = choose_own_sizes(clips, WAN, 1)
    assert len(sizes) <= own_sizes.MAX_SIZES
    assert all(choose_size(clip, sizes).size is not None for clip in clips)


def test_the_smallest_model_has_the_lengths_it_can_take():
    assert SizeLimits.of(debug()).lengths == (5,)
    assert SizeLimits.of(dataclasses.replace(debug(), frames=9)).lengths == (9, 5)
