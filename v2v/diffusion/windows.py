"""Long videos: windows over latent frames that agree where they overlap, at every step. solvers.py → **windows** → sampler.py

A window is a clip the model knows: latent frame 0 holds one picture, each later one a group of `stride_t` frames. Windows start
`hop` groups apart, so frame p of a window and frame p + hop of the one before are the same pictures of the source, start from the
same noise (`noise`), and share `overlap` groups:

    window i-1   0 | 1 2 3 4 5 6 7 8
    window i             0 | 1 2 3 4 5 6 7 8            hop 5, overlap 3
    own share                1 ⅓ ⅔ 1 1 1 1 1

At every step the network's guesses of the data, m = x - sigma v, are brought to agree before the solver moves on:

    m_i[p] ← own[p] m_i[p] + (1 - own[p]) m_{i-1}[p + shift]

from the first window to the last, so each begins as its neighbour ends and then follows its own source, which alone decides its
colours: nothing made is ever fed back as input. A window's first group is left out: a causal VAE, with padding for its past there,
codes it unlike any later group, and a neighbour's guess spoils it (embedded model, 24 photometric pairs: 46 % succeed with it, 88 %
without). So windows of three latent frames, which share one group, only fade into one another as pictures.

Windows of one batch agree within a step; from one batch to the next the guesses of the last window are handed on (`Links.past`).
Either way the numbers are the same, so memory depends on neither length nor batch, and every window keeps its own conditions (and
their cache) for all its steps.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from v2v.array_types import Array, Float, Int, Latents
from v2v.errors import InputError


@struct.dataclass
class WindowLinks:
    """What each window of a batch takes from the one before it; data, so one compilation serves every place in a clip.

    Attributes:
      own: share of a window's own guess in each latent frame; all 1 for the first window of a clip.
      shift: where its frame 0 lies in the window before.
      past: the guesses, at each row of the table, of the window before each clip's first; None before a clip's first batch
        (the sampler then puts zeros, which own = 1 leaves unused).
      clips: of how many clips j the batch has windows, as many of each, clip by clip (batched_model.py).
    """

    own: Float[Array, "b t"]
    shift: Int[Array, "b"]
    past: Float[Array, "n j t y x c"] | None
    clips: int = struct.field(pytree_node=False, default=1)


@dataclass(frozen=True)
class WindowPlan:
    """The windows of one clip.

    Attributes:
      starts: int [w], the latent group at which each begins: its frame p > 0 is group starts + p of the clip, its frame 0
        the single picture that ends group `starts`.
      frames: latent frames of a window.
    """

    starts: np.ndarray
    frames: int

    def own(self, i: int) -> np.ndarray:
        """float32 [t]: 1 where window i stands alone, rising across what it shares with the one before, its first group left out."""
        out = np.ones(self.frames, np.float32)
        shared = self.frames - 1 - self.shift(i)
        if i > 0 and shared > 1:
            out[2 : shared + 1] = np.arange(1, shared) / shared
        return out

    def shift(self, i: int) -> int:
        return int(self.starts[i] - self.starts[i - 1]) if i > 0 else 0

    def links(self, windows: np.ndarray, past: np.ndarray | None = None) -> WindowLinks:
        """Of a batch of consecutive windows; an index repeated at the end is padding and stands alone."""
        real = np.append(True, np.diff(windows) > 0)
        alone = np.ones(self.frames, np.float32)
        own = np.stack([self.own(i) if r else alone for i, r in zip(windows, real, strict=True)])
        shift = np.array([self.shift(i) for i in windows], np.int32)
        return WindowLinks(own, shift, past)


def plan_windows(groups: int, frames: int, overlap: int | None = None) -> WindowPlan:
    """Windows of `frames` latent frames over a clip of `groups` groups after its first picture.

    Args:
      overlap: groups that neighbours share; None for a quarter of a window, at least one where a window has room for it.

    Raises:
      InputError: an overlap that leaves no progress.
    """
    room = frames - 1  # groups in a window
    if overlap is None:
        overlap = min(max(1, room // 4), max(0, room - 1))
    if not 0 <= overlap < max(1, room):
        raise InputError(
            f"overlap: expected 0 to {max(0, room - 1)} latent frames for windows of {frames}, got {overlap}"
        )
    hop = max(1, room - overlap)
    count = 1 + max(0, -(-(groups - room) // hop))
    return WindowPlan(np.minimum(np.arange(count) * hop, max(0, groups - room)), frames)


def window_noise(seed: int, start: int, frames: int, shape: tuple[int, ...]) -> np.ndarray:
    """float32 [frames, *shape]: every group of the clip has its own noise, whichever window it is seen in, so has every start."""
    keys = [(start, 1), *((start + p, 0) for p in range(1, frames))]
    draws = [np.random.default_rng((seed, *key)).standard_normal(shape, np.float32) for key in keys]
    return np.stack(draws)


def align_windows(
    v: Latents, x: Latents, sigma: Float[Array, ""], links: WindowLinks, past: Float[Array, "j t y x c"]
) -> tuple[Latents, Float[Array, "j t y x c"]]:
    """(velocity of a batch of windows after they have agreed, the last window's guess of the data); `past` is this row's of `links`."""

    def window(before, this):
        guess, own, shift = this
        there = jnp.take(before, jnp.arange(len(own)) + shift, axis=0, mode="clip")
        own = own[:, None, None, None]
        guess = own * guess + (1 - own) * there
        return guess, guess

    own, shift = jnp.asarray(links.own, jnp.float32), jnp.asarray(links.shift, jnp.int32)
    clips = [a.reshape(links.clips, -1, *a.shape[1:]) for a in (x - sigma * v, own, shift)]
    last, guess = jax.vmap(lambda past, *clip: jax.lax.scan(window, past, clip))(past, *clips)
    shared = own[:, :, None, None, None] < 1  # elsewhere to the bit what it was
    return jnp.where(shared, (x - guess.reshape(x.shape)) / sigma, v), last
