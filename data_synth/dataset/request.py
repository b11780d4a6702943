"""Requests: what a build of pairs is to make, whether that is possible, and what is stored of it.

options → **SynthRequest** → build.py

A request's `table` is a JSON-able dictionary of everything the pairs depend on, which goes into the finished folder's report.json. The same
table gives the same bytes, so equality of tables decides whether a folder is what was asked for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path

from data_synth import footage
from data_synth.generate import PairOptions
from data_synth.operators.transition import CLASSIC_OPERATORS, OPERATORS
from data_synth.places import is_address, open_place
from data_synth.recipes import external, own_pairs, planar, registry
from data_synth.recipes.sources import NO_SOURCES, Sources
from v2v.data import pair as pr
from v2v.errors import InputError

# Files that say what is made of the videos.
TEXT_SUFFIXES = (".toml", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".py", ".parquet")
# Sources that requests record only where they bring them.
NEWER_SOURCES = ("pictures", "cutouts", "fps")
# Bytes that are read at either end of a video: all of it would take as long as the pairs.
END_BYTES = 1 << 16
# Pixels; a clip of nine frames of this size takes 7 GB.
LARGEST_SIDE = 16384


@dataclasses.dataclass(frozen=True)
class SynthRequest:
    """A folder of pairs to be built.

    Attributes:
      out: Folder to write.
      pairs: Number of pairs; fewer come when published sets or caption files run out.
      seed: First seed; for published sets the first row.
      workers: Number of processes.
      edits: Recipes, as `registry.recipe_names` lists them, with weights as NAME=WEIGHT (1 without); empty for those of the imported
        sets, or the default mix without one.
      frames: Number of frames of each clip.
      height: Frame height in pixels.
      width: Frame width in pixels.
      transition: Probability, 0 to 1, of an edit that begins inside the clip.
      operators: How it may begin there, of `transition.OPERATORS`.
      sources: Clips, experts and published sets that the recipes read.
      preview: Folder that gets a contact sheet, EDIT.png, of every edit; "" for none.
      beam: Options of Apache Beam, which then makes the shards; None for processes of our own.
      unfinished: Folder where shards wait, gs://... too, for Beam's workers that share no disk with this machine (Dataflow); "" for a
        hidden one beside `out`.
      storage: How clips are stored; masks and reference pictures are exact in any case.
      sizes: Sizes (frames, height, width) instead of the one above, as in `PairOptions`.
      varied_phrasing: Whether the instructions of all recipes are varied, not only of those on footage.
      references: Probability, 0 to 1, that a pair whose target comes from elsewhere and has no reference picture gets one from its target.
    """

    out: str | Path
    pairs: int
    seed: int = 0
    workers: int = 1
    edits: tuple[str, ...] = ()
    frames: int = 9
    height: int = 64
    width: int = 64
    transition: float = 0.5
    operators: tuple[str, ...] = CLASSIC_OPERATORS
    sources: Sources = NO_SOURCES
    preview: str | Path = ""
    beam: tuple[str, ...] | None = None
    unfinished: str = ""
    storage: pr.Storage = "lossless"
    sizes: tuple[footage.Size, ...] = ()
    varied_phrasing: bool = False
    references: float = 0.0

    @property
    def largest_size(self) -> footage.Size:
        """Return the size of the pairs with most pixels."""
        return max(self.sizes or ((self.frames, self.height, self.width),), key=math.prod)

    @property
    def recipes(self) -> tuple[str, ...]:
        """Return the names that are drawn from, evenly; one with a weight comes as often as that says."""
        return (
            registry.expand_weights(self.edits)
            or tuple(name for name, _ in self.sources.sets)
            or registry.DEFAULT_MIX
        )

    def pair_options(self, snapshot: str) -> PairOptions:
        """Return the part that a single pair depends on.

        Args:
          snapshot: Hash of what the sources hold.
        """
        return PairOptions(
            self.frames,
            self.height,
            self.width,
            self.recipes,
            self.transition,
            tuple(self.operators),
            self.sources,
            snapshot,
            self.storage,
            self.sizes,
            self.varied_phrasing,
            self.references,
        )

    def check(self) -> None:
        """Check the values of the request, and that its recipes use all that it brings along.

        Raises:
          InputError: A value is out of range or unknown, or a source is not used.
        """
        if is_address(self.out) and self.preview:
            raise InputError(
                f"--preview: expected --out of this machine, got {self.out}; copy the set, or look at some with --try SHEET.png"
            )
        local = (
            ("--preview", self.preview),
            *(("--expert", path) for path in self.sources.experts),
            ("--writer", self.sources.writer),
        )
        for option, value in (*local, *((f"--import {name}", path) for name, path in self.sources.sets)):
            if is_address(value):
                raise InputError(
                    f"{option} {value}: expected a place of this machine, got an address; copy it "
                    "(only --out, --unfinished, --clips, --pictures and --cutouts may be in a bucket)"
                )
        if self.pairs < 1:
            raise InputError(f"pairs: expected at least 1, got {self.pairs}")
        if self.seed < 0:
            raise InputError(f"seed: expected a non-negative integer, got {self.seed}")
        if self.seed >= 1 << 62:
            raise InputError(f"seed: expected a number below 2**62, got {self.seed}")
        for frames, height, width in self.sizes or ((self.frames, self.height, self.width),):
            if min(height, width) < 16 or frames < 1:
                raise InputError(
                    f"clip size: expected at least 1 frame of 16 x 16 pixels, got {frames} of {height} x {width}"
                )
            if max(height, width) > LARGEST_SIDE:
                raise InputError(
                    f"clip size: expected sides of at most {LARGEST_SIDE} pixels, got {height} x {width}"
                )
        if not 0 <= self.transition <= 1:
            raise InputError(f"transition: expected a probability between 0 and 1, got {self.transition}")
        if not 0 <= self.references <= 1:
            raise InputError(f"references: expected a probability between 0 and 1, got {self.references}")
        unknown = [name for name in self.operators if name not in OPERATORS]
        if unknown or not self.operators:
            raise InputError(
                f"operators: expected some of {', '.join(OPERATORS)}, got {', '.join(unknown) or 'none'}"
            )
        if names := [name for name, _ in self.sources.sets if name not in registry.IMPORTS]:
            raise InputError(f"--import {names[0]}: expected one of {', '.join(registry.IMPORTS)}")
        if unused_sources := registry.find_unused_sources(self.recipes, self.sources):
            raise InputError(
                f"{', '.join(unused_sources)}: expected a recipe that uses it, got {', '.join(dict.fromkeys(self.recipes))}; "
                "leave it out, or add the recipe it is for to --recipes"
            )
        registry.recipe_names(self.sources)  # checks the names of experts
        if "image" in self.recipes and (self.frames > 1 or len(set(self.recipes)) > 1):
            raise InputError(
                "edits: image gives one-frame pairs, which can't share a set with longer ones; "
                "ask for it alone with --frames 1, or for lift"
            )
        has_clips = self.sources.clips or any(name != "captions" for name, _ in self.sources.sets)
        if self.sources.fps and not has_clips:
            raise InputError(
                "--fps: expected --clips or --import, whose frames it chooses, got none; add them or leave it out"
            )
        if not 0 <= self.sources.fps <= 1000:
            raise InputError(
                f"--fps: expected frames per second between 0 and 1000, got {self.sources.fps:g}"
            )
        if self.storage not in pr.STORAGES:
            raise InputError(f"storage: expected {' or '.join(pr.STORAGES)}, got {self.storage!r}")
        if self.workers < 1:
            raise InputError(f"workers: expected at least 1 process, got {self.workers}")

    def check_recipes(self, snapshot: str) -> None:
        """Check that every recipe is there and can be built from its sources.

        Args:
          snapshot: Hash of what the sources hold.

        Raises:
          InputError: A name is unknown, or a source is missing or cannot be read.
        """
        for name in dict.fromkeys(self.recipes):
            if name not in registry.FAMILIES:
                registry.build_recipe(name, self.sources, snapshot)

    def table(self, content: dict[str, str]) -> dict:
        """Return everything the pairs depend on, as JSON gives it back.

        Args:
          content: `fingerprint_sources` of the sources.
        """
        table = {
            "pairs": int(self.pairs),
            "seed": int(self.seed),
            "edits": list(self.edits or self.recipes),
            "frames": int(self.frames),
            "height": int(self.height),
            "width": int(self.width),
            "transition": float(self.transition),
            "version": planar.VERSION,
            "schema": pr.SCHEMA_VERSION,
        }
        if versions := registry.recipe_versions(self.recipes, self.sources.has_footage):
            table["versions"] = versions
        if self.sizes:
            table["sizes"] = [list(size) for size in self.sizes]
        if self.storage != "lossless":
            table["storage"] = self.storage
        if tuple(self.operators) != CLASSIC_OPERATORS:
            table["operators"] = list(self.operators)
        if self.varied_phrasing:
            table["varied_phrasing"] = True
        if self.references:
            table["references"] = float(self.references)
        if self.sources != NO_SOURCES:
            brought = dataclasses.asdict(self.sources)
            # Requests of before these options say nothing of them.
            brought = {name: value for name, value in brought.items() if value or name not in NEWER_SOURCES}
            if self.sources.clips:
                brought["max_growth"] = footage.MAX_GROWTH
            if self.sources.has_footage:
                brought["version"] = footage.VERSION
            table["sources"] = brought | {"content": content}
        return json.loads(json.dumps(table))


def parse_table(table: dict, out: str | Path, pairs: int, workers: int = 1) -> SynthRequest:
    """Return the request of a table, for another number of pairs.

    Args:
      table: `SynthRequest.table` of a finished set.
      out: Folder to write.
      pairs: Number of pairs.
      workers: Number of processes.
    """
    fields = {name: table[name] for name in ("seed", "frames", "height", "width", "transition")}
    optional = ("storage", "varied_phrasing", "references")
    fields |= {name: table[name] for name in optional if name in table}
    fields["sizes"] = tuple(map(tuple, table.get("sizes", ())))
    stored = table.get("sources", {})
    names = {field.name for field in dataclasses.fields(Sources)}
    sources = {name: value for name, value in stored.items() if name in names}
    if "experts" in sources:
        sources["experts"] = tuple(sources["experts"])
    if "sets" in sources:
        sources["sets"] = tuple((name, path) for name, path in sources["sets"])
    return SynthRequest(
        out,
        pairs,
        workers=workers,
        edits=tuple(table["edits"]),
        operators=tuple(table.get("operators", CLASSIC_OPERATORS)),
        sources=Sources(**sources),
        **fields,
    )


def parse_import(text: str) -> tuple[str, str]:
    """Return the name and the path in "NAME=PATH".

    Raises:
      InputError: One of them is missing.
    """
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise InputError(f"--import: expected NAME=PATH, such as pairs={text or 'TABLE'}, got {text!r}")
    return name, path


def fingerprint_sources(sources: Sources) -> dict[str, str]:
    """Return a hash for each path that the sources name, so that a changed source is another request.

    Of a table of pairs the files that it names count too. Texts are hashed by content, videos by name, size and both ends. Dates do not count: a copy on another machine is the same source.
    """
    digests = {}
    steps = [step for path in sources.experts for step in external.composition_files(path)]
    folders = (sources.clips, sources.pictures, sources.cutouts)
    for path in (*folders, *sources.experts, *steps, *(p for _, p in sources.sets), sources.writer):
        if not path:
            continue
        path = open_place(path)
        files = [path] if path.is_file() else sorted(footage.iterate_files(path)) if path.is_dir() else []
        digest = hashlib.sha256()
        if path.is_file() and (own_pairs.NAME, str(path)) in sources.sets:
            for file in own_pairs.list_files(path):
                digest.update(f"{_digest_file(file)}\n".encode())
        for file in files:
            name = file.relative_to(path) if file != path else file.name
            digest.update(f"{name} {_digest_file(file)}\n".encode(errors="surrogateescape"))
        digests[str(path)] = digest.hexdigest()[:16]
    return digests


def _digest_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if path.suffix.lower() in TEXT_SUFFIXES:
                return hashlib.file_digest(file, "sha256").hexdigest()
            size = file.seek(0, 2)
            file.seek(0)
            ends = file.read(END_BYTES)
            file.seek(max(0, size - END_BYTES))
            return f"{size} {hashlib.sha256(ends + file.read(END_BYTES)).hexdigest()}"
    except OSError:  # it went away just now, or may not be read: whoever needs it says so
        return "unreadable"
