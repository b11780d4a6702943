"""Methods of a sweep: editor settings in a grid, and finished results of other programs.

A method turns an item into an output file. An `EditingMethod` runs an editor and names everything that the edit depends on, so that it is
done once; outside_editors.py makes them of commands and servers. A `ResultFolder` finds files that another program wrote, a `ResultTable` reads
their paths from a file.

What a method is, its checks and its keys need no JAX: v2v's own editor (own_editor.py) is imported when there is an edit to do, so that a sweep
whose work is finished takes a second.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from v2v.assets import EMBEDDED
from v2v.checkpoints import hub_client
from v2v.data.table_file import iterate_items
from v2v.errors import InputError
from v2v.evaluation.cache import SweepCache, digest
from v2v.evaluation.code_version import EDITING, object_code, package_code
from v2v.evaluation.items import Item
from v2v.pipeline.settings import EditSettings
from v2v.video import video as codec

# The layout of an edit's key; that editing has changed is noticed by its code.
EDIT_VERSION = 1


class VideoEditor(Protocol):
    """The interface of an editor that is evaluated; `EasyV2VEditor` is one."""

    def edit_video(self, video: Any, instruction: str, **options: Any) -> codec.Video:
        """Return the edited clip.

        Args:
          video: path of the source, or a `Video` where the source is a folder of pictures.
          instruction: the edit.
          **options: the method's options, and what the item has and the method passes on: mask and reference as paths, start
            and end in seconds.
        """
        ...


@dataclass(frozen=True)
class EditingMethod:
    """An editor at one point of a grid.

    Attributes:
      name: unique in a sweep; `grid` composes it of the axes.
      model: "embedded", a folder of weights, or ORG/NAME[@REVISION] on the Hugging Face Hub.
      lora: an adapter file added to the model, its name on the hub, or None.
      lora_scale: the adapter's scale.
      options: options of `edit_video`: steps, guidance, seed, detail, preserve. Those of v2v's own editor are checked here.
      use_mask: whether the editor gets the item's mask, which then replaces start and end.
      use_reference: whether the editor gets the item's reference where the instruction does not speak of it.
      editor: returns the editor, for others than v2v's own.
      revision: distinguishes versions of `editor`, whose edits are cached.
      axes: the varied settings, for plots.
      code: hash of the editor's code; "" to take it from the sources of `editor`, or of v2v.
      dollars: price of an edit; None where it costs nothing or nobody knows.
    """

    name: str = "edit"
    model: str = "embedded"
    lora: str | Path | None = None
    lora_scale: float = 1.0
    options: dict = field(default_factory=dict)
    use_mask: bool = False
    use_reference: bool = False
    editor: Callable[[], VideoEditor] | None = None
    revision: str = ""
    axes: dict = field(default_factory=dict)
    code: str = ""
    dollars: float | None = None

    def __post_init__(self):
        if self.editor is not None and not self.revision:
            raise InputError(
                f"method {self.name}: an editor of your own needs revision=..., which tells its editions apart; its edits are cached"
            )
        if self.editor is None:
            try:
                EditSettings.of(**self.options)
            except InputError as error:
                raise InputError(f"method {self.name}: {error}") from None

    def editor_arguments(self, item: Item) -> dict:
        """Return the arguments of the editor beside clip, instruction and options."""
        arguments: dict[str, Any] = {}
        if self.use_mask and item.mask:
            arguments["mask"] = item.mask
        else:
            arguments |= {k: v for k, v in (("start", item.start), ("end", item.end)) if v is not None}
        if item.reference and (self.use_reference or item.reference_is_asked):
            arguments["reference"] = item.reference
        return arguments

    def weights(self, cache: SweepCache) -> dict:
        """Return hashes of the editor's files, by part.

        Raises:
          InputError: a model or adapter that isn't there.
        """
        if self.editor is not None:
            return {"editor": self.revision}
        folder, adapter = self._files()
        for path in filter(None, (folder, adapter)):
            if not path.exists():
                raise InputError(f"method {self.name}: {path}: no such model or adapter; correct the sweep")
        lora = {"lora": cache.hash_of(adapter), "scale": self.lora_scale} if adapter else {}
        files = {
            str(p.relative_to(folder)): cache.hash_of(p)
            for p in sorted(folder.rglob("*"))
            # A model card may change without the model.
            if p.is_file() and p.suffix != ".md"
        }
        return {"model": digest(files), **lora}

    def key(self, item: Item, cache: SweepCache) -> dict:
        """Return everything that the edit depends on but the code, JSON-able; finished edits are stored under the hash of both."""
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

    def editor_code(self) -> str:
        """Return the hash of the code that edits."""
        if self.code:
            return self.code
        return package_code(*EDITING) if self.editor is None else object_code(self.editor)

    def open(self) -> VideoEditor:
        """Build the editor, which loads its weights; it edits what it isn't known to do as well."""
        if self.editor is not None:
            return self.editor()
        from v2v.evaluation.sweep import own_editor

        return own_editor.load_editor(self.model, self.lora, self.lora_scale)

    def load(self, cache: SweepCache) -> EditingMethod:
        """Return the method with its editor loaded, for several sweeps in one process.

        Args:
          cache: where the hashes of files are remembered.
        """
        editor = self.open()
        return dataclasses.replace(
            self, editor=lambda: editor, revision=digest(self.weights(cache)), code=self.editor_code()
        )

    def wrap(
        self, wrapper: Callable[[VideoEditor], VideoEditor], revision: str, cache: SweepCache
    ) -> EditingMethod:
        """Return a method whose editor is this method's editor inside another one.

        Args:
          wrapper: returns the outer editor.
          revision: distinguishes versions and settings of the wrapper.
          cache: where the hashes of files are remembered.
        """
        return dataclasses.replace(
            self,
            editor=lambda: wrapper(self.open()),
            revision=digest([self.weights(cache), revision]),
            code=digest([self.editor_code(), object_code(wrapper)]),
        )

    @property
    def editor_key(self) -> tuple:
        """Return a value that is equal for methods which one loaded editor serves."""
        return self.model, self.lora, self.lora_scale, self.editor

    def _files(self) -> tuple[Path, Path | None]:
        """Return the model's folder and the adapter's file or None; what is on the hub is fetched."""
        names = (self.model, *([self.lora] if self.lora else []))
        if any(hub_client.find_hub_name(name) for name in names):
            from v2v.evaluation.sweep import own_editor

            return own_editor.fetch_files(self.model, self.lora)
        folder = EMBEDDED if self.model == "embedded" else hub_client.find_snapshot(Path(self.model))
        return folder, Path(self.lora) if self.lora else None

    def describe(self) -> dict:
        """Return the settings for the report and the results file."""
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in (
            "name",
            "axes",
            "options",
            "editor",
            "code",
            *(() if self.lora else ("lora", "lora_scale")),
            *(() if self.dollars is not None else ("dollars",)),
        ):
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
    """A folder of outputs of another program, one per item.

    Attributes:
      name: unique in a sweep.
      folder: the folder.
      find: patterns of file names with the item's {id}, or the source's {name} where a benchmark goes by that; the first that
        exists is used. A folder of frames counts as a clip.
      axes: the varied settings, for plots.
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
        """Return the path of the item's output, or None."""
        return next((p for p in (Path(self.folder) / name for name in self._names(item)) if p.exists()), None)

    def extra(self, items: Iterable[Item]) -> list[str]:
        """Return the names in the folder that belong to no item."""
        root = Path(self.folder)
        item_names = {Path(name).parts[0] for item in items for name in self._names(item)} | EXPORT_FILES
        return sorted(
            p.name for p in root.iterdir() if p.name not in item_names and not p.name.startswith(".")
        )

    def describe(self) -> dict:
        """Return the settings for the report."""
        return {"folder": str(self.folder)}

    def _names(self, item: Item) -> list[str]:
        name = item.extra.get("name", item.id)
        return [pattern.format(id=item.id, name=name) for pattern in self.find]


