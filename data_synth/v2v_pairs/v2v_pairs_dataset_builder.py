"""TFDS's view of the pair records: how pairs reach disk, without TensorFlow.

Pair → `pairs.encode` → **array_record** (described by TFDS) → `tfds.builder_from_directory(d).as_data_source("train")`

TFDS describes the data and serialises the records; it would import TensorFlow to encode pictures itself, so it is handed
finished bytes in string features. Its own writer sorts the whole split before it writes, in memory up to 1 GB and with
TensorFlow's file system beyond, so `write_set` streams records to array_record files and has TFDS describe them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

_BYTES = (
    "source",
    "target",
    "mask",
    "effect",
    "reference",
    "instructions",
    "provenance",
    "active",
    "source_caption",
    "target_caption",
    "edit",
    "recipe",
)
_INTEGERS = ("schema_version", "frames", "seed")
SHARD_BYTES = 256 << 20  # a new array_record file begins once the last holds this much
SPLIT = "train"
COMPRESSION = (
    "group_size:1,zstd:1"  # pictures are packed already: more effort takes thrice as long and gains 1 %
)


def write_dataset(folder: Path, records: Iterable[dict]) -> int:
    """Writes a whole set, in the order the records come, holding one of them at a time.

    Args:
      folder: existing, empty. records: as `v2v.data.pair.encode_pair` makes them.

    Returns:
      The number of records.
    """
    builder = Builder(data_dir=folder / ".tfds", file_format="array_record")
    features = builder.info.features
    examples = ExampleSerializer(features.get_serialized_info())
    lengths, sizes, writer = [], [], None
    for record in records:
        # TFDS's own `serialize_example` leaves the order of the fields to protobuf, which changes it from process to process.
        example = examples.get_tf_example(features.encode_example(record))
        data = example.SerializeToString(deterministic=True)
        if writer is None or sizes[-1] >= SHARD_BYTES:
            if writer is not None:
                writer.close()
            writer = ArrayRecordWriter(str(folder / f"part-{len(lengths)}"), COMPRESSION)
            lengths.append(0)
            sizes.append(0)
        writer.write(data)
        lengths[-1] += 1
        sizes[-1] += len(data)
    if writer is not None:
        writer.close()
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=builder.name, split=SPLIT, filetype_suffix="array_record"
    )
    for i in range(len(lengths)):
        (folder / f"part-{i}").rename(template.sharded_filepath(shard_index=i, num_shards=len(lengths)))
    info = tfds.core.SplitInfo(
        name=SPLIT, shard_lengths=lengths, num_bytes=sum(sizes), filename_template=template
    )
    builder.info.set_splits(tfds.core.splits.SplitDict([info]))
    builder.info.write_to_directory(folder)
    return sum(lengths)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Records as `v2v.data.pair.encode_pair` makes them; strings and pictures are bytes, numbers are int64.

    `write_set` is how sets are made; `records` serve TFDS's own `download_and_prepare`, for sets below 1 GB.
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
        features = {name: tfds.features.Text() for name in _BYTES}
        features.update({name: tfds.features.Scalar(dtype=np.int64) for name in _INTEGERS})
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )  # seed order; the loader shuffles

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield from enumerate(self._records)
