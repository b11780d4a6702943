"""Edit a clip at the model's resolution in overlapping windows: frames, latents, sampler, frames. Steps 2 to 5 of `editor.py`.

Windows overlap by whole latent frames. All but a window's first latent frame are blended at every sampling step
(`diffusion/windows.py`; windows of three latent frames share only that first one), and decoded frames that two windows share are
cross-faded. Frames are emitted in order as soon as no later window can change them, so memory holds one batch of windows
regardless of the clip's length.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from v2v.array_types import AnyLatents
from v2v.config import ModelConfig
from v2v.diffusion import windows
from v2v.errors import InputError
from v2v.models.editor_presets import editor_rules
from v2v.pipeline.model import EditingModel, SampleRequest
from v2v.pipeline.progress import Progress, track_steps
from v2v.pipeline.sampling_observer import NO_OBSERVER, SamplingObserver
from v2v.pipeline.second_video import CONDITION_NAME as SECOND_VIDEO
from v2v.pipeline.second_video import SecondVideo
from v2v.pipeline.settings import EditSettings
from v2v.video.frame_store import FrameStore

# Batches of windows that are encoded before they are sampled, and sampled before they are decoded; only latents wait.
PHASE_BATCHES = 16
# Maps frame numbers to the region to edit, bool [*rows.shape, h, w].
MaskLookup = Callable[[np.ndarray], np.ndarray]


def clip_window(config: ModelConfig, frame_count: int | None, frames: int) -> int:
    """Return the frames of a clip's windows: no more than the clip has, of models that take clips of any length.

    Args:
      config: the model.
      frame_count: frames of a window that were asked for; None for the model's.
      frames: frames to be edited.

    Raises:
      InputError: as `window_length`.
    """
    T, stride = window_length(config, frame_count), config.vae.stride_t
    return min(T, -(-(frames - 1) // stride) * stride + 1) if editor_rules(config).fits_length else T


def window_length(config: ModelConfig, frame_count: int | None) -> int:
    """Return the frames of a window; `frame_count` if it is given.

    Raises:
      InputError: the count makes no whole latent frames, or exceeds the model's positions.
    """
    T, stride = config.frames if frame_count is None else frame_count, config.vae.stride_t
    if T > config.frames:
        raise InputError(
            f"window: {config.name} knows positions for up to {config.frames} frames, got {T}; longer clips are edited in windows anyway"
        )
    if (T - 1) % stride:
        raise InputError(f"window: expected {stride}n + 1 frames, got {T}; {T - (T - 1) % stride} would do")
    return T


@dataclass(frozen=True)
class EditInputs:
    """What an edit is given beside the source's frames.

    Attributes:
      text: embedding of the instruction, [config.batch, m, d].
      negative: embedding of what guidance leads away from, like `text`; None for the empty sentence.
      mask_lookup: where to edit; None for everywhere.
      reference: latents of the reference, [config.batch, 1, y, x, c], or None.
      others: latents of further references by name (`SampleRequest.others`).
      first_frame: the edited first frame, uint8 [h, w, 3], from which the edit goes on; None where it is sampled too.
      second_video: a second source clip, or None.
    """

    text: np.ndarray
    negative: np.ndarray | None = None
    mask_lookup: MaskLookup | None = None
    reference: AnyLatents | None = None
    first_frame: np.ndarray | None = None
    others: Mapping[str, AnyLatents] = field(default_factory=dict)
    second_video: SecondVideo | None = None


def edit_windows(
    model: EditingModel,
    small: FrameStore,
    first: int,
    last: int,
    inputs: EditInputs,
    settings: EditSettings,
    progress: Progress,
    observer: SamplingObserver = NO_OBSERVER,
) -> tuple[FrameStore, FrameStore]:
    """Edit frames first:last of `small`.

    Args:
      model: the model.
      small: the source's frames, uint8 [h, w, 3], at the model's resolution.
      first: first frame to edit.
      last: end of the frames to edit, exclusive.
      inputs: what the edit is given.
      settings: settings of the edit.
      progress: as in progress.py.
      observer: what is told of the sampling.

    Returns:
      The source after the autoencoder's round trip, and the edit: frames of float32 levels.

    Raises:
      InputError: the model's values are not finite, or an invalid window length.
    """
    config, n = model.config, last - first
    T = clip_window(config, settings.window, n)
    plan = windows.WindowPlan.of(n, T, config.vae.stride_t)
    size = (config.batch, T, config.height, config.width, 3)
    mask_lookup = inputs.mask_lookup
    # Models that take none would only pay for it.
    takes_mask = "mask" in model.conditions
    z_msk = None
    if takes_mask and not mask_lookup:
        z_msk = model.encode_mask(np.full(size, 255, np.uint8))
    joiner, past = _WindowJoiner(n), None
    batches, encoded, sampled = window_batches(len(plan.starts), config.batch), [], []
    phase_batches, picture = PHASE_BATCHES, inputs.first_frame
    if picture is not None:  # each window begins with a frame of the one before
        batches, phase_batches = [np.full(config.batch, i) for i in range(len(plan.starts))], 1

    def encode(batch: np.ndarray) -> tuple[np.ndarray, AnyLatents | None, dict[str, AnyLatents]]:
        # Beyond the end the last frame is repeated.
        begins = plan.starts[batch] * plan.stride
        rows = first + np.minimum(begins[:, None] + np.arange(T), n - 1)
        z_src, others = np.asarray(model.encode(small[rows])), dict(inputs.others)
        if inputs.second_video is not None:
            others[SECOND_VIDEO] = np.asarray(inputs.second_video.encode(model, begins, T))
        if mask_lookup is None or not takes_mask:
            return z_src, z_msk, others
        mask = np.where(mask_lookup(rows)[..., None], 255, 0).astype(np.uint8)
        return z_src, np.asarray(model.encode_mask(np.broadcast_to(mask, size))), others

    # Autoencoder and transformer take turns once for many windows, since on small devices only one of them fits.
    for number, batch in enumerate(track_steps(batches, "windows", progress)):
        if not encoded:
            encoded = [encode(later) for later in batches[number : number + phase_batches]]
        z_src, z_mask, others = encoded.pop(0)
        z_first = None
        if picture is not None:
            z_first = model.encode(np.broadcast_to(picture, (config.batch, 1, *picture.shape)))
        t, *shape = z_src.shape[1:]
        starts = [int(plan.starts[i]) for i in batch]
        noise = [windows.window_noise(settings.seed, start, t, tuple(shape)) for start in starts]
        seeds = np.stack([windows.noise_seeds(settings.seed, start, t) for start in starts])
        request = SampleRequest(
            z_src, z_mask, inputs.reference, inputs.text, np.stack(noise), settings.steps_of(config),
            settings.guidance_of(config), links=plan.links(batch, past), begin=z_src, strength=settings.strength,
            mode=settings.guide, negative=inputs.negative, first=z_first, seeds=seeds, low_guidance=settings.low_guidance_of(config),
            guidance_reference=settings.guidance_reference, guidance_source=settings.guidance_source, others=others,
            on_step=observer.step_function(batch),
        )  # fmt: skip
        output = model.sample(request)
        z_out, past = output.latents, output.past
        check_finite(z_out)
        sampled.append((batch, z_src, np.asarray(z_out)))
        if encoded:
            continue
        for coded, *latents in sampled:
            if observer.latents is not None:
                rows = windows.unpadded_rows(coded)
                observer.latents.add(
                    [first + int(plan.starts[coded[row]]) * plan.stride for row in rows], latents[1][rows]
                )
            clips = np.stack([np.asarray(model.decode(z)) for z in latents], 1)
            for place in windows.unpadded_rows(coded):
                begin = int(plan.starts[coded[place]]) * plan.stride
                if picture is not None and number + 1 < len(batches):
                    following = int(plan.starts[number + 1]) * plan.stride
                    picture = np.rint(clips[place][1, following - begin]).clip(0, 255).astype(np.uint8)
                joiner.add(begin, clips[place])
        sampled.clear()
    return joiner.flush()


def check_finite(latents: AnyLatents | None) -> None:
    """Check that sampled latents are numbers.

    Raises:
      InputError: some are not.
    """
    if not np.isfinite(np.asarray(latents, np.float32)).all():
        raise InputError(
            "edit: the model's values are no numbers any more, the picture would be black; lower --guidance or the adapters' weights"
        )


def window_batches(count: int, size: int) -> list[np.ndarray]:
    """Divide window indices into batches of `size`; the last is padded, so that one compilation serves clips of any length."""
    return [np.minimum(np.arange(low, low + size), count - 1) for low in range(0, count, size)]


class _WindowJoiner:
    """Joins overlapping windows into frames in order, of source and edit."""

    def __init__(self, n: int):
        self._n, self._frame_count, self._begin = n, 0, 0
        self._previous: np.ndarray | None = None
        self._stores = (FrameStore(), FrameStore())

    def add(self, begin: int, clips: np.ndarray) -> None:
        """Add a window, cross-faded with the previous one.

        Args:
          begin: frame of the clip that it begins with.
          clips: its source and edit, float32 [2, T, h, w, 3].
        """
        if self._previous is not None:
            shared = max(0, self._begin + self._previous.shape[1] - begin)
            rise = (np.arange(1, shared + 1) / (shared + 1)).astype(np.float32)[:, None, None, None]
            previous_frames = self._previous[:, self._previous.shape[1] - shared :]
            clips[:, :shared] = (1 - rise) * previous_frames + rise * clips[:, :shared]
            self._write_until(begin)
        self._begin, self._previous = begin, clips

    def flush(self) -> tuple[FrameStore, FrameStore]:
        """Return all frames of source and edit."""
        self._write_until(self._n)
        return self._stores

    def _write_until(self, end: int) -> None:
        """Write the previous window's frames up to `end`."""
        assert self._previous is not None, "a clip has at least one window"
        for t in range(self._frame_count, end):
            for store, clip in zip(self._stores, self._previous, strict=True):
                store.append(clip[t - self._begin])
        self._frame_count = end
