"""Editing a clip by a sentence: the whole flow on one page. Read this first.

    video -> latents -> tokens -> DiT -> velocity -> sampler -> video

The model knows short clips of one small size (`config.frames` x `height` x `width`). A clip of any length and size is therefore
walked through twice, and never held:

1. read (`codec/decoder.py`) and shrunk to the model's size; mask and times are checked (`codec/mask.py`),
2. cut into windows that overlap (`windowed.py`),
3. turned into latents by the VAE, together with the mask and the reference picture (`codec/vae.py`),
4. edited: the sampler walks from noise to data along the DiT's velocity, which sees source, mask and reference as clean tokens
   beside the noisy ones (`flow/sampler.py`, `model/dit.py`); windows that share enough agree as they go (`flow/windows.py`),
5. decoded, next to the source's own latents, so that what the VAE loses is known;
6. read again, frame by frame, and the small edit carried to the clip's own size (`codec/carry.py`, `finish.py`), and
7. put back where the mask and the time range allow (`codec/mask.py`).
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from v2v.errors import InputError, note
from v2v.pipeline import tiled, windowed
from v2v.pipeline.full_resolution import FrameRegion, FullResolutionFrames
from v2v.pipeline.pretrained import load_pretrained
from v2v.pipeline.settings import EditSettings
from v2v.runtime import compilation_cache
from v2v.video import change_detection, file_checks, inputs
from v2v.video import mask as masks
from v2v.video import video as files
from v2v.video.detail_transfer.transfer import Carry, plain, sample
from v2v.video.frame_store import Store
from v2v.video.video import Video

AUTO_MASK = "auto"  # as a mask: what the edit itself changed


class EasyV2VEditor:
    """An editor of clips: `EasyV2VEditor().edit_video("in.mp4", "make it sepia").save("out.mp4")`."""

    def __init__(self, pretrained_model="embedded"):
        """Args: pretrained_model: "embedded", a folder of weights, or a `Pretrained` already loaded."""
        if isinstance(pretrained_model, str | Path):
            compilation_cache.use_cache()
            pretrained_model = load_pretrained(str(pretrained_model))
        self.model = self._loaded = pretrained_model

    def edit_video(
        self,
        video: str | Path | np.ndarray | Video,
        instruction: str,
        mask: str | Path | np.ndarray | Video | None = None,
        reference: str | Path | np.ndarray | None = None,
        *,
        fps: float = 25.0,
        progress: bool = False,
        **settings,
    ) -> Video:
        """Edits a clip as the instruction says, and holds the result; `edit_file` does the same from file to file in little memory.

        Args:
          video: a file, a `Video`, or uint8 [T, H, W, 3] RGB shown at `fps`.
          instruction: what to do, in English ("make the sky purple").
          mask: where (and, if a video, when) to edit, white = edit: a file or an array of the clip's size, a box "x,y,w,h", or
            "auto" for what the edit itself is found to change.
          reference: a picture of what the edit should look like, of any size: a file, "clip.mp4@2.5" for the frame at that second,
            or uint8 [H, W, 3] RGB.
          fps: frames per second of an array.
          progress: show bars on stderr.
          settings: start, end, steps, guidance, strength, seed, preserve, detail ... : the fields of `settings.Settings`.

        Returns:
          The edited clip, with the source's size, times and sound; `report` says what was asked and measured.

        Raises:
          InputError: anything the caller can put right.
        """
        edited = self._edit(video, instruction, mask, reference, fps, progress, settings)
        return dataclasses.replace(edited, frames=np.asarray(edited.frames))

    def edit_file(
        self,
        video: str | Path | np.ndarray | Video,
        instruction: str,
        output: str | Path,
        mask: str | Path | np.ndarray | Video | None = None,
        reference: str | Path | np.ndarray | None = None,
        *,
        fps: float = 25.0,
        progress: bool = False,
        sampled: Callable[[], None] = lambda: None,
        **settings,
    ) -> Video:
        """As `edit_video`, but frames go to the file `output` as they are made: memory doesn't grow with the clip's length.

        Args:
          sampled: called when the small edit is made and writing begins.

        Returns:
          The clip written; its `frames` make the edit again when walked.
        """
        output = file_checks.check_output(output)
        file_checks.check_apart(output, input=video, mask=mask, reference=reference)
        edited = self._edit(video, instruction, mask, reference, fps, progress, settings, output)
        sampled()
        edited.save(output)
        return edited

    def load_lora_weights(self, adapter, scale: float = 1.0) -> None:
        """Adds an adapter to the model: a safetensors file (or a LoRA tree), weighted by `scale`."""
        self.model = self.model.with_lora(adapter, scale)

    def unload_lora_weights(self) -> None:
        """Takes off every adapter added since the model was loaded."""
        self.model = self._loaded

    def _edit(self, video, instruction, mask, reference, fps, progress, settings, output=None) -> Video:
        settings, model, config = EditSettings(**settings), self.model, self.model.config
        if not isinstance(instruction, str) or not re.search(r"\w", instruction):
            raise InputError('instruction: expected a sentence such as "make it sepia", got none')
        windowed.window_length(config, settings.window)
        if getattr(model, "skipping", None):
            model.skipping.forget()
        size, small = (config.height, config.width), Store()
        clip = inputs.clip(video, fps, lambda frame: small.append(inputs.shrink(frame, *size)))
        if output:
            files.check_fits(clip, output)
        span = masks.span(clip, settings.start, settings.end)
        auto = isinstance(mask, str) and mask == AUTO_MASK
        masks.fade(settings.soft, *clip.frames.shape[1:3])  # before any computing
        chosen = None if mask is None or auto else masks.Mask(mask, clip, settings.invert_mask, settings.soft)
        if chosen:
            chosen.survey(*size, *span)
            if settings.preserve:  # where the mask is black nothing is to be made
                span = chosen.active
            chosen = None if chosen.full and span == chosen.active else chosen
        if reference is not None and "reference" not in self.model.conditions:
            raise InputError(f"reference: {config.name} takes none; leave it out or load an adapter with one")
        picture = None if reference is None else inputs.shrink(inputs.picture(reference), *size)
        text, report = self._prompt(instruction, settings)
        report |= _extent(clip, span, None if chosen is None else chosen.area)

        # Unless its picture is to be shown everywhere, the model is handed the time range alone: there is nothing to keep in it.
        first, last = span if settings.preserve else (0, len(clip.frames))
        seen = _seen(chosen, span, (first, last), size)
        z_ref = None if picture is None else model.encode(np.repeat(picture[None, None], config.batch, 0))
        source, edit = windowed.edit_windows(model, small, first, last, seen, z_ref, text, settings, progress)

        some = sample(len(edit), *size)
        if auto:
            chosen = change_detection.Changed(source, edit, clip.frames.shape[:3], first, some, settings.soft)
            report["mask_area"] = round(chosen.area, 4)
        report["leak_model"] = change_detection.leak(source, edit, seen, first)
        make = _enlarge
        if settings.detail == "guided":
            make = Carry.fit(
                source[some], edit[some], seen(some + first) if seen and settings.preserve else None
            )
        if settings.detail == "tiles":
            how = (clip.frames, edit, first, seen, z_ref, text, settings)
            edit, make = (
                tiled.TiledFrames(lambda: tiled.iterate_tiled_frames(model, *how), len(edit)),
                tiled.select_part,
            )
        frames = FullResolutionFrames(
            clip, span, first, source, edit, make, chosen, settings.preserve, report, progress
        )
        return dataclasses.replace(clip, frames=frames, path=None, report=report)

    def _prompt(self, instruction: str, settings: EditSettings) -> tuple[np.ndarray, dict]:
        """Embedding of the instruction, float32 [batch, m, d], and what is reported of the settings; what the model can't read is told."""
        flow, said = self.model.config.flow, " ".join(instruction.split())
        text, unknown, cut = self.model.embed_text([said])
        if unknown:
            words = ", ".join(f'"{word}"' for word in unknown)
            if len(unknown) >= len(re.findall(r"\w+", said)):
                raise InputError(
                    f"instruction: the model knows none of its words ({words}); say it in other words"
                )
            note(f"words the model doesn't know and can't follow: {words}")
        if cut:
            note(
                f"the instruction is longer than the model reads, {self.model.config.text.text_len} tokens; its end is left out:"
                f' "{cut}"'
            )
        report = {
            "prompt": said,
            "unknown_words": list(unknown),
            "left_out": cut,
            "seed": settings.seed,
            "steps": flow.steps if settings.steps is None else settings.steps,
            "guidance": flow.guidance if settings.guidance is None else settings.guidance,
            "strength": settings.strength,
        }
        return np.repeat(np.asarray(text), self.model.config.batch, 0), report


