"""The pair engine on one page: a seed becomes a pair.

seed → recipe → instructions → transition → gates → **Pair** → v2v_pairs (array_record)

A pair is a pure function of its seed and the arguments: every decision is drawn from a generator keyed by
(seed, purpose), so results do not depend on the order or the number of workers.

Seeds below 2_000_000_000 are for training; scoring uses seeds from SCORE_SEED_BASE on, which no training run touches.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import multiprocessing
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

import cv2
import numpy as np

from data_synth import footage, quality
from data_synth.language import grammar, phrasing, templates
from data_synth.operators import transition as tr
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.operators.reference_picture import draw_reference
from data_synth.places import open_place
from data_synth.recipes import registry, text_experts
from data_synth.recipes.base import FileRecipe, GeneratorRecipe, Recipe
from data_synth.recipes.sources import NO_SOURCES, Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from data_synth.scenes import draw
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from v2v.data.pair import Pair, Storage
from v2v.errors import InputError

Result = TypeVar("Result")

SCORE_SEED_BASE = 3_000_000_000


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let OpenCV use one thread: one process is one worker, and threads inside it only compete with the others."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


@dataclasses.dataclass(frozen=True)
class PairOptions:
    """Everything but the seed that a pair depends on.

    Attributes:
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
      edits: What to draw from, evenly: names as `registry.recipe_names` lists them, a family standing for its members, evenly; a name
        that is listed twice is drawn twice as often. None is the default mix, half local and half photometric.
      transition: Probability, 0 to 1, that the edit begins (or also ends) inside the clip.
      operators: How it may begin there, of `transition.OPERATORS`.
      sources: Clips, experts and published sets that recipes may use.
      snapshot: Hash of what the sources hold, as for `registry.build_recipe`.
      storage: How clips are stored.
      sizes: Sizes (frames, height, width) instead of T, H and W: each clip of people's own gets the one that it fits best, others draw one.
      varied_phrasing: Whether instructions of all recipes are varied (`language.phrasing`), also of those whose sentences are short and plain.
      references: Probability that a pair whose target comes from elsewhere and has no reference picture gets one from its target.
    """

    T: int = 9
    H: int = 64
    W: int = 64
    edits: tuple[str, ...] | None = None
    transition: float = 0.5
    operators: tuple[str, ...] = tr.CLASSIC_OPERATORS
    sources: Sources = NO_SOURCES
    snapshot: str = ""
    storage: Storage = "lossless"
    sizes: tuple[footage.Size, ...] = ()
    varied_phrasing: bool = False
    references: float = 0.0


DEFAULT_OPTIONS = PairOptions()


def make_pair(seed: int, options: PairOptions = DEFAULT_OPTIONS) -> Pair | Rejected:
    """Return one training pair, or why this seed gives none.

    Args:
      seed: Any non-negative integer.
      options: Size, edits and sources.
    """
    return make_block((seed,), options)[0]


def find_pair(seed: int, options: PairOptions = DEFAULT_OPTIONS) -> tuple[Pair, int]:
    """Return the pair of the first seed from `seed` on that gives one, and the seed after that."""
    while isinstance(pair := make_pair(seed, options), Rejected):
        seed += 1
    return pair, seed + 1


@one_thread()
def make_block(seeds: Sequence[int], options: PairOptions = DEFAULT_OPTIONS) -> list[Pair | Rejected]:
    """Return what `make_pair` returns for many seeds; recipes that work in batches (external experts) get theirs together."""
    entries = registry.DEFAULT_MIX if options.edits is None else options.edits
    finite = count_rows(entries, options.sources, options.snapshot)
    occurrences = Counter(entries) if finite else Counter()
    # Recipe name and size → (position in `seeds`, seed or row).
    batches: dict[tuple[str, footage.Size], list[tuple[int, int]]] = {}
    outcomes: dict[int, tuple[str, Pair | Rejected]] = {}
    for i, seed in enumerate(seeds):
        rng = build_rng(seed, "pair")
        # Finite sets are gone through row by row, in turns.
        name = entries[seed % len(entries)] if finite else _choose_edit(rng, entries)
        recipe = registry.build_recipe(name, options.sources, options.snapshot)
        if isinstance(recipe, GeneratorRecipe):
            size = _choose_size(name, recipe, seed, seed, options)
            outcomes[i] = name, recipe.function(seed, rng, *size)
        else:
            row = seed
            if finite:  # of a name that comes k times in a turn, k rows are taken in a turn
                turn, place = divmod(seed, len(entries))
                row = turn * occurrences[name] + entries[:place].count(name)
            elif row_count := recipe.rows:  # beside endless recipes a set is gone through again
                row = seed % row_count
            batches.setdefault((name, _choose_size(name, recipe, seed, row, options)), []).append((i, row))
    for (name, size), members in batches.items():
        recipe = registry.build_recipe(name, options.sources, options.snapshot)
        results = recipe.make_pairs([row for _, row in members], *size)
        for (i, _), result in zip(members, results, strict=True):
            outcomes[i] = name, result
    candidates = [_add_transition_and_check(*outcomes[i], seed, options) for i, seed in enumerate(seeds)]
    if not options.sources.experts:
        return candidates
    has_own_words = [registry.has_fixed_words(outcomes[i][0]) for i in range(len(seeds))]
    return text_experts.finish_pairs(
        candidates, has_own_words, options.sources.experts, quality.is_usable_sentence
    )


def count_rows(entries: Sequence[str], sources: Sources, snapshot: str = "") -> int | None:
    """Return how many seeds, from 0 on, go once through finite sets; None where any recipe has no end.

    Args:
      entries: Names of recipes and families.
      sources: Sources of the request.
      snapshot: As for `registry.build_recipe`.

    Raises:
      InputError: A name is unknown, or its recipe needs a source that is missing.
    """
    if any(name in registry.FAMILIES for name in entries):
        return None
    sizes = [
        (registry.build_recipe(name, sources, snapshot).rows, count)
        for name, count in Counter(entries).items()
    ]
    turns = [-(-size // count) for size, count in sizes if size is not None]
    return max(turns) * len(entries) if turns and len(turns) == len(sizes) else None


@one_thread()
def make_clip(seed: int, *, T: int = 9, H: int = 64, W: int = 64) -> tuple[np.ndarray, str]:
    """Return a clip, uint8 [T, H, W, 3], and its caption, for text-to-video pretraining.

    A quarter show a texture or landscape alone; a third are in a photometric style that the caption names.

    Args:
      seed: Any non-negative integer.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.
    """
    rng = build_rng(seed, "clip")
    is_empty = rng.random() < 0.25
    scene = draw.sample_scene(
        rng, aspect=W / H, objects=(0, 0) if is_empty else (1, 3), rich=is_empty or rng.random() < 0.3
    )
    video, caption = rn.render_scene(scene, T, H, W), sc.format_caption(scene)
    if rng.random() < 0.33:
        style = str(rng.choice(list(templates.STYLES)))
        video, caption = PHOTOMETRIC[style](video, None), grammar.styled_caption(style, caption)
    return video, caption


def iterate_pairs(
    n: int,
    options: PairOptions = DEFAULT_OPTIONS,
    *,
    seed: int = 0,
    workers: int = 1,
    drop_counts: Counter[str] | None = None,
) -> Iterator[Pair]:
    """Yield the first n pairs that seeds seed, seed + 1, ... give, in that order whatever the number of workers.

    Args:
      n: Number of pairs.
      options: As for `make_pair`.
      seed: First seed.
      workers: Number of processes.
      drop_counts: Receives the count of each reason for which seeds gave no pair, where given.

    Raises:
      InputError: Hardly any seed gives a pair with these options.
    """
    return iterate_accepted(functools.partial(make_pair, options=options), n, seed, workers, drop_counts)


def iterate_accepted(
    function: Callable[[int], Result | Rejected],
    n: int,
    seed: int,
    workers: int,
    drop_counts: Counter[str] | None = None,
) -> Iterator[Result]:
    """Yield the first n results of function(seed), function(seed + 1), ... that are no rejections.

    Args:
      function: Makes a result from a seed; picklable where there are several processes.
      n: Number of results.
      seed: First seed.
      workers: Number of processes.
      drop_counts: Receives the count of each reason, where given.

    Raises:
      InputError: Hardly any seed gives a result.
    """
    count = tries = 0
    results = _map_in_order(function, itertools.count(seed), workers, block=min(max(n, 16), 512))
    try:
        while count < n:
            result = next(results)
            tries += 1
            if not isinstance(result, Rejected):
                count += 1
                yield result
                continue
            if drop_counts is not None:
                drop_counts[result.reason] += 1
            if tries > 500 and count * 50 < tries:
                raise InputError(
                    f"pairs: expected most seeds to give one, got {count} of {tries} from seed {seed} on; "
                    f"the last was dropped because of '{result.reason}'; mend a file that this names, or choose other edits or another size"
                )
    finally:
        results.close()


def _choose_size(name: str, recipe: Recipe, seed: int, row: int, options: PairOptions) -> footage.Size:
    """Return the size of the pair of a seed, which is a row of its recipe where that has rows."""
    if not options.sizes:
        return options.T, options.H, options.W
    if isinstance(recipe, FileRecipe):
        file = recipe.source_file(row)
        return options.sizes[0] if file is None else footage.choose_size(file, options.sizes)
    if options.sources.has_footage and registry.reads_clips(name, options.sources):
        folder = footage.draw_folder(_clip_folders(options.sources, options.snapshot), seed)
        return footage.choose_size(open_place(folder.root) / folder.choose(seed), options.sizes)
    return options.sizes[int(build_rng(seed, "size").integers(len(options.sizes)))]


@functools.lru_cache(maxsize=16)
def _clip_folders(sources: Sources, snapshot: str) -> tuple[footage.Folder, ...]:
    """Return the folders of footage, which are listed once for each state of them."""
    return sources.clip_folders()


def _choose_edit(rng: np.random.Generator, entries: Sequence[str]) -> str:
    """Draw the name of a recipe."""
    entry = entries[int(rng.integers(len(entries)))] if entries else ""
    members = registry.FAMILIES.get(entry, (entry,))
    return members[int(rng.integers(len(members)))]


def _add_transition_and_check(
    name: str, outcome: Pair | Rejected, seed: int, options: PairOptions
) -> Pair | Rejected:
    if isinstance(outcome, Rejected):
        return outcome.within(name)
    probability = 0.0 if outcome.recipe in registry.UNTIMED_KINDS else options.transition
    limited = tr.add_transition(outcome, build_rng(seed, "transition"), probability, options.operators)
    limited = dataclasses.replace(limited, instructions=phrasing.drop_untrue_times(limited))
    if registry.varies_words(name, options.varied_phrasing, options.sources.has_footage):
        words = phrasing.vary_instructions(limited, build_rng(seed, "phrasing"))
        limited = dataclasses.replace(limited, instructions=words)
    rng = build_rng(seed, "reference")
    if limited.reference is None and _may_have_reference(limited) and rng.random() < options.references:
        limited = dataclasses.replace(limited, reference=draw_reference(limited, rng))
    rejection = quality.find_rejection(limited, outcome)
    return rejection.within(name) if rejection else limited


def _may_have_reference(pair: Pair) -> bool:
    """Return whether a part of the target can show what the edit should look like: nothing shows what is taken away."""
    return pair.recipe in (*quality.EXTERNAL_RECIPES, "captions") and not pair.instructions[
        0
    ].lower().startswith(("remove", "delete", "erase", "take "))


def _map_in_order(
    function: Callable[[int], Result], seeds: Iterator[int], workers: int, block: int
) -> Generator[Result, None, None]:
    """Yield function(seed) in order, from several processes where workers > 1, which run a bounded number of seeds ahead."""
    if workers <= 1:
        yield from map(function, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:  # spawn: a fork would copy JAX's threads
        while True:
            yield from pool.imap(
                function, list(itertools.islice(seeds, block)), chunksize=max(1, block // 16 // workers)
            )
