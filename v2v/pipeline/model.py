"""What the pipeline needs of a model: `EditingModel`, and what its methods take and give.

Five classes are one: `pretrained_model.Pretrained`; `batched_model.BatchedModel`, which stands for it in a batch of jobs;
`attention_maps.AttentionRecorder`, which looks at its attention; `ceiling.TruthModel` of the evaluation, which knows the answer; and the tests'
stand-in. To add one, give it these methods; nothing else of it is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from jax.sharding import Mesh

from v2v.array_types import AnyLatents, AnyPixels, AnyText, Seeds
from v2v.checkpoints.detail_file import DetailWeights
from v2v.config import ModelConfig, TransformerName
from v2v.diffusion.sampler import SampleOutput, StepFunction
from v2v.diffusion.step_skipping import StepSkipper
from v2v.diffusion.windows import WindowLinks
from v2v.language.abilities import Abilities


@dataclass(frozen=True)
class TextEmbedding:
    """Embedded instructions.

    Attributes:
      rows: embeddings, [b, m, width].
      unknown: words that the vocabulary doesn't hold.
      cut: the ends of texts too long to be read whole; "" for none.
      suggestions: known words that are spelled like unknown ones.
    """

    rows: AnyText
    unknown: list[str]
    cut: str
    suggestions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SampleRequest:
    """One batch of windows to edit.

    Attributes:
      source: latents of the source, [b, t, y, x, c]; None where there is none.
      mask: what the model is shown of the mask, or None.
      reference: latents of the reference image, or None.
      text: embedded instructions, [b, m, width].
      noise: shaped like `source`.
      steps: number of steps.
      guidance: scale; 1 is none.
      links: which windows of which clips the rows are; None where they are no windows.
      begin: latents to start from where strength is below 1.
      strength: 0 to 1, the part of the schedule that is sampled.
      mode: what guidance strengthens (guidance.py).
      negative: embedded text that guidance leads away from, like `text`; None for the empty sentence.
      guidance_reference: scale of guidance on references; None for the model's.
      guidance_source: scale of guidance on the source, the same.
      others: latents of further inputs by name, `reference_2` and so on or `source_2`, of models that take several; their sizes may differ.
      low_guidance: guidance scale of the low-noise transformer of a model of two; None for `guidance`.
      first: latents of the picture that a window begins with, [b, 1, y, x, c], which is kept as it is; None where it is sampled too.
      seeds: of fresh noise, [b, t, 4] (`windows.noise_seeds`), for solvers that draw some.
      on_step: called after each step (sampler.py); sampling is then done step by step.
    """

    source: AnyLatents | None
    mask: AnyLatents | None
    reference: AnyLatents | None
    text: AnyText
    noise: AnyLatents
    steps: int
    guidance: float
    links: WindowLinks | None = None
    begin: AnyLatents | None = None
    strength: float = 1.0
    mode: str = "prompt"
    negative: AnyText | None = None
    first: AnyLatents | None = None
    guidance_reference: float | None = None
    guidance_source: float | None = None
    others: Mapping[str, AnyLatents] = field(default_factory=dict)
    seeds: Seeds | None = None
    low_guidance: float | None = None
    on_step: StepFunction | None = None


class EditingModel(Protocol):
    """A model that edits clips."""

    @property
    def config(self) -> ModelConfig:
        """Return its configuration."""
        ...

    @property
    def conditions(self) -> tuple[str, ...]:
        """Return what it can be shown, of "source", "mask" and "reference"; empty when it was never trained to edit."""
        ...

    @property
    def abilities(self) -> Abilities | None:
        """Return what it is known to do; None for a model that reads any sentence, and for one that was not measured."""
        ...

    @property
    def detail_network(self) -> DetailWeights | None:
        """Return the network that gives edits their texture at full size; None for a model without one."""
        ...

    @property
    def skipping(self) -> StepSkipper | None:
        """Return the step skipping in use, or None."""
        ...

    def encode(self, video: AnyPixels) -> AnyLatents:
        """Return latents, float32 [b, t, y, x, c], of uint8 [b, T, H, W, 3]."""
        ...

    def encode_mask(self, mask: AnyPixels) -> AnyLatents:
        """Return what the model is shown of a mask, uint8 [b, T, H, W, 3], white on black."""
        ...

    def decode(self, z: AnyLatents) -> np.ndarray:
        """Return frames, float32 [b, T, H, W, 3] in 0..255."""
        ...

    def embed_text(self, texts: list[str]) -> TextEmbedding:
        """Embed instructions."""
        ...

    def sample(self, request: SampleRequest) -> SampleOutput:
        """Sample edited latents; `past` of the output belongs into the links of the next batch of windows."""
        ...

    def with_lora(
        self, adapter: Any, scale: float = 1.0, transformer: TransformerName | None = None
    ) -> "EditingModel":
        """Return this model with an adapter; of two transformers `transformer` says which it is for."""
        ...

    def for_clip(self, height: int, width: int) -> "EditingModel":
        """Return this model at the size at which it edits clips of a height and width."""
        ...

    def on(self, mesh: Mesh) -> "EditingModel":
        """Return this model with its weights on every device of a mesh."""
        ...

    def release(self) -> None:
        """End the model's part in an edit: nothing more is asked of it, other jobs of a batch need not wait for this one."""
        ...


def shown_conditions(model: EditingModel, request: SampleRequest) -> dict[str, AnyLatents]:
    """Return those latents of a request that the model can be shown, by their names."""
    latents = {"source": request.source, "mask": request.mask, "reference": request.reference}
    conditions = {name: z for name, z in latents.items() if z is not None and name in model.conditions}
    return conditions | {
        name: z for name, z in request.others.items() if name.rpartition("_")[0] in conditions
    }
