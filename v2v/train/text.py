"""Pretraining the small text encoder on the sentences of the pairs.

loader.text_batches -> **text** -> train_step.py; comes before the base

The real backbone brings umT5, which knows language; the embedded one starts from nothing. With a fifth of a sentence's words
hidden, two things are asked of it:
    its words:  cross entropy of every hidden word against the vocabulary, through the embedding table itself
    its edit:   cross entropy of the edit's name, read off the state of the end token (instructions only)
So paraphrases of one edit come to lie together at the end token, where cross-attention finds them, before any pixel is seen.
Learnt from velocity errors alone, the difference between "warmer" and "colder" is the last thing to appear.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from v2v.config import TextConfig
from v2v.models.text_encoder import TextEncoder
from v2v.train.objectives import Objective

# Share of words that are hidden.
HIDDEN = 0.2
# Token of a hidden word, also that of a word outside the vocabulary.
UNKNOWN_ID = 2


def objective(cfg: TextConfig) -> Objective:
    """Return the objective of batches of `transforms.ToSentence`; the state holds {"text", "edit"}, the encoder and a linear head over names of edits."""
    encoder = TextEncoder(cfg)

    def draw(key, batch):
        words = (
            jnp.arange(batch["ids"].shape[1])[None] < batch["lengths"][:, None] - 1
        )  # all but the end token
        hidden = words & (jax.random.uniform(key, batch["ids"].shape) < HIDDEN)
        sums = jnp.maximum(hidden.sum(), 1), jnp.maximum((batch["edit"] >= 0).sum(), 1)
        return batch | {"hidden": hidden}, sums

    def loss(trained, frozen, rows, shared):
        del frozen
        hidden_count, instruction_count = shared
        ids, lengths, edit, hidden = rows["ids"], rows["lengths"], rows["edit"], rows["hidden"]
        states = encoder.apply({"params": trained["text"]}, jnp.where(hidden, UNKNOWN_ID, ids), lengths)

        table = trained["text"]["embedding"] * cfg.width**-0.5
        word = optax.softmax_cross_entropy_with_integer_labels(states @ table.T, ids)
        word = (word * hidden).sum() / hidden_count

        end = jnp.take_along_axis(states, (lengths - 1)[:, None, None], 1)[:, 0]
        logits = end @ trained["edit"]["kernel"]
        is_instruction = edit >= 0
        name = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(edit, 0))
        name = (name * is_instruction).sum() / instruction_count
        right = ((logits.argmax(-1) == edit) & is_instruction).sum() / instruction_count
        return word + name, {"loss": word + name, "word": word, "edit": name, "edit_accuracy": right}

    return Objective(draw, loss)


def init_text(key: jax.Array, cfg: TextConfig, edits: Sequence[str]) -> dict:
    """Return initial {"text", "edit"} for these names of edits."""
    keys = jax.random.split(key)
    ids, lengths = jnp.zeros((1, cfg.text_len), jnp.int32), jnp.ones((1,), jnp.int32)
    head = jax.random.normal(keys[1], (cfg.width, len(edits))) * cfg.width**-0.5
    return {"text": jax.jit(TextEncoder(cfg).init)(keys[0], ids, lengths)["params"], "edit": {"kernel": head}}
