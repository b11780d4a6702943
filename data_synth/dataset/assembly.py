"""The assembly of a set from its shards: which records it gets, and the files that hold them.

shards → **selection** → set folder (array_record files, pairs.jsonl, report)

Only facts are read to select; files whose records all belong to the set become files of it as they are. The serial part of a build is
therefore a few lines of JSON a pair.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from data_synth.dataset import shards
from data_synth.dataset.facts import PairFacts, format_facts
from data_synth.places import is_address
from data_synth.record_files import iterate_file
from v2v.data import pair as pr

if TYPE_CHECKING:
    from data_synth.v2v_pairs.v2v_pairs_dataset_builder import SetWriter


@dataclasses.dataclass(frozen=True)
class SelectedShard:
    """The part of a shard that a set gets.

    Attributes:
      record_file: The array_record file.
      length: Number of records in it.
      indices: Positions of the records that the set gets, rising; None for all.
      size: Bytes of these records.
    """

    record_file: Path
    length: int
    indices: tuple[int, ...] | None
    size: int


class Selection:
    """The records of a set under way; holds a few numbers a shard, and nothing a pair.

    Args:
      folder: Folder of the set, which gets the index.
    """

    def __init__(self, folder: Path):
        self.parts: list[SelectedShard] = []
        self._index = (folder / pr.INDEX_FILE).open("w")
        self._record_file: Path | None = None
        self._indices: list[int] = []
        self._length = self._size = 0

    def begin(self, record_file: Path, length: int) -> None:
        """Go on with the next array_record file.

        Args:
          record_file: The file.
          length: Number of records in it.
        """
        self._end_file()
        self._record_file, self._length = record_file, length
        self._indices, self._size = [], 0

    def keep(self, index: int, facts: PairFacts) -> None:
        """Take a record of the file.

        Args:
          index: Its position in the file.
          facts: Its facts.
        """
        self._indices.append(index)
        self._size += facts.size
        self._index.write(format_facts(facts))

    def close(self) -> None:
        """End the last file and the index."""
        self._end_file()
        self._index.close()

    def _end_file(self) -> None:
        if self._record_file is not None and self._indices:
            indices = None if len(self._indices) == self._length else tuple(self._indices)
            self.parts.append(SelectedShard(self._record_file, self._length, indices, self._size))
        self._record_file = None


def add_parts(writer: SetWriter, parts: list[SelectedShard]) -> None:
    """Add the selected records to a set.

    Args:
      writer: `SetWriter` of the set.
      parts: Parts of shards, in order.
    """
    from data_synth.v2v_pairs import v2v_pairs_dataset_builder as store  # TFDS: slow, so only here

    for part in parts:
        is_remote = writer.address is not None and is_address(part.record_file)
        if is_remote and part.indices is None and part.size >= store.MIN_FILE_BYTES:
            writer.copy_file(part.record_file, part.length, part.size)
            continue
        with shards.local_file(part.record_file) as path:
            if part.indices is None:
                writer.add_file(path, part.length, part.size)
                continue
            selected = set(part.indices)
            for index, data in enumerate(iterate_file(path)):
                if index in selected:
                    writer.write(data)


def read_pair(record_file: Path, index: int) -> pr.Pair:
    """Return the pair at a position of an array_record file.

    Args:
      record_file: The file.
      index: Position of the record.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    from data_synth.v2v_pairs import v2v_pairs_dataset_builder as store  # TFDS: slow, so only here

    with shards.local_file(record_file) as path:
        reader = ArrayRecordReader(str(path))
        try:
            (data,) = reader.read([index])
        finally:
            reader.close()
    return pr.decode_pair(store.parse_record(data))
