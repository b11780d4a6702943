"""Settings of one edit, apart from clip, instruction, mask and reference.

The keyword arguments of `EasyV2VEditor.edit_video`, the options of the command line and the keys of a manifest's lines are these
fields.
"""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

from v2v.config import ModelConfig
from v2v.errors import InputError

Detail = Literal["guided", "model", "tiles"]
Guide = Literal["prompt", "prompt+reference"]


@dataclass(frozen=True)
class EditSettings:
    """Settings of one edit, checked on construction.

    Attributes:
      start: start of the edited time range in seconds; None for the clip's start.
      end: end of the edited time range in seconds; None for the clip's end.
      steps: number of sampling steps; None for the model's default.
      guidance: scale of classifier-free guidance; None for the model's default.
      guide: conditions that guidance amplifies, the instruction alone or the reference too (diffusion/guidance.py).
      strength: 0.05 to 1; below 1 sampling starts from the noised source and keeps more of it.
      seed: random seed; the same seed gives the same result.
      preserve: restore the source outside the mask and the time range.
      detail: "guided" upsamples the low-resolution edit with the source as guide, "model" upsamples it plainly, "tiles" samples
        at full resolution, tile by tile (many times the computation).
      invert_mask: edit where the mask is black.
      soft: width in pixels over which the edit fades in from the mask's edge; None to choose it by frame size.
      window: frames per window; None for the model's default.
    """

    start: float | None = None
    end: float | None = None
    steps: int | None = None
    guidance: float | None = None
    guide: Guide = "prompt"
    strength: float = 1.0
    seed: int = 0
    preserve: bool = True
    detail: Detail = "guided"
    invert_mask: bool = False
    soft: float | None = None
    window: int | None = None

    def __post_init__(self):
        for name, kind, least in (("steps", Integral, 1), ("seed", Integral, 0), ("window", Integral, 1)):
            value = getattr(self, name)
            if value is not None and (
                not isinstance(value, kind) or isinstance(value, bool) or value < least
            ):
                raise InputError(f"{name}: expected at least {least}, a whole number, got {value!r}")
        for name in ("start", "end", "guidance", "soft"):
            value = getattr(self, name)
            if value is not None and (
                not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value)
            ):
                raise InputError(f"{name}: expected a number, got {value!r}")
        if self.soft is not None and self.soft < 0:
            raise InputError(f"soft: expected a width in pixels of at least 0, got {self.soft:g}")
        if not isinstance(self.strength, Real) or not 0.05 <= self.strength <= 1:
            raise InputError(f"strength: expected 0.05 to 1 (the whole edit), got {self.strength!r}")
        if self.detail not in get_args(Detail):
            raise InputError(f'detail: expected "guided", "model" or "tiles", got "{self.detail}"')
        if self.guide not in get_args(Guide):
            raise InputError(f'guide: expected "prompt" or "prompt+reference", got "{self.guide}"')
        for name in ("preserve", "invert_mask"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name}: expected true or false, got {getattr(self, name)!r}")

    def steps_of(self, config: ModelConfig) -> int:
        """Return the number of steps: the setting, or the model's own."""
        return config.flow.steps if self.steps is None else self.steps

    def guidance_of(self, config: ModelConfig) -> float:
        """Return the guidance: the setting, or the model's own."""
        return config.flow.guidance if self.guidance is None else self.guidance
