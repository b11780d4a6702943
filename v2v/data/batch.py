"""Keys and shapes of training examples and batches, and iterators over batches.

transforms.py -> **batch** -> loader.py, train/objectives.py

An example is what a transform makes of one record, in NumPy arrays. A batch of the loader has the keys of its examples and one more
axis in front, b. On the devices it is a batch of JAX arrays without the record numbers, which serve error messages alone.
"""

from typing import Any, NotRequired, Protocol, TypedDict, TypeVar, cast

import numpy as np

from v2v.array_types import Array, Bool, Float, Int, Latents, Text

HostBatch = TypeVar("HostBatch")
HostBatchOutput = TypeVar("HostBatchOutput", covariant=True)


class SentenceExample(TypedDict):
    """One sentence.

    Attributes:
      record: number of the record, for error messages.
      ids: token ids, int32 [m].
      lengths: number of tokens that are not padding.
      edit: index of the edit's name, or -1 for a caption.
    """

    record: np.int64
    ids: np.ndarray
    lengths: np.ndarray
    edit: np.ndarray


class ClipExample(TypedDict):
    """One clip with a sentence that describes it.

    Attributes:
      record: number of the record, for error messages.
      video: latents, float16 [t, y, x, c].
      area: share of each latent cell in which the clip changes, float16 [t, y, x].
      ids: token ids, int32 [m].
      lengths: number of tokens that are not padding.
      first_clean: whether the first latent frame has no noise.
    """

    record: np.int64
    video: np.ndarray
    area: np.ndarray
    ids: np.ndarray
    lengths: np.ndarray
    first_clean: np.ndarray


class EditExample(TypedDict):
    """One edit.

    Attributes:
      record: number of the record, for error messages.
      recipe: index of the recipe's name.
      source: latents, float16 [t, y, x, c]; missing, as the mask is, where they are dropped.
      target: latents, float16 [t, y, x, c].
      mask: latents of the mask, or its pooled values [t, y, x, 1].
      area: share of each latent cell that is edited, float16 [t, y, x].
      reference: latents of the reference picture, [1, y, x, c].
      text: embeddings of the instruction, [m, w]; when missing, `ids` and `lengths` are present.
      ids: token ids, int32 [m].
      lengths: number of tokens that are not padding.
    """

    record: np.int64
    recipe: np.ndarray
    source: NotRequired[np.ndarray]
    target: np.ndarray
    mask: NotRequired[np.ndarray]
    area: np.ndarray
    reference: NotRequired[np.ndarray]
    text: NotRequired[np.ndarray]
    ids: NotRequired[np.ndarray]
    lengths: NotRequired[np.ndarray]


class SentenceBatch(TypedDict):
    """Sentences on the devices; entries as in SentenceExample."""

    ids: Int[Array, "b m"]
    lengths: Int[Array, "b"]
    edit: Int[Array, "b"]


class ClipBatch(TypedDict):
    """Clips on the devices; entries as in ClipExample."""

    video: Latents
    area: Float[Array, "b t y x"]
    ids: Int[Array, "b m"]
    lengths: Int[Array, "b"]
    first_clean: Bool[Array, "b"]


class EditBatch(TypedDict):
    """Edits on the devices; entries as in EditExample, of which those of the conditions may be missing."""

    recipe: Int[Array, "b"]
    source: NotRequired[Latents]
    target: Latents
    mask: NotRequired[Latents]
    area: Float[Array, "b t y x"]
    reference: NotRequired[Latents]
    text: NotRequired[Text]
    ids: NotRequired[Int[Array, "b m"]]
    lengths: NotRequired[Int[Array, "b"]]


def split_records(batch: HostBatch) -> tuple[HostBatch, np.ndarray | None]:
    """Return the part of a batch for the devices, and the numbers of its records, or None where it has none."""
    if not isinstance(batch, dict) or "record" not in batch:
        return batch, None
    arrays = {name: array for name, array in batch.items() if name != "record"}
    return cast(HostBatch, arrays), np.ravel(batch["record"])


class Resumable(Protocol):
    """An iterator whose position is saved and restored, such as grain's."""

    def get_state(self) -> Any:
        """Return the position, which JSON can hold."""
        ...

    def set_state(self, state: Any, /) -> None:
        """Continue at a position."""
        ...


class BatchIterator(Resumable, Protocol[HostBatchOutput]):
    """An endless iterator over this process's rows of global batches."""

    def __next__(self) -> HostBatchOutput:
        """Return the next batch."""
        ...


class BatchSource(Protocol[HostBatchOutput]):
    """Endless batches that can be iterated more than once, such as a loader.Stream or a grain.IterDataset."""

    def __iter__(self) -> BatchIterator[HostBatchOutput]:
        """Iterate from the first batch."""
        ...
