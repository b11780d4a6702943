"""Overlapping windows over the latent frames of a long clip, blended at every sampling step.

A window is a clip of the length that the model knows: latent frame 0 holds one picture, each later one a group of `stride_t`
pictures. Windows start `hop` groups apart. So frame p of a window and frame p + hop of the previous one show the same pictures of
the source and start from the same noise (`window_noise`); neighbors share `overlap` groups:

    window i-1   0 | 1 2 3 4 5 6 7 8
    window i             0 | 1 2 3 4 5 6 7 8            hop 5, overlap 3
    weight of window i       1 ⅓ ⅔ 1 1 1 1 1

At every step the network's predictions of the data, m = x - sigma v, are blended before the solver moves on:

    m_i[p] ← weight[p] m_i[p] + (1 - weight[p]) m_{i-1}[p + shift]

from the first window to the last. Each window thus begins as its neighbor ends and then follows its own source, which alone decides
its colors: no output is ever fed back as input. A window's first group is not blended: a causal autoencoder encodes it with padding
for its past, unlike any later group, and a neighbor's prediction spoils it (embedded model, 24 photometric pairs: 46 % succeed
with it, 88 % without). Windows of three latent frames, which share one group, are therefore only cross-faded as pictures.

The windows of one batch are blended within a step. From one batch to the next, the predictions of the last window are handed on
(`WindowLinks.past`). Both give the same numbers, so memory depends on neither the clip's length nor the batch size, and every
window keeps its conditions (and their KV cache) for all its steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from v2v.array_types import Array, Float, Int, Latents
from v2v.errors import InputError


@struct.dataclass
class WindowLinks:
    """How the windows of a batch depend on their predecessors; a pytree, so one compilation serves every position in a clip.

    Attributes:
      weight: [b, t], weight of a window's own prediction in each latent frame; all 1 for the first window of a clip.
      shift: [b], position of a window's frame 0 in the previous window.
      past: [n, j, t, y, x, c], predictions at each of n solver steps of the window before each clip's first one in the batch; None
        before a clip's first batch (the sampler then puts zeros, which a weight of 1 leaves unused).
      clips: number j of clips in the batch, which has equally many windows of each, clip by clip.
    """

    weight: Float[Array | np.ndarray, "b t"]
    shift: Int[Array | np.ndarray, "b"]
    past: Float[Array | np.ndarray, "n j t y x c"] | None
    clips: int = struct.field(pytree_node=False, default=1)


def concatenate_links(links: Sequence[WindowLinks]) -> WindowLinks:
    """Concatenate the links of several clips, one after the other, into those of one batch.

    Args:
      links: one item a clip, each with equally many windows. Where some have a past, it is zeros for the others.
    """
    pasts = [np.asarray(link.past) for link in links if link.past is not None]
    past = None
    if pasts:
        zeros = np.zeros_like(pasts[0])
        past = np.concatenate([zeros if link.past is None else link.past for link in links], 1)
    return WindowLinks(
        np.concatenate([link.weight for link in links]),
        np.concatenate([link.shift for link in links]),
        past,
        len(links),
    )


@dataclass(frozen=True)
class WindowPlan:
    """The windows of one clip.

    Attributes:
      starts: int [w], the group at which each window begins: its latent frame p > 0 is group `starts + p` of the clip, its latent
        frame 0 the single picture that ends group `starts`.
      frames: latent frames of a window.
      stride: pictures of a group, so that window i begins at picture `starts[i] * stride`.
    """

    starts: np.ndarray
    frames: int
    stride: int = 1

    @classmethod
    def of(cls, frame_count: int, window: int, stride_t: int) -> "WindowPlan":
        """Return the plan of a clip of pictures, with the usual overlap.

        Args:
          frame_count: pictures of the clip, at least 1; the last window may reach beyond the end.
          window: pictures of a window, `stride_t` n + 1.
          stride_t: pictures of a group: the temporal stride of the autoencoder.
        """
        stride = stride_t if window > 1 else 1
        plan = plan_windows(-(-(frame_count - 1) // stride), (window - 1) // stride_t + 1)
        return cls(plan.starts, plan.frames, stride)

    def weight(self, i: int) -> np.ndarray:
        """Return the weight of window i's own prediction, float32 [t]: 1, but rising over the groups shared with the previous one."""
        weight = np.ones(self.frames, np.float32)
        shared = self.frames - 1 - self.shift(i)
        if i > 0 and shared > 1:
            weight[2 : shared + 1] = np.arange(1, shared) / shared
        return weight

    def shift(self, i: int) -> int:
        """Return the groups from the start of the previous window to that of window i; 0 for the first."""
        return int(self.starts[i] - self.starts[i - 1]) if i > 0 else 0

    def links(self, windows: np.ndarray, past: Array | np.ndarray | None = None) -> WindowLinks:
        """Return the links of a batch of windows.

        Args:
          windows: int [b], consecutive indices; one that is repeated at the end is padding and linked to nothing.
          past: [n, 1, t, y, x, c], the predictions of the window before the first, as the sampler returned them; None for none.
        """
        weight = np.ones((len(windows), self.frames), np.float32)
        for row in unpadded_rows(windows):
            weight[row] = self.weight(int(windows[row]))
        return WindowLinks(weight, np.array([self.shift(int(i)) for i in windows], np.int32), past)


