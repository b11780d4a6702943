"""The text encoder: instruction to token ids to embeddings, by a tokenizer and an encoder of umT5's type.

An encoder block is T5's with pre-normalization by RMS; every layer has its own relative position bias (umT5's difference from T5):

    x ← x + O softmax(q kᵀ + bias(j - i)) v        no factor 1/√k, no biases in the linear layers
    x ← x + Wo ( gelu(W0 x) · W1 x )

Padded keys are masked here, and the output is zero beyond the true length; the video transformer then attends to those zeros (part of
the model). The embedded model uses the same class with a word-level vocabulary; words it doesn't know are reported (`Tokenizer.unknown_words`).
"""

import difflib
import html
import re
from pathlib import Path

import flax.linen as nn
import ftfy
import jax
import jax.numpy as jnp
import numpy as np
import tokenizers
from jax.typing import DTypeLike

from v2v.array_types import Array, Bool, Float, Int, Text
from v2v.config import TextConfig
from v2v.errors import InputError
from v2v.models import quantized, sentencepiece_model
from v2v.models.sentencepiece_model import Vocabulary

# Special tokens; in a word-level vocabulary their ids are 0, 1 and 2.
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
SPECIAL_TOKENS = (PAD, END, UNKNOWN)
# Tokens up to which a vocabulary is one of words; published ones have more than a hundred thousand pieces.
WORD_LEVEL_SIZE = 10_000


class Tokenizer:
    """A vocabulary of the package `tokenizers`, with a fixed number of tokens.

    Attributes:
      backend: the vocabulary.
      text_len: tokens m of a text, with padding.
    """

    def __init__(self, backend: tokenizers.Tokenizer, text_len: int):
        self.backend, self.text_len = backend, text_len

    @classmethod
    def load(cls, path: str | Path, text_len: int) -> "Tokenizer":
        """Read a tokenizer.json.

        Padding and truncation stored in the file are dropped: other tools store those of their last call, and `encode` would take
        padding for text.

        Args:
          path: the file.
          text_len: tokens of a text.

        Raises:
          InputError: the file is missing or is no tokenizer.
        """
        if not Path(path).is_file():
            raise InputError(
                f"{path}: expected a tokenizer.json, found nothing; copy the model's tokenizer there"
            )
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as err:  # the package raises bare Exception
            raise InputError(f"{path}: expected a tokenizer.json, could not read it ({err})") from err
        backend.no_padding()
        backend.no_truncation()
        return cls(backend, text_len)

    @classmethod
    def parse_sentencepiece(cls, content: bytes | Vocabulary, text_len: int, name: str) -> "Tokenizer":
        """Build the tokenizer of a SentencePiece file.

        Args:
          content: the file, or the vocabulary that another file holds.
          text_len: tokens of a text.
          name: of the file, for messages.

        Raises:
          InputError: no such file.
        """
        try:
            vocabulary = (
                sentencepiece_model.parse_vocabulary(content) if isinstance(content, bytes) else content
            )
            return cls(sentencepiece_model.build_tokenizer(vocabulary), text_len)
        except Exception as err:  # the package raises bare Exception for maps of characters that are none
            raise InputError(
                f"{name}: expected a SentencePiece model, could not read it ({err}); put the model's tokenizer.json beside it"
            ) from err

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokenize texts; longer ones are cut (see `truncated_end`).

        Returns:
          Token ids, int32 [b, m], padded with 0, and true lengths, int32 [b], with the end token.
        """
        ids = np.zeros((len(texts), self.text_len), np.int32)
        lengths = np.zeros(len(texts), np.int32)
        for i, text in enumerate(texts):
            row = self.backend.encode(clean_text(text)).ids
            # The end token stays.
            if len(row) > self.text_len:
                row = row[: self.text_len - 1] + row[-1:]
            ids[i, : len(row)] = row
            lengths[i] = len(row)
        return ids, lengths

    def truncated_end(self, text: str) -> str:
        """Return the end of a text that `encode` cuts off, as typed; "" when all of it fits."""
        encoded = self.backend.encode(clean_text(text))
        if len(encoded.ids) <= self.text_len:
            return ""
        return clean_text(text)[encoded.offsets[self.text_len - 1][0] :]

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a text that the vocabulary doesn't hold, in order, as typed."""
        unk = self.backend.token_to_id(UNKNOWN)
        encoded = self.backend.encode(clean_text(text))
        spans = zip(encoded.ids, encoded.offsets, strict=True)
        return [clean_text(text)[a:b] for token, (a, b) in spans if token == unk and b > a]

    @property
    def words(self) -> list[str] | None:
        """Return the words of a word-level vocabulary, sorted; None for one of pieces of words, which reads any text."""
        if self.backend.token_to_id(UNKNOWN) is None or self.backend.get_vocab_size() > WORD_LEVEL_SIZE:
            return None
        return sorted(word for word in self.backend.get_vocab() if word.isalnum())

    def closest(self, word: str) -> str | None:
        """Return the known word that is spelled most alike, or None; short words are too much alike to tell."""
        if len(word) < 5:
            return None
        return next(iter(difflib.get_close_matches(word.lower(), self.words or [], 1, 0.75)), None)


