"""Models and adapters that a job may choose by their names, out of those that whoever started the server named."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from v2v.config import TransformerName
from v2v.errors import InputError
from v2v.pipeline.editor import EasyV2VEditor


@dataclass(frozen=True)
class AdapterFile:
    """One file of an adapter; adapters of models with two transformers have two.

    Attributes:
      file: its path, or its name on the hub.
      transformer: which of two it is for; None for the only one.
    """

    file: str
    transformer: TransformerName | None = None


# The files of adapters that jobs may choose, by name.
Adapters = Mapping[str, tuple[AdapterFile, ...]]


class EditorShelf:
    """The editor of each job: the first model stays in memory, and of the others the one that was chosen last."""

    def __init__(
        self,
        editor: EasyV2VEditor,
        model: str,
        load: Callable[[str], EasyV2VEditor],
        adapters: Adapters,
    ):
        """Take the model that is loaded.

        Args:
          editor: with that model.
          model: its name.
          load: loads another by its name.
          adapters: files by name.
        """
        self._default, self._load, self._adapters = model, load, dict(adapters)
        self._first, self._plain, self._model = editor, editor, model
        self._adapted_editor, self._adapter = editor, ""

    def find_editor(self, settings: Mapping[str, Any]) -> EasyV2VEditor:
        """Return the editor that a job's settings choose by "model" and "lora".

        Raises:
          InputError: it can't be loaded.
        """
        model, adapter = settings.get("model", self._default), settings.get("lora", "")
        if model != self._model:
            # Before another is loaded, the last one's memory is given back.
            self._plain = self._adapted_editor = self._first
            self._model, self._adapter = self._default, ""
            if model != self._default:
                self._plain = self._adapted_editor = self._load(model)
                self._model = model
        if adapter != self._adapter:
            name, weight = read_adapter(adapter, self._adapters) if adapter else ("", 1.0)
            editor = self._plain.with_model(self._plain.model)
            for part in self._adapters[name] if name else ():
                editor.load_lora_weights(part.file, weight, part.transformer)
            self._adapted_editor, self._adapter = editor, adapter
        return self._adapted_editor


def read_adapter(text: str, adapters: Adapters) -> tuple[str, float]:
    """Return the adapter and its weight of NAME or NAME=WEIGHT.

    Raises:
      InputError: no such adapter, or no such weight.
    """
    name, _, number = (text, "", "1") if text in adapters else text.rpartition("=")
    if name not in adapters:
        expected = f"one of {', '.join(adapters)}" if adapters else "none, since this server offers none"
        raise InputError(f"lora: expected {expected}, got {text[:100]!r}")
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not abs(weight) <= 100:
        raise InputError(f"lora: expected a weight to 100 behind =, got {number[:40]!r}")
    return name, weight
