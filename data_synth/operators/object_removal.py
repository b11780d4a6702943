"""An object and its shadow taken out of footage, where the footage itself shows what is behind.

clip, object mask → camera track → background → **Removal**. With m the object's mask grown by a margin,

    shadow   pixels darker than the background, connected with m
    alpha    1 on m and shadow, falling to 0 over the margin
    target   alpha (background + grain) + (1 - alpha) clip
    mask     where target and clip differ by more than `_MIN_STEP` levels, grown a little; elsewhere the target is the clip

so mask and effect (the shadow) come from the difference, whatever the object's mask left out. A clip is rejected where other frames don't
show what is hidden, or where something else moves beside the object, whose half would stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from data_synth.operators import camera_track
from data_synth.operators.background import Background, build_background, find_median
from data_synth.operators.footage_appearance import FootageLook, draw_grain, measure_look
from data_synth.rejection import Rejected

# Least share of corners that follow the camera.
_MIN_AGREEMENT = 0.6
# Greatest share of what is hidden that no frame shows, without an inpainter.
MAX_UNSEEN = 0.10
# Margin by which masks grow, a share of the shorter side.
_MARGIN = 0.012
# Grey levels: of a shadow, of the object's parts outside its mask, of what else moves, of a difference that is kept.
_SHADOW_STEP, _OBJECT_STEP, _OTHER_STEP, _MIN_STEP = 9.0, 26.0, 26.0, 3
# Nine tenths of the levels of a clip without corners differ by less from their median where the camera stands still.
_MAX_STILL_STEP = 4.0
# Three quarters of the background's pixels differ less from the clip, in grey levels.
_MAX_RESIDUAL = 6.0
# Greatest share of the ring around the object where something else moves; greatest size of its shadow, and of what its mask left out, as
# shares of the object.
_MAX_OTHER, _MAX_SHADOW, _MAX_REST = 0.2, 1.2, 0.35
# (clip with the background filled in, bool mask of what is still missing) → clip; or a rejection.
Inpainter = Callable[[np.ndarray, np.ndarray], np.ndarray | Rejected]


@dataclasses.dataclass(frozen=True)
class Replacement:
    """A clip with other content where an object was.

    Attributes:
      target: uint8 [T, H, W, 3].
      mask: bool [T, H, W], where it may differ from the clip.
      effect: bool [T, H, W], the part of the mask that is the object's shadow.
    """

    target: np.ndarray
    mask: np.ndarray
    effect: np.ndarray


@dataclasses.dataclass(frozen=True)
class Removal(Replacement):
    """A clip without an object, by what other frames show.

    Attributes:
      unseen_share: Share of what was hidden that no frame shows.
      track: The camera's motion.
    """

    unseen_share: float
    track: camera_track.CameraTrack


def remove_object(
    video: np.ndarray, mask: np.ndarray, rng: np.random.Generator, inpainter: Inpainter | None = None
) -> Removal | Rejected:
    """Take an object out of a clip, or tell why that can't be done.

    Args:
      video: uint8 [T, H, W, 3].
      mask: bool [T, H, W], the object.
      rng: Draws the grain.
      inpainter: Fills what no frame shows; None to reject clips where that is more than `MAX_UNSEEN`.
    """
    margin = _margin_of(mask)
    grown = _grow(mask, margin)
    track = _find_track(video, grown)
    if track is None:
        return Rejected("no camera motion that the background follows")
    background = build_background(video, grown, track)
    if isinstance(background, Rejected):
        return background
    residual = np.abs(video[:, ::2, ::2].astype(np.int16) - background.frames[:, ::2, ::2]).mean(-1)
    around = residual[~(grown | background.unseen)[:, ::2, ::2]]
    if not around.size or np.percentile(around, 75) > _MAX_RESIDUAL:
        return Rejected("the background doesn't hold still")
    shadow = _find_shadow(video, background, grown, margin)
    if isinstance(shadow, Rejected):
        return shadow
    hidden = grown | shadow
    background = build_background(video, hidden, track)
    if isinstance(background, Rejected):
        return background
    missing = background.unseen & hidden
    unseen_share = float(missing.sum() / max(1, hidden.sum()))
    if unseen_share > MAX_UNSEEN and inpainter is None:
        return Rejected("more than a tenth of what the object hides is never seen")
    if _measure_others(video, background, hidden, margin) > _MAX_OTHER:
        return Rejected("something else moves beside the object")
    filled = _fill(background, missing, hidden, video, inpainter if unseen_share > MAX_UNSEEN else None)
    if isinstance(filled, Rejected):
        return filled
    replacement = _blend(video, filled, hidden, grown, margin, measure_look(video), rng)
    return Removal(replacement.target, replacement.mask, replacement.effect, unseen_share, track)


def grow_mask(mask: np.ndarray) -> np.ndarray:
    """Return a mask with the margin by which object masks are too tight, bool [T, H, W]."""
    return _grow(mask, _margin_of(mask))


def take_over(video: np.ndarray, answer: np.ndarray, mask: np.ndarray) -> Replacement:
    """Return a clip with what another program put in an object's place, and with the object's shadow gone where the program took it away.

    Args:
      video: uint8 [T, H, W, 3].
      answer: uint8 [T, H, W, 3], the clip as the program gives it, which may differ a little everywhere.
      mask: bool [T, H, W], the object.
    """
    margin = _margin_of(mask)
    grown = _grow(mask, margin)
    background = Background(answer, np.zeros_like(mask))
    shadow = _find_shadow(video, background, grown, margin)
    # A program that repaints everything tells nothing of shadows.
    hidden = grown if isinstance(shadow, Rejected) else grown | shadow
    return _blend(video, answer, hidden, grown, margin)


def _margin_of(mask: np.ndarray) -> int:
    return max(2, round(_MARGIN * min(mask.shape[1:])))


def _find_track(video: np.ndarray, hidden: np.ndarray) -> camera_track.CameraTrack | None:
    """Return the camera's motion; None where the background follows none. A smooth wall has no corners, but its levels tell that it stands."""
    track = camera_track.track_camera(video, hidden, is_planar=True)
    if track is not None and track.agreement >= _MIN_AGREEMENT:
        return track
    plate, unseen = find_median(video, hidden)
    visible = ~(hidden | unseen)
    steps = np.abs(video.astype(np.int16) - plate).max(-1)[visible]
    if not steps.size or np.percentile(steps, 90) > _MAX_STILL_STEP:
        return None
    return camera_track.CameraTrack(np.tile(np.eye(3), (len(video), 1, 1)), 1.0)


