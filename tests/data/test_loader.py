"""Batches are a function of the seed and their number alone; caches say what they hold, and refuse what doesn't fit them."""

import ast
import dataclasses
import io
from collections import Counter

import jax
import numpy as np
import pytest

from v2v.config import DataConfig, VAEConfig
from v2v.data import buckets, latent_cache, loader, shard_reader, transforms
from v2v.data.pair import Pair
from v2v.errors import InputError
from v2v.models.text_encoder import build_word_tokenizer
from v2v.video.inputs import resize_frame
from v2v.video.mask import pool_mask

WORDS = build_word_tokenizer(["make", "it", "red", "now"], 6, 16)
SIZE = (5, 8, 8)


def pair(i, frames=5):
    shape = (frames, *SIZE[1:])
    mask = np.full(shape, 255 if i % 2 else 0, np.uint8)
    mask[:, :4] = 255
    rng = np.random.default_rng(i)
    picture = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Pair(
        source=np.full((*shape, 3), i, np.uint8), target=np.full((*shape, 3), 2 * i, np.uint8), mask=mask,
        reference=picture if i % 3 == 0 else None, instructions=("make it red", "red"), source_caption="a", target_caption="b",
        edit="palette" if i % 6 == 0 else "recolour", recipe="test", seed=i, provenance={},
        active=(0, frames) if i % 4 else (2, frames),
    )  # fmt: skip


def encode(clips):
    return clips[:, ::4, ::4, ::4].astype(np.float32)


def embed(sentences):
    return [np.full((1 + len(s.split()), 3), len(s), np.float16) for s in sentences]


ENCODER = latent_cache.LatentEncoder(encode, "abc", batch=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("latents")
    for i in range(2):  # two processes
        latent_cache.write_latents(path, range(40), pair, ENCODER, shard=16, part=(i, 2))
    return path


def bucket(folder, batch=4, **fields):
    cached = buckets.CachedClips(latent_cache.list_shards(folder, "abc"), **fields)
    return buckets.Bucket(batch, np.load(folder / "time_masks.npy"), (cached,))


def stream(folder, batch=4, **data):
    return iter(loader.edit_batches([bucket(folder, batch)], WORDS, 3, DataConfig(**data)))


def take(iterator, n):
    return [next(iterator) for _ in range(n)]


def test_processes_share_the_work_shard_by_shard(folder):
    assert [p.rsplit("-")[-1] for p in latent_cache.list_shards(folder, "abc")] == [
        f"{start:07d}.array_record" for start in (0, 16, 32)
    ]


def test_shares_of_batches_drop_source_and_text_together(folder):
    """Tokens of a source are left out, so a batch has all or none; without these options batches are those of earlier versions."""
    drops = {"drop_source": 0.25, "drop_source_and_text": 0.125, "drop_all": 0.125}
    data = loader.edit_batches([bucket(folder)], WORDS, 3, DataConfig(reference=0.5, drop_text=0.0, **drops))
    rows, kinds, empty = take(iter(data), 320), Counter(), WORDS.encode([""])[1][0]
    for batch in rows:
        assert ("source" in batch) == ("mask" in batch)
        (has_text,) = set((batch["lengths"] > empty).tolist())
        kinds["source" in batch, has_text, "reference" in batch] += 1
    expected = {
        (True, True, False): 0.25, (True, True, True): 0.25, (False, True, False): 0.125, (False, True, True): 0.125,
        (False, False, False): 0.0625 + 0.125, (False, False, True): 0.0625,
    }  # fmt: skip
    assert kinds.keys() == expected.keys()
    for kind, share in expected.items():
        assert kinds[kind] / 320 == pytest.approx(share, abs=0.01), kind
    assert "without source and text: batches of 4" in data.report
    with pytest.raises(ValueError, match="less than 1 together, got 1"):
        DataConfig(drop_source=0.5, drop_all=0.5)


def test_records_are_read_without_python_parsing_their_headers(folder, monkeypatch):
    """In Python 3.11 that fails now and then in threads that do so at the same time, which ended runs."""
    reader = shard_reader.ShardReader(latent_cache.list_shards(folder, "abc"), [16, 16, 8])
    expected = [dict(np.load(io.BytesIO(reader[i]), allow_pickle=False)) for i in range(3)]

    def fail(*_):
        raise SystemError("AST constructor recursion depth mismatch")

    monkeypatch.setattr(ast, "literal_eval", fail)
    for i, arrays in enumerate(expected):
        record = latent_cache.unpack_record(reader[i])
        assert record.keys() == arrays.keys()
        for name, array in arrays.items():
            assert record[name].dtype == array.dtype and record[name].flags.writeable
            np.testing.assert_array_equal(record[name], array)
        assert latent_cache.unpack_text(reader[i])["edit"] in ("palette", "recolour")
    for array in (np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros((0,), np.float16), np.bool_(True)):
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.asanyarray(array))
        np.testing.assert_array_equal(latent_cache.parse_array(buffer.getvalue()), array)
    with pytest.raises(ValueError, match="expected an array in NumPy's format"):
        latent_cache.parse_array(b"\x80\x04pickle")


