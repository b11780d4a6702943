"""How a clip is edited, beside the clip, the sentence, the mask and the reference: one frozen dataclass, checked when made.

`EasyV2VEditor.edit_video(..., **settings)`, the command line's options and the keys of a manifest's line are these fields.
"""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

from v2v.errors import InputError

Detail = Literal["guided", "model", "tiles"]
Guide = Literal["prompt", "prompt+reference"]


@dataclass(frozen=True)
class EditSettings:
    """Settings of one edit.

    Attributes:
      start: second at which the edit begins; None for the clip's start.
      end: second at which it ends; None for the clip's end.
      steps: sampler steps; None for the model's own number.
      guidance: strength of the instruction; None for the model's own.
      guide: what guidance strengthens, the instruction or the reference with it (flow/guidance.py).
      strength: share of the walk from noise to data that is taken; below 1 it starts from the source with noise on it and keeps
        more of the source.
      seed: of the noise; the same seed gives the same clip.
      preserve: keep the source's bytes outside mask and time range; False shows all that the model made.
      detail: "guided" carries the small edit to the clip's own detail, "model" only enlarges it, "tiles" lets the model paint
        every part of the clip at full size (many times the work).
      invert_mask: black marks where to edit, not white.
      soft: pixels over which the edit fades in from the mask's rim; None for one that fits the frame.
      window: frames the model sees at once; None for as many as it was trained with.
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
