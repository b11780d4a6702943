"""Removal on footage: what other frames show comes back, whatever hides it for ever is refused, and the mask is the difference."""

import cv2
import numpy as np
import pytest

from data_synth import generate
from data_synth.generate import PairOptions
from data_synth.language import phrasing
from data_synth.operators import background, camera_track
from data_synth.operators.moving_objects import find_moving_object
from data_synth.operators.object_removal import remove_object
from data_synth.recipes import footage_removal, registry
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from tests.data_synth.outcomes import pairs_of
from v2v.data import pair as pair_lib
from v2v.video import video as codec

T, H, W = 12, 96, 128


def ground(seed=0, size=(160, 220)):
    coarse = np.random.default_rng(seed).integers(70, 190, (40, 55, 3)).astype(np.float32)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def walk(dx=6, camera=0, shadow=True):
    """A dark figure with a shadow passes; the camera turns by `camera` pixels a frame. Returns clip, mask and the clip without it."""
    clip, plain, mask = (
        np.zeros((T, H, W, 3), np.uint8),
        np.zeros((T, H, W, 3), np.uint8),
        np.zeros((T, H, W), bool),
    )
    wide = ground()
    for k in range(T):
        plain[k] = wide[20 : 20 + H, 20 + k * camera : 20 + k * camera + W]
        clip[k] = plain[k]
        x = 12 + k * dx
        if shadow:
            clip[k, 68:74, x : x + 30] = np.rint(0.6 * clip[k, 68:74, x : x + 30])
        clip[k, 30:70, x : x + 12] = (20, 30, 120)
        mask[k, 30:70, x : x + 12] = True
    return clip, mask, plain


@pytest.mark.parametrize("camera", [0, 2])
def test_what_other_frames_show_comes_back(camera):
    clip, mask, plain = walk(camera=camera)
    removal = remove_object(clip, mask, build_rng(0, "g"))
    assert not isinstance(removal, Rejected), removal
    assert removal.track.is_still == (camera == 0) and removal.unseen_share < 0.02
    np.testing.assert_array_equal(removal.target[~removal.mask], clip[~removal.mask])
    error = np.abs(removal.target.astype(int) - plain)[removal.mask]
    assert error.mean() < 4 and np.percentile(error, 99) < 30
    shadow = (clip != plain).any(-1) & ~mask
    assert removal.effect[shadow].mean() > 0.7 and not removal.effect[mask].any()
    again = remove_object(clip, mask, build_rng(0, "g"))
    np.testing.assert_array_equal(again.target, removal.target)


def test_what_no_frame_shows_is_refused_or_filled():
    clip, mask, plain = walk(dx=0, shadow=False)
    refused = remove_object(clip, mask, build_rng(0, "g"))
    assert refused == Rejected("more than a tenth of what the object hides is never seen")
    asked = []

    def fill(video, missing):
        asked.append((video, missing))
        return plain

    removal = remove_object(clip, mask, build_rng(0, "g"), fill)
    [(_, missing)] = asked
    assert missing[:, 32:68, 14:22].all() and removal.unseen_share > 0.5
    assert np.abs(removal.target.astype(int) - plain).max() <= 8
    busy = Rejected("the inpainter is down", transient=True)
    assert remove_object(clip, mask, build_rng(0, "g"), lambda *_: busy) == busy


def test_other_things_that_move_beside_it():
    clip, mask, _ = walk(shadow=False)
    for k in range(T):
        x = 12 + 6 * k + 14
        clip[k, 30:70, x : x + 14] = (240, 240, 90)
    assert remove_object(clip, mask, build_rng(0, "g")).reason == "something else moves beside the object"


def test_a_wall_without_corners_stands_still():
    clip = (
        np.repeat(np.linspace(60, 180, W)[None, None, :, None], T, 0)
        .repeat(H, 1)
        .repeat(3, 3)
        .astype(np.uint8)
    )
    plain, mask = clip.copy(), np.zeros((T, H, W), bool)
    for k in range(T):
        mask[k, 30:60, 8 * k : 8 * k + 14] = True
    clip[mask] = (200, 20, 20)
    removal = remove_object(clip, mask, build_rng(0, "g"))
    assert np.abs(removal.target.astype(int) - plain).max() <= 3
    drift = np.stack([np.roll(frame, 3 * k, 1) for k, frame in enumerate(plain)])
    assert (
        remove_object(drift, mask, build_rng(0, "g")).reason == "no camera motion that the background follows"
    )