def test_each_span_of_long_clips_is_encoded_once(tmp_path):
    """It depends on start and end alone; every record has its own all the same."""
    spans, white = {0: (0, 21), 1: (2, 21), 2: (2, 21), 3: (5, 9)}, 0

    def long_pair(i):
        return dataclasses.replace(pair(i, 21), active=spans[i % 4])

    def count_spans(clips):
        nonlocal white
        whole_frames = clips.reshape(*clips.shape[:2], -1)
        is_span = ((whole_frames == 0) | (whole_frames == 255)).all((1, 2)) & (whole_frames.std(2) == 0).all(
            1
        )
        white += int((is_span & (whole_frames.std((1, 2)) > 0)).sum())
        return encode(clips)

    latent_cache.write_latents(
        tmp_path, range(16), long_pair, latent_cache.LatentEncoder(count_spans, "abc", batch=1)
    )
    # Of the two spans; each record would have had its own. Sources are of one color.
    assert white == 2
    reader = shard_reader.ShardReader(latent_cache.list_shards(tmp_path, "abc"), [16])
    for i in range(16):
        when = latent_cache.unpack_record(reader[i])["when"]
        clip = np.zeros((1, 21, *SIZE[1:], 3), np.uint8)
        clip[:, slice(*spans[i % 4])] = 255
        np.testing.assert_array_equal(when, [] if i % 4 == 0 else encode(clip)[0].astype(np.float16))


def test_position_is_one_number_and_goes_on_exactly(folder):
    straight = take(stream(folder), 12)
    first = stream(folder)
    take(first, 5)
    assert first.get_state() == {"next_index": 5}
    resumed = stream(folder)
    resumed.set_state({"next_index": 5})
    for a, b in zip(straight[5:], take(resumed, 7), strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("count", [2, 4])
def test_processes_read_rows_of_the_same_global_batches(folder, monkeypatch, count):
    expected, parts = take(stream(folder), 10), []
    monkeypatch.setattr(jax, "process_count", lambda: count)
    for i in range(count):
        monkeypatch.setattr(jax, "process_index", lambda i=i: i)
        parts.append(take(stream(folder), 10))
    for step, batch in enumerate(expected):
        for name, rows in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[step][name] for part in parts]), rows)
    with pytest.raises(InputError, match="multiple of the 4 processes, got 6"):
        monkeypatch.setattr(jax, "process_count", lambda: 4)
        stream(folder, 6)


def test_probabilities_are_those_of_the_configuration(folder):
    rows = take(stream(folder, reference=1.0, drop_text=1.0), 5)
    assert all("reference" in batch and (batch["lengths"] == 1).all() for batch in rows)
    rows = take(stream(folder, reference=0.0, drop_text=0.0, drop_mask=1.0), 5)
    assert all("reference" not in batch and (batch["lengths"] > 1).all() for batch in rows)
    table = np.load(folder / "time_masks.npy")
    for batch in rows:  # told only when: every mask is one of whole frames
        for record, mask in zip(batch["record"], batch["mask"], strict=True):
            np.testing.assert_array_equal(mask, table[tuple(pair(int(record)).active)])


