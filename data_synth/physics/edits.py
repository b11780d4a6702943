"""Twins of rooms: the same room simulated and rendered again with an intervention, with exact masks.

Room → **edit** → (source, target, mask, effect). With S, T the two renderings and named the pixels (grown by one) that show
what the instruction names, in either of them:

    mask   = named | [max_c |S - T| > NOISE_THRESHOLD], closed by 3 x 3    everything that changes, side effects included
    effect = mask & ~named                          side effects alone: shadow, reflection, falling bodies
    target = T in the mask, S outside               so that nothing changes where the mask is 0

    recolour, retexture, remove, insert, replace    paths of the source, as a person would paint it
    collapse (the support is taken away), spare     simulated again: the counterfactual
      (the striking ball is), float (no gravity)
    relight, camera                                 the mask is everything
    background, floor                               named = walls and sky, or the floor
    action                                          the person acts differently

Conventions fix what an instruction leaves open: inserted bodies are plain, of a size word's canonical width, and stand at
one of `draw.POSITIONS`; replacements keep width, place and path, upright and of their own shape's height.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import cv2
import numpy as np

from data_synth.physics import draw, model, simulate
from data_synth.physics.choose import DEFAULT_ROOM_KINDS, ROOM_KINDS, Edit, choose_edit
from data_synth.physics.render import RoomView
from data_synth.physics.world import Room
from data_synth.rejection import Rejected

# Gray levels: smaller differences are invisible, and are undone in the target.
NOISE_THRESHOLD = 2
# Least mean share of the frame that the named pixels cover.
MIN_VISIBLE_SHARE = 0.004
_NEIGHBORHOOD = np.ones((3, 3), np.uint8)


@dataclasses.dataclass(frozen=True)
class Twin:
    """A room and its edited version, rendered.

    Attributes:
      source: uint8 [T, H, W, 3].
      target: uint8 [T, H, W, 3].
      mask: bool [T, H, W].
      effect: bool [T, H, W], side effects alone; None when every pixel may change.
      reference: uint8 [h, w, 3] or None.
      edit: The intervention.
      source_room: The room of `source`.
    """

    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    effect: np.ndarray | None
    reference: np.ndarray | None
    edit: Edit
    source_room: Room


def build_twin(name: str, rng: np.random.Generator, T: int, H: int, W: int) -> Twin | Rejected:
    """Sample a room that allows the edit, and render both versions.

    Args:
      name: A name of `choose.EDIT_NAMES`.
      rng: Source of randomness.
      T: Number of frames.
      H: Frame height in pixels.
      W: Frame width in pixels.

    Returns:
      The twin, or a rejection where this draw gives none.
    """
    kinds = ROOM_KINDS.get(name, DEFAULT_ROOM_KINDS)
    source_room = draw.sample_room(rng, kinds[int(rng.integers(len(kinds)))], W / H)
    seconds = simulate.duration(T)
    paths = simulate.simulate_paths(source_room, T, seconds)
    edit = choose_edit(name, source_room, rng, paths)
    if isinstance(edit, Rejected):
        return edit
    source_room = edit.source_room or source_room
    target_paths = _target_paths(edit, source_room, paths, T, seconds)
    named_pixels = None
    with (
        RoomView(source_room, paths, T, H, W, seconds) as source_view,
        RoomView(edit.target_room, target_paths, T, H, W, seconds) as target_view,
    ):
        if not edit.changes_everything:  # before rendering colors, which costs four times as much
            geometry_changes = name not in ("remove", "recolour", "retexture", "collapse", "spare")
            views = (source_view, target_view) if geometry_changes else (source_view,)
            sides = [_find_named_pixels(view.parts(), edit) for view in views]
            if not _is_visible(name, sides):
                return Rejected("what is edited can't be seen")
            named_pixels = functools.reduce(np.bitwise_or, sides)
        source, target = source_view.video(), target_view.video()
    if named_pixels is None:
        mask = np.ones((T, H, W), bool)
        return Twin(source, target, mask, None, None, edit, source_room)
    named_pixels, mask = named_pixels.view(bool), np.empty((T, H, W), bool)
    for k in range(T):
        named_pixels[k] = cv2.dilate(named_pixels[k].view(np.uint8), _NEIGHBORHOOD)
        mask[k] = named_pixels[k] | _changed_pixels(source[k], target[k])
        cv2.copyTo(source[k], (~mask[k]).view(np.uint8), target[k])
    reference = (
        _crop_reference(target, named_pixels)
        if name in ("insert", "replace", "retexture", "recolour")
        else None
    )
    return Twin(source, target, mask, mask & ~named_pixels, reference, edit, source_room)


def _find_named_pixels(parts: np.ndarray, edit: Edit) -> np.ndarray:
    """Return uint8 [T, H, W]: 1 where a part map, uint8 [T, H, W], shows what the instruction names."""
    owner_table = np.zeros(256, np.uint8)
    owner_table[[model.FIRST_BODY + key for key in edit.body_keys] + list(edit.pixel_owners)] = 1
    return np.stack([cv2.LUT(part, owner_table) for part in parts])


def _is_visible(name: str, sides: Sequence[np.ndarray]) -> bool:
    """Return whether what an edit names can be seen: in some clip, or of a replacement in both, as each shows another thing.

    Args:
      name: A name of `choose.EDIT_NAMES`.
      sides: uint8 [T, H, W] for each rendered clip: 1 where it shows what the instruction names.
    """
    if name != "replace":
        sides = [functools.reduce(np.bitwise_or, sides)]
    return all(np.count_nonzero(side) >= MIN_VISIBLE_SHARE * side.size for side in sides)


def _target_paths(edit: Edit, source_room: Room, paths: dict, T: int, seconds: float) -> dict:
    if edit.is_resimulated:
        return simulate.simulate_paths(edit.target_room, T, seconds)
    source_keys = {body.key for body in source_room.bodies}
    out = {**simulate.resting_paths(edit.target_room, T), **{k: paths[k] for k in source_keys}}
    if edit.name == "replace":  # upright on the path of the old body, at its own height
        key = edit.body_keys[0]
        out[key] = out[key].copy()
        out[key][:, 2] += edit.target_room.body(key).height - source_room.body(key).height
        yaw = source_room.body(key).yaw
        out[key][:, 3:] = np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)
    return out


def _changed_pixels(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return bool [H, W]: where two frames differ by more than NOISE_THRESHOLD in some channel, closed."""
    max_difference = functools.reduce(cv2.max, cv2.split(cv2.absdiff(source, target)))
    difference_mask = cv2.threshold(max_difference, NOISE_THRESHOLD, 1, cv2.THRESH_BINARY)[1]
    return cv2.morphologyEx(difference_mask, cv2.MORPH_CLOSE, _NEIGHBORHOOD).view(bool)


def _crop_reference(video: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Crop the masked region from the frame where it is largest, with a margin."""
    k = int(mask.sum((1, 2)).argmax())
    rows, columns = np.flatnonzero(mask[k].any(1)), np.flatnonzero(mask[k].any(0))
    margin = max(2, (rows[-1] - rows[0] + columns[-1] - columns[0]) // 12)
    first_row, first_column = max(0, rows[0] - margin), max(0, columns[0] - margin)
    return video[k, first_row : rows[-1] + margin + 1, first_column : columns[-1] + margin + 1].copy()
