"""The TFDS dataset of pair records, written without TensorFlow.

Pair → `pair.encode_pair` → **array_record** (described by TFDS) → `tfds.builder_from_directory(d).as_data_source("train")`

TFDS describes the data and serialises the records; it would import TensorFlow to encode pictures itself, so it gets
finished bytes in string features. Its own writer sorts the whole split before it writes, in memory up to 1 GB and with
TensorFlow's file system beyond, so `write_dataset` streams records to array_record files and has TFDS describe them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath
from tensorflow_datasets.core import splits
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
# A new array_record file begins once the last holds this much.
SHARD_BYTES = 256 << 20
SPLIT = "train"
# Pictures are packed already: more effort takes thrice as long and gains 1 %.
COMPRESSION = "group_size:1,zstd:1"


@dataclasses.dataclass(frozen=True)
class Description:
    """What dataset_info.json says of a set.

    Attributes:
      text: What the pairs are made of, and by what.
      license: All licenses that hold for some of them.
    """

    text: str
    license: str


def write_dataset(folder: Path, records: Iterable[dict], describe: Callable[[], Description]) -> int:
    """Write a set, in the order in which the records come, and return their number; one record is in memory at a time.

    Args:
      folder: An empty folder.
      records: Records as `v2v.data.pair.encode_pair` returns them.
      describe: Called when all records are written.
    """
    builder = Builder(data_dir=folder / ".tfds", file_format="array_record")
    features = builder.info.features
    assert features is not None
    # The hint excludes the nested tables that features return.
    examples = ExampleSerializer(features.get_serialized_info())  # pyright: ignore[reportArgumentType]
    lengths: list[int] = []
    sizes: list[int] = []
    writer = None
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
        data_dir=epath.Path(folder), dataset_name=builder.name, split=SPLIT, filetype_suffix="array_record"
    )
    for i in range(len(lengths)):
        (folder / f"part-{i}").rename(template.sharded_filepath(shard_index=i, num_shards=len(lengths)))
    info = tfds.core.SplitInfo(
        name=SPLIT, shard_lengths=lengths, num_bytes=sum(sizes), filename_template=template
    )
    builder.info.set_splits(splits.SplitDict([info]))
    description = describe()
    builder.info.as_proto.description = description.text
    builder.info.as_proto.redistribution_info.license = description.license
    builder.info.write_to_directory(folder)
    return sum(lengths)


class Builder(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder of records as `v2v.data.pair.encode_pair` returns them: strings and pictures are bytes, numbers int64.

    `write_dataset` writes sets; `records` serve TFDS's own `download_and_prepare`, for sets below 1 GB.

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
        features = {
            **{name: tfds.features.Text() for name in _BYTES},
            **{name: tfds.features.Scalar(dtype=np.int64) for name in _INTEGERS},
        }
        # In seed order; the loader shuffles.
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield from enumerate(self._records)
