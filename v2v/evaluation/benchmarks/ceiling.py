"""The ceiling of any training: an editor whose model always gives the latents of the truth.

    truth -> autoencoder -> latents of the truth -> autoencoder -> detail transfer -> file

Edits at which this editor fails are lost by the reduction in size, the autoencoder, the detail transfer or the codec, not by the diffusion
model; measure it before training longer.

The truth goes through the same editor first, with a model that records its input and returns it. That way it is cut into the same windows
as the source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from v2v.array_types import AnyLatents
from v2v.config import TransformerName
from v2v.diffusion.sampler import SampleOutput
from v2v.errors import InputError
from v2v.evaluation.items import Benchmark
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.model import EditingModel, SampleRequest, TextEmbedding
from v2v.video import video as codec


class CeilingEditor:
    """An editor with a perfect sampler, for the items of a benchmark with truth."""

    def __init__(self, model: EditingModel, benchmark: Benchmark):
        """Wrap a model.

        Args:
          model: a `Pretrained`; only its autoencoder and its configuration are used.
          benchmark: the items; the truth of an edit is found by its source.
        """
        self._truths = {item.source: item.truth for item in benchmark.items}
        self._model = TruthModel(model)
        self._editor = EasyV2VEditor(self._model)

    def edit_video(
        self,
        video: str | Path,
        instruction: str,
        mask: str | Path | None = None,
        reference: str | Path | None = None,
        **options: Any,
    ) -> codec.Video:
        """Edit as `EasyV2VEditor.edit_video` does; the instruction and the reference change nothing.

        Args:
          video: path of the source of an item.
          instruction: passed to the editor.
          mask: as for `EasyV2VEditor.edit_video`.
          reference: unused.
          **options: as for `EasyV2VEditor.edit_video`.

        Raises:
          InputError: the benchmark holds no such source, or its item has no truth.
        """
        truth = self._truths.get(Path(video))
        if truth is None:
            raise InputError(f"{video}: expected the source of an item with truth")
        clip = codec.read_video(video)
        truth_clip = codec.Video(codec.read_video(truth).frames, clip.times, clip.fps)
        # The detail transfer of this pass would be thrown away; "model" has none.
        self._model.record = True
        self._editor.edit_video(truth_clip, instruction, mask, **options, detail="model")
        self._model.record = False
        return self._editor.edit_video(clip, instruction, mask, **options)


class TruthModel:
    """A model that records the latents of its sources, and later returns them in the same order.

    Attributes:
      record: whether to record.
    """

    skipping = None
    # Every sentence is taken as it is.
    abilities = None
    conditions = ("source", "mask", "reference")

    def __init__(self, model: EditingModel):
        self.config, self.encode, self.decode = model.config, model.encode, model.decode
        self.detail_network = model.detail_network
        self.encode_mask = model.encode_mask
        self.record = False
        self._latents: list[AnyLatents] = []

    def embed_text(self, texts: list[str]) -> TextEmbedding:
        """Return zeros: the instruction changes nothing."""
        return TextEmbedding(jnp.zeros((len(texts), 1, 1), jnp.float32), [], "")

    def sample(self, request: SampleRequest) -> SampleOutput:
        """Record the source and return it, or return what was recorded."""
        if self.record:
            assert request.source is not None, "an edit has a source"
            self._latents.append(request.source)
            return SampleOutput(request.source)
        return SampleOutput(self._latents.pop(0))

    def with_lora(
        self, adapter: Any, scale: float = 1.0, transformer: TransformerName | None = None
    ) -> TruthModel:
        """Return this model: an adapter changes nothing."""
        return self

    def for_clip(self, height: int, width: int) -> TruthModel:
        """Return this model, which has one size."""
        return self

    def on(self, mesh: Mesh) -> TruthModel:
        """Return this model."""
        return self

    def release(self) -> None:
        """Do nothing: no other job waits for this model."""
