"""The TFDS dataset of pair records, written without TensorFlow.

Pair → `pair.encode_pair` → `record_files.serialize_record` → **array_record** (described by TFDS) → `tfds.builder_from_directory(d).as_data_source("train")`

TFDS describes the data; it would import TensorFlow to encode pictures itself, so it gets finished bytes in string features. Its own writer sorts the whole split before it writes, in memory up to 1 GB and with
TensorFlow's file system beyond, so workers write array_record files themselves, `SetWriter` puts them together in order and has TFDS
describe them.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath
from tensorflow_datasets.core import splits

from data_synth.record_files import BYTES, INTEGERS, iterate_file, open_writer

# A new array_record file begins once the last holds this much.
SHARD_BYTES = 256 << 20
# A finished file of at least this many bytes becomes one of the set as it is; smaller ones are joined.
MIN_FILE_BYTES = 32 << 20
SPLIT = "train"
FEATURES = tfds.features.FeaturesDict(
    {
        **{name: tfds.features.Text() for name in BYTES},
        **{name: tfds.features.Scalar(dtype=np.int64) for name in INTEGERS},
    }
)


def parse_record(data: bytes) -> dict:
    """Return the record in the bytes that `serialize_record` returned; texts as bytes, as data sources of TFDS give them."""
    return dict(FEATURES.deserialize_example_np(data))  # pyright: ignore[reportArgumentType, reportCallIssue]


@dataclasses.dataclass(frozen=True)
class Description:
    """What dataset_info.json says of a set.

    Attributes:
      text: What the pairs are made of, and by what.
      license: All licenses that hold for some of them.
    """

    text: str
    license: str


@dataclasses.dataclass
class _File:
    """One array_record file of a set.

    Attributes:
      path: Its place until the set is finished.
      length: Number of records.
      size: Bytes of the serialized records.
    """

    path: Path
    length: int = 0
    size: int = 0


class SetWriter:
    """Writer of a set's files, in the order of the calls; holds one record in memory.

    Args:
      folder: An empty folder of this machine.
      address: Folder of a bucket to which each array_record file moves when it is complete; None to leave them in `folder`.
    """

    def __init__(self, folder: Path, address: Path | None = None):
        self._folder = folder
        self.address = address
        self._files: list[_File] = []
        self._writer: ArrayRecordWriter | None = None

    @property
    def count(self) -> int:
        """Return the number of records so far."""
        return sum(file.length for file in self._files)

    def write(self, data: bytes) -> None:
        """Append a serialized record."""
        if self._writer is None or self._files[-1].size >= SHARD_BYTES:
            self._close_file()
            self._files.append(_File(self._next_path()))
            self._writer = open_writer(self._files[-1].path)
        assert self._writer is not None
        self._writer.write(data)
        self._files[-1].length += 1
        self._files[-1].size += len(data)

    def add_file(self, path: Path, length: int, size: int) -> None:
        """Append a finished array_record file: by a second name for the same bytes where the file system allows, else as a copy.

        Args:
          path: The file, which is left as it is.
          length: Number of its records.
          size: Bytes of its serialized records.
        """
        if size < MIN_FILE_BYTES:
            for data in iterate_file(path):
                self.write(data)
            return
        self._close_file()
        file = _File(self._next_path(), length, size)
        try:
            os.link(path, file.path)
        except OSError:
            shutil.copyfile(path, file.path)
        self._files.append(file)

    def copy_file(self, path: Path, length: int, size: int) -> None:
        """Append a finished array_record file of a bucket, which copies it itself.

        Args:
          path: The file.
          length: Number of its records.
          size: Bytes of its serialized records.
        """
        assert self.address is not None
        self._close_file()
        file = _File(self.address / f"part-{len(self._files)}", length, size)
        epath.Path(path).copy(file.path, overwrite=True)
        self._files.append(file)

    def close(self, description: Description) -> int:
        """Give the files their final names, write what TFDS needs beside them, and return the number of records."""
        self._close_file()
        builder = Builder(data_dir=self._folder / ".tfds", file_format="array_record")
        template = tfds.core.ShardedFileTemplate(
            data_dir=epath.Path(self.address or self._folder),
            dataset_name=builder.name,
            split=SPLIT,
            filetype_suffix="array_record",
        )
        for i, file in enumerate(self._files):
            name = template.sharded_filepath(shard_index=i, num_shards=len(self._files))
            if self.address is None:
                file.path.rename(name)
            else:  # buckets copy; renaming is a copy there anyway, which not all servers know by that name
                epath.Path(file.path).copy(name, overwrite=True)
                epath.Path(file.path).unlink()
        info = tfds.core.SplitInfo(
            name=SPLIT,
            shard_lengths=[file.length for file in self._files],
            num_bytes=sum(file.size for file in self._files),
            filename_template=template,
        )
        builder.info.set_splits(splits.SplitDict([info]))
        builder.info.as_proto.description = description.text
        builder.info.as_proto.redistribution_info.license = description.license
        builder.info.write_to_directory(self._folder)
        return self.count

    def _next_path(self) -> Path:
        return self._folder / f"part-{len(self._files)}"

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            if self.address is not None:
                file = self._files[-1]
                place = self.address / file.path.name
                epath.Path(file.path).copy(place, overwrite=True)
                file.path.unlink()
                file.path = place


class Builder(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder of records as `v2v.data.pair.encode_pair` returns them: strings and pictures are bytes, numbers int64.

    `SetWriter` writes sets; `records` serve TFDS's own `download_and_prepare`, for sets below 1 GB.

    Args:
      records: Records, for `download_and_prepare`.
      **kwargs: As for any builder of TFDS.
    """

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {
        "1.0.0": "Pair schema 1.",
        "1.1.0": "Pair schema 2: effect maps; large clips as lossless H.264.",
    }

    def __init__(self, *, records: Iterable[dict] = (), **kwargs):
        self._records = records
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        # In seed order; the loader shuffles.
        return self.dataset_info_from_configs(features=FEATURES, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield from enumerate(self._records)