def clean_text(text: str) -> str:
    """Clean a text as the published models do: repair mojibake and curly quotes, unescape HTML twice, collapse white space."""
    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text)))).strip()


# How a sentence becomes words: lower-cased, split at everything but letters and numbers.
_NORMALIZE = tokenizers.normalizers.Sequence(
    [tokenizers.normalizers.NFKC(), tokenizers.normalizers.Lowercase()]
)
_SPLIT = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[^\p{L}\p{N}]+"), behavior="removed")


def split_words(sentence: str) -> list[str]:
    """Return the words of a sentence as `build_word_tokenizer` counts them."""
    return [word for word, _ in _SPLIT.pre_tokenize_str(_NORMALIZE.normalize_str(sentence))]


def build_word_tokenizer(words: list[str], text_len: int, size: int) -> Tokenizer:
    """Build a tokenizer of lower-cased words, split at everything but letters and numbers, with `</s>` appended.

    Args:
      words: the vocabulary; ids follow their sorted order, after the special tokens.
      text_len: tokens of a text.
      size: largest size of the vocabulary.

    Raises:
      ValueError: more words than `size` leaves room for.
    """
    vocab = {token: i for i, token in enumerate([*SPECIAL_TOKENS, *sorted(set(words) - set(SPECIAL_TOKENS))])}
    if len(vocab) > size:
        raise ValueError(
            f"tokenizer: {len(vocab)} words don't fit a vocabulary of {size}; raise TextConfig.vocab"
        )
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token=UNKNOWN))
    backend.normalizer = _NORMALIZE
    backend.pre_tokenizer = _SPLIT
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, vocab[END])]
    )
    return Tokenizer(backend, text_len)


class TextEncoder(nn.Module):
    """The encoder of umT5.

    Attributes:
      cfg: sizes.
    """

    cfg: TextConfig

    @nn.compact
    def __call__(self, ids: Int[Array, "b m"], lengths: Int[Array, "b"]) -> Text:
        """Return embeddings, float32, zero beyond `lengths`.

        Args:
          ids: token ids.
          lengths: true lengths.
        """
        cfg = self.cfg
        table = self.param("embedding", nn.initializers.normal(1.0), (cfg.vocab, cfg.width), jnp.float32)
        x = table[ids].astype(jnp.dtype(cfg.dtype))
        valid = jnp.arange(ids.shape[1])[None] < lengths[:, None]
        buckets = relative_buckets(ids.shape[1], cfg.buckets, cfg.max_distance)
        scan = nn.scan(
            TextBlock,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,  # pyright: ignore[reportArgumentType]  # flax's annotation forgets broadcast
            length=cfg.layers,
        )
        x, _ = scan(cfg, name="blocks")(x, valid, jnp.asarray(buckets))
        x = RMSScale(cfg.eps, name="norm")(x).astype(jnp.float32)
        return x * valid[..., None]


class TextBlock(nn.Module):
    """A block of the encoder, as the body of a scan over layers.

    Attributes:
      cfg: sizes.
    """

    cfg: TextConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "b m w"], valid: Bool[Array, "b m"], buckets: Int[Array, "m m"]
    ) -> tuple[Float[Array, "b m w"], None]:
        """Apply the block.

        Args:
          x: residual stream.
          valid: False at padding.
          buckets: relative position of every key to every query (`relative_buckets`).
        """
        cfg, dtype = self.cfg, jnp.dtype(self.cfg.dtype)
        inner = cfg.heads * cfg.key_width

        def linear(features, name):
            return Linear(features, dtype, name=name)

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


class Linear(nn.Module):
    """A linear layer without bias, whose weights may be stored in few bits (quantized.py).

    Attributes:
      features: output features.
      dtype: type of the product; parameters are float32.
    """

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        """Apply the layer."""
        x = x.astype(self.dtype)
        if (small := quantized.find_kernel(self)) is not None:
            return small.multiply(x)
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        return x @ kernel.astype(self.dtype)


class RMSScale(nn.Module):
    """x / rms(x) · scale over the last axis: statistics in float32, result in the type of the input.

    Attributes:
      eps: added to the mean square.
    """

    eps: float

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Normalize."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        f = x.astype(jnp.float32)
        f = f * jax.lax.rsqrt((f * f).mean(-1, keepdims=True) + self.eps)
        return f.astype(x.dtype) * scale.astype(x.dtype)


def relative_buckets(m: int, buckets: int, max_distance: int) -> np.ndarray:
    """Return T5's bidirectional buckets of relative positions, int [m, m] by query and key.

    Half of the buckets are for keys after the query; near distances are exact, far ones logarithmic.

    Args:
      m: number of tokens.
      buckets: number of buckets.
      max_distance: distance from which all share the last bucket.
    """
    distance = np.arange(m)[None] - np.arange(m)[:, None]
    half = buckets // 2
    exact = half // 2
    far = np.abs(distance)
    growth = np.log(np.maximum(far, 1) / exact) / np.log(max_distance / exact)
    log = exact + (growth * (half - exact)).astype(np.int64)
    return np.where(distance > 0, half, 0) + np.where(far < exact, far, np.minimum(log, half - 1))
