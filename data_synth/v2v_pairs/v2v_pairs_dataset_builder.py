"""TFDS builder of pair records: how pairs reach disk, without TensorFlow.

Pair → `pairs.encode` → **array_record** (described by TFDS) → `tfds.builder_from_directory(d).as_data_source("train")`

TFDS writes and describes the data; it would import TensorFlow to encode pictures itself, so it is handed finished
bytes in string features. The records are passed in, so one builder serves every recipe.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow_datasets as tfds

_BYTES = ("source", "target", "mask", "reference", "instructions", "provenance", "active", "source_caption",
          "target_caption", "edit", "recipe")
_INTEGERS = ("schema_version", "frames", "seed")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Records as `v2v.data.pairs.encode` makes them; strings and pictures are bytes, numbers are int64."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Pair schema 1."}

    def __init__(self, *, records: Iterable[dict] = (), **kwargs):
        self._records = records
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {name: tfds.features.Text() for name in _BYTES}
        features.update({name: tfds.features.Scalar(dtype=np.int64) for name in _INTEGERS})
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features),
                                              disable_shuffling=True)  # seed order; the loader shuffles

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield from enumerate(self._records)
