"""What an edit takes and gives: `EditSettings`, `EditRequest`, `EditResult`.

A request is made once: by the command line, by a line of a manifest, or by `EasyV2VEditor.edit_video`, whose keyword arguments are the
fields of `EditSettings`, as are the options of `v2v edit` and the keys of a manifest's lines. Everything behind works on it.
"""

import dataclasses
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, get_args

import numpy as np

from v2v.assets import SAMPLE
from v2v.config import Detail, Guide, ModelConfig
from v2v.errors import InputError
from v2v.language.task_prompts import TASKS
from v2v.models.editor_presets import editor_rules
from v2v.video.file_checks import URL
from v2v.video.mask import BOX
from v2v.video.video import Video

if TYPE_CHECKING:  # with JAX, which settings alone don't need
    from v2v.diffusion.step_skipping import StepSkipper
    from v2v.pipeline.sampling_observer import WindowLatents

# As a mask: detect what the edit changed.
AUTO_MASK = "auto"

# A clip as people hand it over: a file, a clip, or uint8 [T, H, W, 3] RGB.
ClipInput = str | Path | np.ndarray | Video
# A picture as people hand it over: a file, "clip.mp4@2.5", or uint8 [H, W, 3] RGB.
PictureInput = str | Path | np.ndarray
# One picture or several.
PicturesInput = PictureInput | Sequence[PictureInput]

# Names that diffusers' pipelines give the same settings.
DIFFUSERS_NAMES = {
    "guidance_scale": "guidance",
    "guidance_scale_2": "low_guidance",
    "num_inference_steps": "steps",
    "negative_prompt": "negative",
}
# What to write in place of their other arguments.
FOREIGN_NAMES = {
    "generator": "write seed=NUMBER",
    "height": "the clip's size is kept; load_pretrained(..., height=H, width=W) sets what the model works at",
    "width": "the clip's size is kept; load_pretrained(..., height=H, width=W) sets what the model works at",
    "image": "write reference=IMAGE, or first_frame=IMAGE for an edited first frame",
    "num_frames": "write window=FRAMES for the frames of a window; the clip's length is kept",
    "callback": "write callback_on_step_end=FUNCTION",
    "callback_on_step_end_tensor_inputs": "leave it out; the function is given the latents",
    "return_dict": "leave it out",
    "prompt": "write instruction=SENTENCE",
}
# More steps change nothing that can be seen.
MOST_STEPS = 10_000
# Far beyond what gives a picture, and far from where float32 ends.
LARGEST_GUIDANCE = 1e6


