"""Keys and shapes of training examples; a batch has the same keys with a leading batch dimension.

transforms.py -> **batch** -> loader.py, train/objectives.py
"""

from typing import NotRequired, TypedDict

import numpy as np

# A batch, or the arrays of one record, by key.
Batch = dict[str, np.ndarray]


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
      source: latents, float16 [t, y, x, c].
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
    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    area: np.ndarray
    reference: NotRequired[np.ndarray]
    text: NotRequired[np.ndarray]
    ids: NotRequired[np.ndarray]
    lengths: NotRequired[np.ndarray]
