"""Edits of footage whose truth is exact: camera, time, looks in masks, marks, two edits at once, and pictures as footage."""

import cv2
import numpy as np
import pytest

from data_synth import footage, generate, pictures
from data_synth.generate import PairOptions
from data_synth.recipes import registry, time_edits
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from tests.data_synth.outcomes import pairs_of
from v2v.errors import InputError
from v2v.video import video as codec

SIZE = (6, 48, 64)


def footage_clip(count):
    """Frames whose number can be read from their mean, over a texture."""
    texture = np.random.default_rng(0).integers(0, 120, (48, 64, 3))
    texture = cv2.GaussianBlur(texture.astype(np.float32), (0, 0), 2)
    return np.stack([np.clip(texture + 6 * k, 0, 255) for k in range(count)]).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("footage")
    clips, photos = root / "clips", root / "photos"
    clips.mkdir(), photos.mkdir()
    codec.write_video(codec.Video.from_array(footage_clip(20), 8.0), clips / "walk.mp4")
    mask = np.zeros((48, 64), np.uint8)
    mask[10:38, 20:44] = 255
    cv2.imwrite(str(clips / "walk.mask.png"), mask)
    (clips / "walk.object.txt").write_text("cat\n")
    picture = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (120, 160, 3), np.uint8), (0, 0), 3)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    cv2.imwrite(str(photos / "garden.png"), picture)
    cv2.imwrite(
        str(photos / "garden.mask.png"), cv2.resize(mask, (160, 120), interpolation=cv2.INTER_NEAREST)
    )
    (photos / "garden.object.txt").write_text("gnome")
    (photos / "garden.txt").write_text("a gnome in a garden")
    cv2.imwrite(str(photos / "tea_source.png"), picture)
    cv2.imwrite(str(photos / "tea.png"), 255 - picture)
    (photos / "tea.txt").write_text("make it a negative\n")
    return clips, photos


def make(name, sources, count=6, transition=0.0, size=SIZE):
    options = PairOptions(*size, (name,), transition, sources=sources)
    return pairs_of(generate.make_pair(seed, options) for seed in range(count))


@pytest.mark.parametrize("name", [*registry.FAMILIES["camera"], *registry.FAMILIES["time"]])
def test_camera_and_time(name):
    pairs = make(name, Sources(), 4, transition=1.0)
    assert pairs
    for pair in pairs:
        start, end = pair.active
        on = pair.mask.any((1, 2))
        assert pair.mask[on].all() and on[start] and on[end - 1] and not on[:start].any()
        np.testing.assert_array_equal(pair.source[~on], pair.target[~on])
        assert "transition" not in pair.provenance  # the edit says by itself when it begins
    again = make(name, Sources(), 4, transition=1.0)
    np.testing.assert_array_equal(pairs[-1].target, again[-1].target)


@pytest.mark.parametrize("name", time_edits.EDITS)
def test_frames_come_at_the_times_that_are_said(name):
    for seed in range(30):
        timing = time_edits.choose_timing(name, build_rng(seed, "t"), 12)
        source, target, start = timing.source, timing.target, timing.start
        if name == "slow-motion":
            assert (np.diff(source) == timing.factor).all() and (np.diff(target[start:]) == 1).all()
        elif name == "speed-up":
            assert (np.diff(source) == 1).all() and (np.diff(target[start:]) == timing.factor).all()
        elif name == "reverse":
            assert (target == source[::-1]).all()
        elif name == "freeze":
            assert (target[start:] == start).all()
        else:
            assert target.min() >= 0 and (np.diff(target[start:]) == -1).all()
        if name != "reverse":
            np.testing.assert_array_equal(source[: start + 1], target[: start + 1])