@dataclass(frozen=True)
class EditSettings:
    """Settings of one edit, checked on construction.

    Attributes:
      start: start of the edited time range in seconds; None for the clip's start.
      end: end of the edited time range in seconds; None for the clip's end.
      steps: number of sampling steps; None for the model's default.
      guidance: scale of classifier-free guidance; None for the model's default.
      low_guidance: the same of the low-noise transformer of a model of two; None for `guidance`, or the model's default where neither is set.
      guidance_reference: scale of guidance on references, of models that are guided on them; None for the model's default.
      guidance_source: scale of guidance on the source, the same.
      negative: a text that guidance leads away from, in place of the model's default, mostly the empty sentence.
      guide: conditions that guidance amplifies, the instruction alone or the reference too, or a mode of Bernini-R (models/guidance_modes.py).
      task: what Bernini-R is told its task is (language/task_prompts.py); "" for what follows from what the edit is given.
      strength: 0.05 to 1; below 1 sampling starts from the noised source and keeps more of it.
      seed: random seed; the same seed gives the same result.
      preserve: restore the source outside the mask and the time range.
      detail: "auto" is "model" for a clip that has the size of a large model, and "guided" for others. "guided" upsamples the low-resolution edit with the source as guide, "model" upsamples it plainly, "tiles" samples
        at full resolution, tile by tile (many times the computation).
      invert_mask: edit where the mask is black.
      soft: width in pixels over which the edit fades in from the mask's edge; None to choose it by frame size.
      window: frames per window; None for the model's default.
      amount: how much of the edit is applied, above 0 to 2; 0.5 goes half of the way, above 1 the edit is exaggerated.
      anyway: give the model the instruction as typed where it isn't known to do what that says.
    """

    start: float | None = None
    end: float | None = None
    steps: int | None = None
    guidance: float | None = None
    guidance_reference: float | None = None
    guidance_source: float | None = None
    low_guidance: float | None = None
    negative: str = ""
    guide: Guide = "prompt"
    task: str = ""
    strength: float = 1.0
    seed: int = 0
    preserve: bool = True
    detail: Detail = "auto"
    invert_mask: bool = False
    soft: float | None = None
    window: int | None = None
    amount: float = 1.0
    anyway: bool = False

    def __post_init__(self):
        for name, kind, least in (("steps", Integral, 1), ("seed", Integral, 0), ("window", Integral, 1)):
            value = getattr(self, name)
            if value is not None and (
                not isinstance(value, kind) or isinstance(value, bool) or value < least
            ):
                raise InputError(f"{name}: expected at least {least}, a whole number, got {value!r}")
        if self.steps is not None and self.steps > MOST_STEPS:
            raise InputError(f"steps: expected at most {MOST_STEPS}, got {self.steps}")
        for name in ("start", "end", "guidance", "low_guidance", "soft"):
            value = getattr(self, name)
            if value is not None and (
                not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value)
            ):
                raise InputError(f"{name}: expected a number, got {value!r}")
        for name in ("guidance", "low_guidance"):
            value = getattr(self, name)
            if value is not None and abs(value) > LARGEST_GUIDANCE:
                raise InputError(f"{name}: expected {LARGEST_GUIDANCE:g} at most, got {value:g}")
        if self.soft is not None and self.soft < 0:
            raise InputError(f"soft: expected a width in pixels of at least 0, got {self.soft:g}")
        if not isinstance(self.strength, Real) or not 0.05 <= self.strength <= 1:
            raise InputError(f"strength: expected 0.05 to 1 (the whole edit), got {self.strength!r}")
        if isinstance(self.amount, bool) or not isinstance(self.amount, Real) or not 0 < self.amount <= 2:
            raise InputError(
                f"amount: expected more than 0, up to 2 (1 is the whole edit), got {self.amount!r}"
            )
        if self.detail not in get_args(Detail):
            raise InputError(f'detail: expected "auto", "guided", "model" or "tiles", got "{self.detail}"')
        if self.guide not in get_args(Guide):
            raise InputError(f'guide: expected one of {", ".join(get_args(Guide))}, got "{self.guide}"')
        if self.task and self.task not in TASKS:
            raise InputError(f"task: expected one of {', '.join(TASKS)}, got {self.task!r}")
        if not isinstance(self.negative, str):
            raise InputError(f"negative: expected a text, got {self.negative!r}")
        for name in ("preserve", "invert_mask", "anyway"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name}: expected true or false, got {getattr(self, name)!r}")

    @classmethod
    def of(cls, **settings: Any) -> "EditSettings":
        """Return settings from keyword arguments, of which some may have their names in diffusers.

        Raises:
          InputError: an unknown name, or a setting given twice.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for keyword, value in settings.items():
            name = DIFFUSERS_NAMES.get(keyword, keyword)
            if name not in names:
                hint = FOREIGN_NAMES.get(keyword)
                close = difflib.get_close_matches(keyword, names, 1, 0.7)
                remedy = hint or (
                    f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(names))}"
                )
                raise InputError(f"{keyword}: no such setting; {remedy}")
            if name in values:
                raise InputError(f"{name}: expected once, got it as {keyword} too; leave one out")
            values[name] = value
        return cls(**values)

    def steps_of(self, config: ModelConfig) -> int:
        """Return the number of steps: the setting, or the model's own."""
        return config.flow.steps if self.steps is None else self.steps

    def guidance_of(self, config: ModelConfig) -> float:
        """Return the guidance: the setting, or the model's own."""
        return config.flow.guidance if self.guidance is None else self.guidance

    def low_guidance_of(self, config: ModelConfig) -> float | None:
        """Return the guidance of the low-noise transformer: the setting, that of both, or the model's own; None for a single transformer.

        Raises:
          InputError: the setting for a model that has no such transformer.
        """
        if not config.flow.boundary:
            if self.low_guidance is not None:
                raise InputError(
                    f"low_guidance: {config.name} has one transformer, for which it would do nothing; leave it out"
                )
            return None
        if self.low_guidance is not None:
            return self.low_guidance
        if (
            self.guidance is not None
            and config.flow.low_guidance is not None
            and editor_rules(config).has_tasks
        ):
            return self.guidance * config.flow.low_guidance / config.flow.guidance
        return config.flow.low_guidance if self.guidance is None else self.guidance