def test_held_out_pairs_are_never_trained_on(folder):
    held_out = set(range(0, 40, 5))
    trained = {int(i) for batch in take(stream(folder, held_out=0.2), 60) for i in batch["record"]}
    assert not trained & held_out and len(trained) > 20
    batches = loader.held_out_batches([bucket(folder)], WORDS, DataConfig(held_out=0.2))
    assert len(batches) == 2 and {int(v) for b in batches for v in b["source"][:, 0, 0, 0, 0]} == held_out
    assert {int(i) for b in batches for i in b["record"]} == held_out
    with pytest.raises(InputError, match="set data.held_out"):
        loader.held_out_batches([bucket(folder)], WORDS, DataConfig())


def test_long_clips_keep_their_own_time_masks_and_sentences_may_come_embedded(tmp_path):
    latent_cache.write_latents(
        tmp_path, range(12), lambda i: pair(i, 17), dataclasses.replace(ENCODER, embed=embed)
    )
    masks = np.load(tmp_path / "time_masks.npy")
    assert masks.shape[:2] == (1, 1)
    for batch in take(stream(tmp_path, drop_text=0.3, drop_mask=1.0, reference=0.0), 6):
        assert "ids" not in batch and batch["text"].shape == (4, 6, 3)
        for record, mask, text in zip(batch["record"], batch["mask"], batch["text"], strict=True):
            start, end = pair(int(record), 17).active
            expected = np.zeros((1, 17, 8, 8, 3), np.uint8)
            expected[:, start:end] = 255
            np.testing.assert_array_equal(mask, encode(expected)[0])
            length = int((text[:, 0] > 0).sum()) or 1
            assert text[0, 0] in (0, 3, 11) and length in (1, 2, 4)


def test_references_of_any_size_are_encoded_as_the_editor_encodes_them(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((3, 5), (8, 8), (21, 13), (64, 40))]

    def cut_out(i):  # what a thing was cut out of a clip is as large as the thing
        return dataclasses.replace(pair(i), reference=pictures[i % 4])

    latent_cache.write_latents(tmp_path, range(8), cut_out, ENCODER)
    for batch in take(stream(tmp_path, reference=1.0), 4):
        for record, reference in zip(batch["record"], batch["reference"], strict=True):
            expected = encode(resize_frame(pictures[int(record) % 4], 8, 8)[None, None])[0]
            np.testing.assert_array_equal(reference, expected)


def test_the_report_counts_what_there_is(folder, tmp_path):
    shards = latent_cache.list_shards(folder)
    text = loader.edit_batches([bucket(folder)], WORDS, 0, DataConfig(held_out=0.1)).report
    assert text.startswith("data: 40 pairs in 3 shards, 200 frames, 4 held out, 14 with a reference")
    assert "33  recolour" in text and "7  palette" in text
    assert "31  pairs of 5 frames (2x2x2 latents) without a reference: batches of 4, 80.0% of all" in text
    bare = []
    for path in shards:  # as older caches are: without the facts beside them
        copy = tmp_path / path.rsplit("/", 1)[1]
        copy.write_bytes(open(path, "rb").read())
        bare.append(str(copy))
    assert latent_cache.read_facts(bare) == [
        {k: v for k, v in f.items() if k != "pair"} for f in latent_cache.read_facts(shards)
    ]


def test_what_doesnt_fit_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="made by VAE abc, this run uses xyz"):
        latent_cache.list_shards(folder, "xyz")
    with pytest.raises(InputError, match="found none"):
        latent_cache.list_shards(tmp_path)
    with pytest.raises(InputError, match="with a reference, got 14.*data.reference"):
        stream(folder, 20)
    with pytest.raises(ValueError, match="probabilities between 0 and 1"):
        dataclasses.replace(DataConfig(), drop_text=1.5)


