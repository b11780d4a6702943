"""`v2v edit --warm`: compiles the programs of an edit into the compilation cache, before there is anything to edit."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from v2v.errors import InputError
from v2v.pipeline.settings import EditRequest, EditSettings

if TYPE_CHECKING:  # heavy
    from v2v.pipeline.editor import EasyV2VEditor
    from v2v.pipeline.model import EditingModel


@dataclass(frozen=True)
class Bucket:
    """A shape to compile for.

    Attributes:
      steps: sampling steps; None for the model's.
      window: frames of a window; None for the model's.
    """

    steps: int | None = None
    window: int | None = None


def compile_ahead(
    buckets: list[Bucket], settings: EditSettings, editor: "EasyV2VEditor", progress: bool = False
) -> dict[str, Any]:
    """Compile the programs of each bucket, with and without a reference, into the compilation cache.

    Args:
      buckets: the shapes.
      settings: the other settings.
      editor: the editor.
      progress: show progress bars.

    Returns:
      The report.
    """
    import numpy as np

    from v2v.runtime import compilation_cache
    from v2v.runtime.environment import cache_folder

    config = editor.model.config
    frame = np.full((1, config.height, config.width, 3), 128, np.uint8)
    references = (None, frame[0]) if "reference" in editor.model.conditions else (None,)
    instruction = _find_known_instruction(editor.model)
    with compilation_cache.count_compilations() as compiles:
        for bucket in buckets:
            compiled = dataclasses.replace(
                settings, steps=bucket.steps, window=bucket.window, start=None, end=None
            )
            for reference in references:
                request = EditRequest(frame, instruction, None, reference, compiled)
                editor.edit(request, progress=progress).in_memory()
    return {"output": str(cache_folder("jax")), "compiled": compiles.compiled, "found": compiles.hits}


def parse_buckets(text: str) -> list[Bucket]:
    """Parse a list of buckets such as "4,8,8x5"; an empty list is one bucket of the model's defaults.

    Raises:
      InputError: `text` is no such list.
    """
    try:
        parts = [[int(n) for n in part.split("x")] for part in text.split(",") if part.strip()]
        if any(len(numbers) > 2 for numbers in parts):
            raise ValueError
        return [Bucket(*numbers) for numbers in parts] or [Bucket()]
    except ValueError:
        raise InputError(
            f'--warm: expected steps, or steps x frames, such as "4,8,8x5", got "{text}"'
        ) from None


def _find_known_instruction(model: "EditingModel") -> str:
    """Return an instruction with a word in the model's vocabulary; compiled programs don't depend on which."""
    return "make it sepia" if len(model.embed_text(["make it sepia"]).unknown) < 3 else "a"
