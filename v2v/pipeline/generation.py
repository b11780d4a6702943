"""Make a clip from a text, and if wanted from its first frame: what the backbone does before it is taught to edit.

Editors that were trained to (Bernini-R, its tasks r2v and r2i) make clips of what reference pictures show.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from v2v.config import ModelConfig
from v2v.diffusion import windows
from v2v.errors import InputError, note
from v2v.models.conditioning import build_conditioning
from v2v.models.editor_presets import editor_rules
from v2v.pipeline import editor_inputs, windowed
from v2v.pipeline.model import EditingModel, SampleRequest
from v2v.pipeline.progress import Progress, track_steps
from v2v.pipeline.report import build_report
from v2v.pipeline.sampling_choice import note_settings
from v2v.pipeline.sampling_observer import NO_OBSERVER, SamplingObserver
from v2v.pipeline.settings import EditSettings, PictureInput
from v2v.pipeline.text_inputs import embed_instruction, embed_negative
from v2v.video import inputs
from v2v.video.video import Video


@dataclass(frozen=True)
class GenerationInputs:
    """What a clip is made from.

    Attributes:
      text: embedding of the prompt, [1, m, d].
      negative: embedding of what guidance leads away from, like `text`; None for the empty sentence.
      first_frame: the clip's first frame, uint8 [h, w, 3]; None where it is sampled too.
      references: pictures of what is to be seen, uint8 [h, w, 3] each.
    """

    text: np.ndarray
    negative: np.ndarray | None = None
    first_frame: np.ndarray | None = None
    references: tuple[np.ndarray, ...] = ()


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


def check_references(model: EditingModel, settings: EditSettings, count: int) -> None:
    """Check that a model makes clips of reference pictures, and is guided on them where a scale for that is given.

    Args:
      model: the model.
      settings: the settings.
      count: number of pictures.

    Raises:
      InputError: a model that takes none without a clip, more than it takes, or a scale without effect.
    """
    config, rules = model.config, editor_rules(model.config)
    if count and not rules.has_tasks:
        raise InputError(
            f"reference: {config.name} takes none without a clip; leave it out, or use ByteDance/Bernini-R-1.3B-Diffusers, which does"
        )
    if count > rules.references:
        raise InputError(
            f"reference: {config.name} takes {rules.references} at most, got {count}; leave some out"
        )
    conditions = ("reference",) if count else ()
    conditioning = build_conditioning(config.dit, config.condition)
    mode = conditioning.guidance_mode(settings.guide, conditions, config.frames)
    for axis, value in (("reference", settings.guidance_reference), ("source", settings.guidance_source)):
        if value is not None and axis not in mode.axes:
            raise InputError(
                f"guidance_{axis}: {config.name} isn't guided on that here, it would do nothing; leave it out"
            )


def generate(
    model: EditingModel,
    prompt: str,
    settings: EditSettings,
    first_frame: PictureInput | None,
    references: Sequence[PictureInput],
    fps: float | None,
    progress: Progress,
    observer: SamplingObserver = NO_OBSERVER,
) -> Video[np.ndarray]:
    """Make a clip from a text: check and read what it is made from, sample it, and report.

    Args:
      model: the model.
      prompt: what the clip shows.
      settings: as in `generate_clip`.
      first_frame: its first frame, by whose aspect the model chooses its size.
      references: pictures of what is to be seen.
      fps: frames per second of the result; None for the model's.
      progress: as in progress.py.
      observer: what is told of the sampling.

    Raises:
      InputError: invalid input that the caller can correct, or a model that can't do without a source.
    """
    sized, picture = model, None
    check_generation(model)
    if not re.search(r"\w", prompt):
        raise InputError("text-only: expected a text that says what the clip shows, got none")
    if first_frame is not None:
        check_first_frame(model.config)
        picture = inputs.read_picture(first_frame, "first frame")
        sized = model.for_clip(*picture.shape[:2])
        picture = inputs.resize_frame(picture, sized.config.height, sized.config.width)
    config = sized.config
    note_settings(settings, config)
    check_references(sized, settings, len(references))
    is_picture = windowed.window_length(config, settings.window) == 1
    task = editor_inputs.tell_task(
        config, settings, has_source=False, has_reference=bool(references), is_picture=is_picture
    )
    images = editor_inputs.read_references(config, references)
    embedding = embed_instruction(model, prompt, settings.anyway, task)
    negative = embed_negative(model, settings)
    made_from = GenerationInputs(
        np.asarray(embedding.rows), None if negative is None else negative[:1], picture, tuple(images)
    )
    clip = generate_clip(sized, made_from, settings, fps or config.fps, progress, observer)
    report = build_report(settings, config, clip, (0, len(clip.frames)))
    report["prompt"] = " ".join(prompt.split())
    report["unknown_words"], report["left_out"] = list(embedding.unknown), embedding.cut
    return dataclasses.replace(clip, report=report)


def generate_clip(
    model: EditingModel,
    made_from: GenerationInputs,
    settings: EditSettings,
    fps: float,
    progress: Progress,
    observer: SamplingObserver = NO_OBSERVER,
) -> Video[np.ndarray]:
    """Make one window of a clip.

    Args:
      model: the model.
      made_from: what the clip is made from.
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
    first = None if made_from.first_frame is None else model.encode(made_from.first_frame[None, None])
    pictures = [model.encode(picture[None, None]) for picture in made_from.references]
    request = SampleRequest(
        None, None, pictures[0] if pictures else None, made_from.text, noise, settings.steps_of(config), settings.guidance_of(config),
        negative=made_from.negative, first=first, mode=settings.guide, seeds=windows.noise_seeds(settings.seed, 0, t)[None],
        low_guidance=settings.low_guidance_of(config), on_step=observer.step_function(np.zeros(1, int)),
        guidance_reference=settings.guidance_reference, others={f"reference_{i}": z for i, z in enumerate(pictures[1:], 2)},
    )  # fmt: skip
    (latents,) = (
        np.asarray(model.sample(sample).latents, np.float32)
        for sample in track_steps([request], "clips", progress)
    )
    windowed.check_finite(latents)
    if observer.latents is not None:
        observer.latents.add([0], latents)
    return Video.from_array(np.rint(np.asarray(model.decode(latents))[0]).clip(0, 255).astype(np.uint8), fps)
