"""A second source clip, for editors that take several (Bernini-R: ads2v puts what one clip shows into the other).

It has a size of its own by the rule for sources, and the rate of the first clip, whose size and length the result has. A clip no longer than a
window is shown whole in every window; of a longer one each window is shown what lies at its own time, counted from the first edited frame.
"""

from dataclasses import dataclass

import numpy as np

from v2v.array_types import AnyLatents
from v2v.config import ModelConfig
from v2v.pipeline.model import EditingModel
from v2v.pipeline.settings import ClipInput
from v2v.pipeline.working_size import choose_size
from v2v.video import inputs
from v2v.video.frame_store import FrameStore

# Its name among the conditions of a pass.
CONDITION_NAME = "source_2"


@dataclass(frozen=True)
class SecondVideo:
    """The frames of a second source clip.

    Attributes:
      frames: at the size at which the model takes them, uint8 [h, w, 3].
      rows: numbers of the frames that are shown one after the other at the first clip's rate.
    """

    frames: FrameStore
    rows: np.ndarray

    def window_rows(self, begin: int, length: int, stride: int) -> np.ndarray:
        """Return the numbers of the frames that a window is shown, 4n + 1 of them.

        Args:
          begin: the window's first frame, counted from the first edited one.
          length: frames of the window.
          stride: frames of a latent frame.
        """
        count = len(self.rows)
        window = min(length, -(-(count - 1) // stride) * stride + 1)
        begin = min(begin, max(0, count - window))
        return self.rows[np.minimum(begin + np.arange(window), count - 1)]

    def encode(self, model: EditingModel, begins: np.ndarray, length: int) -> AnyLatents:
        """Return the latents that windows are shown, [b, t, y, x, c].

        Args:
          model: the model.
          begins: first frame of each window, counted from the first edited one.
          length: frames of a window.
        """
        stride = model.config.vae.stride_t
        rows = np.stack([self.window_rows(int(begin), length, stride) for begin in begins])
        return model.encode(self.frames[rows])


def read_second_video(config: ModelConfig, video: ClipInput, clip_fps: float, fps: float) -> SecondVideo:
    """Read a second source clip.

    Args:
      config: the model.
      video: the clip.
      clip_fps: its frames per second, if it is an array.
      fps: frames per second of the first clip.

    Raises:
      InputError: a clip that can't be read.
    """
    frames = FrameStore()

    def add(frame: np.ndarray) -> None:
        frames.append(inputs.resize_frame(frame, *choose_size(config, *frame.shape[:2])))

    clip = inputs.open_clip(video, clip_fps, add)
    count = max(1, round(clip.duration * fps)) if len(frames) > 1 else 1
    times = clip.times[0] + (np.arange(count) + 0.5) / fps
    return SecondVideo(frames, np.maximum(np.searchsorted(clip.times, times, side="right") - 1, 0))
