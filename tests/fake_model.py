"""A stand-in for `v2v.pipeline.pretrained_model.Pretrained` that needs no weights: its latents are pixels and it edits them by formula.

It lets the editor and the command line be tested alone, and any number they produce be compared with an exact truth. As in a real
VAE, latent frame 0 holds one frame and each later one a group of four.
"""

import dataclasses
from pathlib import Path

import numpy as np

from v2v.checkpoints.detail_file import DetailWeights
from v2v.config import ModelConfig, debug
from v2v.diffusion.sampler import SampleOutput, SamplerStep
from v2v.errors import InputError
from v2v.language.abilities import Abilities
from v2v.pipeline.model import TextEmbedding
from v2v.pipeline.working_size import choose_size

GREY = np.float32([0.299, 0.587, 0.114])
KNOWN = ("make", "it", "grey", "negative", "the", "colours", "of", "reference", "remove", "red")
GROUP = 4


def grey(frames):
    """What "make it grey" makes of [..., 3]."""
    return np.repeat((frames @ GREY)[..., None], 3, -1)


@dataclasses.dataclass
class FakePretrained:
    """Edits greyscale or negative inside the mask, or fills with the reference's mean colour; an "adapter" adds to every pixel."""

    config: ModelConfig = dataclasses.field(default_factory=debug)
    added: float = 0.0
    calls: list = dataclasses.field(default_factory=list)  # shapes and settings seen by sample
    conditions: tuple = ("source", "mask", "reference")
    any_aspect: bool = False
    skipping = None
    abilities: Abilities | None = None
    detail_network: DetailWeights | None = None

    def encode(self, video):
        assert video.dtype == np.uint8 and video.shape[-1] == 3, (video.dtype, video.shape)
        video = np.concatenate([np.repeat(video[:, :1], GROUP - 1, 1), video], 1).astype(np.float32)
        return np.moveaxis(
            video.reshape(len(video), -1, GROUP, *video.shape[2:]), 2, -2
        )  # [b, t, h, w, 4, 3]

    encode_mask = encode

    def decode(self, z):
        z = np.moveaxis(z, -2, 2)
        return z.reshape(len(z), -1, *z.shape[3:])[:, GROUP - 1 :]

    def embed_text(self, texts):
        words = texts[0].lower().replace(".", "").split()
        codes = [float(word in words) for word in ("grey", "negative", "reference")]
        cut = " ".join(words[self.config.text.text_len :])
        unknown = [word for word in words if word not in KNOWN]
        return TextEmbedding(np.array([[codes]], np.float32), unknown, cut)

    def sample(self, request):
        z_src, z_msk, z_ref, text = request.source, request.mask, request.reference, request.text
        if z_msk is None:  # for a model that takes none
            z_msk = np.full_like(np.asarray(z_src), 255)
        noise, steps, guidance, links = request.noise, request.steps, request.guidance, request.links
        strength, mode = request.strength, request.mode
        assert noise.shape == z_src.shape == z_msk.shape and len(text) == len(z_src)
        assert links.weight.shape == z_src.shape[:2] and (
            links.past is not None or (links.weight[0] == 1).all()
        )
        settings = {"steps": steps, "guidance": guidance, "strength": strength, "links": links, "mode": mode}
        settings |= {"negative": request.negative, "first": request.first, "seeds": request.seeds[0]}
        shape = (*z_src.shape[:1], GROUP * (z_src.shape[1] - 1) + 1, *z_src.shape[2:4], 3)
        self.calls.append({"shape": shape, "noise": noise[0], "mask": self.decode(z_msk), **settings})
        z_src, z_msk, edited = np.asarray(z_src), np.asarray(z_msk), np.array(z_src)
        for row, (greyed, negative, reference) in enumerate(np.asarray(text)[:, 0]):
            if greyed:
                edited[row] = grey(z_src[row])
            if negative:
                edited[row] = 255 - z_src[row]
            if reference:
                edited[row] = np.asarray(z_ref)[row].mean((1, 2), keepdims=True)
        edited = np.where(z_msk > 127, edited + self.added, z_src)
        if request.first is not None:
            edited[:, :1] = request.first
        for i in range(steps if request.on_step else 0):
            changed = request.on_step(SamplerStep(i, steps, 1 - i / steps, edited))
            edited = edited if changed is None else np.asarray(changed)
        return SampleOutput(edited, np.zeros((1, links.clips)))

    def for_clip(self, height, width):
        if not self.any_aspect:
            return self
        h, w = choose_size(self.config, height, width)
        return dataclasses.replace(self, config=dataclasses.replace(self.config, height=h, width=w))

    def on(self, mesh):
        return self

    def release(self):
        pass

    def with_lora(self, adapter, scale=1.0, transformer=None):
        if str(adapter).endswith("missing.safetensors"):
            raise InputError("missing.safetensors: no such adapter")
        return dataclasses.replace(self, added=self.added + float(Path(str(adapter)).name) * scale)
