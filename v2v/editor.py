"""Editing a clip by a sentence: the whole flow on one page. Read this first.

    video -> latents -> tokens -> DiT -> velocity -> sampler -> video

The model knows short clips of one small size (`config.frames` x `height` x `width`). A clip of any length and size is therefore

1. read (`codec/video.py`) and shrunk to the model's size,
2. cut into windows that overlap, so that neighbours can be blended,
3. turned into latents by the VAE, together with the mask and the reference picture (`codec/vae.py`),
4. edited: the sampler walks from noise to data along the DiT's velocity, which sees source, mask and reference as clean tokens
   beside the noisy ones (`flow/sampler.py`, `model/dit.py`),
5. decoded, next to the source's own latents, so that what the VAE loses is known,
6. carried to the clip's own size (`codec/carry.py`), and
7. put back where the mask and the time range allow (`codec/mask.py`).

All windows start from the same noise: what the model makes up is then made up alike, which keeps long clips from flickering.
"""

import dataclasses
import os
import re
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from tqdm import tqdm

from v2v.codec import mask as masks
from v2v.codec import video as files
from v2v.codec.carry import Carry, plain
from v2v.codec.video import Video
from v2v.errors import InputError

OVERLAP = 2  # frames shared by neighbouring windows


class EasyV2VEditor:
    """An editor of clips: `EasyV2VEditor().edit_video("in.mp4", "make it sepia").save("out.mp4")`."""

    def __init__(self, pretrained_model="embedded"):
        """Args: pretrained_model: "embedded", a folder of weights, or a `Pretrained` already loaded."""
        if isinstance(pretrained_model, str | Path):
            from v2v.weights.pretrained import load_pretrained

            pretrained_model = load_pretrained(str(pretrained_model))
        self.model = self._loaded = pretrained_model

    def edit_video(
        self,
        video: str | Path | np.ndarray | Video,
        instruction: str,
        mask: str | Path | np.ndarray | Video | None = None,
        reference: str | Path | np.ndarray | None = None,
        *,
        start: float | None = None,
        end: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        preserve: bool = True,
        detail: Literal["guided", "model"] = "guided",
        fps: float = 25.0,
        progress: bool = False,
    ) -> Video:
        """Edits a clip as the instruction says.

        Args:
          video: a file, a `Video`, or uint8 [T, H, W, 3] RGB shown at `fps`.
          instruction: what to do, in English ("make the sky purple").
          mask: where (and, if a video, when) to edit, white = edit; a file or an array of the clip's size.
          reference: a picture of what the edit should look like; a file or uint8 [H, W, 3] RGB.
          start: second at which the edit begins; None for the clip's start.
          end: second at which it ends; None for the clip's end.
          steps: sampler steps; None for the model's own number.
          guidance: strength of the instruction; None for the model's own.
          seed: of the noise; the same seed gives the same clip.
          preserve: keep the source's bytes outside mask and time range; False shows all that the model made.
          detail: "guided" carries the small edit to the clip's own detail, "model" only enlarges it.
          fps: frames per second of an array.
          progress: show a bar on stderr.

        Returns:
          The edited clip, with the source's size, times and sound.

        Raises:
          InputError: anything the caller can put right.
        """
        if not re.search(r"\w", instruction):
            raise InputError('instruction: expected a sentence such as "make it sepia", got none')
        if detail not in ("guided", "model"):
            raise InputError(f'detail: expected "guided" or "model", got "{detail}"')
        clip = as_clip(video, fps)
        chosen = None if mask is None else masks.load(mask, clip)
        first, last = masks.span(clip, start, end)
        if chosen is not None and not chosen[first:last].any():
            raise InputError(
                "mask: black in every frame between start and end, so nothing would be edited; move the range"
            )
        if not preserve:  # the model sees when to edit and is believed everywhere
            chosen = np.ones(clip.frames.shape[:3], bool) if chosen is None else chosen.copy()
            chosen[:first] = chosen[last:] = False
            first, last = 0, len(clip.frames)
            chosen = None if chosen.all() else chosen
        source, edit, where = self._edit_small(
            clip.frames[first:last],
            instruction,
            None if chosen is None else chosen[first:last],
            None if reference is None else as_picture(reference),
            steps=steps,
            guidance=guidance,
            seed=seed,
            progress=progress,
        )
        carry = Carry.fit(source, edit, where if preserve else None) if detail == "guided" else None
        frames = clip.frames.copy()

        def finish(t: int) -> None:
            frame = clip.frames[first + t]
            out = carry(t, frame) if carry else plain(edit[t], *frame.shape[:2])
            frames[first + t] = (
                masks.composite(frame, out, chosen[first + t]) if preserve and chosen is not None else out
            )

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(_bar(pool.map(finish, range(last - first)), last - first, "frames", progress))
        return dataclasses.replace(clip, frames=frames, path=None)

    def load_lora_weights(self, adapter, scale: float = 1.0) -> None:
        """Adds an adapter to the model: a safetensors file (or a LoRA tree), weighted by `scale`."""
        self.model = self.model.with_lora(adapter, scale)

    def unload_lora_weights(self) -> None:
        """Takes off every adapter added since the model was loaded."""
        self.model = self._loaded

    def _edit_small(self, frames, instruction, mask, reference, *, steps, guidance, seed, progress):
        """Steps 1 to 5 on frames uint8 [n, H, W, 3] and their mask, bool [n, H, W] or None.

        Returns:
          The source as the VAE gives it back and the edit, both float32 [n, h, w, 3], and the mask, bool [n, h, w] or None.
        """
        config = self.model.config
        n, T, size = len(frames), config.frames, (config.height, config.width)
        steps = config.flow.steps if steps is None else steps
        guidance = config.flow.guidance if guidance is None else guidance
        if steps < 1:
            raise InputError(f"steps: expected at least 1, got {steps}")
        text = self._text(instruction)
        where = None if mask is None else masks.small(mask, *size)
        small = np.stack([shrink(frame, *size) for frame in frames])
        z_ref = None
        if reference is not None:
            picture = shrink(reference, *size)[None, None]
            z_ref = self.model.encode(np.repeat(picture, config.batch, 0))
        everywhere = np.full((config.batch, T, *size, 3), 255, np.uint8)
        z_all = None if where is not None else self.model.encode(everywhere)
        noise = None
        blend = _Blend(n, T, size)
        starts = windows(n, T)
        batches = _batches(starts, config.batch)
        for batch in _bar(batches, -(-len(starts) // config.batch), "windows", progress):
            rows = np.minimum(batch[:, None] + np.arange(T), n - 1)  # past the end the last frame is repeated
            z_src = self.model.encode(small[rows])
            z_msk = (
                z_all if where is None else self.model.encode(np.where(where[rows][..., None], everywhere, 0))
            )
            if noise is None:
                noise = np.random.default_rng(seed).standard_normal(z_src.shape[1:]).astype(np.float32)
                noise = np.broadcast_to(noise, z_src.shape)
            z_out = self.model.sample(z_src, z_msk, z_ref, text, noise=noise, steps=steps, guidance=guidance)
            blend.add(batch, self.model.decode(z_src), self.model.decode(z_out))
        return *blend.result(), where

    def _text(self, instruction: str) -> np.ndarray:
        """Embedding of the instruction, float32 [batch, m, d]; unknown words are told."""
        text, unknown = self.model.embed_text([instruction])
        if unknown:
            words = ", ".join(f'"{word}"' for word in unknown)
            if len(unknown) >= len(re.findall(r"\w+", instruction)):
                raise InputError(
                    f"instruction: the model knows none of its words ({words}); say it in other words"
                )
            warnings.warn(f"words the model doesn't know and can't follow: {words}", stacklevel=4)
        return np.repeat(np.asarray(text), self.model.config.batch, 0)


@contextmanager
def lora_context(editor: EasyV2VEditor, adapter, scale: float = 1.0) -> Iterator[EasyV2VEditor]:
    """`with lora_context(editor, "style.safetensors"): ...` edits with an adapter and takes it off again, whatever happens."""
    before = editor.model
    editor.load_lora_weights(adapter, scale)
    try:
        yield editor
    finally:
        editor.model = before


def as_clip(video: str | Path | np.ndarray | Video, fps: float) -> Video:
    """A file, an array or a `Video` as a `Video`."""
    if isinstance(video, Video):
        return video
    return files.read(video) if isinstance(video, str | Path) else Video.from_array(video, fps)


def as_picture(reference: str | Path | np.ndarray) -> np.ndarray:
    """A file or an array as one picture, uint8 [H, W, 3]."""
    clip = as_clip(reference, fps=25)
    if len(clip.frames) != 1:
        raise InputError(
            f"reference: expected one picture, got {len(clip.frames)} frames; save the one you mean as PNG"
        )
    return clip.frames[0]


def shrink(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """A frame at the model's size: areas averaged where it gets smaller."""
    if frame.shape[:2] == (height, width):
        return frame
    smaller = frame.shape[0] >= height and frame.shape[1] >= width
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def windows(n: int, T: int) -> np.ndarray:
    """First frames of windows of T that cover n frames, neighbours sharing OVERLAP or more; the last ends with the clip."""
    stride = max(1, T - OVERLAP)
    count = 1 + max(0, -(-(n - T) // stride))
    return np.minimum(np.arange(count) * stride, max(0, n - T))


def _batches(starts: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Runs of `size` windows, the last padded: always as many, so that one compilation serves clips of any length."""
    for low in range(0, len(starts), size):
        yield np.pad(starts[low : low + size], (0, max(0, low + size - len(starts))), mode="edge")


class _Blend:
    """Mean of overlapping windows, each frame weighted by its distance from the window's ends."""

    def __init__(self, n: int, T: int, size: tuple[int, int]):
        self.weight = np.zeros(n, np.float32)
        self.sums = np.zeros((2, n, *size, 3), np.float32)
        self.ramp = np.minimum(np.arange(1, T + 1), np.arange(T, 0, -1)).astype(np.float32)

    def add(self, starts: np.ndarray, source: np.ndarray, edit: np.ndarray) -> None:
        """Windows float32 [b, T, h, w, 3] at frames `starts`; frames past the end are dropped, a start seen again is padding."""
        clips = np.stack([np.asarray(source), np.asarray(edit)])
        for index, start in enumerate(starts):
            if index and start == starts[index - 1]:
                continue
            stop = min(start + len(self.ramp), len(self.weight))
            ramp = self.ramp[: stop - start]
            self.weight[start:stop] += ramp
            self.sums[:, start:stop] += clips[:, index, : stop - start] * ramp[:, None, None, None]

    def result(self) -> np.ndarray:
        return self.sums / self.weight[:, None, None, None]


def _bar(items, total: int, unit: str, shown: bool):
    return tqdm(items, total=total, unit=f" {unit}", desc=f"editing {unit}", disable=not shown, leave=False)
