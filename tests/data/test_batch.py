"""Examples and batches have the same keys, and the numbers of records stay on the host."""

import typing

import jax
import numpy as np
import pytest

from tests.data.test_loader import ENCODER, WORDS, bucket, pair
from v2v.config import DataConfig
from v2v.data import batch as batch_lib
from v2v.data import latent_cache, loader, transforms

FAMILIES = [
    (batch_lib.SentenceExample, batch_lib.SentenceBatch),
    (batch_lib.ClipExample, batch_lib.ClipBatch),
    (batch_lib.EditExample, batch_lib.EditBatch),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("latents")
    latent_cache.write_latents(path, range(8), pair, ENCODER)
    return path


@pytest.mark.parametrize("example, batch", FAMILIES, ids=["sentence", "clip", "edit"])
def test_a_batch_on_the_devices_has_the_keys_of_its_examples_without_the_record(example, batch):
    assert set(typing.get_type_hints(batch)) == set(typing.get_type_hints(example)) - {"record"}


def test_streams_give_the_declared_keys(folder):
    shards = latent_cache.list_shards(folder)
    streams = {
        batch_lib.SentenceExample: loader.text_batches(shards, 4, transforms.ToSentence(WORDS, ("palette", "recolour"))),
        batch_lib.ClipExample: loader.base_batches(shards, 4, transforms.ToClip(WORDS)),
        batch_lib.EditExample: loader.edit_batches([bucket(folder, 2)], WORDS, data=DataConfig(reference=0.5)),
    }  # fmt: skip
    for example, stream in streams.items():
        for kind in stream.kinds:
            keys = set(kind[0])
            assert example.__required_keys__ <= keys <= example.__required_keys__ | example.__optional_keys__


def test_record_numbers_are_split_off_and_other_batches_have_none():
    ids = np.zeros((2, 3), np.int32)
    arrays, records = batch_lib.split_records({"record": np.array([7, 9]), "ids": ids})
    assert list(arrays) == ["ids"] and arrays["ids"] is ids
    np.testing.assert_array_equal(records, [7, 9])
    for batch in ({"ids": ids}, ids):
        arrays, records = batch_lib.split_records(batch)
        assert arrays is batch and records is None
    jax.tree.map(np.testing.assert_array_equal, arrays, ids)
