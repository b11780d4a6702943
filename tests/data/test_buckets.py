"""Clips of many sizes from several sets: who goes where, what is left out and why, how often each is drawn; pictures beside videos."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest
from tests.data.test_loader import ENCODER, WORDS, embed, pair, take
from v2v.config import DataConfig
from v2v.data import buckets as buckets_lib
from v2v.data import datasets, latent_cache, loader
from v2v.data import pair as pair_lib
from v2v.errors import InputError

SIZES = [(5, 8, 8), (9, 8, 8), (9, 16, 16), (1, 16, 16)]


@pytest.mark.parametrize(
    ("clip", "size", "reason"),
    [
        ((9, 16, 16), (9, 16, 16), ""),
        ((40, 17, 16), (9, 16, 16), ""),  # a row of 17 is cut off
        ((8, 16, 16), (5, 8, 8), ""),
        ((4, 16, 16), None, "fewer than 5 frames"),
        ((1, 100, 90), (1, 16, 16), ""),
        ((1, 15, 90), None, "smaller picture"),
        ((9, 7, 7), None, "smaller picture"),
        ((9, 16, 24), None, "another shape"),
    ],
)
def test_a_clip_goes_to_the_largest_size_it_fills(clip, size, reason):
    choice = buckets_lib.choose_size(clip, SIZES)
    assert choice.size == size and (reason in choice.reason if reason else not choice.reason)


def test_pictures_and_clips_dont_mix():
    assert buckets_lib.choose_size((1, 16, 16), SIZES[:3]).reason.startswith("a picture, and no size")
    assert buckets_lib.choose_size((9, 16, 16), SIZES[3:]).reason.startswith("a clip, and all sizes")


def test_a_crop_keeps_the_edit_and_the_promise_of_its_mask():
    rng = np.random.default_rng(0)
    source = rng.integers(0, 256, (12, 36, 40, 3), dtype=np.uint8)
    target, mask = source.copy(), np.zeros((12, 36, 40), np.uint8)
    target[8:, 5:9, 33:39] = 255 - target[8:, 5:9, 33:39]
    mask[8:, 5:9, 33:39] = 255
    edited = dataclasses.replace(
        pair(1, 12), source=source, target=target, mask=mask, active=(8, 12), effect=mask
    )
    cut = buckets_lib.crop_pair(edited, (5, 16, 16))
    assert cut.source.shape == (5, 16, 16, 3) and cut.active == (2, 5)
    assert not cut.mask[: cut.active[0]].any() and cut.mask[cut.active[0] :].any((1, 2)).all()
    # The window moved towards the edit, at the right.
    assert cut.mask[:, :, -1:].any() or cut.mask[:, :, -2:].any()
    np.testing.assert_array_equal(cut.source[cut.mask == 0], cut.target[cut.mask == 0])
    np.testing.assert_array_equal(cut.effect, cut.mask)
    assert buckets_lib.crop_pair(edited, (12, 36, 40)) is edited


def test_a_batch_holds_as_many_clips_as_the_budget_allows():
    assert buckets_lib.batch_size((9, 8, 8), 100, 850, 2) == 8
    assert buckets_lib.batch_size((1, 8, 8), 7, 850, 4) == 120
    with pytest.raises(InputError, match="4 clips of 9x8x8.* 1,200 tokens, the budget is 850"):
        buckets_lib.batch_size((9, 8, 8), 300, 850, 4)


def test_sizes_are_read_off_the_first_bytes():
    small, large = pair(1), dataclasses.replace(pair(2), **_large())
    assert pair_lib.pair_size(pair_lib.encode_pair(small)) == (5, 8, 8)
    assert pair_lib.pair_size(pair_lib.encode_pair(large)) == (9, 512, 512)
    with pytest.raises(InputError, match="neither a PNG nor a clip"):
        pair_lib.pair_size({"schema_version": 2, "source": b"what is this", "frames": 3})


def _large():
    video = np.zeros((9, 512, 512, 3), np.uint8)
    return {"source": video, "target": video, "mask": np.full((9, 512, 512), 255, np.uint8), "active": (0, 9)}


def records(clips):
    """A set of pairs of these sizes."""
    return datasets.RecordDataset(
        [pair_lib.encode_pair(dataclasses.replace(pair(i), **_zeros(*clip))) for i, clip in enumerate(clips)]
    )


def _zeros(T, H, W):
    video, mask = np.zeros((T, H, W, 3), np.uint8), np.full((T, H, W), 255, np.uint8)
    return {"source": video, "target": video, "mask": mask, "active": (0, T)}


def test_a_survey_counts_every_pair_and_every_frame(tmp_path):
    survey = datasets.survey_dataset(
        "mine", records([(9, 16, 16), (4, 16, 16), (1, 16, 16), (12, 16, 17), (9, 16, 40)]), SIZES
    )
    assert survey.indices_by_size == {(9, 16, 16): [0, 3], (1, 16, 16): [2]}
    assert (survey.used_frames, survey.all_frames) == (19, 35) and sum(survey.skip_counts.values()) == 2
    text = datasets.format_surveys([survey])
    assert "set mine: 5 pairs, 3 used, 2 left out; 19 of 35 frames used; 100.0% of the clips drawn" in text
    assert (
        "2  9x16x16" in text
        and "1  left out: fewer than 5 frames" in text
        and "1  left out: another shape" in text
    )
    with pytest.raises(InputError, match="set tiny: expected clips of 5x8x8 or .* .2: fewer than 5 frames"):
        datasets.survey_dataset("tiny", records([(2, 8, 8), (3, 8, 8)]), SIZES)


def test_a_survey_is_kept_until_set_or_sizes_change(tmp_path):
    pairs, file = records([(9, 16, 16), (5, 8, 8)]), tmp_path / "mine" / "survey.json"
    first = datasets.load_or_survey(file, "mine", pairs, SIZES)
    assert datasets.load_or_survey(file, "mine", [None, None], SIZES) == first  # nothing is read again
    assert datasets.load_or_survey(file, "mine", datasets.RecordDataset(pairs.records[:1]), SIZES).count == 1
    assert list(datasets.load_or_survey(file, "mine", pairs, SIZES[:1]).indices_by_size) == [(5, 8, 8)]


def test_a_set_made_anew_is_surveyed_again_and_has_another_fingerprint(tmp_path):
    pairs, file = records([(9, 16, 16), (5, 8, 8)]), tmp_path / "survey.json"
    folder = tmp_path / "pairs"
    folder.mkdir()
    (folder / "a.array_record").write_bytes(b"one")
    first = datasets.dataset_fingerprint(folder)
    (folder / "report.html").write_text("does not count")
    assert datasets.dataset_fingerprint(folder) == first
    datasets.load_or_survey(file, "mine", pairs, SIZES, first)
    assert datasets.load_or_survey(file, "mine", [None, None], SIZES, first).count == 2
    (folder / "a.array_record").write_bytes(b"two")
    second = datasets.dataset_fingerprint(folder)
    assert second != first
    with pytest.raises((TypeError, AttributeError)):  # it is read again
        datasets.load_or_survey(file, "mine", [None, None], SIZES, second)


def test_weights_are_shares_of_the_clips_drawn():
    large, small = (
        datasets.Survey(name, n, {(5, 8, 8): list(range(n - 2)), (1, 8, 8): [0, 1]}, {}, 0, 0)
        for name, n in (("large", 20), ("small", 4))
    )
    assert datasets.compute_shares([large, small])[0] == {(5, 8, 8): 0.75, (1, 8, 8): pytest.approx(2 / 24)}
    even = datasets.compute_shares([large, small], (1, 1))
    assert [sum(share.values()) for share in even] == [0.5, 0.5] and even[1][1, 8, 8] == 0.25
    for wrong in ((1,), (1, 0)):
        with pytest.raises(InputError, match="one positive weight for each of the 2 sets"):
            datasets.compute_shares([large, small], wrong)
    with pytest.raises(InputError, match="two of them are called pairs; rename one"):
        datasets.dataset_names(["a/pairs", "b/pairs"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A set of 40 clips, one of 24, one of 60 pictures."""
    path = tmp_path_factory.mktemp("buckets")
    for name, n, frames in (("a", 40, 5), ("b", 24, 5), ("pictures", 60, 1)):
        indices = range(0, 2 * n, 2)
        latent_cache.write_latents(
            path / name, indices, lambda i, T=frames: pair_of_recipe(i, T), ENCODER, shard=16
        )
    return path


