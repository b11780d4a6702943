"""Reference pictures for edits that have none: a part of the target, turned and cropped (EasyV2V §4).

pair → frame of the target in which the edit is on → crop of what changed → turn → **picture**
"""

from __future__ import annotations

import cv2
import numpy as np

from v2v.data.pair import Pair

# Greatest turn in degrees; least and greatest share of a side that a crop keeps.
_MAX_TURN, _CROP = 15.0, (0.6, 1.0)
# Share of the frame above which an edit counts as one of the whole frame; margin around a smaller one, a share of its side; pixels of the shorter side.
_FRAME_SHARE, _MARGIN, _MIN_SIDE = 0.6, 0.1, 16


def draw_reference(pair: Pair, rng: np.random.Generator) -> np.ndarray:
    """Return a picture of what a target shows, uint8 [h, w, 3].

    Args:
      pair: The pair.
      rng: Draws frame, crop and turn.
    """
    start, end = pair.active
    k = int(rng.integers(start, end))
    frame, mask = pair.target[k], pair.mask[k] > 0
    H, W = mask.shape
    top, bottom, left, right = 0, H, 0, W
    if mask.any() and mask.mean() < _FRAME_SHARE:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        margin = round(_MARGIN * max(rows[-1] - rows[0], columns[-1] - columns[0])) + _MIN_SIDE // 2
        top, bottom = max(0, rows[0] - margin), min(H, rows[-1] + margin + 1)
        left, right = max(0, columns[0] - margin), min(W, columns[-1] + margin + 1)
    height = max(min(_MIN_SIDE, bottom - top), round((bottom - top) * rng.uniform(*_CROP)))
    width = max(min(_MIN_SIDE, right - left), round((right - left) * rng.uniform(*_CROP)))
    y = int(rng.integers(top, bottom - height + 1))
    x = int(rng.integers(left, right - width + 1))
    turn = cv2.getRotationMatrix2D(
        (x + (width - 1) / 2, y + (height - 1) / 2), rng.uniform(-_MAX_TURN, _MAX_TURN), 1.0
    )
    turn[:, 2] -= (x, y)
    # Beyond the frame its border is mirrored, as nothing is known of what is there.
    return cv2.warpAffine(
        frame, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
