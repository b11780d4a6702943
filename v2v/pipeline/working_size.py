"""The size at which a clip is edited: the model's own, one of the same area and the clip's aspect, or what a published editor was sampled at."""

import math

from v2v.config import ModelConfig
from v2v.models.editor_presets import editor_rules

# A clip whose aspect differs by less than this factor from the model's size, upright or turned, is edited at that size: models have seen
# it most, and 16:9 differs by 1.03 from 832x480.
SAME_ASPECT = 1.1
# Aspects beyond this are edited at this one: models have seen none so long.
LONGEST_ASPECT = 2.5


def choose_size(config: ModelConfig, height: int, width: int) -> tuple[int, int]:
    """Return the height and width at which a clip is edited by a model that was trained on many sizes.

    Args:
      config: the model; its height and width give the area.
      height: of the clip's frames.
      width: of the clip's frames.

    Returns:
      A size of nearly the clip's aspect, of at most the model's area, that divides into tokens; of published editors that by their own rule.
    """
    steps = tuple(config.vae.stride_xy * patch for patch in config.dit.patch[1:])
    rules = editor_rules(config)
    if rules.size == "long_edge":
        return longest_edge_size(height, width, rules.limit, steps)
    if rules.size == "pixels":
        return pixel_budget_size(height, width, rules.limit, steps)
    aspect = min(max(height / width, 1 / LONGEST_ASPECT), LONGEST_ASPECT)
    H, W = config.height, config.width
    turned = (W, H) if W % steps[0] == 0 and H % steps[1] == 0 else (H, W)
    for size in ((H, W), turned):
        if _distortion(size, aspect) <= SAME_ASPECT:
            return size
    ideal = math.sqrt(H * W * aspect)
    sizes = []
    for h in {max(1, math.floor(ideal / steps[0])) * steps[0], math.ceil(ideal / steps[0]) * steps[0]}:
        for w in (round(h / aspect / steps[1]) * steps[1], H * W // h // steps[1] * steps[1]):
            if w > 0 and h * w <= H * W:
                sizes.append((h, w))
    # Aspect first, then area: half a token's difference isn't seen.
    return min(
        sizes, key=lambda size: (round(_distortion(size, aspect), 2), -size[0] * size[1]), default=(H, W)
    )


def longest_edge_size(
    height: int, width: int, limit: int, steps: tuple[int, ...] | tuple[int, int]
) -> tuple[int, int]:
    """Return the size of a picture with its longest edge at most a limit, both sides rounded to the nearest step; nothing is enlarged.

    Args:
      height: of the picture.
      width: of the picture.
      limit: longest edge in pixels.
      steps: what height and width are multiples of.
    """

    def scaled(height: int, width: int, scale: float) -> tuple[int, int]:
        sides = zip((height, width), steps, strict=True)
        h, w = (max(step, round(round(side * scale) / step) * step) for side, step in sides)
        return h, w

    h, w = scaled(height, width, min(1.0, limit / max(height, width)))
    if max(h, w) > limit:  # rounded up
        h, w = scaled(h, w, limit / max(h, w))
    return h, w


def pixel_budget_size(
    height: int, width: int, limit: int, steps: tuple[int, ...] | tuple[int, int]
) -> tuple[int, int]:
    """Return the size of a picture of at most so many pixels, both sides raised to the next step; nothing else is enlarged.

    Args:
      height: of the picture.
      width: of the picture.
      limit: pixels of the whole picture, before the sides are raised.
      steps: what height and width are multiples of.
    """
    scale = math.sqrt(limit / (height * width))
    if scale < 1:  # in halves of a step, as the release does it
        halves = zip((height, width), steps, strict=True)
        height, width = (max(1, int(side * scale) // (step // 2)) * (step // 2) for side, step in halves)
    h, w = (math.ceil(side / step) * step for side, step in zip((height, width), steps, strict=True))
    return h, w


def _distortion(size: tuple[int, int], aspect: float) -> float:
    """Return how many times a picture of an aspect is stretched at a size, at least 1."""
    ratio = size[0] / size[1] / aspect
    return max(ratio, 1 / ratio)
