"""Writing of one shard of latents, which goes on where it was interrupted.

latent_cache.py -> **shard_writer**

A shard is written under another name and renamed when it is complete. Where a signal or an error ends the work, the records so far are
closed properly and stay beside it, as NAME.unfinished with their facts in NAME.unfinished.json; the next run copies them. A process that
is killed leaves a file without an end, which is begun anew.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter


class ShardWriter:
    """A context in which a shard is written.

    Attributes:
      count: records that are written already.
    """

    def __init__(self, path: Path, indices: Sequence[int]):
        """Begin a shard.

        Args:
          path: where it will be, with the suffix .array_record.
          indices: numbers of the pairs that it will hold.
        """
        self._path, self._indices = path, list(indices)
        self._partial, self._unfinished = path.with_suffix(".partial"), path.with_suffix(".unfinished")
        self._unfinished_facts = path.with_suffix(".unfinished.json")
        self._facts: list[Mapping[str, Any]] = []

    @property
    def count(self) -> int:
        """Return the number of records that are written already."""
        return len(self._facts)

    def __enter__(self) -> "ShardWriter":
        self._writer = ArrayRecordWriter(str(self._partial), "group_size:1")
        facts, records = self._read_unfinished()
        for record in records:
            self._writer.write(record)
        self._facts += facts
        return self

    def write(self, record: bytes, facts: Mapping[str, Any]) -> None:
        """Write a record and its facts (`latent_cache.RecordFacts`)."""
        self._writer.write(record)
        self._facts.append(facts)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        text = json.dumps(self._facts)
        if error is None:
            self._path.with_suffix(".json").write_text(text)
            self._partial.rename(self._path)
            self._unfinished_facts.unlink(missing_ok=True)
            self._unfinished.unlink(missing_ok=True)
        elif self._facts:
            self._unfinished_facts.unlink(missing_ok=True)
            self._partial.rename(self._unfinished)
            self._unfinished_facts.write_text(text)
        else:
            self._partial.unlink(missing_ok=True)

    def _read_unfinished(self) -> tuple[list[Mapping[str, Any]], list[bytes]]:
        """Return facts and records of an interrupted run, ([], []) where there are none for these pairs."""
        try:
            facts = json.loads(self._unfinished_facts.read_text())
            reader = ArrayRecordReader(str(self._unfinished))
            records = [reader.read([i])[0] for i in range(reader.num_records())]
            reader.close()
        except (OSError, ValueError, RuntimeError):  # RuntimeError: no array_record
            return [], []
        pairs = [fact.get("pair") for fact in facts]
        same = len(records) == len(facts) and pairs == self._indices[: len(pairs)]
        return (facts, records) if same else ([], [])
