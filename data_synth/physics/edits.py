"""Interventions on a room, and the twin they give: the same room, simulated and rendered again.

World → **edit** → (source, target, mask, effect). With S, T the two renderings, own the pixels (grown by one) of the thing
that the sentence names, in either of them:

    mask   = own | [max_c |S - T| > NOISE], closed by 3 x 3      everything the edit changes, side effects included
    effect = mask & ~own                                          side effects alone: shadow, reflection, what falls
    target = T in the mask, S outside                             so that nothing changes where the mask is 0

    recolour, retexture, remove, insert, replace    paths as before: what a person would paint
    collapse (the support is taken away), spare     simulated again: what would have happened
      (the ball that strikes is), float (no gravity)
    relight, camera                                 the mask is everything
    background, floor                               own = walls and sky, or the floor
    action                                          the person does something else

What a sentence cannot say is fixed by convention: inserted things are plain, of a size word's canonical width, and stand at
one of `draw.PLACES`; replacements keep width, place and path, upright and of their own shape's height.
"""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np

from data_synth.physics import draw, model, simulate
from data_synth.physics.choose import DEFAULT_ROOM_KINDS, ROOM_KINDS, Edit, choose_edit
from data_synth.physics.render import RoomView
from data_synth.physics.world import Room

NOISE_THRESHOLD = 2  # grey levels: less than this nobody sees, and it is undone in the target
MIN_VISIBLE_SHARE = 0.004  # least mean share of the frame that a named thing covers
_AROUND = np.ones((3, 3), np.uint8)


@dataclasses.dataclass(frozen=True)
class Twin:
    """source, target uint8 [T, H, W, 3]; mask, effect bool [T, H, W], effect None when everything changes;
    reference uint8 [h, w, 3] or None."""

    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    effect: np.ndarray | None
    reference: np.ndarray | None
    edit: Edit
    before: Room


def build_twin(name: str, rng: np.random.Generator, T: int, H: int, W: int) -> Twin | str:
    """Draws a room that allows the edit, and carries it out; or the reason why it can't be seen."""
    kinds = ROOM_KINDS.get(name, DEFAULT_ROOM_KINDS)
    before = draw.sample_room(rng, kinds[int(rng.integers(len(kinds)))], W / H)
    seconds = simulate.duration(T)
    paths = simulate.simulate_paths(before, T, seconds)
    edit = choose_edit(name, before, rng, paths)
    if isinstance(edit, str):
        return edit
    before = edit.before or before
    after_paths = _paths(edit, before, paths, T, seconds)
    with (
        RoomView(before, paths, T, H, W, seconds) as old,
        RoomView(edit.after, after_paths, T, H, W, seconds) as new,
    ):
        if not edit.whole:  # before any frame is drawn in colour, which costs four times as much
            moved = name not in ("remove", "recolour", "retexture", "collapse", "spare")
            own = _owned([view.parts() for view in ((old, new) if moved else (old,))], edit)
            if np.count_nonzero(own) < MIN_VISIBLE_SHARE * own.size:
                return "what is edited can't be seen"
        source, target = old.video(), new.video()
    if edit.whole:
        mask = np.ones((T, H, W), bool)
        return Twin(source, target, mask, None, None, edit, before)
    own, mask = own.view(bool), np.empty((T, H, W), bool)
    for k in range(T):
        own[k] = cv2.dilate(own[k].view(np.uint8), _AROUND)
        mask[k] = own[k] | _changed(source[k], target[k])
        cv2.copyTo(source[k], (~mask[k]).view(np.uint8), target[k])
    reference = _cut_out(target, own) if name in ("insert", "replace", "retexture", "recolour") else None
    return Twin(source, target, mask, mask & ~own, reference, edit, before)


def _owned(parts: list[np.ndarray], edit: Edit) -> np.ndarray:
    """uint8 [T, H, W]: 1 where any of these renderings, uint8 [T, H, W] each, shows what the sentence names."""
    owned = np.zeros(256, np.uint8)
    owned[[model.FIRST_BODY + key for key in edit.own] + list(edit.surface)] = 1
    return np.stack(
        [np.bitwise_or.reduce([cv2.LUT(part, owned) for part in sides]) for sides in zip(*parts, strict=True)]
    )


def _paths(edit: Edit, before: Room, paths: dict, T: int, seconds: float) -> dict:
    if edit.again:
        return simulate.simulate_paths(edit.after, T, seconds)
    known = {t.key for t in before.things}
    out = {**simulate.resting_paths(edit.after, T), **{k: paths[k] for k in known}}
    if edit.name == "replace":  # upright, whatever the old one did, and with its foot where the old one's was
        key = edit.own[0]
        out[key] = out[key].copy()
        out[key][:, 2] += edit.after.thing(key).height - before.thing(key).height
        yaw = before.thing(key).yaw
        out[key][:, 3:] = np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)
    return out


def _changed(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """bool [H, W]: where two frames differ by more than NOISE in some channel, closed."""
    most = functools.reduce(cv2.max, cv2.split(cv2.absdiff(source, target)))
    seen = cv2.threshold(most, NOISE_THRESHOLD, 1, cv2.THRESH_BINARY)[1]
    return cv2.morphologyEx(seen, cv2.MORPH_CLOSE, _AROUND).view(bool)


def _cut_out(video: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """The thing where it is largest, with a margin: a reference picture."""
    k = int(mask.sum((1, 2)).argmax())
    rows, columns = np.flatnonzero(mask[k].any(1)), np.flatnonzero(mask[k].any(0))
    margin = max(2, (rows[-1] - rows[0] + columns[-1] - columns[0]) // 12)
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    return video[k, top : rows[-1] + margin + 1, left : columns[-1] + margin + 1].copy()