@contextmanager
def lora_context(editor: EasyV2VEditor, adapter, scale: float = 1.0) -> Iterator[EasyV2VEditor]:
    """`with lora_context(editor, "style.safetensors"): ...` edits with an adapter and takes it off again, whatever happens."""
    before = editor.model
    editor.load_lora_weights(adapter, scale)
    try:
        yield editor
    finally:
        editor.model = before


def _extent(clip: Video, span: tuple[int, int], area: float | None) -> dict:
    """Where and when, for the report: seconds of the clip, share of the picture."""
    ends = np.append(clip.times, clip.times[0] + clip.duration)
    begin, end = float(ends[span[0]]), float(ends[span[1]])
    return {
        "first_frame": span[0],
        "edited_frames": span[1] - span[0],
        "edited_from": round(begin, 3),
        "edited_to": round(end, 3),
        "edited_seconds": round(end - begin, 3),
        "mask_area": 1.0 if area is None else round(area, 4),
    }


def _seen(
    chosen: masks.Mask | None, span: tuple[int, int], edited: tuple[int, int], size: tuple[int, int]
) -> windowed.MaskLookup | None:
    """What the model is told of mask and time range, as small frames of `size`; None where that is everything."""
    if chosen is None and span == edited:
        return None

    def seen(rows: np.ndarray) -> np.ndarray:
        now = ((span[0] <= rows) & (rows < span[1]))[..., None, None]
        return now & (chosen.seen(rows) if chosen else np.ones(size, bool))

    return seen


def _enlarge(frame: np.ndarray, source: np.ndarray, edit: np.ndarray, part: FrameRegion) -> np.ndarray:
    return plain(edit, *frame.shape[:2])[part]
