"""A folder of weights → the five functions an editor composes. export.py → **pretrained** → editor.py

`Pretrained` is a value: `with_lora` returns another one and leaves this one as it was. Weights are arguments of the jitted
functions, never constants in them, so every adapter of the same size runs in the same compiled code.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from v2v.codec.text import TextEncoder, Tokenizer
from v2v.codec.vae import VAE
from v2v.config import ModelConfig
from v2v.errors import InputError
from v2v.flow.sampler import make_sampler
from v2v.model import lora
from v2v.shapes import Latents, Pixels, Text
from v2v.train.step import init_adapter, init_base
from v2v.weights import export

EMBEDDED = Path(__file__).parent / "embedded"


def load_pretrained(name_or_dir: str) -> "Pretrained":
    """The packaged model ("embedded") or a folder written by `v2v train`.

    Raises:
      InputError: no such model, or its files are incomplete or don't fit; every wrong tensor is named.
    """
    folder = EMBEDDED if name_or_dir == "embedded" else Path(name_or_dir)
    if not folder.is_dir():
        raise InputError(
            f'model: expected "embedded" or a folder of weights, got "{name_or_dir}"; check --model'
        )
    cfg = export.load_config(folder / "config.json")
    tokenizer = Tokenizer.load(folder / "tokenizer.json", cfg.text.text_len)
    shapes = _shapes(cfg)
    base = export.load_tree(folder / "base.safetensors", shapes["base"])
    vae = export.load_tree(folder / "vae.safetensors", {"vae": shapes["vae"]})["vae"]
    adapter = None
    if (folder / "lora.safetensors").exists():
        adapter = export.load_tree(folder / "lora.safetensors", shapes["adapter"])
    return Pretrained(cfg, tokenizer, vae, base, adapter)


class Pretrained:
    """A model ready to edit with.

    Attributes:
      config: its ModelConfig.
      tokenizer: its vocabulary.
    """

    def __init__(
        self, config: ModelConfig, tokenizer: Tokenizer, vae: dict, base: dict, adapter: dict | None
    ):
        """Args: vae, base {"dit", "text"}, adapter {"lora", "embed"} or None: trees of arrays."""
        self.config, self.tokenizer = config, tokenizer
        self._vae, self._base = jax.device_put(vae), jax.device_put(base)
        self._dit, self._embed = self._base["dit"], None
        if adapter is not None:
            self._dit = _merge(self._base["dit"], adapter["lora"], config.lora.scale)
            self._embed = jax.device_put(adapter["embed"])
        self._null = None

    def encode(self, video: Pixels) -> Latents:
        """uint8 [b, T, H, W, 3] → latents float32 [b, t, y, x, c]; T = 4n+1."""
        return _codec(self.config)[0](self._vae, jnp.asarray(video))

    def decode(self, z: Latents) -> np.ndarray:
        """Latents → float32 [b, T, H, W, 3] in 0..255."""
        return np.asarray(_codec(self.config)[1](self._vae, jnp.asarray(z)))

    def embed_text(self, texts: list[str]) -> tuple[Text, list[str]]:
        """Embeddings [b, m, w] and the words the vocabulary doesn't hold."""
        ids, lengths = self.tokenizer.ids(texts)
        unknown = [word for text in texts for word in self.tokenizer.unknown(text)]
        return _codec(self.config)[2](self._base["text"], ids, lengths), unknown

    def sample(
        self,
        z_src: Latents,
        z_msk: Latents,
        z_ref: Latents | None,
        text: Text,
        *,
        noise: Latents,
        steps: int,
        guidance: float,
        **how,
    ) -> Latents:
        """Edited latents, float32, shaped like `noise`; `how` is the sampler's links, begin and strength.

        Raises InputError when the model has no editing adapter.
        """
        if self._embed is None:
            raise InputError(
                "model: it was never trained to edit (no lora.safetensors beside it); load an adapter with --lora"
            )
        if self._null is None:
            self._null = self.embed_text([""])[0]
        conditions = {"source": z_src, "mask": z_msk} | ({} if z_ref is None else {"reference": z_ref})
        variables = {"params": self._dit, "embed": self._embed}
        return _sampler(self.config)(
            variables, jnp.asarray(noise), jnp.asarray(text), self._null, conditions, steps, guidance, **how
        )

    def with_lora(self, adapter: str | Path | dict, scale: float = 1.0) -> "Pretrained":
        """This model with an adapter.

        An adapter that brings its own embeddings for source, mask and reference is an editor of its own: it takes the place of the
        one the model came with. One without (`lora` only) is added on top.

        Raises:
          InputError: the file is missing, unreadable, or was made for another backbone.
        """
        shapes = _shapes(self.config)["adapter"]
        tree = adapter if isinstance(adapter, dict) else export.load_tree(adapter)
        if "lora" not in tree or tree.keys() - {"lora", "embed"}:
            raise InputError(
                f"{adapter}: expected an adapter with lora/… and embed/…, got {', '.join(sorted(tree))}; is it a LoRA?"
            )
        out = object.__new__(Pretrained)
        out.__dict__.update(self.__dict__)
        complete = "embed" in tree
        if complete and jax.tree.map(np.shape, tree["embed"]) != jax.tree.map(np.shape, shapes["embed"]):
            raise InputError(
                f"{adapter}: its embeddings don't fit model {self.config.name}; it was made for another"
            )
        try:
            start = self._base["dit"] if complete else self._dit
            out._dit = _merge(start, tree["lora"], scale * self.config.lora.scale)
        except (ValueError, KeyError) as err:
            raise InputError(f"{adapter}: {err}; use an adapter trained on {self.config.name}") from err
        out._embed = jax.device_put(tree["embed"]) if complete else self._embed
        return out


_merge = jax.jit(lora.merge)


def _shapes(cfg: ModelConfig) -> dict:
    base = jax.eval_shape(lambda key: init_base(key, cfg), jax.random.key(0))
    video = jax.ShapeDtypeStruct((1, cfg.frames, cfg.height, cfg.width, 3), jnp.float32)
    return {
        "base": base,
        "vae": jax.eval_shape(VAE(cfg.vae).init, jax.random.key(0), video)["params"],
        "adapter": jax.eval_shape(
            lambda key, dit: init_adapter(key, cfg, dit), jax.random.key(0), base["dit"]
        ),
    }


@functools.lru_cache(maxsize=4)
def _codec(cfg: ModelConfig):
    vae, encoder = VAE(cfg.vae), TextEncoder(cfg.text)

    @jax.jit
    def encode(params, video):
        return vae.apply({"params": params}, video.astype(jnp.float32) / 127.5 - 1, method="encode")

    @jax.jit
    def decode(params, z):
        return (vae.apply({"params": params}, z, method="decode") + 1) * 127.5

    @jax.jit
    def embed(params, ids, lengths):
        return encoder.apply({"params": params}, ids, lengths)

    return encode, decode, embed


@functools.lru_cache(maxsize=4)
def _sampler(cfg: ModelConfig):
    return make_sampler(cfg)
