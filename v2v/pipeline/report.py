"""What is known of an edit before it is sampled, as its report holds it."""

import numpy as np

from v2v.config import ModelConfig
from v2v.diffusion.schedule import count_steps
from v2v.pipeline.settings import EditReport, EditSettings
from v2v.pipeline.windowed import window_length
from v2v.video.video import Video


def build_report(
    settings: EditSettings, config: ModelConfig, clip: Video, span: tuple[int, int]
) -> EditReport:
    """Return the report of an edit of the whole frame, without what the instruction adds.

    Args:
      settings: the edit's.
      config: the model, at the size for the clip.
      clip: the clip.
      span: the edited frames, first and end.
    """
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
        "worked_at": [config.width, config.height, window_length(config, settings.window)],
        "mask_area": 1.0,
    }
