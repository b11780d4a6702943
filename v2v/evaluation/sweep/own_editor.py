"""v2v's own editor as the editor of a sweep; imports JAX, so methods.py loads this module when there is an edit to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from v2v.assets import EMBEDDED
from v2v.checkpoints import hub
from v2v.pipeline.editor import EasyV2VEditor
from v2v.video import video as codec


class InsistentEditor:
    """v2v's editor, told to edit anyway: what it fails at counts as failed, not as refused."""

    def __init__(self, editor: EasyV2VEditor):
        self._editor = editor

    def edit_video(self, video: Any, instruction: str, **options: Any) -> codec.Video:
        """Edit a clip; the arguments are those of `EasyV2VEditor.edit_video`."""
        return self._editor.edit_video(video, instruction, **{"anyway": True, **options})


def load_editor(model: str, lora: str | Path | None, lora_scale: float) -> InsistentEditor:
    """Load a model.

    Args:
      model: "embedded", a folder of weights, or ORG/NAME[@REVISION] on the hub.
      lora: an adapter file, its name on the hub, or None.
      lora_scale: the adapter's scale.
    """
    editor = EasyV2VEditor(model)
    if lora:
        editor.load_lora_weights(lora, lora_scale)
    return InsistentEditor(editor)


def fetch_files(model: str, lora: str | Path | None) -> tuple[Path, Path | None]:
    """Return the folder of a model and the file of an adapter or None; what is on the hub is fetched, as far as the cache lacks it.

    Raises:
      InputError: no such repository, no connection, or a model that can't be run.
    """
    folder = EMBEDDED if model == "embedded" else hub.resolve_model(model)
    return folder, hub.resolve_adapter(lora) if lora else None
