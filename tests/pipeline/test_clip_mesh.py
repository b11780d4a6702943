"""The mesh that edits one clip: tokens are split before weights, weights only as far as they don't fit whole."""

import pytest

from v2v.cli import edit, parsers
from v2v.config import wan22_ti2v_5b
from v2v.pipeline import clip_mesh

CONFIG = wan22_ti2v_5b()


@pytest.mark.parametrize(
    ("devices", "largest", "expected"),
    [
        (8, 1, {"data": 1, "seq": 8, "tensor": 1}),
        (8, 2, {"data": 1, "seq": 4, "tensor": 2}),
        (4, 1, {"data": 1, "seq": 4, "tensor": 1}),
        (5, 1, {"data": 5, "seq": 1, "tensor": 1}),  # 24 heads don't divide by 5
        (16, 1, {"data": 2, "seq": 8, "tensor": 1}),
        (8, 99, {"data": 1, "seq": 1, "tensor": 8}),  # nothing fits: the least memory
    ],
)
def test_the_mesh_that_fits_and_sends_least(devices, largest, expected):
    assert (
        clip_mesh.find_clip_mesh(CONFIG, 16770, devices, lambda axes: axes["tensor"] >= largest) == expected
    )


def test_what_is_sent_is_that_of_the_exchanges():
    """Queries, keys, values and results, bfloat16, of 30 layers."""
    sent = clip_mesh.sent_bytes(CONFIG, 8192, 8, 1)
    assert sent == 30 * 4 * 1024 * 3072 * 2 * 7 / 8
    assert clip_mesh.sent_bytes(CONFIG, 8192, 1, 1) == 0
    assert clip_mesh.sent_bytes(CONFIG, 8192, 4, 2) > sent


def test_the_word_for_one_device():
    assert parsers._parse_mesh("one") == {"data": 1, "fsdp": 1, "seq": 1, "tensor": 1}
    assert edit._build_clip_mesh(parsers._parse_mesh("one")) is None
