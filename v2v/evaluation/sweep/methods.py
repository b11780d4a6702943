"""Methods of a sweep: editor settings in a grid, and folders of finished results.

A method turns an item into an output file. `Editing` runs an editor and says what the edit depends on, so that it is done once;
`Results` finds files that another program made.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from v2v.assets import EMBEDDED
from v2v.errors import InputError
from v2v.evaluation.cache import SweepCache, digest
from v2v.evaluation.items import Item
from v2v.pipeline.editor import EasyV2VEditor

EDIT_VERSION = 1  # goes up when v2v's own editing changes what it gives for the same settings


class Method(Protocol):
    """The interface of a method: `name` is unique in a sweep, `axes` its place in the grid."""

    name: str
    axes: dict[str, Any]


@dataclass(frozen=True)
class EditingMethod:
    """An editor at one point of a grid.

    Attributes:
      name: unique in a sweep; `grid` makes one of the axes.
      model: "embedded" or a folder of weights.
      lora, lora_scale: an adapter file added to it.
      options: for `edit_video`: steps, guidance, seed, detail, preserve.
      use_mask, use_reference: what the editor is given beside the sentence, where an item has it. A mask replaces start and end.
      editor: a function that makes the editor, for others than v2v's own; `revision` must then tell its editions apart.
      axes: what was varied, for plots.
    """

    name: str = "edit"
    model: str = "embedded"
    lora: Path | None = None
    lora_scale: float = 1.0
    options: dict = field(default_factory=dict)
    use_mask: bool = False
    use_reference: bool = False
    editor: Callable[[], Any] | None = None
    revision: str = ""
    axes: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.editor is not None and not self.revision:
            raise InputError(
                f"method {self.name}: an editor of your own needs revision=..., which tells its editions apart; its edits are cached"
            )

    def editor_arguments(self, item: Item) -> dict:
        """Return the arguments of the editor beside clip and instruction."""
        arguments = {}
        if self.use_mask and item.mask:
            arguments["mask"] = item.mask
        else:
            arguments |= {k: v for k, v in (("start", item.start), ("end", item.end)) if v is not None}
        if item.reference and (self.use_reference or item.reference_is_asked):
            arguments["reference"] = item.reference
        return arguments

    def weights(self, cache: SweepCache) -> dict:
        """Return hashes of the editor's files.

        Raises:
          InputError: a model or adapter that isn't there.
        """
        if self.editor is not None:
            return {"editor": self.revision}
        folder = EMBEDDED if self.model == "embedded" else Path(self.model)
        for path in filter(None, (folder, self.lora)):
            if not Path(path).exists():
                raise InputError(f"method {self.name}: {path}: no such model or adapter; correct the sweep")
        lora = {"lora": cache.hash_of(self.lora), "scale": self.lora_scale} if self.lora else {}
        files = {
            str(p.relative_to(folder)): cache.hash_of(p)
            for p in sorted(folder.rglob("*"))
            if p.is_file() and p.suffix != ".md"  # a model card may change without the model
        }
        return {"model": digest(files), **lora}

    def key(self, item: Item, cache: SweepCache) -> dict:
        """Return everything that the edit depends on."""
        editor_arguments = {
            k: cache.hash_of(v) if isinstance(v, Path) else v for k, v in self.editor_arguments(item).items()
        }
        return {
            "version": EDIT_VERSION,
            "source": cache.hash_of(item.source),
            "instruction": item.instruction,
            **editor_arguments,
            "options": self.options,
            **self.weights(cache),
        }

    def open(self) -> Any:
        """Build the editor; loads weights."""
        if self.editor is not None:
            return self.editor()

        editor = EasyV2VEditor(self.model)
        if self.lora:
            editor.load_lora_weights(self.lora, self.lora_scale)
        return editor

    @property
    def same_editor(self) -> tuple:
        """Equal for methods that one loaded editor serves."""
        return self.model, self.lora, self.lora_scale, self.editor

    def describe(self) -> dict:
        """Return the settings for the report and the results file."""
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("name", "axes", "options", "editor", *(() if self.lora else ("lora", "lora_scale"))):
            settings.pop(name)
        if self.editor is not None:
            settings.pop("model")
        return {
            k: str(v) if isinstance(v, Path) else v
            for k, v in {**settings, **self.options}.items()
            if v != ""
        }


@dataclass(frozen=True)
class ResultFolder:
    """A folder of outputs made elsewhere, one for every item.

    Attributes:
      folder: where they are.
      find: how a file is named by its item's {id}, or by the source's {name} where a benchmark goes by that; the first that exists is
        taken. A folder of frames counts as a clip.
    """

    name: str
    folder: Path
    find: Sequence[str] = (
        "{id}.mp4", "{id}.png", "{id}.jpg", "{id}/generate.mp4", "{id}_edited.mp4", "{id}", "{name}.mp4", "{name}",
    )  # fmt: skip
    axes: dict = field(default_factory=dict)

    def __post_init__(self):
        if not Path(self.folder).is_dir():
            raise InputError(
                f"method {self.name}: {self.folder}: no such folder of results; correct the sweep"
            )

    def path(self, item: Item) -> Path | None:
        """Return the item's output, or None."""
        return next((p for p in (Path(self.folder) / name for name in self._names(item)) if p.exists()), None)

    def extra(self, items: Iterable[Item]) -> list[str]:
        """Return names in the folder that belong to no item."""
        root = Path(self.folder)
        tops = {Path(name).parts[0] for item in items for name in self._names(item)} | EXPORT_FILES
        return sorted(p.name for p in root.iterdir() if p.name not in tops and not p.name.startswith("."))

    def describe(self) -> dict:
        """Return the settings for the report."""
        return {"folder": str(self.folder)}

    def _names(self, item: Item) -> list[str]:
        name = item.extra.get("name", item.id)
        return [pattern.format(id=item.id, name=name) for pattern in self.find]