def pair_of_recipe(i, frames):
    clip = pair(i)
    if frames == 1:
        first = {name: getattr(clip, name)[:1] for name in ("source", "target", "mask")}
        clip = dataclasses.replace(clip, **first, active=(0, 1))
    return dataclasses.replace(clip, recipe="local" if frames > 1 else "picture")


def buckets(folders):
    clips = [
        buckets_lib.CachedClips(latent_cache.list_shards(folders / n), w, first)
        for n, w, first in (("a", 0.6, 0), ("b", 0.2, 1000))
    ]
    masks = [np.load(folders / name / "time_masks.npy") for name in ("a", "pictures")]
    pictures = buckets_lib.CachedClips(latent_cache.list_shards(folders / "pictures"), 0.2, 2000)
    return [buckets_lib.Bucket(4, masks[0], tuple(clips)), buckets_lib.Bucket(16, masks[1], (pictures,))]


def mixed(folders, **data):
    return loader.edit_batches(buckets(folders), WORDS, 5, DataConfig(**data))


def test_batches_are_of_one_size_and_clips_come_by_their_weights(folders):
    data = mixed(folders, reference=0.0)
    counts = np.zeros(3)
    for batch in take(iter(data), 200):
        rows, t = batch["target"].shape[:2]
        assert (rows, t) in ((4, 2), (16, 1))
        set_of = batch["record"] // 1000
        assert (set_of == 2).all() if t == 1 else (set_of < 2).all()
        assert (batch["record"] % 2 == 0).all()  # numbers of pairs, not of records
        assert {data.recipes[i] for i in batch["recipe"]} == {"picture" if t == 1 else "local"}
        np.add.at(counts, set_of, 1)
    np.testing.assert_allclose(counts / counts.sum(), (0.6, 0.2, 0.2), atol=0.03)


