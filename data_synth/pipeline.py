"""seed → pair: the whole engine on one page.

seed → scene → edit → instructions → transition → gates → **Pair** → v2v_pairs (array_record)

A pair is a pure function of its seed and the arguments: every decision is drawn from a generator keyed by
(seed, purpose), so results do not depend on the order or the number of workers.

Seeds below 2_000_000_000 are for training; scoring uses seeds from SCORE_SEED_BASE on, which no training run touches.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import zlib
from collections import Counter
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from data_synth import filters, instruct
from data_synth import transition as tr
from data_synth.experts.photometric import PHOTOMETRIC
from data_synth.scenes import draw
from data_synth.scenes import edits as ed
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from data_synth.scenes import textures as tx
from v2v.data.pairs import InputError, Pair

SCORE_SEED_BASE = 3_000_000_000
FAMILIES = {"local": ed.LOCAL, "photometric": tuple(PHOTOMETRIC)}
EDITS = (*ed.LOCAL, *PHOTOMETRIC)
VERSION = "1"
# Edits that change little on a plain or grey clip: shown on photograph-like ones only.
_NEED_RICH = ("blur", "greyscale", "more saturated", "less saturated")

cv2.setNumThreads(1)  # one process is one worker; threads inside it only fight the others


def make_pair(seed: int, *, T: int = 9, H: int = 64, W: int = 64, edits: tuple[str, ...] | None = None,
              transition: float = 0.5) -> tuple[Pair, None] | tuple[None, str]:
    """One training pair, or the reason why this seed gives none.

    Args:
      seed: any non-negative integer.
      T, H, W: frames, height, width.
      edits: what to choose from, evenly: names of EDITS, or of FAMILIES (then evenly within the family);
        None is every family, hence half local, half photometric.
      transition: probability that the edit begins (or also ends) inside the clip.
    """
    rng = stream(seed, "pair")
    name = _choose_edit(rng, tuple(FAMILIES) if edits is None else edits)
    made = _photometric(name, seed, rng, T, H, W) if name in PHOTOMETRIC else _local(name, seed, rng, T, H, W)
    if isinstance(made, str):
        return None, f"{name}: {made}"
    made = tr.add_transition(made, stream(seed, "transition"), transition)
    kept, reason = filters.keep(made)
    return (made, None) if kept else (None, f"{name}: {reason}")


def make_clip(seed: int, *, T: int = 9, H: int = 64, W: int = 64) -> tuple[np.ndarray, str]:
    """A clip and its caption, for text-to-video pretraining: (uint8 [T, H, W, 3], str).

    A quarter show a texture or landscape alone; a third are in a photometric style that the caption names.
    """
    rng = stream(seed, "clip")
    bare = rng.random() < 0.25
    scene = draw.sample_scene(rng, aspect=W / H, objects=(0, 0) if bare else (1, 3), rich=bare or rng.random() < 0.3)
    video, caption = rn.render(scene, T, H, W), sc.caption(scene)
    if rng.random() < 0.33:
        style = str(rng.choice(list(instruct.STYLES)))
        video, caption = PHOTOMETRIC[style](video, None), instruct.styled_caption(style, caption)
    return video, caption


def generate(n: int, seed: int = 0, workers: int = 1, *, dropped: Counter | None = None, **options) -> Iterator[Pair]:
    """The first n pairs that seeds seed, seed + 1, ... give, in that order whatever the number of workers.

    Args:
      n: number of pairs. seed: first seed. workers: processes.
      dropped: if given, receives the count of each drop reason.
      options: as for `make_pair`.

    Raises:
      InputError: hardly any seed gives a pair with these options.
    """
    return first_kept(functools.partial(make_pair, **options), n, seed, workers, dropped)


def first_kept(make: Callable, n: int, seed: int, workers: int, dropped: Counter | None = None) -> Iterator:
    """The first n results of make(seed), make(seed + 1), ... → (result, None) | (None, reason) that are kept."""
    count = tries = 0
    results = _map_in_order(make, itertools.count(seed), workers, block=min(max(n, 16), 512))
    try:
        while count < n:
            result, reason = next(results)
            tries += 1
            if result is not None:
                count += 1
                yield result
                continue
            if dropped is not None:
                dropped[reason] += 1
            if tries > 500 and count * 50 < tries:
                raise InputError(f"pairs: expected most seeds to give one, got {count} of {tries} from seed {seed} on; "
                                 f"the last was dropped because of '{reason}'; choose other edits or another size")
    finally:
        results.close()


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The generator for one purpose of one seed."""
    return np.random.default_rng((seed, zlib.crc32(purpose.encode())))