EXPORT_FILES = {"scores.csv", "MISSING.txt", "result.json"}  # written beside the clips by an export
METHOD_FIELDS = ("model", "lora", "lora_scale", "use_mask", "use_reference")


def grid(base: EditingMethod | None = None, **axes: Any) -> tuple[EditingMethod, ...]:
    """Build every combination of the settings that are sequences; the others are fixed.

    Fields of `Editing` are set by name, anything else becomes an option of `edit_video`:
    `grid(guidance=(1, 2, 4), steps=4, lora=(None, "a.safetensors"))` makes six methods.
    """
    base = base or EditingMethod()
    varied = {k: v for k, v in axes.items() if isinstance(v, (list, tuple))}
    fixed = {k: v for k, v in axes.items() if k not in varied}
    return tuple(_points(base, fixed, varied))


def _points(base: EditingMethod, fixed: dict, varied: dict) -> Iterator[EditingMethod]:
    for values in itertools.product(*varied.values()):
        point = dict(zip(varied, values, strict=True))
        name = ", ".join(f"{_short(k)} {_short(v)}" for k, v in point.items()) or base.name
        fields = {k: v for k, v in {**fixed, **point}.items() if k in METHOD_FIELDS}
        if fields.get("lora"):
            fields["lora"] = Path(fields["lora"])
        options = {k: v for k, v in {**fixed, **point}.items() if k not in METHOD_FIELDS}
        try:
            json.dumps(options)
        except TypeError as error:
            raise InputError(f"grid: expected plain numbers, texts and truth values, {error}") from None
        axes = {
            k: v if isinstance(v, (int, float)) and not isinstance(v, bool) else _short(v)
            for k, v in point.items()
        }
        yield dataclasses.replace(
            base, name=name, **fields, options={**base.options, **options}, axes={**base.axes, **axes}
        )


def _short(value: Any) -> str:
    if isinstance(value, (str, Path)):
        return (
            Path(value).stem
            if "/" in str(value) or str(value).endswith(".safetensors")
            else str(value).replace("_", " ")
        )
    return (
        {None: "none", True: "yes", False: "no"}.get(value, str(value))
        if not isinstance(value, (int, float)) or isinstance(value, bool)
        else f"{value:g}"
    )
