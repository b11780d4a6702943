"""Records as bytes, their files, and the examples that workers draw for the page of the report."""

import subprocess
import sys

import pytest

from data_synth import record_files
from data_synth.dataset import assembly, build
from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest
from v2v.data import pair as pr


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16383, 70_000])
def test_records_have_the_bytes_of_the_library(length):
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    from data_synth.v2v_pairs import v2v_pairs_dataset_builder as store

    record = {
        name: bytes(length) if name in ("source", "mask") else "é" * (length // 2)
        for name in record_files.BYTES
    }
    record |= {name: number for name, number in zip(record_files.INTEGERS, (length, 1 << 62, 0), strict=True)}
    serializer = ExampleSerializer(store.FEATURES.get_serialized_info())  # pyright: ignore[reportArgumentType]
    expected = serializer.get_tf_example(store.FEATURES.encode_example(record)).SerializeToString(
        deterministic=True
    )
    assert record_files.serialize_record(record) == expected
    assert store.parse_record(expected)["seed"] == record["seed"]


def test_large_records_are_read_one_by_one(tmp_path, monkeypatch):
    writer = record_files.open_writer(tmp_path / "a")
    records = [bytes([k]) * 100 for k in range(5)]
    for record in records:
        writer.write(record)
    writer.close()
    assert list(record_files.iterate_file(tmp_path / "a")) == records
    monkeypatch.setattr(record_files, "_READ_BYTES", 1)
    iterator = record_files.iterate_file(tmp_path / "a")
    assert [next(iterator), *iterator] == records


@pytest.mark.parametrize("storage", pr.STORAGES)
def test_the_page_shows_what_workers_drew_or_what_is_read_again(tmp_path, monkeypatch, storage):
    monkeypatch.setattr(pr, "LARGE", 1)
    request = {
        "seed": 4,
        "frames": 3,
        "height": 32,
        "width": 32,
        "edits": ("to-greyscale", "recolour"),
        "storage": storage,
    }
    reads = []
    read_pair = assembly.read_pair
    monkeypatch.setattr(assembly, "read_pair", lambda *place: reads.append(place) or read_pair(*place))
    build_dataset(SynthRequest(tmp_path / "a", 4, **request))
    assert not reads
    monkeypatch.setattr(build, "SEEDS_PER_MEMBER", 1)
    build_dataset(SynthRequest(tmp_path / "b", 4, **request))
    assert reads
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()


@pytest.mark.slow
def test_workers_do_without_the_library_of_data_sets():
    code = (
        "import sys\nfrom data_synth.dataset import shards\nfrom data_synth.dataset.build import make_records\n"
        "from data_synth.generate import PairOptions\nfrom pathlib import Path\nimport tempfile\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    make = lambda seeds: make_records(seeds, PairOptions())\n"
        "    shards.ShardPlan(Path(folder), make, 0, 2, 2).ensure(0)\n"
        "sys.exit(any(name.startswith('tensorflow') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL).returncode == 0
