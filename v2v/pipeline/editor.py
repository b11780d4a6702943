"""Edit a clip by an instruction: the whole flow in one file. Start reading here.

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
"""

import dataclasses
import functools
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, overload

import cv2
import numpy as np

from v2v.checkpoints import hub_upload
from v2v.config import ModelConfig, TransformerName
from v2v.diffusion.schedule import count_steps
from v2v.errors import InputError, note
from v2v.language.places import draw_region
from v2v.pipeline import editor_inputs, generation, tiled, windowed
from v2v.pipeline.full_resolution import FrameRegion, FrameRows, FullResolutionFrames, Upsampler
from v2v.pipeline.instruction import PlannedStep, is_text_source, plan_instruction
from v2v.pipeline.mask_search import check_mask_name, network_files, remove_text, search_clip
from v2v.pipeline.model import EditingModel, TextEmbedding
from v2v.pipeline.network_transfer import choose_upsampler
from v2v.pipeline.output_types import Output, OutputType, check_output_type, convert_output
from v2v.pipeline.pretrained import Pretrained, load_pretrained
from v2v.pipeline.progress import Progress, end_when_set
from v2v.pipeline.sampling_choice import note_settings
from v2v.pipeline.sampling_observer import Cancellation, LatentCollector, SamplingObserver, StepCallback
from v2v.pipeline.saved_model import save_model
from v2v.pipeline.second_video import read_second_video
from v2v.pipeline.settings import (
    AUTO_MASK,
    ClipInput,
    EditReport,
    EditRequest,
    EditResult,
    EditSettings,
    PictureInput,
    PicturesInput,
    picture_inputs,
)
from v2v.runtime import compilation_cache
from v2v.video import change_detection, file_checks, inputs
from v2v.video import mask as masks
from v2v.video import video as files
from v2v.video.detail_transfer.transfer import DetailTransfer, enlarge, evenly_spaced_frames
from v2v.video.file_checks import DEFAULT_FORMAT
from v2v.video.frame_store import FrameStore
from v2v.video.output_format import OutputFormat
from v2v.video.segmentation.base import ClipMask
from v2v.video.segmentation.halves import RepeatedMask
from v2v.video.segmentation.registry import build_mask_source, is_mask_source
from v2v.video.video import Video

