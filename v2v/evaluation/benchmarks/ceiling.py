"""The best any training could score: an editor whose model always makes the truth's own latents.

truth -> VAE -> **latents of the truth** -> VAE -> carry -> file. What such an editor still fails is lost by the
shrinking, the VAE, the carrying to full size or the codec, not by the diffusion model; look here before training longer.

The truth is sent through the same editor first, with a model that returns its input and takes it down. That way it is
cut into windows exactly as the source will be.
"""

from __future__ import annotations

import numpy as np
from jax.sharding import Mesh

from v2v.diffusion.sampler import SampleOutput
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.model import EditingModel, SampleRequest, TextEmbedding
from v2v.video import video as codec


class CeilingEditor:
    """Edits as `EasyV2VEditor` does, with a perfect sampler. Set `truth` before every call.

    Attributes:
      truth: uint8 [T, H, W, 3], the clip that the next edit should give.
    """

    def __init__(self, model: EditingModel):
        """Args: model: a `Pretrained`; its VAE and its configuration are used, its weights otherwise not."""
        self.truth: np.ndarray | None = None
        self._model = TruthModel(model)
        self._editor = EasyV2VEditor(self._model)

    def edit_video(self, video, instruction, mask=None, reference=None, **options) -> codec.Video:
        """As `EasyV2VEditor.edit_video`; the instruction and the reference change nothing."""
        clip = video if isinstance(video, codec.Video) else codec.read_video(video)
        self._model.record = True
        # "model": the carrying of this pass is thrown away, so it should cost nothing.
        shown = codec.Video(self.truth, clip.times, clip.fps)
        self._editor.edit_video(shown, instruction, mask, **options, detail="model")
        self._model.record = False
        return self._editor.edit_video(clip, instruction, mask, **options)


class TruthModel:
    """A model that records the latents it is shown, and later gives them back in the same order.

    Attributes:
      record: whether it records.
    """

    skipping = None
    conditions = ("source", "mask", "reference")

    def __init__(self, model: EditingModel):
        self.config, self.encode, self.decode = model.config, model.encode, model.decode
        self.encode_mask = model.encode_mask
        self.record, self._latents = False, []

    def embed_text(self, texts: list[str]) -> TextEmbedding:
        """Return zeros: the instruction changes nothing."""
        return TextEmbedding(np.zeros((len(texts), 1, 1), np.float32), [], "")

    def sample(self, request: SampleRequest) -> SampleOutput:
        """Record the source and return it, or return what was recorded."""
        if self.record:
            self._latents.append(request.source)
            return SampleOutput(request.source)
        return SampleOutput(self._latents.pop(0))

    def with_lora(self, adapter, scale: float = 1.0) -> TruthModel:
        """Return this model: an adapter changes nothing."""
        return self

    def on(self, mesh: Mesh) -> TruthModel:
        """Return this model."""
        return self

    def release(self) -> None:
        """Do nothing: no other job waits for this model."""
