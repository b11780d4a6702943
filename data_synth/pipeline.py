"""seed → pair: the whole engine on one page.

seed → scene → edit → instructions → transition → gates → **Pair** → v2v_pairs (array_record)

A pair is a pure function of its seed and the arguments: every decision is drawn from a generator keyed by
(seed, purpose), so results do not depend on the order or the number of workers.

Seeds below 2_000_000_000 are for training; scoring uses seeds from SCORE_SEED_BASE on, which no training run touches.
"""

from __future__ import annotations

import itertools
import multiprocessing
import zlib
from collections import Counter
from collections.abc import Iterator

import cv2
import numpy as np

from data_synth import filters, instruct, transition as tr
from data_synth.experts.photometric import PHOTOMETRIC
from data_synth.scenes import edits as ed
from data_synth.scenes import render as rn
from data_synth.scenes import scene as sc
from v2v.data.pairs import InputError, Pair

SCORE_SEED_BASE = 3_000_000_000
EDITS = (*ed.LOCAL, *PHOTOMETRIC)
VERSION = "1"

cv2.setNumThreads(1)  # one process is one worker; threads inside it only fight the others


def make_pair(seed: int, *, T: int = 9, H: int = 64, W: int = 64, edits: tuple[str, ...] | None = None,
              transition: float = 0.5) -> tuple[Pair, None] | tuple[None, str]:
    """One training pair, or the reason why this seed gives none.

    Args:
      seed: any non-negative integer.
      T, H, W: frames, height, width.
      edits: names to choose from (see EDITS); None is the default mix: half local, half photometric, each evenly.
      transition: probability that the edit begins (or also ends) inside the clip.
    """
    rng = stream(seed, "pair")
    name = _choose_edit(rng, edits)
    made = _photometric(name, seed, rng, T, H, W) if name in PHOTOMETRIC else _local(name, seed, rng, T, H, W)
    if isinstance(made, str):
        return None, f"{name}: {made}"
    made = tr.add_transition(made, stream(seed, "transition"), transition)
    kept, reason = filters.keep(made)
    return (made, None) if kept else (None, f"{name}: {reason}")


def make_clip(seed: int, *, T: int = 9, H: int = 64, W: int = 64) -> tuple[np.ndarray, str]:
    """A clip and its caption, for text-to-video pretraining: (uint8 [T, H, W, 3], str).

    A quarter show a texture alone; a third are in a photometric style that the caption names.
    """
    rng = stream(seed, "clip")
    count = (0, 0) if rng.random() < 0.25 else (1, 3)
    scene = sc.sample_scene(rng, aspect=W / H, objects=count, rich=rng.random() < 0.3)
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
    count = 0
    with _mapper(workers) as run:
        for tries, (pair, reason) in enumerate(run(_Maker(options), itertools.count(seed)), 1):
            if count >= n:
                return
            if pair is None:
                if dropped is not None:
                    dropped[reason] += 1
                if tries > 500 and count * 50 < tries:
                    raise InputError(f"pairs: expected most seeds to give one, got {count} of {tries} with {options}; "
                                     f"the last was dropped because of '{reason}'")
                continue
            yield pair
            count += 1


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The generator for one purpose of one seed."""
    return np.random.default_rng((seed, zlib.crc32(purpose.encode())))


def _choose_edit(rng: np.random.Generator, edits: tuple[str, ...] | None) -> str:
    if edits is None:
        family = ed.LOCAL if rng.random() < 0.5 else tuple(PHOTOMETRIC)
    else:
        family = tuple(edits)
        unknown = [e for e in family if e not in EDITS]
        if unknown or not family:
            raise InputError(f"edits: expected names among {', '.join(EDITS)}; got {unknown or 'none'}")
    return family[int(rng.integers(len(family)))]


def _local(name: str, seed: int, rng: np.random.Generator, T: int, H: int, W: int) -> Pair | str:
    scene = sc.sample_scene(stream(seed, "scene"), aspect=W / H, objects=(1, 2) if name == "insert" else (1, 3))
    twin = ed.local_edit(name, scene, rng, T, H, W)
    if isinstance(twin, str):
        return twin
    return Pair(
        source=twin.source, target=twin.target, mask=twin.mask.astype(np.uint8) * 255, reference=twin.reference,
        instructions=instruct.instructions(twin.edit, rng), source_caption=sc.caption(twin.before),
        target_caption=sc.caption(twin.after), edit=name, recipe="local", seed=seed,
        provenance={"slots": twin.edit.slots, "version": VERSION, "license": "Apache-2.0"}, active=(0, T))


def _photometric(name: str, seed: int, rng: np.random.Generator, T: int, H: int, W: int) -> Pair | str:
    rich = rng.random() < (1.0 if name == "blur" else 0.6)
    count = (0, 0) if rng.random() < 0.35 else (1, 3)
    scene = sc.sample_scene(stream(seed, "scene"), aspect=W / H, objects=count, rich=rich)
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
        texture, words = sc.named_background(str(rng.choice(list(sc.tx.GRADIENTS))))
        return rn.render(sc.Scene(texture, words), 1, side, side)[0]
    return rn.render(sc.sample_scene(rng, objects=(0, 1), rich=True), 1, side, side)[0]


class _Maker:
    """make_pair with its options bound; a class, so that it can be sent to another process."""

    def __init__(self, options: dict):
        self.options = options

    def __call__(self, seed: int):
        return make_pair(seed, **self.options)


class _mapper:
    """map in order, over processes when workers > 1; the seeds are taken lazily, in bounded numbers."""

    def __init__(self, workers: int):
        self.pool = multiprocessing.get_context("spawn").Pool(workers) if workers > 1 else None

    def __enter__(self):
        return self.run

    def __exit__(self, *_):
        if self.pool:
            self.pool.terminate()
            self.pool.join()

    def run(self, function, seeds):
        if not self.pool:
            yield from map(function, seeds)
            return
        while True:  # imap would drain an endless iterator; hand it out block by block instead
            yield from self.pool.imap(function, list(itertools.islice(seeds, 512)), chunksize=16)
