"""The texts that a model is given: the instruction, and what guidance leads away from; notes and errors on words that it doesn't know."""

import re

import numpy as np

from v2v.errors import InputError, note
from v2v.pipeline.model import EditingModel, TextEmbedding
from v2v.pipeline.settings import EditSettings

# Words that turn an instruction into its opposite, as far as a tokenizer splits them.
NEGATIONS = frozenset({"not", "don", "dont", "never", "no", "without", "stop", "avoid"})


def embed_negative(model: EditingModel, settings: EditSettings) -> np.ndarray | None:
    """Return the embedding of the text that guidance leads away from, [config.batch, m, d]; None without one.

    Causes a note where guidance is off, so that the text does nothing.

    Args:
      model: the model.
      settings: the edit's; its `negative` goes before the model's own.

    Raises:
      InputError: a text for a model that reads no sentence.
    """
    config = model.config
    text = " ".join((settings.negative or config.flow.negative).split())
    if not text:
        return None
    if config.condition.context == "stored":
        raise InputError(
            f"negative: {config.name} reads no sentence, so there is none to lead away from; leave it out"
        )
    if settings.guidance_of(config) == 1:
        if not settings.negative:
            return None
        note("the negative text does nothing at guidance 1; raise --guidance")
    embedding = model.embed_text([text])
    if embedding.unknown and settings.negative:
        note(f"words of the negative text that the model doesn't know: {', '.join(embedding.unknown)}")
    return np.repeat(np.asarray(embedding.rows), config.batch, 0)


def embed_instruction(model: EditingModel, prompt: str, anyway: bool, task: str = "") -> TextEmbedding:
    """Embed an instruction; note words that the model can't read.

    Args:
      model: the model.
      prompt: the instruction, with single spaces.
      anyway: note what would be an error.
      task: a sentence that stands before it, without a space (`language/task_prompts.py`).

    Raises:
      InputError: the model knows none of its words, or not the "not" that it begins with.
    """
    embedding = model.embed_text([task + prompt])
    if embedding.unknown:
        _check_unknown(prompt, embedding, anyway)
    if embedding.cut:
        note(
            f"the instruction is longer than the model reads, {model.config.text.text_len} tokens; its end is left out:"
            f' "{embedding.cut}"'
        )
    return embedding


def _check_unknown(prompt: str, embedding: TextEmbedding, anyway: bool) -> None:
    """Note the words of a prompt that the model doesn't know.

    Args:
      prompt: the instruction.
      embedding: its embedding.
      anyway: raise nothing.

    Raises:
      InputError: it knows none, or not the negation without which it would do the opposite.
    """
    words = ", ".join(f'"{word}"' for word in embedding.unknown)
    hints = [f'"{suggestion}" in place of "{word}"' for word, suggestion in embedding.suggestions.items()]
    hint = f"; did you mean {', '.join(hints)}?" if hints else ""
    if not anyway and len(embedding.unknown) >= len(re.findall(r"\w+", prompt)):
        raise InputError(
            f"instruction: the model knows none of its words ({words}){hint}; say it in other English words, which v2v words lists"
        )
    beginning = re.findall(r"\w+", prompt.lower())[:3]
    negations = [
        word for word in embedding.unknown if word.lower() in NEGATIONS and word.lower() in beginning
    ]
    if negations and not anyway:
        raise InputError(
            f'instruction: the model doesn\'t know "{negations[0]}" and would do the opposite of "{prompt}"; say what to do instead'
        )
    note(f"words the model doesn't know and can't follow: {words}{hint}")