# Pixels of a frame from which a model's picture is better left as it is, where the clip has its size: transfer of detail is made for small
# models, and takes the 5B's picture 27 to 42 dB away from what it drew.
NATIVE_DETAIL_PIXELS = 256 * 256
# How much a given first frame may be stretched to the clip's shape without a note.
NOTED_STRETCH = 1.03
# How much a clip may be stretched to the size that it is edited at without a note.
NOTED_DISTORTION = 1.25
# Words that turn an instruction into its opposite, as far as a tokenizer splits them.
NEGATIONS = frozenset({"not", "don", "dont", "never", "no", "without", "stop", "avoid"})


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
        result = self._edit_step(request, first, masks_by_name, output, output_format, progress, observer)
        area = result.report["mask_area"]
        for step in others:
            request = dataclasses.replace(request, video=result.video, first_frame=None)
            observer = dataclasses.replace(observer, latents=LatentCollector() if keep_latents else None)
            result = self._edit_step(request, step, masks_by_name, output, output_format, progress, observer)
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

    def _edit_step(
        self,
        request: EditRequest,
        step: PlannedStep,
        masks_by_name: dict[str, ClipMask],
        output: str | Path | None,
        output_format: OutputFormat,
        progress: Progress,
        observer: SamplingObserver,
    ) -> EditResult:
        """Edit a clip by one look, or by an instruction as it was typed.

        Args:
          request: the edit.
          step: what the model is given.
          masks_by_name: masks of mask sources so far, to which this edit's is added.
          output: as in `edit`, like the rest.
          output_format: the format.
          progress: as in progress.py.
          observer: what is told of the sampling.
        """
        model, settings = self.model, request.settings
        mask = step.mask_source or request.mask
        _check_ability(model, request)
        windowed.window_length(model.config, settings.window)
        if model.skipping is not None:
            model.skipping.forget()
        # Built before the clip is read, so that a missing extra is found at once.
        check_mask_name(mask)
        mask_source = build_mask_source(mask, network_files()) if is_mask_source(mask) else None
        small = FrameStore()

        def keep(frame: np.ndarray) -> None:
            nonlocal model
            if not len(small):
                model = self.model.for_clip(*frame.shape[:2])
            small.append(inputs.resize_frame(frame, model.config.height, model.config.width))

        clip = inputs.open_clip(request.video, request.fps, keep)
        config = model.config
        size = config.height, config.width
        _note_stretch(clip.frames.shape[1:3], config)
        if output is not None:
            files.check_format(clip, Path(output), output_format)
        span = masks.frame_range(clip, settings.start, settings.end)
        auto = isinstance(mask, str) and mask == AUTO_MASK
        masks.fade_width(settings.soft, *clip.frames.shape[1:3])  # checked before any computation
        name = "" if mask_source is None else str(mask)
        if mask_source is not None:
            if name not in masks_by_name:
                masks_by_name[name] = search_clip(mask_source, clip, span, progress)
            mask = masks_by_name[name]
        if step.place is not None and step.place.kind == "region":
            mask = RepeatedMask(draw_region(step.place, *clip.frames.shape[1:3]))
        edit_mask = (
            None
            if mask is None or auto
            else masks.Mask(mask, clip, settings.invert_mask, settings.soft, name=name)
        )
        if edit_mask:
            edit_mask.survey(*size, *span)
            text_free = None
            if isinstance(mask, ClipMask) and not settings.invert_mask:
                text_free = remove_text(step.sentence, mask, clip)
            if text_free is not None:
                report = _build_report(settings, config, clip, edit_mask.active_span)
                report["mask_area"] = round(edit_mask.area, 4)
                return EditResult(
                    dataclasses.replace(clip, frames=text_free, path=None, report=report), report
                )
            if settings.preserve:  # frames with an all-black mask need no edit
                span = edit_mask.active_span
            edit_mask = None if edit_mask.is_full and span == edit_mask.active_span else edit_mask
        editor_inputs.check_inputs(
            model, request, has_mask=edit_mask is not None or auto, frames=span[1] - span[0]
        )
        editor_inputs.tell_rate(config, clip.fps if len(clip.frames) > 1 else config.fps)
        images = editor_inputs.read_references(config, request.references)
        first_frame = second = None
        if request.second_video is not None:
            second = read_second_video(config, request.second_video, request.fps, clip.fps)
        if request.first_frame is not None:
            generation.check_first_frame(config)
            first_frame = _read_first_frame(request.first_frame, clip.frames.shape[1:3], size)
        is_picture = len(clip.frames) == 1
        if config.condition.context == "stored":
            embedding = editor_inputs.read_context(config, request, step.sentence, is_picture=is_picture)
        else:
            task = editor_inputs.tell_task(
                config,
                settings,
                has_source=True,
                has_reference=bool(images),
                is_picture=is_picture,
                has_second_source=request.second_video is not None,
            )
            embedding = self._embed_instruction(step.sentence, settings.anyway, task)
        report = _build_report(settings, config, clip, span)
        report["unknown_words"], report["left_out"] = list(embedding.unknown), embedding.cut
        if edit_mask is not None:
            report["mask_area"] = round(edit_mask.area, 4)

        # If the source is restored outside the time range, only the frames inside it are sampled.
        first, last = span if settings.preserve else (0, len(clip.frames))
        is_restored = settings.preserve or step.place is not None
        # A look is done best without a mask: the rest of the frame is restored afterwards.
        shown_mask = None if step.is_look and is_restored else edit_mask
        mask_lookup = _build_mask_lookup(shown_mask, span, (first, last), size)
        z_refs = [model.encode(np.repeat(image[None, None], config.batch, 0)) for image in images]
        edit_inputs = windowed.EditInputs(
            np.repeat(np.asarray(embedding.rows), config.batch, 0),
            self._embed_negative(settings, config),
            mask_lookup,
            z_refs[0] if z_refs else None,
            first_frame,
            {f"reference_{i}": z for i, z in enumerate(z_refs[1:], 2)},
            second,
        )
        source, edit = windowed.edit_windows(
            model, small, first, last, edit_inputs, settings, progress, observer
        )

        sampled_rows = evenly_spaced_frames(len(edit), *size)
        if auto:
            edit_mask = change_detection.ChangeMask(
                source, edit, clip.frames.shape[:3], first, sampled_rows, settings.soft
            )
            report["mask_area"] = round(edit_mask.area, 4)
        report["leak_model"] = change_detection.measure_leak(source, edit, mask_lookup, first)
        upsample: Upsampler = _enlarge
        rows: FrameRows = edit
        detail = settings.detail
        if detail == "auto":
            is_native = (
                clip.frames.shape[1:3] == size and config.height * config.width >= NATIVE_DETAIL_PIXELS
            )
            detail = "model" if is_native else "guided"
        if detail == "guided":
            upsample = transfer = DetailTransfer.fit(
                source[sampled_rows],
                edit[sampled_rows],
                mask_lookup(sampled_rows + first) if mask_lookup and settings.preserve else None,
            )
            if model.detail_network is not None:
                upsample = choose_upsampler(transfer, model.detail_network, source, edit)
        if detail == "tiles":
            tiles = tiled.TiledEdit(model, clip.frames, edit, first, edit_inputs, settings)
            rows, upsample = tiled.TiledFrames(tiles), tiled.select_part
        amount = settings.amount * step.amount
        if amount != 1:
            upsample = functools.partial(_apply_amount, upsample, amount)
        frames = FullResolutionFrames(
            clip,
            span,
            first,
            source,
            rows,
            upsample,
            edit_mask,
            report,
            is_restored,
            progress,
        )
        return EditResult(dataclasses.replace(clip, frames=frames, path=None, report=report), report)

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
        request = EditRequest(
            video,
            instruction,
            mask,
            reference,
            EditSettings.of(**settings),
            fps,
            first_frame,
            context,
            second_video,
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
        request = EditRequest(
            video,
            instruction,
            mask,
            reference,
            EditSettings.of(**settings),
            fps,
            first_frame,
            context,
            second_video,
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
        model, picture = self.model, None
        generation.check_generation(model)
        if not re.search(r"\w", prompt):
            raise InputError("text-only: expected a text that says what the clip shows, got none")
        if first_frame is not None:
            generation.check_first_frame(model.config)
            picture = inputs.read_picture(first_frame, "first frame")
            model = model.for_clip(*picture.shape[:2])
            picture = inputs.resize_frame(picture, model.config.height, model.config.width)
        note_settings(values, model.config)
        references = picture_inputs(reference)
        generation.check_references(model, values, len(references))
        is_picture = windowed.window_length(model.config, values.window) == 1
        task = editor_inputs.tell_task(
            model.config, values, has_source=False, has_reference=bool(references), is_picture=is_picture
        )
        images = editor_inputs.read_references(model.config, references)
        embedding = self._embed_instruction(prompt, values.anyway, task)
        negative = self._embed_negative(values, model.config)
        text = np.asarray(embedding.rows)
        made_from = generation.GenerationInputs(
            text, None if negative is None else negative[:1], picture, tuple(images)
        )
        progress, observer = self._build_observer(progress, callback_on_step_end, cancel)
        clip = generation.generate_clip(model, made_from, values, fps or model.config.fps, progress, observer)
        report = _build_report(values, model.config, clip, (0, len(clip.frames)))
        report["prompt"] = " ".join(prompt.split())
        report["unknown_words"], report["left_out"] = list(embedding.unknown), embedding.cut
        return dataclasses.replace(clip, report=report)

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

    def _embed_negative(self, settings: EditSettings, config: ModelConfig) -> np.ndarray | None:
        """Return the embedding of the text that guidance leads away from, [config.batch, m, d]; None without one.

        Causes a note where guidance is off, so that the text does nothing.
        """
        text = " ".join((settings.negative or config.flow.negative).split())
        if not text:
            return None
        if config.condition.context == "stored":
            raise InputError(
                f"negative: {config.name} reads no sentence, so there is none to lead away from; leave it out"
            )
        if settings.guidance_of(config) == 1:
            if not settings.negative:
                return None
            note("the negative text does nothing at guidance 1; raise --guidance")
        embedding = self.model.embed_text([text])
        if embedding.unknown and settings.negative:
            note(f"words of the negative text that the model doesn't know: {', '.join(embedding.unknown)}")
        return np.repeat(np.asarray(embedding.rows), config.batch, 0)

    def _embed_instruction(self, prompt: str, anyway: bool, task: str = "") -> TextEmbedding:
        """Embed an instruction; note words that the model can't read.

        Args:
          prompt: the instruction, with single spaces.
          anyway: note what would be an error.
          task: a sentence that stands before it, without a space (`language/task_prompts.py`).

        Raises:
          InputError: the model knows none of its words, or not the "not" that it begins with.
        """
        embedding = self.model.embed_text([task + prompt])
        if embedding.unknown:
            _check_unknown(prompt, embedding, anyway)
        if embedding.cut:
            note(
                f"the instruction is longer than the model reads, {self.model.config.text.text_len} tokens; its end is left out:"
                f' "{embedding.cut}"'
            )
        return embedding


def _check_ability(model: EditingModel, request: EditRequest) -> None:
    """Check that a model can edit: with what it was trained on, from the noised source, or from a first frame that is given.

    Causes a note where it sees less of the source than an editor does.

    Raises:
      InputError: a model that was never trained to edit, which would ignore the source.
    """
    if model.conditions:
        return
    name = model.config.name
    if request.settings.strength < 1:
        note(
            f"{name} was never trained to edit: it begins with the source under noise (--strength {request.settings.strength:g}) and is told "
            "what the result shows, not what to change"
        )
    elif request.first_frame is not None:
        note(
            f"{name} was never trained to edit: it goes on from the first frame and doesn't see how the source moves; --strength 0.8 or so "
            "keeps more of that"
        )
    else:
        raise InputError(
            f"model: {name} makes videos from text and was never trained to edit; load an adapter with --lora, with "
            "its embeddings beside it (NAME.embeds.safetensors), begin with the noised source (--strength 0.7), or go on from a frame that "
            "you edited (--first-frame)"
        )


def _note_stretch(clip_size: tuple[int, ...], config: ModelConfig) -> None:
    """Note where a clip is stretched for a model that could edit it at a size of its own aspect."""
    stretch = clip_size[0] / clip_size[1] * config.width / config.height
    stretch = max(stretch, 1 / stretch)
    if stretch > NOTED_DISTORTION and any(config.largest):
        note(
            f"size: the clip of {clip_size[1]}x{clip_size[0]} is edited at {config.width}x{config.height}, stretched {stretch:.1f} times; "
            "--size 480p or 720p keeps its aspect"
        )


def _read_first_frame(picture: PictureInput, clip_size: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    """Read a given first frame and resize it, uint8 [*size, 3].

    Args:
      picture: the picture.
      clip_size: height and width of the clip's frames, for a note where the picture's aspect differs.
      size: height and width at which the model works.

    Raises:
      InputError: a picture that can't be read.
    """
    frame = inputs.read_picture(picture, "first frame")
    stretch = frame.shape[0] / frame.shape[1] * clip_size[1] / clip_size[0]
    if max(stretch, 1 / stretch) > NOTED_STRETCH:
        note(
            f"first frame: {frame.shape[1]}x{frame.shape[0]} is stretched to the clip's shape, {clip_size[1]}x{clip_size[0]}; "
            "crop it first"
        )
    return inputs.resize_frame(frame, *size)


def _check_unknown(prompt: str, embedding: TextEmbedding, anyway: bool) -> None:
    """Note the words of a prompt that the model doesn't know.

    Args:
      prompt: the instruction.
      embedding: its embedding.
      anyway: raise nothing.

    Raises:
      InputError: it knows none, or not the negation without which it would do the opposite.
    """
    words = ", ".join(f'"{word}"' for word in embedding.unknown)
    hints = [f'"{suggestion}" in place of "{word}"' for word, suggestion in embedding.suggestions.items()]
    hint = f"; did you mean {', '.join(hints)}?" if hints else ""
    if not anyway and len(embedding.unknown) >= len(re.findall(r"\w+", prompt)):
        raise InputError(
            f"instruction: the model knows none of its words ({words}){hint}; say it in other English words, which v2v words lists"
        )
    beginning = re.findall(r"\w+", prompt.lower())[:3]
    negations = [
        word for word in embedding.unknown if word.lower() in NEGATIONS and word.lower() in beginning
    ]
    if negations and not anyway:
        raise InputError(
            f'instruction: the model doesn\'t know "{negations[0]}" and would do the opposite of "{prompt}"; say what to do instead'
        )
    note(f"words the model doesn't know and can't follow: {words}{hint}")


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


def _apply_amount(
    upsample: Upsampler,
    amount: float,
    frame: np.ndarray,
    source: np.ndarray,
    edit: np.ndarray,
    region: FrameRegion,
) -> np.ndarray:
    """Upsample an edit and apply so much of it: frame + amount (edit - frame), rounded and clipped."""
    edited = upsample(frame, source, edit, region)
    return cv2.addWeighted(edited, amount, frame[region], 1 - amount, 0)


def _build_report(
    settings: EditSettings, config: ModelConfig, clip: Video, span: tuple[int, int]
) -> EditReport:
    """Return the report of an edit of frames span[0] : span[1] of the whole frame, without what the instruction adds."""
    ends = np.append(clip.times, clip.times[0] + clip.duration)
    begin, end = float(ends[span[0]]), float(ends[span[1]])
    return {
        "prompt": "",
        "unknown_words": [],
        "left_out": "",
        "seed": settings.seed,
        "steps": count_steps(config.flow, settings.steps_of(config), settings.strength),
        "guidance": settings.guidance_of(config),
        "strength": settings.strength,
        "first_frame": span[0],
        "edited_frames": span[1] - span[0],
        "edited_from": round(begin, 3),
        "edited_to": round(end, 3),
        "edited_seconds": round(end - begin, 3),
        "worked_at": [config.width, config.height, windowed.window_length(config, settings.window)],
        "mask_area": 1.0,
    }


def _build_mask_lookup(
    edit_mask: masks.Mask | None, span: tuple[int, int], edited: tuple[int, int], size: tuple[int, int]
) -> windowed.MaskLookup | None:
    """Return the mask condition inside the time range, at the model's resolution; None where everything is edited."""
    if edit_mask is None and span == edited:
        return None

    def lookup(rows: np.ndarray) -> np.ndarray:
        is_in_range = ((span[0] <= rows) & (rows < span[1]))[..., None, None]
        return is_in_range & (edit_mask.lookup(rows) if edit_mask else np.ones(size, bool))

    return lookup


def _enlarge(frame: np.ndarray, source: np.ndarray, edit: np.ndarray, part: FrameRegion) -> np.ndarray:
    return enlarge(edit, *frame.shape[:2])[part]
