"""A clip at the model's size, window by window: pixels → latents → sampler → pixels. Steps 2 to 5 of `editor.py`.

Windows overlap by whole latent frames, of which all but a window's first group agree in latent space at every step
(`flow/windows.py`; windows of three latent frames share that group alone), and the frames that two of them show fade from the one's
to the other's. Frames come out in order as soon as no later window can change them, so memory
holds one batch of windows however long the clip is.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np
from tqdm import tqdm

from v2v.config import ModelConfig
from v2v.diffusion import windows
from v2v.errors import InputError
from v2v.pipeline.settings import EditSettings
from v2v.runtime.progress import watch
from v2v.video.frame_store import Store

MaskLookup = Callable[
    [np.ndarray], np.ndarray
]  # frame numbers -> where the model is told to edit, bool [*rows.shape, h, w]


def window_length(config: ModelConfig, asked: int | None) -> int:
    """Frames of a window.

    Raises:
      InputError: a number that makes no whole latent frames, or more than the model has positions for.
    """
    T, stride = config.frames if asked is None else asked, config.vae.stride_t
    if T > config.frames:
        raise InputError(
            f"window: {config.name} knows positions for up to {config.frames} frames, got {T}; longer clips are edited in windows anyway"
        )
    if (T - 1) % stride:
        raise InputError(f"window: expected {stride}n + 1 frames, got {T}; {T - (T - 1) % stride} would do")
    return T


def edit_windows(
    model,
    small: Store,
    first: int,
    last: int,
    seen: MaskLookup | None,
    z_ref,
    text: np.ndarray,
    settings: EditSettings,
    progress: bool,
) -> tuple[Store, Store]:
    """Edits frames first:last of `small`.

    Args:
      model: a `Pretrained`.
      small: the source, uint8 [h, w, 3] each, at the model's size.
      seen: where to edit; None for everywhere.
      z_ref: latents of the reference, or None; z_ref and text are of a batch.

    Returns:
      The source as the VAE gives it back, and the edit, frame by frame in levels.
    """
    config, n = model.config, last - first
    T = window_length(config, settings.window)
    stride = config.vae.stride_t if T > 1 else 1
    plan = windows.plan(-(-(n - 1) // stride), (T - 1) // config.vae.stride_t + 1)
    size = (config.batch, T, config.height, config.width, 3)
    z_msk = None if seen else model.encode_mask(np.full(size, 255, np.uint8))
    steps = config.flow.steps if settings.steps is None else settings.steps
    guidance = config.flow.guidance if settings.guidance is None else settings.guidance
    joined, past = _Joined(n), None
    for batch in step_progress(window_batches(len(plan.starts), config.batch), "windows", progress):
        begins = plan.starts[batch] * stride
        rows = first + np.minimum(
            begins[:, None] + np.arange(T), n - 1
        )  # past the end the last frame is repeated
        z_src = model.encode(small[rows])
        if seen:
            z_msk = model.encode_mask(
                np.broadcast_to(np.where(seen(rows)[..., None], 255, 0).astype(np.uint8), size)
            )
        noise = [windows.noise(settings.seed, plan.starts[i], *_split(z_src.shape)) for i in batch]
        z_out, past = model.sample(
            z_src,
            z_msk,
            z_ref,
            text,
            noise=np.stack(noise),
            steps=steps,
            guidance=guidance,
            links=plan.links(batch, past),
            begin=z_src,
            strength=settings.strength,
            **({} if settings.guide == "prompt" else {"mode": settings.guide}),
        )
        if not np.isfinite(np.asarray(z_out, np.float32)).all():
            raise InputError(
                "edit: the model's values are no numbers any more, the picture would be black; lower --guidance or the adapters' weights"
            )
        clips = np.stack([np.asarray(model.decode(z)) for z in (z_src, z_out)], 1)
        for place in np.flatnonzero(np.append(True, np.diff(batch) > 0)):  # the rest is padding
            joined.add(int(begins[place]), clips[place])
    return joined.finish()


def window_batches(count: int, size: int) -> list[np.ndarray]:
    """Numbers of windows in runs of `size`, the last padded: always as many, so that one compilation serves clips of any length."""
    return [np.minimum(np.arange(low, low + size), count - 1) for low in range(0, count, size)]


def progress_bar(items, unit: str, shown: bool, total: int | None = None):
    """A progress bar on stderr."""
    return tqdm(items, total=total, unit=f" {unit}", desc=f"editing {unit}", disable=not shown, leave=False)


def step_progress(items: list, unit: str, shown: bool) -> Iterator:
    """As `bar`, moved by the sampler's steps within an item too (on CPUs: flow/progress.py)."""
    with progress_bar(None, unit, shown, len(items)) as made:
        for i, item in enumerate(items):

            def report(done: int, total: int, i: int = i) -> None:
                made.n = round(i + done / total, 2)
                made.refresh()

            with watch(report) if shown else nullcontext():
                yield item
            made.n = i + 1
            made.refresh()


class _Joined:
    """Windows in, frames in order out: source and edit, each a `Store`."""

    def __init__(self, n: int):
        self.n, self.done, self.begin, self.held = n, 0, 0, None
        self.stores = (Store(), Store())

    def add(self, begin: int, clips: np.ndarray) -> None:
        """A window's source and edit, float32 [2, T, h, w, 3], from frame `begin` of the clip on."""
        if self.held is not None:
            shared = max(0, self.begin + self.held.shape[1] - begin)
            rise = (np.arange(1, shared + 1) / (shared + 1)).astype(np.float32)[:, None, None, None]
            before = self.held[:, self.held.shape[1] - shared :]
            clips[:, :shared] = (1 - rise) * before + rise * clips[:, :shared]
            self._put(begin)
        self.begin, self.held = begin, clips

    def finish(self) -> tuple[Store, Store]:
        self._put(self.n)
        return self.stores

    def _put(self, end: int) -> None:
        """Writes the held window's frames from the first unwritten one to `end`."""
        for t in range(self.done, end):
            for store, clip in zip(self.stores, self.held, strict=True):
                store.append(clip[t - self.begin])
        self.done = end


def _split(shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """(latent frames, shape of one) of a batch's latents."""
    return shape[1], tuple(shape[2:])
