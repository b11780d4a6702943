"""What the passes of a guided step are shown, and how their results are put together.

A mode is a list of passes, from the one that is shown everything down to the one that is shown least. Between neighbors stands an axis:
what the one is shown beyond the other, and the scale with which their difference is applied:

    v = v_n + s_{n-1} (v_{n-1} - v_n) + … + s_1 (v_1 - v_2)

With a projection the differences are those of the predictions of the data (`diffusion/guidance.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# What a difference of two passes strengthens.
GuidanceAxis = Literal["prompt", "reference", "source"]


@dataclass(frozen=True)
class GuidanceBranch:
    """What one pass of guidance is shown.

    Attributes:
      prompt: the instruction, or the empty sentence.
      hidden: conditions left out, of those that the clip has; "reference" leaves out all references. "source_2" and so on are further
        sources.
    """

    prompt: bool = True
    hidden: frozenset[str] = frozenset()

    def shows(self, name: str) -> bool:
        """Return whether the pass is shown a condition."""
        return name not in self.hidden and (
            "reference" not in self.hidden or not name.startswith("reference_")
        )


@dataclass(frozen=True)
class Projection:
    """Adaptive projected guidance (arXiv 2410.02416) of the predictions of the data, for each latent frame on its own.

    Attributes:
      parallel: share that is kept of the part of a difference along the prediction itself, which mostly adds contrast.
      limit: longest difference; longer ones are shortened to it.
    """

    parallel: float = 0.5
    limit: float = 50.0


@dataclass(frozen=True)
class GuidanceMode:
    """The passes of a step.

    Attributes:
      branches: what each pass is shown, the one with everything first.
      axes: what is strengthened between each pass and the next.
      projection: how differences are shaped; None leaves them as they are.
    """

    branches: tuple[GuidanceBranch, ...]
    axes: tuple[GuidanceAxis, ...] = ()
    projection: Projection | None = None


def _hides(*names: str, prompt: bool = False) -> GuidanceBranch:
    return GuidanceBranch(prompt, frozenset(names))


NO_GUIDANCE = GuidanceMode((GuidanceBranch(),))
# "prompt": visual conditions stay in both passes (EasyV2V, appendix D, eq. 3); "prompt+reference": the reference is guided too (eq. 4).
# "prompt+source": prompt and source with a scale each, after InstructPix2Pix (arXiv 2211.09800), for weights trained with `DataConfig.drop_source_and_text`.
STANDARD_GUIDANCE: Mapping[str, GuidanceMode] = {
    "prompt": GuidanceMode((GuidanceBranch(), _hides()), ("prompt",)),
    "prompt+reference": GuidanceMode((GuidanceBranch(), _hides("reference")), ("prompt",)),
    "prompt+source": GuidanceMode(
        (GuidanceBranch(), _hides(), _hides("source", "mask")), ("prompt", "source")
    ),
    "none": NO_GUIDANCE,
}

_FURTHER_SOURCES = tuple(f"source_{i}" for i in range(2, 9))
_ALL_SOURCES = ("source", *_FURTHER_SOURCES)
# The modes that Bernini-R was published with, by their published names.
BERNINI_GUIDANCE: Mapping[str, GuidanceMode] = {
    "v2v": GuidanceMode((GuidanceBranch(), _hides()), ("prompt",)),
    "v2v_apg": GuidanceMode((GuidanceBranch(), _hides()), ("prompt",), Projection()),
    "v2v_chain": GuidanceMode(
        (GuidanceBranch(), _hides("reference", *_FURTHER_SOURCES), _hides("reference", *_ALL_SOURCES)),
        ("prompt", "source"),
    ),
    "rv2v": GuidanceMode(
        (GuidanceBranch(), _hides(), _hides("reference", *_FURTHER_SOURCES), _hides("reference", *_ALL_SOURCES)),
        ("prompt", "reference", "source"),
    ),
    "r2v_apg": GuidanceMode(
        (_hides(*_ALL_SOURCES, prompt=True), _hides(*_ALL_SOURCES), _hides("reference", *_ALL_SOURCES)),
        ("prompt", "reference"),
        Projection(),
    ),
    "t2v": GuidanceMode(
        (_hides("reference", *_ALL_SOURCES, prompt=True), _hides("reference", *_ALL_SOURCES)), ("prompt",)
    ),
    "t2v_apg": GuidanceMode(
        (_hides("reference", *_ALL_SOURCES, prompt=True), _hides("reference", *_ALL_SOURCES)),
        ("prompt",),
        Projection(),
    ),
    "none": NO_GUIDANCE,
}  # fmt: skip
