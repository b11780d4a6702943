"""Pretraining of the small text encoder on the sentences of the pairs.

loader.text_batches -> **text** -> train_step.py

It precedes the training of the base. A published backbone brings umT5, which knows language; the encoder of the packaged model starts
from random weights. A fifth of a sentence's words are hidden, and the encoder predicts
    the words  cross entropy of every hidden word against the vocabulary, through the embedding table itself
    the edit   cross entropy of the edit's name, read off the state of the end token (instructions only)
Paraphrases of one edit thus become neighbours at the end token, where cross-attention finds them, before any pixel is seen. From velocity
errors alone, the difference between "warmer" and "colder" is learnt last.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from v2v.array_types import Array, Bool, Int
from v2v.config import TextConfig
from v2v.data.batch import SentenceBatch
from v2v.models.text_encoder import TextEncoder
from v2v.train.objectives import Metrics, Objective, Parameters

# Share of words that are hidden.
HIDDEN = 0.2
# Token of a hidden word, also that of a word outside the vocabulary.
UNKNOWN_ID = 2


class SentenceRows(SentenceBatch):
    """A SentenceBatch with its random draws.

    Attributes:
      hidden: whether a token is hidden.
    """

    hidden: Bool[Array, "b m"]


class SentenceCounts(NamedTuple):
    """Counts over a batch of sentences, at least 1.

    Attributes:
      hidden: hidden words.
      instructions: sentences that are instructions.
    """

    hidden: Int[Array, ""]
    instructions: Int[Array, ""]


def objective(cfg: TextConfig) -> Objective[SentenceBatch, SentenceRows, SentenceCounts]:
    """Return the objective of sentences; the state holds {"text", "edit"}, the encoder and a linear head over names of edits."""
    encoder = TextEncoder(cfg)

    def draw(key: jax.Array, batch: SentenceBatch) -> tuple[SentenceRows, SentenceCounts]:
        # The last token is the end token, which is never hidden.
        is_word = jnp.arange(batch["ids"].shape[1])[None] < batch["lengths"][:, None] - 1
        hidden = is_word & (jax.random.uniform(key, batch["ids"].shape) < HIDDEN)
        rows: SentenceRows = {**batch, "hidden": hidden}
        counts = SentenceCounts(jnp.maximum(hidden.sum(), 1), jnp.maximum((batch["edit"] >= 0).sum(), 1))
        return rows, counts

    def loss(
        trained: Parameters, frozen: Parameters | None, rows: SentenceRows, counts: SentenceCounts
    ) -> tuple[jax.Array, Metrics]:
        del frozen
        ids, lengths, edit, hidden = rows["ids"], rows["lengths"], rows["edit"], rows["hidden"]
        inputs = jnp.where(hidden, UNKNOWN_ID, ids)
        states = cast(jax.Array, encoder.apply({"params": trained["text"]}, inputs, lengths))

        table = trained["text"]["embedding"] * cfg.width**-0.5
        word = optax.softmax_cross_entropy_with_integer_labels(states @ table.T, ids)
        word = (word * hidden).sum() / counts.hidden

        end = jnp.take_along_axis(states, (lengths - 1)[:, None, None], 1)[:, 0]
        logits = end @ trained["edit"]["kernel"]
        is_instruction = edit >= 0
        name = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(edit, 0))
        name = (name * is_instruction).sum() / counts.instructions
        right = ((logits.argmax(-1) == edit) & is_instruction).sum() / counts.instructions
        return word + name, {"loss": word + name, "word": word, "edit": name, "edit_accuracy": right}

    return Objective(draw, loss)


def init_text(key: jax.Array, cfg: TextConfig, edits: Sequence[str]) -> Parameters:
    """Return initial {"text", "edit"}.

    Args:
      key: of the random weights.
      cfg: the text encoder.
      edits: names of edits, which the head tells apart.
    """
    keys = jax.random.split(key)
    ids, lengths = jnp.zeros((1, cfg.text_len), jnp.int32), jnp.ones((1,), jnp.int32)
    head = jax.random.normal(keys[1], (cfg.width, len(edits))) * cfg.width**-0.5
    return {"text": jax.jit(TextEncoder(cfg).init)(keys[0], ids, lengths)["params"], "edit": {"kernel": head}}
