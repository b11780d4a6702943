"""Edit a clip by an instruction: the editor that people use, and the whole flow in a list. Start reading here.

    video -> latents -> tokens -> transformer -> velocity -> sampler -> video

The model works on short clips of one resolution (`config.frames` x `height` x `width`). A clip of any length and resolution is
therefore decoded twice, and never held in memory:

1. Frames are read (`video/decoder.py`) and resized to the model's resolution; mask and time range are checked (`video/mask.py`).
2. The clip is divided into overlapping windows (`windowed.py`).
3. The autoencoder encodes each window, the mask and the reference image (`models/autoencoder.py`).
4. The sampler integrates the transformer's velocity from noise to data. The transformer sees source, mask and reference as clean
   tokens beside the noisy ones (`diffusion/sampler.py`, `models/transformer.py`). Overlapping windows are blended at every step
   (`diffusion/windows.py`).
5. The result is decoded, and so are the source's own latents, to measure what the autoencoder loses.
6. Frames are read again one by one, and the low-resolution edit is transferred to the clip's resolution
   (`video/detail_transfer/`, `full_resolution.py`).
7. Outside the mask and the time range the source is restored (`video/mask.py`).

The code of this list is `edit_step.py`. An instruction of several looks goes through it several times, `EasyV2VEditor.edit` plans them.
"""

import dataclasses
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from v2v.checkpoints import hub_upload
from v2v.config import TransformerName
from v2v.errors import InputError
from v2v.pipeline import generation
from v2v.pipeline.edit_step import apply_step
from v2v.pipeline.instruction import PlannedStep, is_text_source, plan_instruction
from v2v.pipeline.model import EditingModel
from v2v.pipeline.output_types import Output, OutputType, check_output_type, convert_output
from v2v.pipeline.pretrained import load_pretrained
from v2v.pipeline.pretrained_model import Pretrained
from v2v.pipeline.progress import Progress, end_when_set
from v2v.pipeline.sampling_choice import note_settings
from v2v.pipeline.sampling_observer import Cancellation, LatentCollector, SamplingObserver, StepCallback
from v2v.pipeline.saved_model import save_model
from v2v.pipeline.settings import (
    AUTO_MASK,
    ClipInput,
    EditRequest,
    EditResult,
    EditSettings,
    PictureInput,
    PicturesInput,
    picture_inputs,
)
from v2v.runtime import compilation_cache
from v2v.video import file_checks
from v2v.video.file_checks import DEFAULT_FORMAT
from v2v.video.output_format import OutputFormat
from v2v.video.segmentation.base import ClipMask
from v2v.video.segmentation.registry import is_mask_source
from v2v.video.video import Video


