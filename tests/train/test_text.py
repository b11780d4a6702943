"""Pretraining of the text encoder: it learns names of edits and hidden words, and hides only words."""

import jax
import numpy as np
import pytest

from v2v.config import OptimConfig, debug
from v2v.models.text_encoder import build_word_tokenizer
from v2v.train import optimizer as optimizer_lib
from v2v.train import text
from v2v.train.state import TrainState
from v2v.train.train_step import train_step

CFG = debug().text
SENTENCES = {
    "warmer": ("make it warmer", "give it warm colours", "shift it to warm tones"),
    "colder": ("make it colder", "give it cold colours", "shift it to cold tones"),
    "remove": ("remove the ball", "erase the cube", "delete the ball"),
}
EDITS = tuple(SENTENCES)


def batch(rows: int, seed: int) -> dict:
    words = sorted({word for group in SENTENCES.values() for line in group for word in line.split()})
    tokenizer = build_word_tokenizer(words, CFG.text_len, CFG.vocab)
    rng = np.random.default_rng(seed)
    edits = rng.integers(-1, len(EDITS), rows)
    lines = [str(rng.choice(SENTENCES[EDITS[edit]])) for edit in edits]
    ids, lengths = tokenizer.encode(lines)
    return {"ids": ids, "lengths": lengths, "edit": edits.astype(np.int32)}


@pytest.mark.slow
def test_it_learns_the_edit_and_the_words():
    optimizer = optimizer_lib.build_optimizer(OptimConfig(peak_lr=1e-2, warmup_steps=1))
    state = TrainState.create(text.init_text(jax.random.key(0), CFG, EDITS), optimizer)
    step = train_step(text.objective(CFG), optimizer, ema=0.9)
    rows = []
    for i in range(60):
        state, metrics = step(state, batch(64, i))
        rows.append({key: float(np.mean(value)) for key, value in metrics.items()})
    assert rows[-1]["edit_accuracy"] > 0.9 > rows[0]["edit_accuracy"]
    assert rows[-1]["word"] < rows[0]["word"] / 2


def test_padding_and_the_end_token_are_never_hidden_and_captions_name_no_edit():
    data = batch(32, 0)
    rows, counts = text.objective(CFG).draw(jax.random.key(1), data)
    position = np.arange(CFG.text_len)[None]
    assert not np.asarray(rows["hidden"])[position >= data["lengths"][:, None] - 1].any()
    assert int(counts.hidden) == int(rows["hidden"].sum()) > 0
    assert int(counts.instructions) == int((data["edit"] >= 0).sum())
