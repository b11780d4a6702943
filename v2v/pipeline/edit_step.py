"""One edit of a clip, by one look or by a sentence: the way from frames to edited frames, in the order of `editor.py`'s list.

open the clip -> find the place -> read the other inputs -> sample in windows -> choose what enlarges the result -> frames
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from v2v.config import ModelConfig
from v2v.errors import InputError, note
from v2v.language.places import draw_region
from v2v.pipeline import editor_inputs, generation, tiled, windowed
from v2v.pipeline.full_resolution import FrameRegion, FrameRows, FullResolutionFrames, Upsampler
from v2v.pipeline.instruction import PlannedStep
from v2v.pipeline.mask_search import check_mask_name, network_files, remove_text, search_clip
from v2v.pipeline.model import EditingModel, TextEmbedding
from v2v.pipeline.network_transfer import choose_upsampler
from v2v.pipeline.progress import Progress
from v2v.pipeline.report import build_report
from v2v.pipeline.sampling_observer import SamplingObserver
from v2v.pipeline.second_video import read_second_video
from v2v.pipeline.settings import AUTO_MASK, EditRequest, EditResult, EditSettings, PictureInput
from v2v.pipeline.text_inputs import embed_instruction, embed_negative
from v2v.video import change_detection, inputs
from v2v.video import mask as masks
from v2v.video import video as files
from v2v.video.detail_transfer.transfer import DetailTransfer, enlarge, evenly_spaced_frames
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


@dataclass(frozen=True)
class _ClipToEdit:
    """A clip, and the model at the size at which it edits it.

    Attributes:
      model: the model.
      video: the clip.
      small: its frames at the model's size.
    """

    model: EditingModel
    video: Video
    small: FrameStore

    @property
    def config(self) -> ModelConfig:
        """Return the model's configuration."""
        return self.model.config

    @property
    def size(self) -> tuple[int, int]:
        """Return the height and width at which the model works."""
        return self.config.height, self.config.width

    @property
    def full_size(self) -> tuple[int, int]:
        """Return the height and width of the clip."""
        _, height, width, _ = self.video.frames.shape
        return height, width


@dataclass(frozen=True)
class _SampledEdit:
    """What the model made of a clip, at its size.

    Attributes:
      source: the source after the autoencoder's round trip.
      edit: the edit.
      first: frame number of their first frame.
      inputs: what the edit was given.
    """

    source: FrameStore
    edit: FrameStore
    first: int
    inputs: windowed.EditInputs


