"""What a caller may see of the sampling, and change: a function after each step, in the form of diffusers' pipelines, and the latents.

    def blur(editor, step, timestep, callback_kwargs):
        print(f"step {step}, flow time {timestep / 1000:.2f}")
        return {"latents": smooth(callback_kwargs["latents"])}    # None leaves them as they are

    stop = threading.Event()    # set from another thread, it ends the edit at the next step with EditCanceledError
    editor.edit_video("in.mp4", "make it sepia", callback_on_step_end=blur, cancel=stop)

Both let the sampler run step by step (`Sampler`): on every kind of device, for a few percent more time and one more compilation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from v2v.array_types import AnyLatents
from v2v.diffusion.sampler import SamplerStep, StepFunction
from v2v.errors import InputError
from v2v.pipeline.progress import EditCanceledError

# Called as (editor, number of the step, flow time in thousandths, {"latents": float32 [b, t, y, x, c], "windows": which windows of the clip
# its rows are, of which the last may be repeated}). What it returns under "latents" is gone on from. A long clip is sampled in several
# batches of windows; in each the steps begin at 0.
StepCallback = Callable[[Any, int, float, dict[str, Any]], Mapping[str, Any] | None]


class Cancellation(Protocol):
    """Tells whether an edit shall end, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Return whether it shall end."""
        ...


@dataclass(frozen=True)
class WindowLatents:
    """The sampled latents of a clip, window by window.

    Attributes:
      latents: float32 [windows, t, y, x, c], as the autoencoder decodes them (`editor.model.decode`).
      starts: the frame of the clip at which each window begins.
    """

    latents: np.ndarray
    starts: tuple[int, ...]


@dataclass
class LatentCollector:
    """Keeps the latents of windows as they are sampled."""

    _latents: list[np.ndarray] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)

    def add(self, starts: list[int], latents: np.ndarray) -> None:
        """Add windows.

        Args:
          starts: the frame of the clip at which each begins.
          latents: float32 [windows, t, y, x, c].
        """
        self._starts += starts
        self._latents.append(np.asarray(latents, np.float32))

    def collect(self) -> WindowLatents:
        """Return all windows.

        Raises:
          InputError: nothing was sampled.
        """
        if not self._latents:
            raise InputError(
                'output_type: "latent" expected an edit that the model makes, this one fills text with what other frames show; leave it out'
            )
        return WindowLatents(np.concatenate(self._latents), tuple(self._starts))


@dataclass(frozen=True)
class SamplingObserver:
    """What is told of the sampling of a clip.

    Attributes:
      callback: called after each step, or None.
      cancel: ends the sampling once it is set, or None.
      editor: what the callback is called with.
      latents: takes the sampled latents, or None.
    """

    callback: StepCallback | None = None
    cancel: Cancellation | None = None
    editor: Any = None
    latents: LatentCollector | None = None

    def step_function(self, windows: np.ndarray) -> StepFunction | None:
        """Return the function that the sampler calls for a batch of windows; None where nobody wants to be told.

        Args:
          windows: number of the window in each row, int [b].
        """
        callback, cancel = self.callback, self.cancel
        if callback is None and cancel is None:
            return None

        def on_step(step: SamplerStep) -> AnyLatents | None:
            if cancel is not None and cancel.is_set():
                raise EditCanceledError
            if callback is None:
                return None
            inputs = {"latents": step.latents, "windows": windows.tolist()}
            outputs = callback(self.editor, step.index, 1000 * step.tau, inputs)
            if outputs is not None and not isinstance(outputs, Mapping):
                raise InputError(
                    f'callback_on_step_end: expected it to return None or {{"latents": ...}}, got {type(outputs).__name__}'
                )
            return None if outputs is None else outputs.get("latents")

        return on_step


NO_OBSERVER = SamplingObserver()
