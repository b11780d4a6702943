"""The recipes of time: slow motion, speed-up, reverse, freeze, and there-and-back.

seed → more frames than the pair has → frame numbers of source and target → **Pair**. Slow motion is made of frames that were filmed: the source
leaves out those that the target shows in between. Each recipe is two lists of frame numbers of one clip; where they agree the mask is 0.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from data_synth import footage
from data_synth.language import time_edits as language
from data_synth.operators.shot_cuts import has_cut
from data_synth.recipes.base import declare_family, join_names, on_clips
from data_synth.recipes.frame_edits import build_frame_edit_pair
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair

# 2: all frames that an edit shows are of one shot.
VERSION = "2"
# Rates among which slow motion and speed-up draw.
FACTORS = (2, 3)
# Probability that a change of speed begins inside the clip.
_LATE_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class Timing:
    """The frames of source and target.

    Attributes:
      source: Numbers of frames of the clip, one for each frame of the source.
      target: The same for the target.
      factor: Of the speed; 1 where it stays.
      start: Frame at which the edit begins.
    """

    source: np.ndarray
    target: np.ndarray
    factor: int
    start: int


def choose_timing(name: str, rng: np.random.Generator, T: int) -> Timing:
    """Draw the frames of an edit.

    Args:
      name: Edit, of `EDITS`.
      rng: Draws factor and start.
      T: Number of frames, at least 3.
    """
    k = np.arange(T)
    factor = FACTORS[int(rng.integers(len(FACTORS)))]
    start = int(rng.integers(1, max(2, T - T // 3))) if rng.random() < _LATE_SHARE else 0
    elapsed = np.maximum(k - start, 0)
    lead = np.minimum(k, start)
    if name == "slow-motion":
        return Timing(factor * k, factor * lead + elapsed, factor, start)
    if name == "speed-up":
        return Timing(k, lead + factor * elapsed, factor, start)
    if name == "reverse":
        return Timing(k, k[::-1].copy(), 1, 0)
    if name == "freeze":
        start = int(rng.integers(max(1, T // 4), max(2, T - T // 3)))
        return Timing(k, np.minimum(k, start), 1, start)
    turn = int(rng.integers(T // 2, max(T // 2 + 1, 2 * T // 3)))
    return Timing(k, np.where(k <= turn, k, 2 * turn - k), 1, turn)


def time_pair(name: str, clips: footage.ClipSource, seed: int, T: int, H: int, W: int) -> Pair | Rejected:
    """Return a pair of a clip and the same moments in another order or at another speed.

    Args:
      name: Edit, of `EDITS`.
      clips: Source of footage.
      seed: Seed of the clip, the edit and the words.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    if T < 3:
        return Rejected("fewer than 3 frames have no speed")
    timing = choose_timing(name, build_rng(seed, "time"), T)
    numbers = np.concatenate([timing.source, timing.target])
    clip = clips(seed, int(numbers.max()) + 1, H, W)
    if isinstance(clip, Rejected):
        return clip
    # The gate of all pairs sees the source alone: a faster target runs on behind its end, a slower one shows what it leaves out.
    if has_cut(clip.video):
        return Rejected("cut inside")
    return build_frame_edit_pair(
        clip,
        clip.video[timing.source],
        clip.video[timing.target],
        timing.source != timing.target,
        language.SENTENCES,
        edit=name,
        kind="time",
        seed=seed,
        slots=language.describe_timing(name, timing.factor, timing.start / T),
        target_words=language.CAPTIONS[name],
        provenance={"factor": timing.factor, "version": VERSION},
    )


EDITS = ("slow-motion", "speed-up", "reverse", "freeze", "there-and-back")


FAMILY = declare_family(
    "time",
    f"{join_names(EDITS)}: the clip's own frames at another speed or in another order",
    {name: on_clips(functools.partial(time_pair, name)) for name in EDITS},
    kind="time",
    renderer="time",
    version=VERSION,
    min_change=5.0,
    reads=("clips",),
    may_begin_late=False,
    phrasing="varied",
)