@dataclass(frozen=True)
class EditRequest:
    """One edit: everything that decides its result, apart from the model and its adapters.

    Attributes:
      video: a file, "sample" for the clip that comes with the package, a `Video`, or uint8 [T, H, W, 3] RGB shown at `fps`.
      instruction: the edit, in English ("make the sky purple").
      mask: where (and, if a video, when) to edit, white = edit: a file or an array of the clip's size, a box "x,y,w,h", the name of a
        mask source such as "person" (`video/segmentation/registry.py`), or "auto" to detect what the edit changed and restore everything else.
      reference: an image of any size that shows how the edit should look: a file, "clip.mp4@2.5" for the frame at that second, or uint8
        [H, W, 3] RGB; several, for models that take them, as a list.
      settings: the other settings.
      fps: frames per second, if `video` is an array.
      first_frame: the first edited frame as another program made it, in any form of `reference`: the edit goes on from it.
      context: file of what another network made of instruction, source and reference, for models that read that in place of the
        instruction (checkpoints/context_file.py).
      second_video: a second clip, in any form of `video`, for models that take two: the first gives size and length.

    Raises:
      InputError: a URL in place of a file.
    """

    video: ClipInput
    instruction: str
    mask: ClipInput | None = None
    reference: PicturesInput | None = None
    settings: EditSettings = EditSettings()
    fps: float = 25.0
    first_frame: PictureInput | None = None
    context: str | Path | None = None
    second_video: ClipInput | None = None

    def __post_init__(self):
        inputs = [("reference", value) for value in self.references]
        names = ("video", "mask", "first_frame", "context", "second_video")
        inputs += [(name, getattr(self, name)) for name in names]
        for name, value in inputs:
            if isinstance(value, str) and URL.match(value):
                raise InputError(f"{name}: expected a file, got {value}; download it first")
        if isinstance(self.video, str) and self.video == "sample" and not Path(self.video).exists():
            object.__setattr__(self, "video", SAMPLE)

    @classmethod
    def of(
        cls,
        video: ClipInput,
        instruction: str,
        mask: ClipInput | None = None,
        reference: PicturesInput | None = None,
        *,
        fps: float = 25.0,
        first_frame: PictureInput | None = None,
        context: str | Path | None = None,
        second_video: ClipInput | None = None,
        **settings: Any,
    ) -> "EditRequest":
        """Return a request from keyword arguments, those of the settings among them.

        Args:
          video: the clip; this and the next seven as the attributes.
          instruction: the edit.
          mask: where to edit.
          reference: how the edit should look.
          fps: frames per second, if `video` is an array.
          first_frame: the first edited frame.
          context: stored context.
          second_video: a second clip.
          **settings: as in `EditSettings.of`.

        Raises:
          InputError: a URL in place of a file, or a setting that is wrong, unknown or given twice.
        """
        values = EditSettings.of(**settings)
        return cls(video, instruction, mask, reference, values, fps, first_frame, context, second_video)

    @property
    def references(self) -> tuple[PictureInput, ...]:
        """Return the references, none or more."""
        return picture_inputs(self.reference)


def picture_inputs(pictures: PicturesInput | None) -> tuple[PictureInput, ...]:
    """Return pictures as people hand them over, one, several or none, as a tuple."""
    if pictures is None:
        return ()
    if isinstance(pictures, str | Path | np.ndarray):
        return (pictures,)
    return tuple(pictures)


class EditReport(TypedDict):
    """Settings and measurements of an edit, as `--json`, manifests and `Video.report` hold them."""

    prompt: str
    # What the model was given, one after the other; empty where that is the instruction as typed.
    edits: NotRequired[list[str]]
    # Words that the vocabulary doesn't hold, and the end of an instruction that is too long.
    unknown_words: list[str]
    left_out: str
    seed: int
    steps: int
    guidance: float
    strength: float
    # The edited part of the clip, in frames and seconds.
    first_frame: int
    edited_frames: int
    edited_from: float
    edited_to: float
    edited_seconds: float
    # Width, height and frames of the windows that the model edited.
    worked_at: list[int]
    # Share of the frame that is edited.
    mask_area: float
    # Mean difference outside the mask, in levels of 255: of the model's edit, and, once all frames were computed, of the result.
    leak_model: NotRequired[float | None]
    leak: NotRequired[float]
    # Share of steps that were skipped and what that costs in dB, where steps may be skipped.
    skipped: NotRequired[float]
    skip_snr: NotRequired[float]


def add_skips(report: EditReport, skipping: "StepSkipper | None") -> EditReport:
    """Return a report with the measurements of step skipping, once frames were computed."""
    if skipping is None or skipping.report is None:
        return report
    report = report.copy()
    report["skipped"], report["skip_snr"] = skipping.report.share, skipping.report.snr
    return report


@dataclass(frozen=True)
class EditResult:
    """An edited clip.

    Attributes:
      video: the clip, with the source's size, frame times and sound; its frames are computed while they are iterated.
      report: the settings and measurements.
      latents: what was sampled, where that was asked for.
    """

    video: Video
    report: EditReport
    latents: "WindowLatents | None" = None

    def in_memory(self) -> "EditResult":
        """Return the result with all frames computed."""
        frames = np.asarray(self.video.frames)
        return dataclasses.replace(self, video=dataclasses.replace(self.video, frames=frames))


def check_combination(settings: EditSettings, mask: Any, reference: Any) -> None:
    """Check that settings that need a mask or a reference have one.

    Args:
      settings: the settings.
      mask: the mask, or None.
      reference: the reference, or None.

    Raises:
      InputError: a setting without effect.
    """
    if mask is None and (settings.invert_mask or settings.soft is not None):
        raise InputError(
            f"{'invert_mask' if settings.invert_mask else 'soft'}: expected a mask with it, got none; add one, or leave it out"
        )
    if settings.invert_mask and isinstance(mask, str) and (mask == AUTO_MASK or BOX.fullmatch(mask)):
        raise InputError(
            f"invert_mask: expected a picture or video as mask, got {mask}, which always marks where to edit; leave it out"
        )
    if settings.guide == "prompt+reference" and reference is None:
        raise InputError(
            'guide: "prompt+reference" expected a reference with it, got none; add one, or leave it out'
        )
