"""Make a clip from a text, and if wanted from its first frame: what the backbone does before it is taught to edit."""

from dataclasses import dataclass

import numpy as np

from v2v.config import ModelConfig
from v2v.diffusion import windows
from v2v.errors import InputError, note
from v2v.models.editor_presets import editor_rules
from v2v.pipeline import windowed
from v2v.pipeline.model import EditingModel, SampleRequest
from v2v.pipeline.progress import Progress, track_steps
from v2v.pipeline.sampling_observer import NO_OBSERVER, SamplingObserver
from v2v.pipeline.settings import EditSettings
from v2v.video.video import Video


@dataclass(frozen=True)
class GenerationInputs:
    """What a clip is made from.

    Attributes:
      text: embedding of the prompt, [1, m, d].
      negative: embedding of what guidance leads away from, like `text`; None for the empty sentence.
      first_frame: the clip's first frame, uint8 [h, w, 3]; None where it is sampled too.
    """

    text: np.ndarray
    negative: np.ndarray | None = None
    first_frame: np.ndarray | None = None


def check_generation(model: EditingModel) -> None:
    """Check that a model can make clips from a text alone; one that was trained to edit causes a note.

    Raises:
      InputError: a model whose input holds a source.
    """
    config = model.config
    if config.dit.in_channels > config.dit.out_channels:
        raise InputError(
            f"text-only: {config.name} takes a source in every step and makes no clip without one; use Wan-AI/Wan2.2-TI2V-5B-Diffusers"
        )
    if config.condition.context == "stored":
        raise InputError(
            f"text-only: {config.name} reads what another network made of a source and makes no clip without one; use Wan-AI/Wan2.2-TI2V-5B-Diffusers"
        )
    if model.conditions and not editor_rules(config).has_tasks:
        note(f"{config.name} with its adapter was trained to edit; clips from a text alone may be poor")


def check_first_frame(config: ModelConfig) -> None:
    """Check that a model goes on from a given first frame.

    Raises:
      InputError: one whose backbone was trained with one flow time for all frames, to which a frame without noise means nothing.
    """
    if not config.dit.frame_times:
        raise InputError(
            f"first frame: {config.name} was trained with the same noise on all frames and takes none; use Wan-AI/Wan2.2-TI2V-5B-Diffusers"
        )


def generate_clip(
    model: EditingModel,
    inputs: GenerationInputs,
    settings: EditSettings,
    fps: float,
    progress: Progress,
    observer: SamplingObserver = NO_OBSERVER,
) -> Video[np.ndarray]:
    """Make one window of a clip.

    Args:
      model: the model.
      inputs: what the clip is made from.
      settings: steps, guidance, seed and window; the others have no meaning without a source.
      fps: frames per second of the result.
      progress: as in progress.py.
      observer: what is told of the sampling.

    Raises:
      InputError: an invalid window length, or values that are not finite.
    """
    config = model.config
    frames = windowed.window_length(config, settings.window)
    t, *shape = config.vae.latent_shape(frames, config.height, config.width)
    noise = windows.window_noise(settings.seed, 0, t, tuple(shape))[None]
    first = None if inputs.first_frame is None else model.encode(inputs.first_frame[None, None])
    request = SampleRequest(
        None, None, None, inputs.text, noise, settings.steps_of(config), settings.guidance_of(config),
        negative=inputs.negative, first=first, mode=settings.guide, seeds=windows.noise_seeds(settings.seed, 0, t)[None],
        low_guidance=settings.low_guidance_of(config), on_step=observer.step_function(np.zeros(1, int)),
    )  # fmt: skip
    (latents,) = (
        np.asarray(model.sample(sample).latents, np.float32)
        for sample in track_steps([request], "clips", progress)
    )
    windowed.check_finite(latents)
    if observer.latents is not None:
        observer.latents.add([0], latents)
    return Video.from_array(np.rint(np.asarray(model.decode(latents))[0]).clip(0, 255).astype(np.uint8), fps)
