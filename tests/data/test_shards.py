"""Shards of latents: written on where they were interrupted, read with few open files, named where they are damaged."""

import json
import os

import pytest

from v2v.data import shard_reader
from v2v.data.shard_reader import ShardReader
from v2v.data.shard_writer import ShardWriter
from v2v.errors import InputError


def facts(i):
    return {"pair": i, "edit": "sepia", "recipe": "sepia", "reference": False}


def write(path, indices, until=None, error=KeyboardInterrupt):
    """Write records of these pairs, up to one at which an error comes."""
    with ShardWriter(path, indices) as writer:
        begin = writer.count
        for i in indices[begin:]:
            if i == until:
                raise error
            writer.write(b"record %d " % i * 50, facts(i))
    return begin


@pytest.fixture
def whole(tmp_path):
    write(tmp_path / "whole.array_record", range(5, 11))
    return tmp_path / "whole.array_record"


def test_an_interrupted_shard_goes_on_and_has_the_same_bytes(tmp_path, whole):
    path = tmp_path / "latents-0000005.array_record"
    for until in (8, 10):
        with pytest.raises(KeyboardInterrupt):
            write(path, range(5, 11), until)
        assert not path.exists() and not list(tmp_path.glob("*.partial"))
    assert write(path, range(5, 11)) == 5
    assert path.read_bytes() == whole.read_bytes()
    assert json.loads(path.with_suffix(".json").read_text()) == [facts(i) for i in range(5, 11)]
    assert not list(tmp_path.glob("*unfinished*"))


def test_what_a_killed_process_left_or_other_pairs_need_is_begun_anew(tmp_path, whole):
    path = tmp_path / "latents-0000005.array_record"
    with pytest.raises(KeyboardInterrupt):
        write(path, range(5, 11), 8)
    assert write(path, [5, 7, *range(12, 16)]) == 0
    with pytest.raises(KeyboardInterrupt):
        write(path, range(5, 11), 8)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(unfinished.read_bytes()[:-10])
    assert write(path, range(5, 11)) == 0
    assert path.read_bytes() == whole.read_bytes()


def test_many_shards_are_read_with_few_open_files(tmp_path, monkeypatch):
    """1,019 open shards, 65,216 pairs, used to end a run under the usual limit of files."""
    monkeypatch.setattr(shard_reader, "OPEN_SHARDS", 3)
    paths = [str(tmp_path / f"{k:02}.array_record") for k in range(12)]
    for k, path in enumerate(paths):
        write(tmp_path / os.path.basename(path), range(2 * k, 2 * k + 2))
    before = len(os.listdir("/proc/self/fd"))
    reader = ShardReader(paths, [2] * 12)
    assert len(reader) == 24
    for i in [*range(24), 5, 23, 0]:
        assert reader[i].startswith(b"record %d " % i)
        assert len(os.listdir("/proc/self/fd")) <= before + 3


def test_a_damaged_shard_is_named(tmp_path, whole):
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    reader = ShardReader([str(whole)], [6])
    with pytest.raises(
        InputError, match="whole.array_record: latents are damaged.*remove this file and run again"
    ):
        reader[3]
