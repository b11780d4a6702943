"""Sentences of cached pairs: which are read in training, and the vocabulary made of them."""

import io
import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from experiments import embedded_film, scene_data
from v2v.data import latent_cache, transforms
from v2v.models.text_encoder import SPECIAL_TOKENS, build_word_tokenizer, split_words

SHORT, LONG = "Make it blue.", "make it blue and leave the rest alone"
TOKENIZER = build_word_tokenizer(split_words(LONG), text_len=5, size=32)


def record(*instructions):
    text = {"instructions": instructions, "source_caption": "a", "target_caption": "b", "edit": "tint"}
    buffer = io.BytesIO()
    np.savez(buffer, text=json.dumps(text))
    return transforms.Record(np.int64(0), buffer.getvalue())


@pytest.mark.parametrize(
    "sentences, lengths", [((LONG, SHORT), {4}), ((LONG,), {5})], ids=["one fits", "none fits"]
)
def test_sentences_that_would_be_cut_are_read_only_where_none_fits(sentences, lengths):
    transform = transforms.ToSentence(TOKENIZER, ("tint",), instructions=1.0)
    examples = [transform.random_map(record(*sentences), np.random.default_rng(seed)) for seed in range(16)]
    assert {int(example["lengths"]) for example in examples} == lengths


def test_words_are_split_as_the_tokenizer_splits_them():
    sentence = "Déjà-vu: make the SKY's half 2x bluer!"
    words = split_words(sentence)
    assert words == ["déjà", "vu", "make", "the", "sky", "s", "half", "2x", "bluer"]
    tokenizer = build_word_tokenizer(words, text_len=16, size=len(words) + len(SPECIAL_TOKENS))
    assert tokenizer.unknown_words(sentence) == []


def test_a_vocabulary_holds_the_most_frequent_words(monkeypatch, caplog):
    cfg = embedded_film.config()
    cfg = replace(cfg, model=replace(cfg.model, text=replace(cfg.model.text, vocab=len(SPECIAL_TOKENS) + 3)))
    texts = [
        {"instructions": ["tint it blue", "tint it"], "source_caption": "it", "target_caption": "blue rare"}
    ]
    monkeypatch.setattr(latent_cache, "read_texts", lambda shards: iter(texts))
    caplog.set_level(logging.INFO)
    tokenizer = scene_data.build_text_tokenizer(cfg, ["shard"])
    assert tokenizer.unknown_words("tint it blue rare") == ["rare"]
    assert "1 rarer ones, 12.5% of the text" in caplog.text
