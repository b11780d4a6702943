"""Latents in a bucket: uploaded as they are finished, fetched once, and what was replaced or removed there follows."""

import json
import uuid

import fsspec
import pytest

from v2v.data import latent_cache, latent_folder
from v2v.data.latent_folder import BucketFolder, LatentFolder, open_latent_folder, stage_set
from v2v.errors import InputError


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setenv("V2V_CACHE", str(tmp_path / "first"))
    place = f"memory://{uuid.uuid4().hex}/latents"
    yield place
    files = fsspec.filesystem("memory")
    if files.exists(place):
        files.rm(place, recursive=True)


def write_shard(folder, number=0, data=b"records", pairs=(0, 1)):
    """Write a shard as `ShardWriter` leaves it."""
    shard = folder.path / "mine" / "5x32x32" / f"latents-{number:07d}.array_record"
    shard.parent.mkdir(parents=True, exist_ok=True)
    shard.with_suffix(".json").write_text(json.dumps([{"pair": i} for i in pairs]))
    shard.write_bytes(data)
    return shard


def other_machine(address, tmp_path, monkeypatch, keeps_shards=True):
    monkeypatch.setenv("V2V_CACHE", str(tmp_path / "second"))
    return BucketFolder(address, keeps_shards)


def test_what_one_machine_encodes_another_trains_on(address, tmp_path, monkeypatch):
    encoding = BucketFolder(address, keeps_shards=False)
    encoding.fetch(with_shards=False)
    (encoding.path / "mine").mkdir()
    (encoding.path / "mine" / "survey.json").write_text("{}")
    shard = write_shard(encoding)
    (shard.parent / "latents-0000002.unfinished").write_bytes(b"half")
    assert not encoding.has_shard(shard)
    encoding.add_shard(shard)
    encoding.publish()
    assert encoding.has_shard(shard) and not shard.exists()
    training = other_machine(address, tmp_path, monkeypatch)
    training.fetch()
    copy = training.path / shard.relative_to(encoding.path)
    assert copy.read_bytes() == b"records" and training.list_shards(copy.parent) == [copy]
    assert (training.path / "mine" / "survey.json").read_text() == "{}"
    assert sorted(p.name for p in copy.parent.iterdir()) == [
        "latents-0000000.array_record",
        "latents-0000000.json",
    ]


def test_only_what_is_missing_or_was_replaced_is_fetched(address, tmp_path, monkeypatch):
    encoding = BucketFolder(address)
    encoding.fetch()
    for number, data in enumerate((b"one", b"two", b"three")):
        encoding.add_shard(write_shard(encoding, number, data))
    training = other_machine(address, tmp_path, monkeypatch)
    training.fetch(with_shards=False)
    assert not list(training.path.rglob("*.array_record")) and len(list(training.path.rglob("*.json"))) == 3
    training.fetch()
    kept = training.path / "mine" / "5x32x32" / "latents-0000000.array_record"
    before = kept.stat().st_mtime_ns
    encoding.add_shard(write_shard(encoding, 1, b"TWO"))  # as long as before
    encoding.remove_shard(encoding.path / "mine" / "5x32x32" / "latents-0000002.array_record")
    training.fetch()
    assert [p.read_bytes() for p in sorted(kept.parent.glob("*.array_record"))] == [b"one", b"TWO"]
    assert kept.stat().st_mtime_ns == before


def test_a_shard_in_a_bucket_is_not_encoded_again(address, tmp_path, monkeypatch):
    encoding = BucketFolder(address, keeps_shards=False)
    encoding.fetch(with_shards=False)
    encoding.add_shard(write_shard(encoding))
    again = other_machine(address, tmp_path, monkeypatch, keeps_shards=False)
    again.fetch(with_shards=False)
    folder = again.path / "mine" / "5x32x32"
    (folder / "meta.json").write_text('{"vae": "x"}')
    (folder / "time_masks.npy").touch()
    counts = []

    def read(index):
        raise AssertionError("nothing is read")

    encoder = latent_cache.LatentEncoder(lambda clips: clips, "x")
    latent_cache.write_latents(folder, [0, 1], read, encoder, progress=counts.append, shared=again)
    assert counts == [2]
    with pytest.raises(AssertionError, match="nothing is read"):  # other pairs are
        latent_cache.write_latents(folder, [0, 2], read, encoder, shared=again)


def test_a_transfer_that_is_broken_off_leaves_no_file_of_that_name(address, tmp_path, monkeypatch):
    encoding = BucketFolder(address)
    encoding.fetch()
    encoding.add_shard(write_shard(encoding))
    training = other_machine(address, tmp_path, monkeypatch)

    def get_file(source, target):
        with open(target, "wb") as file:
            file.write(b"rec")
        raise OSError("connection reset")

    with monkeypatch.context() as patch:
        patch.setattr(training._files, "get_file", get_file)
        with pytest.raises(InputError, match="that can be read and written, got 'connection reset'"):
            training.fetch()
    assert not list(training.path.rglob("*.array_record"))
    training.fetch()
    assert [p.read_bytes() for p in training.path.rglob("*.array_record")] == [b"records"]


def test_a_disk_without_room_and_addresses_that_hold_nothing_are_told(address, monkeypatch):
    with pytest.raises(InputError, match="expected a folder of pairs in a bucket, found no files"):
        stage_set(address)
    with pytest.raises(InputError, match="expected an address that can be opened"):
        open_latent_folder("nothing://bucket/latents")
    fsspec.filesystem("memory").pipe(f"{address}/a.json", b"12345")
    usage = type("Usage", (), {"free": 4})
    with monkeypatch.context() as patch:
        patch.setattr(latent_folder.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(InputError, match="make room, name another disk in V2V_CACHE"):
            stage_set(address)
    folder = stage_set(address)
    assert folder.endswith("/latents") and stage_set("data/mine") == "data/mine"


def test_a_folder_that_all_see_moves_nothing(tmp_path):
    folder = open_latent_folder(tmp_path)
    shard = write_shard(folder)
    assert (
        type(folder) is LatentFolder
        and folder.has_shard(shard)
        and folder.list_shards(shard.parent) == [shard]
    )
    folder.add_shard(shard)
    folder.fetch()
    folder.publish()
    assert shard.exists()
    folder.remove_shard(shard)
    assert not folder.has_shard(shard)