class EasyV2VEditor:
    """A video editor: `EasyV2VEditor().edit_video("in.mp4", "make it sepia").save("out.mp4")`.

    Attributes:
      model: the model with the adapters added so far.
    """

    def __init__(self, pretrained_model: str | Path | EditingModel = "embedded"):
        """Load a model.

        Args:
          pretrained_model: "embedded" for the packaged model, a model folder, ORG/NAME[@REVISION] on the Hugging Face Hub, or a
            loaded model.
        """
        if isinstance(pretrained_model, str | Path):
            compilation_cache.use_compilation_cache()
            pretrained_model = load_pretrained(pretrained_model)
        self.model: EditingModel = pretrained_model
        self._base_model: EditingModel = pretrained_model

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = "embedded", *, progress: bool = False, **settings
    ) -> "EasyV2VEditor":
        """Load a model by its name or from a folder, with the arguments of `load_pretrained`.

        Args:
          name_or_path: "embedded", a model folder, or ORG/NAME[@REVISION] on the Hugging Face Hub, which is fetched if the cache
            lacks it.
          progress: show bars while weights are read.
          **settings: other values for the model's own, such as frames, height, width, dtype, solver.

        Raises:
          InputError: no such model, or incomplete, damaged or unsuitable files.
        """
        compilation_cache.use_compilation_cache()
        return cls(load_pretrained(name_or_path, progress=progress, **settings))

    def with_model(self, model: EditingModel) -> "EasyV2VEditor":
        """Return an editor that uses another loaded model."""
        return EasyV2VEditor(model)

    def edit(
        self,
        request: EditRequest,
        *,
        output: str | Path | None = None,
        output_format: OutputFormat = DEFAULT_FORMAT,
        progress: Progress = False,
        callback_on_step_end: StepCallback | None = None,
        cancel: Cancellation | None = None,
        keep_latents: bool = False,
    ) -> EditResult:
        """Edit a clip; its frames are computed only while they are iterated or saved, at last at the clip's own resolution.

        An instruction of several looks is several edits: each is of the result of the one before.

        Args:
          request: the edit.
          output: the file the result is meant for, so that a format it can't have is found before sampling; nothing is written.
          output_format: its codec, quality and pixel format.
          progress: show bars on stderr, or a function that is called (progress.py).
          callback_on_step_end: called after each sampling step, as by diffusers' pipelines (sampling_observer.py).
          cancel: such as a `threading.Event`: ends the edit once it is set, from whichever thread.
          keep_latents: return what was sampled too.

        Raises:
          InputError: invalid input that the caller can correct.
          EditCanceledError: `cancel` was set, or a function of the caller's raised it.
        """
        progress, observer = self._build_observer(progress, callback_on_step_end, cancel, keep_latents)
        first, *others = steps = self.plan(request)
        note_settings(request.settings, self.model.config)
        # Masks by name are those of the source, not of an edit of it.
        masks_by_name: dict[str, ClipMask] = {}
        result = apply_step(
            self.model, request, first, masks_by_name, output, output_format, progress, observer
        )
        area = result.report["mask_area"]
        for step in others:
            request = dataclasses.replace(request, video=result.video, first_frame=None)
            observer = dataclasses.replace(observer, latents=LatentCollector() if keep_latents else None)
            result = apply_step(
                self.model, request, step, masks_by_name, output, output_format, progress, observer
            )
            area = max(area, result.report["mask_area"])
        result.report["prompt"] = " ".join(request.instruction.split())
        result.report["mask_area"] = area
        if any(step.title for step in steps):
            result.report["edits"] = [str(step) for step in steps]
        if observer.latents is not None:
            result = dataclasses.replace(result, latents=observer.latents.collect())
        return result

    def _build_observer(
        self,
        progress: Progress,
        callback: StepCallback | None,
        cancel: Cancellation | None,
        keep_latents: bool = False,
    ) -> tuple[Progress, SamplingObserver]:
        """Return what is told of the stages of an edit, and of its sampling.

        Raises:
          InputError: a function after each step for a model that skips some.
        """
        if callback is not None and self.model.skipping is not None:
            raise InputError(
                "callback_on_step_end: expected a model that computes each step, this one skips some; leave one out"
            )
        if cancel is not None:
            progress = end_when_set(progress, cancel.is_set)
        # Where steps are skipped, an edit ends between batches of windows.
        in_steps = None if self.model.skipping is not None else cancel
        return progress, SamplingObserver(
            callback, in_steps, self, LatentCollector() if keep_latents else None
        )

    def plan(self, request: EditRequest) -> tuple[PlannedStep, ...]:
        """Return what the model is given for an instruction: itself, or what the model is known to do, one after the other.

        Raises:
          InputError: no instruction, or one that isn't understood or that the model can't follow.
        """
        if not isinstance(request.instruction, str) or not re.search(r"\w", request.instruction):
            raise InputError('instruction: expected a sentence such as "make it sepia", got none')
        is_auto = isinstance(request.mask, str) and request.mask == AUTO_MASK
        return plan_instruction(
            request.instruction,
            self.model.abilities,
            has_mask=request.mask is not None and not is_auto,
            has_text_mask=is_mask_source(request.mask) and is_text_source(request.mask),
            has_reference=request.reference is not None,
            anyway=request.settings.anyway,
        )

    def write(
        self,
        request: EditRequest,
        output: str | Path,
        *,
        output_format: OutputFormat = DEFAULT_FORMAT,
        progress: Progress = False,
        callback_on_step_end: StepCallback | None = None,
        cancel: Cancellation | None = None,
        sampled: Callable[[], None] = lambda: None,
    ) -> EditResult:
        """Edit a clip and write frames to a file as they are computed: memory doesn't grow with the clip's length.

        Args:
          request: the edit.
          output: the file to write.
          output_format: its codec, quality and pixel format.
          progress: show bars on stderr, or a function that is called (progress.py).
          callback_on_step_end: as in `edit`, like the next.
          cancel: ends the edit; nothing is written then.
          sampled: called once sampling has finished and writing begins.

        Returns:
          The written clip; iterating its `frames` computes them again.

        Raises:
          InputError: invalid input that the caller can correct.
        """
        output = file_checks.check_output(output, output_format)
        file_checks.check_not_input(
            output,
            input=request.video,
            mask=request.mask,
            first_frame=request.first_frame,
            context=request.context,
            second_video=request.second_video,
        )
        for reference in request.references:
            file_checks.check_not_input(output, reference=reference)
        edited = self.edit(
            request,
            output=output,
            output_format=output_format,
            progress=progress,
            callback_on_step_end=callback_on_step_end,
            cancel=cancel,
        )
        sampled()
        edited.video.save(output, **dataclasses.asdict(output_format))
        return edited

    @overload
    def edit_video(
        self,
        video: ClipInput,
        instruction: str,
        mask: ClipInput | None = None,
        reference: PicturesInput | None = None,
        *,
        output_type: Literal["video"] = "video",
        **options: Any,
    ) -> Video[np.ndarray]: ...

    @overload
    def edit_video(
        self,
        video: ClipInput,
        instruction: str,
        mask: ClipInput | None = None,
        reference: PicturesInput | None = None,
        *,
        output_type: OutputType,
        **options: Any,
    ) -> Any: ...

    def edit_video(
        self,
        video: ClipInput,
        instruction: str,
        mask: ClipInput | None = None,
        reference: PicturesInput | None = None,
        *,
        first_frame: PictureInput | None = None,
        context: str | Path | None = None,
        second_video: ClipInput | None = None,
        fps: float = 25.0,
        progress: Progress = False,
        callback_on_step_end: StepCallback | None = None,
        cancel: Cancellation | None = None,
        output_type: OutputType = "video",
        **settings,
    ) -> Output:
        """Edit a clip and return it in memory; `edit_file` writes to a file instead, in constant memory.

        Args:
          video: the clip; this and the next three as in `EditRequest`.
          instruction: the edit, in English.
          mask: where to edit.
          reference: how the edit should look.
          first_frame: the first edited frame, from which the edit goes on.
          context: stored context, of models that read one (`EditRequest.context`).
          second_video: a second clip, of models that take two (`EditRequest.second_video`).
          fps: frames per second, if `video` is an array.
          progress: show bars on stderr, or a function that is called (progress.py).
          callback_on_step_end: called as (editor, step, timestep, {"latents": ...}) after each sampling step; it may return other latents
            (sampling_observer.py).
          cancel: such as a `threading.Event`: ends the edit once it is set, from whichever thread.
          output_type: "video"; "np" for float32 [T, H, W, 3] in 0..1; "pil" for a list of pictures; "latent" for what was sampled, window by
            window (`WindowLatents`).
          **settings: start, end, steps, guidance, strength, seed, preserve, detail ...: the fields of `EditSettings`; `guidance_scale` and
            `num_inference_steps` are understood too.

        Returns:
          The edited clip, with the source's size, frame times and sound; its `report` holds the settings and measurements. Of other output
          types the frames or latents alone.

        Raises:
          InputError: invalid input that the caller can correct.
          EditCanceledError: `cancel` was set, or a function of the caller's raised it.
        """
        check_output_type(output_type)
        request = EditRequest.of(
            video,
            instruction,
            mask,
            reference,
            first_frame=first_frame,
            context=context,
            second_video=second_video,
            fps=fps,
            **settings,
        )
        result = self.edit(
            request,
            progress=progress,
            callback_on_step_end=callback_on_step_end,
            cancel=cancel,
            keep_latents=output_type == "latent",
        )
        return convert_output(result, output_type)

    def edit_file(
        self,
        video: ClipInput,
        instruction: str,
        output: str | Path,
        mask: ClipInput | None = None,
        reference: PicturesInput | None = None,
        *,
        output_format: OutputFormat = DEFAULT_FORMAT,
        first_frame: PictureInput | None = None,
        context: str | Path | None = None,
        second_video: ClipInput | None = None,
        fps: float = 25.0,
        progress: Progress = False,
        callback_on_step_end: StepCallback | None = None,
        cancel: Cancellation | None = None,
        **settings,
    ) -> Video:
        """Edit a clip and write frames to a file as they are computed; `write` does the same for an `EditRequest`.

        Args:
          video: as in `edit_video`, like every argument not listed here.
          instruction: the edit.
          output: the file to write.
          mask: where to edit.
          reference: how the edit should look.
          output_format: codec, quality and pixel format of the output.
          first_frame: the first edited frame, from which the edit goes on.
          context: stored context, of models that read one.
          second_video: a second clip, of models that take two.
          fps: frames per second, if `video` is an array.
          progress: show bars on stderr, or a function that is called (progress.py).
          callback_on_step_end: as in `edit_video`, like the next.
          cancel: ends the edit; nothing is written then.
          **settings: the fields of `EditSettings`.

        Returns:
          The written clip; iterating its `frames` computes them again.

        Raises:
          InputError: invalid input that the caller can correct.
        """
        request = EditRequest.of(
            video,
            instruction,
            mask,
            reference,
            first_frame=first_frame,
            context=context,
            second_video=second_video,
            fps=fps,
            **settings,
        )
        return self.write(
            request,
            output,
            output_format=output_format,
            progress=progress,
            callback_on_step_end=callback_on_step_end,
            cancel=cancel,
        ).video

    def generate(
        self,
        prompt: str,
        *,
        first_frame: PictureInput | None = None,
        reference: PicturesInput | None = None,
        fps: float | None = None,
        progress: Progress = False,
        callback_on_step_end: StepCallback | None = None,
        cancel: Cancellation | None = None,
        **settings,
    ) -> Video:
        """Make a clip from a text, as the backbone does that was not taught to edit.

        Args:
          prompt: what the clip shows.
          first_frame: its first frame, in any form of `EditRequest.reference`; the clip has its aspect where the model can.
          reference: pictures of what is to be seen, of models that make clips of them (Bernini-R), as `EditRequest.reference`.
          fps: frames per second.
          progress: show a bar on stderr, or a function that is called (progress.py).
          callback_on_step_end: as in `edit_video`, like the next.
          cancel: ends the sampling.
          **settings: steps, guidance, negative, seed, window: fields of `EditSettings`.

        Returns:
          A clip of the model's size and of one window's length, in memory; its `report` holds the settings.

        Raises:
          InputError: invalid input that the caller can correct, or a model that can't do without a source.
        """
        values = EditSettings.of(**settings)
        progress, observer = self._build_observer(progress, callback_on_step_end, cancel)
        return generation.generate(
            self.model, prompt, values, first_frame, picture_inputs(reference), fps, progress, observer
        )

    def load_lora_weights(
        self, adapter, scale: float = 1.0, transformer: TransformerName | None = None
    ) -> None:
        """Add an adapter.

        Args:
          adapter: a safetensors file, ORG/NAME[/FILE.safetensors] on the hub, or a LoRA tree.
          scale: its weight.
          transformer: "high" or "low", of a model of two transformers.
        """
        self.model = self.model.with_lora(adapter, scale, transformer)

    def save_pretrained(self, folder: str | Path, *, progress: bool = False) -> Path:
        """Write the model with the adapters added so far into a folder that `from_pretrained` loads fast.

        Args:
          folder: the folder to make.
          progress: show a bar.

        Returns:
          the folder.

        Raises:
          InputError: it exists or can't be written, or the model is none that `load_pretrained` returns.
        """
        if not isinstance(self.model, Pretrained):
            raise InputError(f"save_pretrained: expected a loaded model, got {type(self.model).__name__}")
        save_model(self.model, Path(folder), progress=progress)
        return Path(folder)

    def push_to_hub(self, repository: str, *, private: bool = False, progress: bool = False) -> str:
        """Upload the model with the adapters added so far to the Hugging Face Hub.

        Args:
          repository: ORG/NAME, which is made where there is none.
          private: make it private.
          progress: show bars.

        Returns:
          the address of the repository.

        Raises:
          InputError: no such organization, a token that may not write, or no connection.
        """
        hub_upload.check_name(repository)
        with tempfile.TemporaryDirectory() as temporary:
            folder = self.save_pretrained(Path(temporary) / repository.rpartition("/")[2], progress=progress)
            return hub_upload.push_folder(folder, repository, private=private, progress=progress)

    def skip_steps(self, tolerance: float) -> None:
        """Skip sampling steps that change little.

        Args:
          tolerance: largest relative change that is skipped, such as 0.05 (diffusion/step_skipping.py).

        Raises:
          InputError: the model is none that `load_pretrained` returns.
        """
        if not isinstance(self.model, Pretrained):
            raise InputError(f"skip: expected a loaded model, got {type(self.model).__name__}")
        self.model = self.model.with_skip(tolerance)

    def unload_lora_weights(self) -> None:
        """Remove every adapter added since the model was loaded."""
        self.model = self._base_model


@contextmanager
def lora_context(
    editor: EasyV2VEditor, adapter, scale: float = 1.0, transformer: TransformerName | None = None
) -> Iterator[EasyV2VEditor]:
    """Add an adapter for the duration of a `with` block.

    with lora_context(editor, "style.safetensors"):
        editor.edit_video("in.mp4", "make it sepia")
    """
    previous_model = editor.model
    editor.load_lora_weights(adapter, scale, transformer)
    try:
        yield editor
    finally:
        editor.model = previous_model
