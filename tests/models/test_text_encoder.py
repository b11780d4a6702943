"""Texts to token ids, whatever settings a tokenizer.json carries."""

import numpy as np
import tokenizers

from tests.checkpoints import small_models
from v2v.models.text_encoder import Tokenizer

TEXTS = ["make the sky purple", "", "a longer sentence, which is cut: " * 8]


def test_padding_and_truncation_stored_in_the_file_are_dropped(tmp_path):
    """Libraries that save a tokenizer after a padded call store that call's padding and truncation in it."""
    backend = tokenizers.Tokenizer.from_file(str(small_models.TOKENIZER))
    backend.enable_padding(length=32)
    backend.enable_truncation(32)
    backend.save(str(tmp_path / "tokenizer.json"))
    used = Tokenizer.load(tmp_path / "tokenizer.json", 32)
    plain = Tokenizer.load(small_models.TOKENIZER, 32)
    for ours, theirs in zip(used.encode(TEXTS), plain.encode(TEXTS), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert list(plain.encode(TEXTS)[1]) == [10, 1, 32]
    assert used.truncated_end(TEXTS[2]) == plain.truncated_end(TEXTS[2]) != ""