def _choose_edit(rng: np.random.Generator, edits: tuple[str, ...]) -> str:
    entry = edits[int(rng.integers(len(edits)))] if edits else ""
    if entry not in FAMILIES and entry not in EDITS:
        raise InputError(f"edits: expected names among {', '.join([*FAMILIES, *EDITS])}; got {entry or 'none'!r}")
    family = FAMILIES.get(entry, (entry,))
    return family[int(rng.integers(len(family)))]


def _local(name: str, seed: int, rng: np.random.Generator, T: int, H: int, W: int) -> Pair | str:
    scene = draw.sample_scene(stream(seed, "scene"), aspect=W / H, objects=(1, 2) if name == "insert" else (1, 3))
    twin = ed.local_edit(name, scene, rng, T, H, W)
    if isinstance(twin, str):
        return twin
    return Pair(
        source=twin.source, target=twin.target, mask=twin.mask.astype(np.uint8) * 255, reference=twin.reference,
        instructions=instruct.instructions(twin.edit, rng), source_caption=sc.caption(twin.before),
        target_caption=sc.caption(twin.after), edit=name, recipe="local", seed=seed,
        provenance={"slots": twin.edit.slots, "version": VERSION, "license": "Apache-2.0"}, active=(0, T))


def _photometric(name: str, seed: int, rng: np.random.Generator, T: int, H: int, W: int) -> Pair | str:
    bare = rng.random() < 0.35
    rich = bare or name in _NEED_RICH or rng.random() < 0.6
    scene = draw.sample_scene(stream(seed, "scene"), aspect=W / H, objects=(0, 0) if bare else (1, 3), rich=rich)
    source = rn.render(scene, T, H, W)
    reference = _palette_picture(stream(seed, "reference"), min(H, W)) if name == "palette" else None
    target = PHOTOMETRIC[name](source, reference)
    mask = np.full((T, H, W), 255, np.uint8)
    slots = {}
    if name not in ("blur", "palette") and rng.random() < 0.12:
        region = instruct.REGIONS[int(rng.integers(4))]
        slots["it"] = f"the {region}"
        mask = np.zeros((T, H, W), np.uint8)
        mask[half(region, H, W)] = 255
        target = np.where(mask[..., None] > 0, target, source)
    caption = sc.caption(scene)
    return Pair(
        source=source, target=target, mask=mask, reference=reference,
        instructions=instruct.instructions(ed.Edit(name, slots), rng), source_caption=caption,
        target_caption=caption if slots else instruct.styled_caption(name, caption), edit=name, recipe="photometric",
        seed=seed, provenance={"slots": slots, "version": VERSION, "license": "Apache-2.0"}, active=(0, T))


def half(region: str, H: int, W: int) -> tuple[slice, slice, slice]:
    """Slices of [T, H, W] for one of instruct.REGIONS."""
    rows = {"top half": slice(0, H // 2), "bottom half": slice(H // 2, H)}.get(region, slice(None))
    columns = {"left half": slice(0, W // 2), "right half": slice(W // 2, W)}.get(region, slice(None))
    return slice(None), rows, columns


def _palette_picture(rng: np.random.Generator, side: int) -> np.ndarray:
    """A picture with colours worth taking: a texture frame, or a named gradient."""
    if rng.random() < 0.3:
        texture, words = draw.named_background(str(rng.choice(list(tx.GRADIENTS))))
        return rn.render(sc.Scene(texture, words), 1, side, side)[0]
    return rn.render(draw.sample_scene(rng, objects=(0, 1), rich=True), 1, side, side)[0]


def _map_in_order(function: Callable, seeds: Iterator[int], workers: int, block: int) -> Iterator:
    """map over an endless iterator, in order; over processes when workers > 1, a bounded number of seeds ahead."""
    if workers <= 1:
        yield from map(function, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:  # spawn: a fork would copy JAX's threads
        while True:
            yield from pool.imap(function, list(itertools.islice(seeds, block)), chunksize=max(1, block // 16 // workers))