def test_buckets_resume_and_split_over_processes_to_the_bit(folders, monkeypatch):
    straight = take(iter(mixed(folders)), 14)
    resumed = iter(mixed(folders))
    resumed.set_state({"next_index": 6})
    for a, b in zip(straight[6:], take(resumed, 8), strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)
    parts = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for i in range(2):
        monkeypatch.setattr(jax, "process_index", lambda i=i: i)
        parts.append(take(iter(mixed(folders)), 14))
    for step, batch in enumerate(straight):
        for name, rows in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[step][name] for part in parts]), rows)


def test_every_shape_is_known_beforehand_and_reported(folders):
    data = mixed(folders, reference=0.2)
    ahead = {
        (len(b["target"]), b["target"].shape[1], "reference" in b) for b in (kind[0] for kind in data.kinds)
    }
    shapes = {(len(b["target"]), b["target"].shape[1], "reference" in b) for b in take(iter(data), 120)}
    assert shapes == ahead and len(ahead) == 4
    assert "data: 124 pairs in 9 shards, 380 frames" in data.report
    assert "of 1 frames" in data.report and "batches of 16" in data.report


def test_a_kind_too_few_pairs_are_left_for_is_named_and_its_share_goes_to_the_other(folders):
    clips, pictures = buckets(folders)
    data = loader.edit_batches(
        [clips, dataclasses.replace(pictures, batch=30)], WORDS, 5, DataConfig(reference=0.2)
    )
    assert "20  pairs of 1 frames (1x2x2 latents) with a reference: left out, a batch is 30" in data.report
    rows = take(iter(data), 150)
    sizes = [(len(b["target"]), b["target"].shape[1]) for b in rows]
    share = sum(size for size, t in sizes if t == 1) / sum(size for size, _ in sizes)
    assert share == pytest.approx(0.2, abs=0.04)
    with pytest.raises(
        InputError, match=r"none are left of .*pictures.*60 pairs of 1 frames.*leave that set"
    ):
        loader.edit_batches(
            [clips, dataclasses.replace(pictures, batch=80)], WORDS, 5, DataConfig(reference=0.2)
        )


def test_a_grown_set_is_encoded_where_it_grew_and_other_choices_replace_shards(tmp_path):
    read, encoder = [], dataclasses.replace(ENCODER, embed=embed)

    def write(indices):
        read.clear()
        latent_cache.write_latents(
            tmp_path, indices, lambda i: (read.append(i), pair(i))[1], encoder, shard=8
        )
        return [fact["pair"] for fact in latent_cache.read_facts(latent_cache.list_shards(tmp_path))]

    assert write(range(12)) == list(range(12))
    assert write(range(12)) == list(range(12)) and not read
    assert write(range(20)) == list(range(20)) and read == list(range(8, 20))
    assert write([0, 2, 4]) == [0, 2, 4] and read == [0, 2, 4]


def test_sets_that_arent_there_are_one_error(tmp_path):
    (tmp_path / "file").touch()
    for name, words in (("", "one that can't be opened"), ("file", "a file"), ("none", "no such folder")):
        with pytest.raises(InputError, match=f"expected a folder of pairs that v2v synth wrote, got {words}"):
            datasets.open_dataset(tmp_path / name)
    build_dataset(SynthRequest(tmp_path / "pairs", 3, frames=5, height=32, width=32, edits=("sepia",)))
    opened = datasets.open_dataset(tmp_path / "pairs")
    assert len(opened) == 3 and pair_lib.pair_size(opened[0]) == (5, 32, 32)
    assert json.loads(opened[0]["active"])


def test_a_survey_reads_the_index_and_not_the_records(tmp_path):
    build_dataset(SynthRequest(tmp_path / "pairs", 3, frames=5, height=32, width=32, edits=("sepia",)))
    index = datasets.read_index(tmp_path / "pairs", 3)
    assert [(line["frames"], line["height"], line["width"]) for line in index] == [(5, 32, 32)] * 3
    assert datasets.read_index(tmp_path / "pairs", 4) == datasets.read_index(tmp_path, 3) == ()
    unread = datasets.RecordDataset([None] * 3, index)
    assert unread.facts(1) == {"pair": 1, "edit": "sepia", "recipe": "photometric", "reference": False}
    assert unread.instructions(1) == index[1]["instructions"] != []
    assert datasets.survey_dataset("pairs", unread, [(5, 32, 32)]).indices_by_size == {(5, 32, 32): [0, 1, 2]}
    (tmp_path / "pairs/pairs.jsonl").unlink()
    assert datasets.open_pairs(tmp_path / "pairs").measure(2).size == (5, 32, 32)
