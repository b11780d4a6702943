"""Records of many shards by number, with a bounded number of open files.

buckets.py -> **shard_reader** -> loader.py
"""

import bisect
import itertools
import threading
from collections import OrderedDict
from collections.abc import Sequence

from array_record.python.array_record_module import ArrayRecordReader

from v2v.errors import InputError

# Shards that are open at the same time; a system's usual limit is 1,024 files of a process.
OPEN_SHARDS = 64


class ShardReader:
    """The records of several shards as one sequence; of the shards, those read last are open.

    Args:
      paths: the array_record files.
      counts: number of records of each.
    """

    def __init__(self, paths: Sequence[str], counts: Sequence[int]):
        self._paths, self._counts = list(paths), list(counts)
        self._ends = list(itertools.accumulate(counts))
        self._readers: OrderedDict[int, ArrayRecordReader] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of records."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> bytes:
        """Return a record.

        Raises:
          InputError: its shard is damaged; says what to do.
        """
        shard = bisect.bisect_right(self._ends, index)
        position = index - (self._ends[shard] - self._counts[shard])
        with self._lock:
            try:
                reader = self._open(shard)
                return reader.read([position])[0]
            except (RuntimeError, ValueError, IndexError) as error:  # of array_record, by the kind of damage
                path, cause = self._paths[shard], " ".join(str(error).split())[:160]
                raise InputError(
                    f"{path}: latents are damaged, could not read record {position} of {self._counts[shard]} ({cause}); remove"
                    " this file and run again: it is encoded anew"
                ) from None

    def _open(self, shard: int) -> ArrayRecordReader:
        """Return the reader of a shard; close the one not used for longest where there are too many."""
        if shard in self._readers:
            self._readers.move_to_end(shard)
            return self._readers[shard]
        reader = ArrayRecordReader(self._paths[shard])
        if reader.num_records() != self._counts[shard]:
            count = reader.num_records()
            reader.close()
            raise ValueError(f"it holds {count} records")
        self._readers[shard] = reader
        if len(self._readers) > OPEN_SHARDS:
            self._readers.popitem(last=False)[1].close()
        return reader
