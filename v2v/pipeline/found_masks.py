"""Masks by name, `--mask person`: the networks' files from the cache or the environment, and the search through a clip."""

import itertools

from v2v.pipeline.windowed import progress_bar
from v2v.runtime import environment
from v2v.video.segmentation.base import FoundMask, MaskSource, PartialMask
from v2v.video.segmentation.model_files import ModelFiles
from v2v.video.video import Video


def network_files() -> ModelFiles:
    """Return where the networks' files are found: what the environment names, else the cache."""
    variables = (environment.SUBJECT_MODEL, environment.POSE_MODEL)
    return ModelFiles(environment.cache_folder("networks"), {v.name: v.get() for v in variables})


def search_clip(source: MaskSource, clip: Video, span: tuple[int, int], progress: bool) -> FoundMask:
    """Return the mask of a clip, searched for in the edited frames alone.

    Args:
      source: the source.
      clip: the clip; its frames are iterated once.
      span: the edited frames, first and end.
      progress: show a progress bar.

    Raises:
      InputError: the place is in none of these frames.
    """
    first, end = span
    frames = itertools.islice(clip.frames, first, end)
    found = source.find(progress_bar(frames, "masks", progress, end - first))
    is_whole = len(found) in (1, len(clip.frames))
    return found if is_whole else PartialMask(found, first, len(clip.frames))
