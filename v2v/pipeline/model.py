"""The interface of a model that the editor can use."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from v2v.config import ModelConfig
from v2v.diffusion.step_skipping import StepSkipper


@runtime_checkable
class EditingModel(Protocol):
    """The functions that `EasyV2VEditor` composes, over batches of `config.batch` clips.

    `Pretrained` is the real one; the batched model, the recorder of attention maps, the ceiling of the benchmark and the
    stand-in of the tests implement it too.

    Attributes:
      config: sizes of clips and latents, and the defaults of the sampler.
      skipping: state of step skipping; None if every step is computed.
    """

    config: ModelConfig
    skipping: StepSkipper | None

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions that `sample` takes, of "source", "mask" and "reference"."""
        ...

    def encode(self, video: np.ndarray) -> Any:
        """Encode uint8 [b, T, H, W, 3] as latents [b, t, y, x, c]."""
        ...

    def encode_mask(self, mask: np.ndarray) -> Any:
        """Encode a mask, uint8 [b, T, H, W, 3] with white = edit, as the model's mask condition."""
        ...

    def decode(self, z: Any) -> np.ndarray:
        """Decode latents as float32 [b, T, H, W, 3] in 0..255."""
        ...

    def embed_text(self, texts: list[str]) -> tuple[Any, list[str], str]:
        """Return embeddings [b, m, d], words outside the vocabulary, and the text cut off for its length."""
        ...

    def sample(self, z_src: Any, z_msk: Any, z_ref: Any, text: Any, **options: Any) -> Any:
        """Sample edited latents; `options` are the noise, the sampler's settings and the links between windows."""
        ...

    def with_lora(self, adapter: str | Path | dict | Any, scale: float = 1.0) -> "EditingModel":
        """Return this model with an adapter added."""
        ...
