"""Sizes of training clips taken from the clips themselves: of their own shape and length, few enough to be compiled.

datasets.py -> **own_sizes** -> train/dataset_plan.py

A clip's own size has the aspect of its frames, at most the area that the model was configured for, sides that divide into tokens, and the
longest of a few lengths that the clip fills; nothing is enlarged. Each size is a program to compile and, with fewer clips than a batch,
a batch with repeats; so the rarest sizes are given up as long as another size takes their clips.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from v2v.config import ModelConfig
from v2v.data.buckets import Size, choose_size

# Most sizes of a run.
MAX_SIZES = 8
# Ratio of successive lengths, in latent frames after the first.
LENGTH_RATIO = 3 / 4


@dataclass(frozen=True)
class SizeLimits:
    """What sizes a model trains at.

    Attributes:
      lengths: numbers of frames of clips, falling; pictures have one frame.
      area: most pixels of a frame.
      side: pixels that height and width are multiples of: (y, x).
    """

    lengths: tuple[int, ...]
    area: int
    side: tuple[int, int]

    @classmethod
    def of(cls, model: ModelConfig) -> "SizeLimits":
        """Return the limits of a model: its configured frames and area are the largest."""
        lengths, n = [], (model.frames - 1) // model.vae.stride_t
        while n > 0:
            lengths.append(model.vae.stride_t * n + 1)
            n = math.floor(n * LENGTH_RATIO)
        side = (model.vae.stride_xy * model.dit.patch[1], model.vae.stride_xy * model.dit.patch[2])
        return cls(tuple(lengths), model.height * model.width, side)

    def own_size(self, clip: Size) -> Size | None:
        """Return a clip's own size; None where it is smaller than the smallest."""
        frames, height, width = clip
        length = 1 if frames == 1 else next((n for n in self.lengths if n <= frames), None)
        scale = min(1.0, math.sqrt(self.area / (height * width)))
        h, w = (
            math.floor(pixels * scale / side + 1e-6) * side
            for pixels, side in zip((height, width), self.side, strict=True)
        )
        return None if length is None or not h or not w else (length, h, w)


def choose_own_sizes(clips: Sequence[Size], limits: SizeLimits, batch: int) -> tuple[Size, ...]:
    """Choose the sizes at which clips train.

    Args:
      clips: sizes of the clips, at the model's rate.
      limits: those of the model.
      batch: clips from which on a size fills a batch.

    Returns:
      Sizes, the largest first; every clip that has an own size fills one of them.
    """
    own_sizes = {clip: limits.own_size(clip) for clip in set(clips)}
    sizes = sorted(
        {size for size in own_sizes.values() if size is not None}, key=lambda size: (math.prod(size), size)
    )
    counts = Counter(clips)

    def clips_of(candidates: Sequence[Size]) -> Counter[Size | None]:
        size_counts: Counter[Size | None] = Counter()
        for clip, size in own_sizes.items():
            if size is not None:
                size_counts[choose_size(clip, candidates).size] += counts[clip]
        return size_counts

    while True:
        of_size = clips_of(sizes)
        rare = [size for size in sizes if of_size[size] < batch or len(sizes) > MAX_SIZES]
        for size in sorted(rare, key=lambda size: (of_size[size], math.prod(size))):
            others = [other for other in sizes if other != size]
            if not of_size[size] or (others and not clips_of(others)[None]):
                sizes = others
                break
        else:
            return tuple(reversed(sizes))
