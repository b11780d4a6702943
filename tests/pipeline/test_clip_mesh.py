"""The mesh that edits one clip: tokens are split before weights, weights only as far as they don't fit whole."""

import pytest

from v2v.cli import argument_types, edit_model
from v2v.config import wan22_ti2v_5b
from v2v.pipeline import clip_mesh

CONFIG = wan22_ti2v_5b()


@pytest.mark.parametrize(
    ("devices", "largest", "expected"),
    [
        (2, 1, {"data": 2, "seq": 1, "tensor": 1}),  # nothing but velocities is sent
        (8, 1, {"data": 2, "seq": 4, "tensor": 1}),
        (8, 2, {"data": 2, "seq": 2, "tensor": 2}),
        (4, 1, {"data": 2, "seq": 2, "tensor": 1}),
        (5, 1, {"data": 2, "seq": 2, "tensor": 1}),  # neither branches nor 24 heads divide by 5
        (16, 1, {"data": 2, "seq": 8, "tensor": 1}),
        (8, 99, {"data": 1, "seq": 1, "tensor": 8}),  # nothing fits: the least memory
    ],
)
def test_the_mesh_that_fits_and_sends_least(devices, largest, expected):
    assert (
        clip_mesh.find_clip_mesh(CONFIG, 16770, devices, lambda axes: axes["tensor"] >= largest) == expected
    )


def test_without_guidance_tokens_alone_are_split():
    for devices, expected in (
        (8, {"data": 1, "seq": 8, "tensor": 1}),
        (16, {"data": 1, "seq": 12, "tensor": 1}),
    ):
        assert clip_mesh.find_clip_mesh(CONFIG, 16770, devices, lambda _: True, branches=1) == expected


def test_branches_side_by_side_send_less_than_one_after_the_other():
    shares = [
        clip_mesh.step_bytes(CONFIG, 16384, {"data": data, "seq": 8 // data, "tensor": 1}) for data in (1, 2)
    ]
    assert shares[1] / shares[0] == pytest.approx((3 / 16) / (2 * 7 / 64))


def test_what_is_sent_is_that_of_the_exchanges():
    """Queries, keys, values and results, bfloat16, of 30 layers."""
    sent = clip_mesh.sent_bytes(CONFIG, 8192, 8, 1)
    assert sent == 30 * 4 * 1024 * 3072 * 2 * 7 / 8
    assert clip_mesh.sent_bytes(CONFIG, 8192, 1, 1) == 0
    assert clip_mesh.sent_bytes(CONFIG, 8192, 4, 2) > sent


def test_the_word_for_one_device():
    assert argument_types.parse_mesh("one") == {"data": 1, "fsdp": 1, "seq": 1, "tensor": 1}
    assert edit_model.build_clip_mesh(argument_types.parse_mesh("one")) is None
