"""The forms in which an edit is returned, by the names that diffusers' pipelines give them."""

import importlib
from typing import Any, Literal, get_args

import numpy as np

from v2v.errors import InputError
from v2v.pipeline.sampling_observer import WindowLatents
from v2v.pipeline.settings import EditResult
from v2v.video.video import Video

# "video": a `Video`. "np": float32 [T, H, W, 3] in 0..1. "pil": a list of pictures of Pillow's. "latent": what was sampled, `WindowLatents`.
OutputType = Literal["video", "np", "pil", "latent"]
# Anything that an edit is returned as; pictures of Pillow's, which v2v itself doesn't need, are not named.
Output = Video | np.ndarray | list[Any] | WindowLatents


def check_output_type(name: str) -> None:
    """Check the name of an output type, and that what it needs is installed.

    Raises:
      InputError: an unknown one, or Pillow is missing.
    """
    if name not in get_args(OutputType):
        raise InputError(f"output_type: expected one of {', '.join(get_args(OutputType))}, got {name!r}")
    if name == "pil":
        try:
            importlib.import_module("PIL.Image")
        except ImportError:
            raise InputError(
                'output_type: "pil" needs the package Pillow, which isn\'t installed; pip install pillow'
            ) from None


def convert_output(result: EditResult, name: OutputType) -> Output:
    """Return an edit in one of the forms; its frames are computed, unless latents are asked for.

    Args:
      result: the edit.
      name: the form.
    """
    if name == "latent":
        assert result.latents is not None, "latents were asked for"
        return result.latents
    video = result.in_memory().video
    if name == "video":
        return video
    if name == "np":
        return video.frames.astype(np.float32) / 255
    picture = importlib.import_module("PIL.Image")
    return [picture.fromarray(frame) for frame in video.frames]
