"""The pair record: lossless round trip, and refusal of what is not a pair."""

import dataclasses

import numpy as np
import pytest

from v2v.data import pair as pair_lib
from v2v.errors import InputError
from v2v.video import lossless


def make(T=3, H=10, W=14, reference=True) -> pair_lib.Pair:
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (2, T, H, W, 3), dtype=np.uint8)
    return pair_lib.Pair(
        source=video[0],
        target=video[1],
        mask=(rng.random((T, H, W)) < 0.5).astype(np.uint8) * 255,
        reference=rng.integers(0, 256, (8, 9, 3), dtype=np.uint8) if reference else None,
        instructions=("make it warm", "wärmer, bitte"),
        source_caption="a",
        target_caption="b",
        edit="warmer",
        recipe="photometric",
        seed=3_000_000_001,
        provenance={"slots": {"it": "the left half"}},
        active=(1, T),
    )


@pytest.mark.parametrize("reference", [True, False])
@pytest.mark.parametrize("as_bytes", [True, False], ids=["strings as bytes", "strings"])
def test_decode_inverts_encode(reference, as_bytes):
    pair = make(reference=reference)
    record = pair_lib.encode_pair(pair)
    assert all(isinstance(v, (bytes, str, int)) for v in record.values())
    if as_bytes:  # as TFDS hands them back
        record = {k: v.encode() if isinstance(v, str) else v for k, v in record.items()}
    back = pair_lib.decode_pair(record)
    for field in dataclasses.fields(pair):
        a, b = getattr(pair, field.name), getattr(back, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
            assert a.dtype == b.dtype
        else:
            assert a == b, field.name


@pytest.mark.parametrize("T, H, W", [(3, 33, 47), (1, 16, 20)])
def test_large_clips_are_stored_as_lossless_video(monkeypatch, T, H, W):
    monkeypatch.setattr(pair_lib, "LARGE", 0)
    rng = np.random.default_rng(1)
    source, target = rng.integers(0, 256, (2, T, H, W, 3), dtype=np.uint8)
    full = np.full((T, H, W), 255, np.uint8)
    pair = dataclasses.replace(
        make(), source=source, target=target, mask=full, effect=full, active=(0, T), reference=None
    )
    record = pair_lib.encode_pair(pair)
    assert record["source"][:4] == lossless.MAGIC and record == pair_lib.encode_pair(pair)
    back = pair_lib.decode_pair(record)
    for name in ("source", "target", "mask", "effect"):
        np.testing.assert_array_equal(getattr(back, name), getattr(pair, name), err_msg=name)
    for damaged in (record["source"][:60], record["source"][:4] + b"x" * 500):
        with pytest.raises(InputError, match="source is not a readable clip"):
            pair_lib.decode_pair({**record, "source": damaged})


def test_records_of_the_first_schema_are_read():
    pair = make()
    record = {**pair_lib.encode_pair(pair), "schema_version": 1}
    del record["effect"]
    back = pair_lib.decode_pair(record)
    assert back.effect is None
    np.testing.assert_array_equal(back.source, pair.source)


def test_other_schema_and_damage_are_refused():
    record = pair_lib.encode_pair(make())
    with pytest.raises(InputError, match="expected schema 1 or 2 or 3, got 7.*v2v synth"):
        pair_lib.decode_pair({**record, "schema_version": 7})
    with pytest.raises(InputError, match="expected schema 1 or 2 or 3, got 7"):
        pair_lib.pair_size({**record, "schema_version": 7})
    with pytest.raises(InputError, match="target is not a readable PNG"):
        pair_lib.decode_pair({**record, "target": record["target"][:20]})
    with pytest.raises(InputError, match="do not divide into 4 frames"):
        pair_lib.decode_pair({**record, "frames": 4})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"source": np.zeros((0, 4, 4, 3), np.uint8)}, "pair.source: expected non-empty"),
        ({"target": np.zeros((3, 10, 13, 3), np.uint8)}, "pair.target"),
        ({"mask": np.zeros((3, 10, 14, 3), np.uint8)}, "pair.mask.*one plane"),
        ({"reference": np.zeros((4, 4), np.uint8)}, "pair.reference"),
        ({"instructions": ("",)}, "pair.instructions"),
        ({"active": (2, 2)}, "pair.active"),
    ],
)
def test_malformed_pairs_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(make(), **change)