@dataclass(frozen=True)
class ResultTable:
    """A table of outputs of another program: CSV, JSON Lines or a JSON list with columns `id` and `path`.

    Attributes:
      name: unique in a sweep.
      file: the table; paths in it are relative to its folder. An item without a row, or with an empty path, has no output.
      axes: the varied settings, for plots.
    """

    name: str
    file: Path
    axes: dict = field(default_factory=dict)

    def __post_init__(self):
        _ = self._paths  # a table that can't be read is told before any work

    @functools.cached_property
    def _paths(self) -> dict[str, Path | None]:
        file, paths = Path(self.file), dict[str, Path | None]()
        for row in iterate_items(file):
            name, path = (str(row.fields.get(column) or "").strip() for column in ("id", "path"))
            if row.problem or not {"id", "path"} <= row.fields.keys() or not name:
                problem = row.problem or "expected an id and a path"
                raise InputError(f"method {self.name}: {file}, line {row.line}: {problem}")
            if name in paths:
                raise InputError(
                    f"method {self.name}: {file}, line {row.line}: item {name} stands there twice"
                )
            paths[name] = file.parent / path if path else None
        return paths

    def path(self, item: Item) -> Path | None:
        """Return the path of the item's output, or None."""
        path = self._paths.get(item.id)
        return path if path is not None and path.exists() else None

    def extra(self, items: Iterable[Item]) -> list[str]:
        """Return the ids in the table that belong to no item."""
        return sorted(self._paths.keys() - {item.id for item in items})

    def describe(self) -> dict:
        """Return the settings for the report."""
        return {"table": str(self.file)}


FinishedResults = ResultFolder | ResultTable
Method = EditingMethod | FinishedResults

# What an export writes beside the clips.
EXPORT_FILES = {"scores.csv", "MISSING.txt", "result.json"}
# What `grid` sets on the method; anything else becomes an option.
METHOD_FIELDS = ("model", "lora", "lora_scale", "use_mask", "use_reference")


def grid(base: EditingMethod | None = None, **axes: Any) -> tuple[EditingMethod, ...]:
    """Build the methods of a grid, one for every combination of the settings that are sequences.

    `grid(guidance=(1, 2, 4), steps=4, lora=(None, "a.safetensors"))` gives six methods.

    Args:
      base: what all methods have in common.
      **axes: fields of METHOD_FIELDS or options of `edit_video`; a list or tuple is varied, anything else is fixed.

    Raises:
      InputError: an option that is no plain number, text or truth value.
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
        if fields.get("lora") and hub_client.find_hub_name(fields["lora"]) is None:
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
    """Format a setting for the name of a method."""
    if isinstance(value, (str, Path)):
        is_file = "/" in str(value) or str(value).endswith(".safetensors")
        return Path(value).stem if is_file else str(value).replace("_", " ")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:g}"
    return {None: "none", True: "yes", False: "no"}.get(value, str(value))
