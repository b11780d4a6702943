"""The upper bound of training: an editor whose model returns the latents of the truth.

truth -> VAE -> **latents of the truth** -> VAE -> carry -> file. What such an editor still fails is lost by the
shrinking, the VAE, the carrying to full size or the codec, not by the diffusion model; look here before training longer.

The truth is sent through the same editor first, with a model that returns its input and takes it down. That way it is
cut into windows exactly as the source will be.
"""

from __future__ import annotations

import numpy as np

from v2v.pipeline.editor import EasyV2VEditor
from v2v.video import video as codec


class CeilingEditor:
    """Edits as `EasyV2VEditor` does, with a perfect sampler. Set `truth` before every call.

    Attributes:
      truth: uint8 [T, H, W, 3], the clip that the next edit should give.
    """

    def __init__(self, model):
        """Args: model: a `Pretrained`; its VAE and its configuration are used, its weights otherwise not."""
        self.truth: np.ndarray | None = None
        self._model = _RecordedModel(model)
        self._editor = EasyV2VEditor(self._model)

    def edit_video(self, video, instruction, mask=None, reference=None, **options) -> codec.Video:
        """As `EasyV2VEditor.edit_video`; the instruction and the reference change nothing."""
        clip = video if isinstance(video, codec.Video) else codec.read_video(video)
        self._model.learn = True
        # "model": the carrying of this pass is thrown away, so it should cost nothing.
        truth_video = codec.Video(self.truth, clip.times, clip.fps)
        self._editor.edit_video(truth_video, instruction, mask, **options, detail="model")
        self._model.learn = False
        return self._editor.edit_video(clip, instruction, mask, **options)


class _RecordedModel:
    """A model that takes down the latents it is shown, and later gives them back in the same order."""

    def __init__(self, model):
        self.config, self.encode, self.decode = model.config, model.encode, model.decode
        self.encode_mask = model.encode_mask
        self.learn, self._latents = False, []
        self.conditions, self.skipping = ("source", "mask", "reference"), None

    def embed_text(self, texts: list[str]):
        return np.zeros((len(texts), 1, 1), np.float32), [], ""

    def with_lora(self, adapter, scale: float = 1.0):
        """Return this model: its latents depend on no weights."""
        return self

    def sample(self, z_src, z_msk, z_ref, text, **_):
        if self.learn:
            self._latents.append(z_src)
            return z_src, None
        return self._latents.pop(0), None