@pytest.mark.parametrize("name", time_edits.EDITS)
def test_times_are_those_of_one_shot(name):
    """Also where only the target would show what comes after the cut."""
    film = np.concatenate([footage_clip(8), 255 - footage_clip(20)])
    clips = lambda seed, T, H, W: footage.Clip(film[:T], "", {})  # noqa: E731
    outcomes = [time_edits.time_pair(name, clips, seed, *SIZE) for seed in range(12)]
    for outcome in outcomes:
        if isinstance(outcome, Rejected):
            assert outcome.reason == "cut inside"
        else:
            assert outcome.target.mean((1, 2, 3)).max() < 125
    reads_on = name in ("slow-motion", "speed-up")
    assert any(isinstance(outcome, Rejected) for outcome in outcomes) == reads_on


@pytest.mark.parametrize("kind", ["clips", "pictures"])
@pytest.mark.parametrize("name", [*registry.FAMILIES["grounding"], "look-on-object", "look-on-background"])
def test_masks_say_where(name, kind, folders):
    path = folders[0] if kind == "clips" else folders[1]
    pairs = make(name, Sources(**{kind: str(path)}), 4)
    assert pairs
    for pair in pairs:
        outside = pair.mask == 0
        np.testing.assert_array_equal(pair.source[outside], pair.target[outside])
        words = " ".join(pair.instructions)
        assert ("cat" if kind == "clips" else "gnome") in words or "background" in words or "mask" in words
        if kind == "clips" and name == "look-on-object":
            assert (pair.mask[:, 12:36, 22:42] == 255).all() and not pair.mask[:, :8].any()


def test_looks_on_clips(folders):
    pairs = make("look-on-clip", Sources(clips=str(folders[0]), license="CC0"), 12)
    assert len({pair.edit for pair in pairs}) > 4 and {pair.provenance["license"] for pair in pairs} == {
        "CC0"
    }
    for pair in pairs:
        np.testing.assert_array_equal(pair.source[pair.mask == 0], pair.target[pair.mask == 0])


def test_two_edits_at_once(folders):
    pairs = make("compound", Sources(clips=str(folders[0])), 8)
    assert len(pairs) > 3
    for pair in pairs:
        np.testing.assert_array_equal(pair.source[pair.mask == 0], pair.target[pair.mask == 0])
        assert len(pair.provenance["steps"]) == 2 and " + " in pair.edit
        assert all(len(sentence.split()) > 5 for sentence in pair.instructions)
    assert {pair.provenance["clip"] for pair in pairs} == {"walk.mp4"}


def test_pictures_are_clips(folders, tmp_path):
    clips, photos = folders
    folder = pictures.read_picture_folder(photos)
    assert folder.files == ("garden.png",)
    clip = folder(3, *SIZE)
    assert clip.video.shape == (*SIZE, 3) and clip.caption == "a gnome in a garden"
    assert (clip.video[0] != clip.video[-1]).any()
    np.testing.assert_array_equal(folder(3, *SIZE).video, clip.video)
    assert folder(3, 2, 400, 600) == Rejected("picture garden.png is smaller than the clip")
    both = make("to-canny", Sources(clips=str(clips), pictures=str(photos)), 12)
    assert {pair.provenance.get("picture", "clip") for pair in both} == {"garden.png", "clip"}
    assert {pair.recipe for pair in make("sketch", Sources(pictures=str(photos)), 2)} == {"look"}
    with pytest.raises(InputError, match="expected at least one picture"):
        pictures.read_picture_folder(tmp_path)


def test_pictures_before_and_after(folders):
    sources = Sources(pictures=str(folders[1]), license="CC0")
    first, second = make("before-after", sources, 2)
    assert first.instructions == ("make it a negative",) and first.provenance["license"] == "CC0"
    assert np.abs(first.source.astype(int) + first.target - 255).max() <= 1
    assert (first.source != second.source).any()  # another camera move
    with pytest.raises(InputError, match="add --pictures DIR"):
        registry.build_recipe("before-after", Sources())
    with pytest.raises(InputError, match="expected pictures before and after"):
        registry.build_recipe("before-after", Sources(pictures=str(folders[0])))