def test_medians_of_what_is_visible():
    video = np.stack([np.full((2, 3, 3), v, np.uint8) for v in (10, 20, 30, 200)])
    hidden = np.zeros((4, 2, 3), bool)
    hidden[3], hidden[:, 1, 2], hidden[:3, 0, 0] = True, True, True
    hidden[3, 0, 0] = False
    plate, unseen = background.find_median(video, hidden)
    assert plate[0, 1, 0] == 20 and plate[0, 0, 0] == 200 and plate[1, 2, 0] == 0
    assert unseen.sum() == 1 and unseen[1, 2]
    brighter = np.stack([ground(1, (H, W)) + np.uint8(2 * k) for k in range(5)])
    still = camera_track.CameraTrack(np.tile(np.eye(3), (5, 1, 1)), 1.0)
    nothing = np.zeros((5, H, W), bool)
    nothing[:, 40:60, 40:60] = True
    nothing[4, 40:60, 40:60] = False
    found = background.build_background(brighter, nothing, still)
    assert (
        np.abs(found.frames[0].astype(int) - brighter[0]).max() <= 4
    )  # the light of frame 0, not of frame 4


def test_a_moving_object_is_found():
    clip, mask, _ = walk(shadow=False)
    found = find_moving_object(clip)
    assert (found & mask).sum() > 0.9 * mask.sum() and (found & ~mask).sum() < 0.3 * mask.sum()
    assert find_moving_object(np.repeat(clip[:1], T, 0)) is None
    assert find_moving_object(walk(camera=3)[0]) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("walks")
    clip, _, _ = walk()
    codec.write_video(codec.Video.from_array(clip, 8.0), root / "walk.mp4", crf=10)
    return root


def test_recipes_find_what_moves_by_themselves(folder, tmp_path):
    cutouts = tmp_path / "things"
    cutouts.mkdir()
    rgba = np.zeros((40, 40, 4), np.uint8)
    cv2.circle(rgba, (20, 20), 17, (40, 40, 220, 255), -1)
    cv2.imwrite(str(cutouts / "red ball.png"), rgba)
    example = footage_removal.__file__.replace(
        "recipes/footage_removal.py", "experts/examples/moving_object.toml"
    )
    sources = Sources(clips=str(folder), experts=(example,), cutouts=str(cutouts))
    options = PairOptions(T, H, W, ("removal", "insertion", "replacement"), 0.0, sources=sources)
    pairs = {pair.edit: pair for pair in pairs_of(generate.make_pair(seed, options) for seed in range(8))}
    assert set(pairs) == {"removal", "insertion", "replacement"}
    for pair in pairs.values():
        np.testing.assert_array_equal(pair.source[pair.mask == 0], pair.target[pair.mask == 0])
        assert pair.provenance["camera"] == "still" and pair.effect.any()
        pair_lib.build_quadmask(pair)
    assert "moving object" in " ".join(pairs["removal"].instructions)
    assert pairs["insertion"].reference is not None and "red ball" in " ".join(
        pairs["replacement"].instructions
    )
    target, changed = pairs["replacement"].target.astype(int), pairs["replacement"].mask > 0
    red = (target[..., 0] - np.maximum(target[..., 1], target[..., 2]) > 60) & changed
    centers = [np.nonzero(plane)[1].mean() for plane in red]
    np.testing.assert_allclose(np.diff(centers), 6, atol=2)  # it goes where the figure went


def test_footage_has_a_version_of_its_own():
    assert registry.recipe_versions(("removal",)) == {"removal": "2"}
    versions = {"removal": "2", "removal of footage": "4", "words": phrasing.VERSION}
    assert registry.recipe_versions(("removal",), True) == versions