def unpadded_rows(windows: np.ndarray) -> np.ndarray:
    """Return the rows, int [n], of a batch of window indices, int [b], that don't repeat the row before."""
    return np.flatnonzero(np.append(True, np.diff(windows) > 0))


def plan_windows(groups: int, frames: int, overlap: int | None = None) -> WindowPlan:
    """Return windows of `frames` latent frames over a clip of `groups` groups after its first picture.

    Args:
      groups: groups of the clip.
      frames: latent frames of a window.
      overlap: groups that neighbors share; None for a quarter of a window, at least one where a window has room for it.

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


def window_noise(seed: int, start: int | np.integer, frames: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return a window's initial noise, float32 [frames, *shape].

    Every group of the clip has noise of its own, the same in all windows that show it; so has every single picture that begins a window.

    Args:
      seed: seed of the edit.
      start: group at which the window begins.
      frames: latent frames of the window.
      shape: of a latent frame, (y, x, c).
    """
    keys = [(start, 1), *((start + p, 0) for p in range(1, frames))]
    draws = [np.random.default_rng((seed, *key)).standard_normal(shape, np.float32) for key in keys]
    return np.stack(draws)


def noise_seeds(
    seed: int, start: int | np.integer, frames: int, corner: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Return what the fresh noise of a window's latent frames is drawn from (`solvers.draw_noise`), uint32 [frames, 4].

    Two words of a random key, that differ between groups and are the same in all windows that show a group, as in `window_noise`; then
    the latent row and column of the whole frame at which the window's frames begin, so that tiles share noise where they overlap.

    Args:
      seed: seed of the edit.
      start: group at which the window begins.
      frames: latent frames of the window.
      corner: row and column of a tile's first cell.
    """
    # The last number tells these from the seeds of `window_noise`.
    keys = [(start, 1, 1), *((start + p, 0, 1) for p in range(1, frames))]
    words = [np.random.SeedSequence((seed, *map(int, key))).generate_state(2) for key in keys]
    return np.concatenate([words, np.broadcast_to(corner, (frames, 2))], 1).astype(np.uint32)


def blend_windows(
    v: Latents,
    x: Latents,
    sigma: Float[Array, ""],
    links: WindowLinks,
    past: Float[Array | np.ndarray, "j t y x c"],
) -> tuple[Latents, Float[Array, "j t y x c"]]:
    """Blend the predictions of a batch of windows.

    Args:
      v: velocity of each window.
      x: state of each window.
      sigma: noise level of the step.
      links: the windows' links; their `past` is not used.
      past: predictions, at this step, of the window before each clip's first one.

    Returns:
      The velocity that leads to the blended predictions, and the predictions of each clip's last window.
    """

    def blend(previous, window):
        prediction, weight, shift = window
        shifted = jnp.take(previous, jnp.arange(len(weight)) + shift, axis=0, mode="clip")
        weight = weight[:, None, None, None]
        prediction = weight * prediction + (1 - weight) * shifted
        return prediction, prediction

    weight, shift = jnp.asarray(links.weight, jnp.float32), jnp.asarray(links.shift, jnp.int32)
    clips = [a.reshape(links.clips, -1, *a.shape[1:]) for a in (x - sigma * v, weight, shift)]
    last, prediction = jax.vmap(lambda past, *clip: jax.lax.scan(blend, past, clip))(past, *clips)
    # Where nothing is blended the velocity stays the same to the bit.
    is_shared = weight[:, :, None, None, None] < 1
    return jnp.where(is_shared, (x - prediction.reshape(x.shape)) / sigma, v), last