def _grow(mask: np.ndarray, margin: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    return np.stack([cv2.dilate(m.astype(np.uint8), kernel) for m in mask]).astype(bool)


def _find_shadow(
    video: np.ndarray, background: Background, grown: np.ndarray, margin: int
) -> np.ndarray | Rejected:
    """Return what else the object changes: its shadow and parts that its mask left out, bool [T, H, W]."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    out = np.zeros_like(grown)
    for k, frame in enumerate(video):
        if not grown[k].any():
            continue
        rows, columns = np.flatnonzero(grown[k].any(1)), np.flatnonzero(grown[k].any(0))
        reach = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
        area = (
            slice(max(0, rows[0] - reach // 3), rows[-1] + reach // 2 + 1),
            slice(max(0, columns[0] - reach), columns[-1] + reach + 1),
        )
        difference = frame[area].astype(np.float32) - background.frames[k][area]
        difference = cv2.GaussianBlur(difference, (0, 0), max(1.0, margin / 2))
        is_shade = (difference.max(-1) < -_SHADOW_STEP) & (
            frame[area] > 0.3 * background.frames[k][area]
        ).all(-1)
        changed = (is_shade | (np.abs(difference).max(-1) > _OBJECT_STEP)) & ~background.unseen[k][area]
        object_area = grown[k][area]
        count, labels = cv2.connectedComponents((changed | object_area).astype(np.uint8), connectivity=8)
        touched = np.unique(labels[object_area])
        part = np.isin(labels, touched[touched > 0]) & ~object_area
        if (
            part.sum() > _MAX_SHADOW * object_area.sum()
            or (part & ~is_shade).sum() > _MAX_REST * object_area.sum()
        ):
            return Rejected("something else moves beside the object")
        out[k][area] = cv2.dilate(part.astype(np.uint8), kernel) > 0
    return out & ~grown


def _measure_others(video: np.ndarray, background: Background, hidden: np.ndarray, margin: int) -> float:
    """Return the greatest share of the ring around the object, in any frame, that shows something else than the background."""
    ring = _grow(hidden, 2 * margin) & ~hidden & ~background.unseen
    shares = [0.0]
    for frame, plate, where in zip(video, background.frames, ring, strict=True):
        if where.any():
            step = np.abs(frame[where].astype(np.float32) - plate[where]).max(-1)
            shares.append(float((step > _OTHER_STEP).mean()))
    return max(shares)


def _fill(
    background: Background,
    missing: np.ndarray,
    hidden: np.ndarray,
    video: np.ndarray,
    inpainter: Inpainter | None,
) -> np.ndarray | Rejected:
    """Return the background with its gaps filled, uint8 [T, H, W, 3]."""
    frames = background.frames.copy()
    if not missing.any():
        return frames
    if inpainter:
        plain = np.where(hidden[..., None], frames, video)
        answer = inpainter(plain, missing)
        return answer if isinstance(answer, Rejected) else np.where(missing[..., None], answer, frames)
    for k, gap in enumerate(missing):
        if gap.any():
            unseen = background.unseen[k].astype(np.uint8)
            frames[k] = cv2.inpaint(frames[k], unseen, 3, cv2.INPAINT_TELEA)
    return frames


def _blend(
    video: np.ndarray,
    background: np.ndarray,
    hidden: np.ndarray,
    grown: np.ndarray,
    margin: int,
    look: FootageLook | None = None,
    rng: np.random.Generator | None = None,
) -> Replacement:
    """Return a clip with a background where something is hidden, mixed along the border, with the grain of a look where one is given."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    target, mask = video.copy(), np.zeros_like(hidden)
    for k, frame in enumerate(video):
        if not hidden[k].any():
            continue
        wide = cv2.dilate(hidden[k].astype(np.float32), kernel)
        alpha = np.where(hidden[k], 1, cv2.GaussianBlur(wide, (0, 0), margin / 2) * (wide > 0))[..., None]
        grain = 255 * draw_grain(rng, hidden[k].shape, look) if look and rng else 0
        plate = background[k] + grain
        mixed = np.clip(np.rint(alpha * plate + (1 - alpha) * frame), 0, 255).astype(np.uint8)
        step = np.abs(mixed.astype(np.int16) - frame).max(-1) > _MIN_STEP
        differs = cv2.morphologyEx(
            (step & hidden[k]).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)
        )
        mask[k] = (cv2.dilate(differs, kernel) > 0) & (alpha[..., 0] > 0)
        target[k] = np.where(mask[k][..., None], mixed, frame)
    return Replacement(target, mask, mask & ~grown)
