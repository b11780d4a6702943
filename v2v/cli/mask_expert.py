"""The option --mask-expert of `v2v app` and `v2v serve`: an expert of role mask finds the object that somebody points at."""

from __future__ import annotations

import threading

import numpy as np

from data_synth.experts.base import Failure
from data_synth.experts.protocol import connect_expert, run_expert
from data_synth.experts.spec import ExpertSpec
from data_synth.experts.wire import Job
from v2v.errors import InputError


class ExpertFinder:
    """An expert of role mask, asked about one frame and a place in it; as `ObjectFinder`.

    Attributes:
      name: that of the expert.
    """

    def __init__(self, spec: ExpertSpec):
        """Take an expert; what it needs starts with the first place that is asked for.

        Args:
          spec: its description.

        Raises:
          InputError: it is of another role.
        """
        if spec.role != "mask":
            raise InputError(f'--mask-expert {spec.path}: expected role = "mask", got "{spec.role}"')
        self.name = spec.name
        self._spec, self._expert = spec, connect_expert(spec)
        self._lock = threading.Lock()

    def find(self, frame: np.ndarray, x: float, y: float) -> np.ndarray:
        """Ask the expert.

        Args:
          frame: uint8 [H, W, 3] RGB.
          x: in pixels from the left edge.
          y: in pixels from the upper edge.

        Returns:
          uint8 [H, W], 255 inside.

        Raises:
          InputError: the expert fails.
        """
        about = {"role": "mask", "frame": 0, "points": [[x, y]], "labels": [1]}
        with self._lock:
            (answer,) = run_expert(self._expert, [Job(frame[None], self._spec.noun, about=about)])
        if isinstance(answer, Failure):
            raise InputError(f"points: the expert {self.name} {answer.reason}; draw around the thing instead")
        return np.where(answer[0].mean(-1) >= 128, np.uint8(255), np.uint8(0))

    def close(self) -> None:
        """End what the expert has started."""
        self._expert.close()