def test_averaged_masks_show_the_same_edits_as_one_number_a_cell(folder):
    def masks(**fields):
        data = loader.edit_batches([bucket(folder)], WORDS, 3, DataConfig(reference=0.0, **fields), "pooled")
        return [(int(r), m) for b in take(iter(data), 8) for r, m in zip(b["record"], b["mask"], strict=True)]

    for record, mask in masks(drop_mask=0.0):
        if (pair(record).mask[slice(*pair(record).active)] == 255).all():
            continue  # told by frames alone
        assert mask.shape == (2, 2, 2, 1)
        np.testing.assert_array_equal(mask[..., 0], pool_mask(pair(record).mask / 255, (2, 2, 2)))
    starts = set()
    for record, mask in masks(drop_mask=1.0):
        start, _ = pair(record).active
        expected = [start == 0, 1 - max(0, start - 1) / 4]
        np.testing.assert_array_equal(
            mask[..., 0], np.broadcast_to(np.array(expected)[:, None, None], (2, 2, 2))
        )
        starts.add(start)
    assert starts == {0, 2}


def test_frames_follow_the_temporal_stride_of_the_autoencoder():
    """An autoencoder of stride 2 gives five latent frames for nine; the mask of a time range is averaged over two frames."""
    assert (transforms.frame_count(5, 2), transforms.frame_count(5, 4)) == (9, 17)
    pair = {"area": np.zeros((5, 1, 1)), "active": np.array([2, 9])}
    share = transforms._pool_time_mask(pair, 2)[:, 0, 0]
    np.testing.assert_array_equal(share, [0, 0.5, 1, 1, 1])
    config = VAEConfig(temporal_downsample=(True, False, False))
    assert config.latent_shape(9, 32, 32)[0] == 5 and config.stride_t == 2


def test_a_mixture_changes_after_some_steps_and_positions_stay_one_number(folder):
    shards = latent_cache.list_shards(folder, "abc")
    one = buckets.CachedClips(shards, 0.99, later_weights=(0.01,))
    two = buckets.CachedClips(shards, 0.01, first=1000, later_weights=(0.99,))
    both = [buckets.Bucket(4, np.load(folder / "time_masks.npy"), (one, two))]
    data = DataConfig(reference=0.0, mixture=(0.99, 0.01), mixture_changes=("6:0.01,0.99",))

    def iterate(threads):
        return iter(loader.edit_batches(both, WORDS, 3, dataclasses.replace(data, threads=threads)))

    straight = take(iterate(1), 12)
    sets = [np.mean(batch["record"] >= 1000) for batch in straight]
    assert np.mean(sets[:6]) < 0.2 and np.mean(sets[6:]) > 0.8
    resumed = iterate(3)
    resumed.set_state({"next_index": 4})
    for a, b in zip(straight[4:], take(resumed, 8), strict=True):
        np.testing.assert_array_equal(a["record"], b["record"])
        np.testing.assert_array_equal(a["mask"], b["mask"])
    report = loader.edit_batches(both, WORDS, 3, data).report
    assert "after 6 steps:" in report
    with pytest.raises(InputError, match="this experiment has no sets to mix"):
        loader.edit_batches([bucket(folder)], WORDS, 3, data)


@pytest.mark.parametrize("wrong", [("x",), ("0:1,2",), ("5:1,0",), ("5:1", "5:2"), ("9:",), ("9:nan,1",)])
def test_changes_of_a_mixture_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="DataConfig.mixture_changes: expected"):
        DataConfig(mixture_changes=wrong)


def test_latents_of_masks_are_compressed_and_read_as_before():
    rng = np.random.default_rng(0)
    mask = np.zeros((5, 16, 16, 8), np.float16)
    mask[:, 4:9] = 1.5
    record = {
        "source": rng.standard_normal((5, 16, 16, 8)).astype(np.float16),
        "mask": mask,
        "when": mask[:0],
    }
    data = latent_cache.pack_record(record)
    assert data == latent_cache.pack_record(record)
    for name, array in latent_cache.unpack_record(data).items():
        np.testing.assert_array_equal(array, record[name])
    assert len(data) < record["source"].nbytes + mask.nbytes / 4
