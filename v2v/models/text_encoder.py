"""instruction → embeddings: tokenizer and umT5-type encoder. editor.py → **text** → models/transformer.py (cross-attention)

A T5 encoder block with pre-norm RMS, where every layer owns its relative position bias (umT5's difference from T5):
    x ← x + O softmax(q kᵀ + bias(j - i)) v        no 1/√k factor, no biases in the linears
    x ← x + Wo ( gelu(W0 x) · W1 x )
Pad keys are masked here, and the output is zero beyond the true length; the DiT then attends to those zeros (part of the model).
The embedded model uses the same class with a word-level vocabulary; words it doesn't know come back as a list, never swallowed.
"""

import html
import re
from pathlib import Path

import flax.linen as nn
import ftfy
import jax
import jax.numpy as jnp
import numpy as np
import tokenizers

from v2v.array_types import Array, Float, Int, Text
from v2v.config import TextConfig
from v2v.errors import InputError

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"


class Tokenizer:
    """A `tokenizers` vocabulary behind three calls: `ids`, and what of a text doesn't come through: `unknown` and `cut`."""

    def __init__(self, backend: tokenizers.Tokenizer, text_len: int):
        self.backend, self.text_len = backend, text_len

    @classmethod
    def load(cls, path: str | Path, text_len: int) -> "Tokenizer":
        """Read a tokenizer.json. Raises InputError when the file is missing or isn't one."""
        if not Path(path).is_file():
            raise InputError(
                f"{path}: expected a tokenizer.json, found nothing; copy the model's tokenizer there"
            )
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)), text_len)
        except Exception as err:  # the package raises bare Exception
            raise InputError(f"{path}: expected a tokenizer.json, could not read it ({err})") from err

    def ids(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids int32 [b, m], padded with 0, and true lengths int32 [b] including the end token; longer texts are cut (`cut`)."""
        out = np.zeros((len(texts), self.text_len), np.int32)
        lengths = np.zeros(len(texts), np.int32)
        for row, text in enumerate(texts):
            ids = self.backend.encode(clean_text(text)).ids
            if len(ids) > self.text_len:  # keep the end token
                ids = ids[: self.text_len - 1] + ids[-1:]
            out[row, : len(ids)] = ids
            lengths[row] = len(ids)
        return out, lengths

    def cut(self, text: str) -> str:
        """The end of a text that `ids` has no room for, as typed; "" when all of it is read."""
        encoded = self.backend.encode(clean_text(text))
        if len(encoded.ids) <= self.text_len:
            return ""
        return clean_text(text)[encoded.offsets[self.text_len - 1][0] :]

    def unknown(self, text: str) -> list[str]:
        """Words of `text` the vocabulary doesn't hold, in order, as typed."""
        unk = self.backend.token_to_id(UNKNOWN)
        encoded = self.backend.encode(clean_text(text))
        spans = zip(encoded.ids, encoded.offsets, strict=True)
        return [clean_text(text)[a:b] for token, (a, b) in spans if token == unk and b > a]


def clean_text(text: str) -> str:
    """Repair mojibake and curly quotes, unescape HTML twice, collapse white space: the published models' cleaning."""
    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text)))).strip()


def build_word_tokenizer(words: list[str], text_len: int, size: int) -> Tokenizer:
    """A word-level vocabulary: lower-cased words and hyphens apart, `</s>` appended. Ids 0, 1, 2 are pad, end, unknown.

    Raises:
      ValueError: more words than `size` leaves room for.
    """
    specials = [PAD, END, UNKNOWN]
    vocab = {token: i for i, token in enumerate(specials + sorted(set(words) - set(specials)))}
    if len(vocab) > size:
        raise ValueError(
            f"tokenizer: {len(vocab)} words don't fit a vocabulary of {size}; raise TextConfig.vocab"
        )
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token=UNKNOWN))
    backend.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.NFKC(), tokenizers.normalizers.Lowercase()]
    )
    split = tokenizers.pre_tokenizers
    backend.pre_tokenizer = split.Split(tokenizers.Regex(r"[^\p{L}\p{N}]+"), behavior="removed")
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, vocab[END])]
    )
    return Tokenizer(backend, text_len)


class TextEncoder(nn.Module):
    """umT5's encoder half."""

    cfg: TextConfig

    @nn.compact
    def __call__(self, ids: Int[Array, "b m"], lengths: Int[Array, "b"]) -> Text:
        """Embeddings float32 [b, m, width], zero beyond `lengths`."""
        cfg = self.cfg
        table = self.param("embedding", nn.initializers.normal(1.0), (cfg.vocab, cfg.width), jnp.float32)
        x = table[ids].astype(jnp.dtype(cfg.dtype))
        valid = jnp.arange(ids.shape[1])[None] < lengths[:, None]
        buckets = relative_buckets(ids.shape[1], cfg.buckets, cfg.max_distance)
        scan = nn.scan(
            TextBlock, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=nn.broadcast,
            length=cfg.layers,
        )  # fmt: skip
        x, _ = scan(cfg, name="blocks")(x, valid, jnp.asarray(buckets))
        x = RMSScale(cfg.eps, name="norm")(x).astype(jnp.float32)
        return x * valid[..., None]


class TextBlock(nn.Module):
    cfg: TextConfig

    @nn.compact
    def __call__(self, x, valid, buckets):
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        inner = cfg.heads * cfg.key_width

        def linear(features, name):
            return nn.Dense(features, use_bias=False, dtype=dtype, param_dtype=jnp.float32, name=name)

        h = RMSScale(cfg.eps, name="norm1")(x)
        q, k, v = (
            linear(inner, name)(h).reshape(*h.shape[:2], cfg.heads, cfg.key_width) for name in ("q", "k", "v")
        )
        bias = self.param("position_bias", nn.initializers.normal(0.1), (cfg.buckets, cfg.heads), jnp.float32)
        logits = jnp.einsum("bihk,bjhk->bhij", q, k, preferred_element_type=jnp.float32)
        logits = logits + bias[buckets].transpose(2, 0, 1)
        logits = jnp.where(valid[:, None, None], logits, jnp.finfo(jnp.float32).min)
        out = jnp.einsum("bhij,bjhk->bihk", jax.nn.softmax(logits).astype(dtype), v)
        x = x + linear(cfg.width, "o")(out.reshape(*x.shape[:2], inner))
        h = RMSScale(cfg.eps, name="norm2")(x)
        h = nn.gelu(linear(cfg.ffn_width, "gate")(h), approximate=True) * linear(cfg.ffn_width, "up")(h)
        return x + linear(cfg.width, "down")(h), None


class RMSScale(nn.Module):
    """x / rms(x) · scale; statistics in float32, result in the input's dtype."""

    eps: float

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        f = x.astype(jnp.float32)
        f = f * jax.lax.rsqrt((f * f).mean(-1, keepdims=True) + self.eps)
        return f.astype(x.dtype) * scale.astype(x.dtype)


def relative_buckets(m: int, buckets: int, max_distance: int) -> np.ndarray:
    """T5's bidirectional buckets [m, m]: half for keys after the query; near distances exact, far ones logarithmic."""
    distance = np.arange(m)[None] - np.arange(m)[:, None]
    half = buckets // 2
    exact = half // 2
    far = np.abs(distance)
    growth = np.log(np.maximum(far, 1) / exact) / np.log(max_distance / exact)
    log = exact + (growth * (half - exact)).astype(np.int64)
    return np.where(distance > 0, half, 0) + np.where(far < exact, far, np.minimum(log, half - 1))