def apply_step(
    model: EditingModel,
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
      model: the model.
      request: the edit.
      step: what the model is given.
      masks_by_name: masks of mask sources so far, to which this edit's is added.
      output: as in `EasyV2VEditor.edit`, like the rest.
      output_format: the format.
      progress: as in progress.py.
      observer: what is told of the sampling.

    Raises:
      InputError: invalid input that the caller can correct.
      EditCanceledError: the observer ended the edit.
    """
    settings = request.settings
    mask = step.mask_source or request.mask
    is_auto = isinstance(mask, str) and mask == AUTO_MASK
    _check_ability(model, request)
    windowed.window_length(model.config, settings.window)
    if model.skipping is not None:
        model.skipping.forget()
    # Built before the clip is read, so that a missing extra is found at once.
    check_mask_name(mask)
    mask_source = build_mask_source(mask, network_files()) if is_mask_source(mask) else None

    opened = _open_clip(model, request)
    clip, config = opened.video, opened.config
    _note_stretch(opened.full_size, config)
    if output is not None:
        files.check_format(clip, Path(output), output_format)

    span = masks.frame_range(clip, settings.start, settings.end)
    masks.fade_width(settings.soft, *opened.full_size)  # checked before any computation
    name = "" if mask_source is None else str(mask)
    if mask_source is not None:
        if name not in masks_by_name:
            masks_by_name[name] = search_clip(mask_source, clip, span, progress)
        mask = masks_by_name[name]
    if step.place is not None and step.place.kind == "region":
        mask = RepeatedMask(draw_region(step.place, *opened.full_size))
    edit_mask = None
    if mask is not None and not is_auto:
        edit_mask = masks.Mask(mask, clip, settings.invert_mask, settings.soft, name=name)
        edit_mask.survey(*opened.size, *span)
        text_free = None
        if isinstance(mask, ClipMask) and not settings.invert_mask:
            text_free = remove_text(step.sentence, mask, clip)
        if text_free is not None:
            report = build_report(settings, config, clip, edit_mask.active_span)
            report["mask_area"] = round(edit_mask.area, 4)
            return EditResult(dataclasses.replace(clip, frames=text_free, path=None, report=report), report)
        if settings.preserve:  # frames with an all-black mask need no edit
            span = edit_mask.active_span
        edit_mask = None if edit_mask.is_full and span == edit_mask.active_span else edit_mask

    editor_inputs.check_inputs(
        opened.model, request, has_mask=edit_mask is not None or is_auto, frames=span[1] - span[0]
    )
    # If the source is restored outside the time range, only the frames inside it are sampled.
    edited = span if settings.preserve else (0, len(clip.frames))
    is_restored = settings.preserve or step.place is not None
    # A look is done best without a mask: the rest of the frame is restored afterwards.
    shown_mask = None if step.is_look and is_restored else edit_mask
    mask_lookup = _build_mask_lookup(shown_mask, span, edited, opened.size)
    edit_inputs, embedding = _read_inputs(model, opened, request, step, mask_lookup)
    report = build_report(settings, config, clip, span)
    report["unknown_words"], report["left_out"] = list(embedding.unknown), embedding.cut
    if edit_mask is not None:
        report["mask_area"] = round(edit_mask.area, 4)

    first, last = edited
    source, edit = windowed.edit_windows(
        opened.model, opened.small, first, last, edit_inputs, settings, progress, observer
    )
    if is_auto:
        rows = evenly_spaced_frames(len(edit), *opened.size)
        edit_mask = change_detection.ChangeMask(
            source, edit, clip.frames.shape[:3], first, rows, settings.soft
        )
        report["mask_area"] = round(edit_mask.area, 4)
    report["leak_model"] = change_detection.measure_leak(source, edit, mask_lookup, first)
    rows, upsample = _choose_upsampler(opened, _SampledEdit(source, edit, first, edit_inputs), settings)
    amount = settings.amount * step.amount
    if amount != 1:
        upsample = functools.partial(_apply_amount, upsample, amount)
    frames = FullResolutionFrames(
        clip, span, first, source, rows, upsample, edit_mask, report, is_restored, progress
    )
    return EditResult(dataclasses.replace(clip, frames=frames, path=None, report=report), report)


def _open_clip(model: EditingModel, request: EditRequest) -> _ClipToEdit:
    """Read a clip once, and keep its frames at the size at which the model edits it.

    Raises:
      InputError: a clip that can't be read.
    """
    small, sized = FrameStore(), model

    def keep(frame: np.ndarray) -> None:
        nonlocal sized
        if not len(small):
            sized = model.for_clip(*frame.shape[:2])
        small.append(inputs.resize_frame(frame, sized.config.height, sized.config.width))

    clip = inputs.open_clip(request.video, request.fps, keep)
    return _ClipToEdit(sized, clip, small)


def _read_inputs(
    model: EditingModel,
    opened: _ClipToEdit,
    request: EditRequest,
    step: PlannedStep,
    mask_lookup: windowed.MaskLookup | None,
) -> tuple[windowed.EditInputs, TextEmbedding]:
    """Read and embed what an edit is given beside the clip; return it, and the embedding of the instruction.

    Args:
      model: the model at its own size, which embeds texts.
      opened: the clip.
      request: the edit.
      step: what the model is given.
      mask_lookup: where to edit.

    Raises:
      InputError: an input that can't be read or that the model doesn't take.
    """
    clip, config, settings = opened.video, opened.config, request.settings
    is_picture = len(clip.frames) == 1
    editor_inputs.tell_rate(config, config.fps if is_picture else clip.fps)
    images = editor_inputs.read_references(config, request.references)
    first_frame = second = None
    if request.second_video is not None:
        second = read_second_video(config, request.second_video, request.fps, clip.fps)
    if request.first_frame is not None:
        generation.check_first_frame(config)
        first_frame = _read_first_frame(request.first_frame, opened.full_size, opened.size)
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
        embedding = embed_instruction(model, step.sentence, settings.anyway, task)
    z_refs = [opened.model.encode(np.repeat(image[None, None], config.batch, 0)) for image in images]
    edit_inputs = windowed.EditInputs(
        np.repeat(np.asarray(embedding.rows), config.batch, 0),
        embed_negative(model, settings),
        mask_lookup,
        z_refs[0] if z_refs else None,
        first_frame,
        {f"reference_{i}": z for i, z in enumerate(z_refs[1:], 2)},
        second,
    )
    return edit_inputs, embedding


def _choose_upsampler(
    opened: _ClipToEdit, sampled: _SampledEdit, settings: EditSettings
) -> tuple[FrameRows, Upsampler]:
    """Return the frames that are brought to the clip's size, and the function that does so.

    Args:
      opened: the clip.
      sampled: what the model made of it.
      settings: the edit's; its `detail` decides.
    """
    model, config, clip = opened.model, opened.config, opened.video
    source, edit, first, mask_lookup = sampled.source, sampled.edit, sampled.first, sampled.inputs.mask_lookup
    detail = settings.detail
    if detail == "auto":
        is_native = opened.full_size == opened.size and config.height * config.width >= NATIVE_DETAIL_PIXELS
        detail = "model" if is_native else "guided"
    if detail == "tiles":
        tiles = tiled.TiledEdit(model, clip.frames, edit, first, sampled.inputs, settings)
        return tiled.TiledFrames(tiles), tiled.select_part
    if detail == "model":
        return edit, _enlarge
    rows = evenly_spaced_frames(len(edit), *opened.size)
    transfer = DetailTransfer.fit(
        source[rows],
        edit[rows],
        mask_lookup(rows + first) if mask_lookup and settings.preserve else None,
    )
    if model.detail_network is None:
        return edit, transfer
    return edit, choose_upsampler(transfer, model.detail_network, source, edit)


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
