"""Cut-outs: they stand still on the ground, only where it is calm, behind what is nearer, and every mask is exact."""

import dataclasses
from types import SimpleNamespace
from unittest import mock

import cv2
import numpy as np
import pytest

from data_synth import footage, generate
from data_synth.cutouts import library, placement, render
from data_synth.cutouts.surfaces import Surfaces
from data_synth.generate import PairOptions
from data_synth.operators import camera_track, footage_appearance
from data_synth.recipes import cutouts, registry
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data import buckets, pair
from v2v.errors import InputError
from v2v.video import video as codec

SIZE = (5, 72, 96)


def picture(color, shape):
    rgba = np.zeros((40, 30, 4), np.uint8)
    if shape == "disc":
        cv2.circle(rgba, (15, 20), 14, (*color, 255), -1)
    else:
        rgba[4:38, 6:26] = (*color, 255)
    return rgba


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    root = tmp_path_factory.mktemp("objects")
    for name, color, shape in (
        ("red_ball-2", (220, 30, 40), "disc"),
        ("1f422", (40, 160, 60), "box"),
        ("crate", (50, 80, 210), "box"),
    ):
        cv2.imwrite(str(root / f"{name}.png"), cv2.cvtColor(picture(color, shape), cv2.COLOR_RGBA2BGRA))
    (root / "license.txt").write_text("CC0\n")
    return root


def pan(dx=2.0, dy=0.5, T=5):
    """A smooth random texture that the camera passes over."""
    wide = np.random.default_rng(0).integers(113, 143, (60, 80, 3)).astype(np.float32)
    wide = cv2.resize(wide, (320, 240), interpolation=cv2.INTER_CUBIC)
    moves = [np.float32([[1, 0, -40 - k * dx], [0, 1, -40 - k * dy]]) for k in range(T)]
    return np.stack([np.clip(cv2.warpAffine(wide, m, (96, 72)), 0, 255).astype(np.uint8) for m in moves])


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    codec.write_video(codec.Video.from_array(pan(T=7), 8.0), root / "pan.mp4")
    return root


def test_names(objects, tmp_path):
    folder = library.read_cutout_folder(objects)
    assert folder.names == ("turtle", "crate", "red ball") and folder.license == "CC0"
    cut = folder.load(2)
    assert cut.picture.shape == (29, 29, 4)  # what is transparent all around is cut away
    (tmp_path / "a.png").write_bytes((objects / "crate.png").read_bytes())
    (tmp_path / "1f1e9-1f1ea.png").write_bytes(b"no picture")
    (tmp_path / "b.png").write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    (tmp_path / "names.csv").write_text("file,name\na.png,wooden box\n1f1e9-1f1ea.png,flag\n")
    folder = library.read_cutout_folder(tmp_path)
    assert folder.names == ("flag", "wooden box", "b") and folder.license == "unknown"
    assert folder.load(0).reason == "unreadable cut-out 1f1e9-1f1ea.png"
    assert folder.load(2).reason == "cut-out b.png has no transparent background"
    (tmp_path / "names.csv").unlink()
    (tmp_path / "b.txt").write_text("A garden gnome.\nde.utf8=Ein Gartenzwerg.\n")
    assert library.read_cutout_folder(tmp_path).names[-1] == "garden gnome"
    (tmp_path / "names.csv").write_text("file,name\nmissing.png,x\n")
    with pytest.raises(InputError, match=r"expected files of the folder, got 'missing.png'"):
        library.read_cutout_folder(tmp_path)


def test_the_track_is_the_cameras():
    track = camera_track.track_camera(pan())
    assert track.agreement > 0.9 and not track.is_still
    for k, matrix in enumerate(track.matrices):
        np.testing.assert_allclose(matrix[:2, 2], (-2.0 * k, -0.5 * k), atol=0.25)
    steady, seen = camera_track.stabilize(pan(), track)
    difference = np.abs(steady[4].astype(int) - pan()[0]).mean(-1)
    assert difference[seen[4]].mean() < 3 and not seen[4].all()
    assert camera_track.track_camera(np.repeat(pan()[:1], 4, 0)).is_still
    assert camera_track.track_camera(np.full((3, 48, 64, 3), 90, np.uint8)) is None


def test_nothing_stands_where_something_passes():
    video = np.repeat(pan()[:1], 5, 0)
    for k in range(5):
        video[k, 8:, 18 * k : 18 * k + 24] = 250
    ground = placement.survey_ground(video)
    assert isinstance(ground, Rejected) or ground.find_place(build_rng(0, "p"), 1.0, height=20.0) is None
    calm = placement.survey_ground(np.repeat(pan()[:1], 5, 0))
    assert calm.find_place(build_rng(0, "p"), 1.0, height=20.0) is not None


def test_nothing_stands_across_what_may_be_in_front():
    """A meadow under a sky with an animal on it that no mask knows: objects stand on the grass, never before the animal or partly so."""
    frame = np.full((180, 320, 3), (90, 150, 60), np.uint8)
    frame[:80] = (150, 190, 230)
    frame[60:150, 120:180] = (120, 115, 110)
    surfaces = Surfaces.of(frame)
    box = lambda x, y, size: (x / 320, (y - size) / 180, (x + size) / 320, y / 180)  # noqa: E731
    assert surfaces.is_one(*box(30, 160, 40)) and surfaces.is_one(
        *box(220, 110, 50)
    )  # before grass, and before the horizon
    assert not surfaces.is_one(*box(100, 150, 40)) and not surfaces.is_one(
        *box(160, 140, 40)
    )  # before a leg, an arm
    assert not surfaces.is_one(*box(130, 140, 30))  # on its belly
    still = np.repeat(frame[None], 4, 0)
    ground = placement.Ground(
        camera_track.CameraTrack(np.stack([np.eye(3)] * 4), 1.0), np.zeros((180, 320)), np.zeros((180, 320))
    )
    assert ground.find_place(build_rng(0, "p"), 1.0, height=40.0) is not None
    moving = np.zeros(still.shape[:3], bool)
    moving[:, 60:150, 120:180] = True
    known = dataclasses.replace(ground, moving=moving)
    behind, before = placement.Place(150, 140, 40, 1.0), placement.Place(150, 170, 40, 1.0)
    assert not known.is_free(behind) and known.is_free(
        before
    )  # all of it would be hidden; nearer than the animal
    assert known.is_free(placement.Place(190, 140, 40, 1.0))  # less than half is
    for seed in range(8):
        place = dataclasses.replace(ground, surfaces=surfaces).find_place(
            build_rng(seed, "p"), 1.0, height=40.0
        )
        assert place is not None and (place.box[2] < 124 or place.box[0] > 176)


def test_no_object_ends_where_another_stands():
    ground = placement.Ground(
        camera_track.CameraTrack(np.eye(3)[None], 1.0), np.zeros((180, 320)), np.zeros((180, 320))
    )
    place, other = placement.Place(100, 150, 40, 1.0), placement.Place(120, 155, 40, 1.0)
    assert ground.is_free(place) and not ground.is_free(place, (other,))
    objects = cutouts.PlacedObjects(
        None, placement.Place(60, 150, 40, 1.0), (), (placement.Place(200, 150, 60, 1.0),)
    )
    backdrop = SimpleNamespace(
        clip=footage.Clip(np.zeros((1, 180, 320, 3), np.uint8), "", {}),
        ground=ground,
        draw=lambda picture, at, number: at,
    )
    cut = library.Cutout(np.ones((8, 8, 4), np.float32), "ball", "ball.png")
    for seed in range(40):
        drawn = dataclasses.replace(objects, cutout=cut)
        with mock.patch.object(cutouts, "_draw_objects", return_value=drawn):
            change = cutouts.move(backdrop, None, build_rng(seed, "m"))
        if not isinstance(change, Rejected):
            assert not placement._overlap(change.target_layers[0], objects.other_places[0])


def test_objects_move_with_the_ground_and_leave_the_rest(objects):
    video = pan(dx=1.0, dy=0.0)
    ground, look = placement.survey_ground(video), footage_appearance.measure_look(video)
    place = placement.Place(48.0, 60.0, 24.0, 0.75)
    cut = library.read_cutout_folder(objects).load(1)
    shadow = render.sample_shadow(build_rng(0, "s"))
    layer = render.draw_layer(cut.picture, place, ground.track, shadow, look, build_rng(0, "g"), (72, 96))
    drawn = render.compose(video, [layer])
    solid, dark = layer.footprint(72, 96), layer.footprint(72, 96, "shadow")
    np.testing.assert_array_equal(drawn[~(solid | dark)], video[~(solid | dark)])
    centers = [np.nonzero(mask)[1].mean() for mask in solid]
    np.testing.assert_allclose(np.diff(centers), -1.0, atol=0.3)
    assert dark.any() and (drawn[dark & ~solid] <= video[dark & ~solid]).all()
    hidden = np.zeros(video.shape[:3], bool)
    hidden[:, :, 48:] = True
    half = render.draw_layer(
        cut.picture, place, ground.track, shadow, look, build_rng(0, "g"), (72, 96), hidden
    )
    covered = render.compose(video, [half])
    np.testing.assert_array_equal(covered[:, :, 48:], video[:, :, 48:])


@pytest.mark.parametrize("name", registry.FAMILIES["cutouts"])
def test_pairs(name, objects, clips):
    sources = Sources(clips=str(clips), cutouts=str(objects), license="CC0")
    options = PairOptions(*SIZE, (name,), 0.0, sources=sources)
    made = next(p for seed in range(40) if isinstance(p := generate.make_pair(seed, options), pair.Pair))
    again = generate.make_pair(made.seed, options)
    np.testing.assert_array_equal(made.target, again.target)
    outside = made.mask == 0
    np.testing.assert_array_equal(made.source[outside], made.target[outside])
    assert made.instructions == again.instructions and len(made.instructions) >= 4
    assert made.provenance["cutouts_license"] == "CC0"
    assert (made.reference is not None) == (name in ("cutout-insert", "cutout-replace"))
    if name != "cutout-recolour":
        quad = pair.build_quadmask(made)
        assert set(np.unique(quad)) == {0, 63, 127, 255}
        np.testing.assert_array_equal(quad == pair.KEEP, outside)
        back = pair.decode_pair(pair.encode_pair(made))
        np.testing.assert_array_equal(pair.build_quadmask(back), quad)
        assert set(np.unique(buckets.crop_pair(made, (5, 36, 48)).effect)) == {0, pair.OVERLAP, 255}
    if name not in ("cutout-recolour", "cutout-resize"):
        assert made.provenance["reverse_instructions"]


def test_painting_changes_the_hue_alone():
    rgba = np.float32(picture((220, 30, 40), "disc")) / 255
    painted = cutouts.paint(rgba, 220.0)
    assert abs(cutouts.find_hue(painted) - 220) < 15
    np.testing.assert_array_equal(painted[..., 3], rgba[..., 3])
    np.testing.assert_allclose(painted[20, 15, :3].max(), rgba[20, 15, :3].max(), atol=1e-4)
    assert cutouts.find_hue(np.full((4, 4, 4), 0.5, np.float32)) is None


def test_what_is_missing_is_told(clips):
    with pytest.raises(InputError, match="add --cutouts DIR"):
        registry.build_recipe("cutout-insert", Sources(clips=str(clips)))
    with pytest.raises(InputError, match="expected at least one picture"):
        registry.build_recipe("cutout-insert", Sources(cutouts=str(clips)))
    assert registry.find_unused_sources(("sepia",), Sources(cutouts="x", pictures="y")) == [
        "--pictures",
        "--cutouts",
    ]


def test_a_plain_clip_takes_none(objects, tmp_path):
    codec.write_video(codec.Video.from_array(np.full((6, 72, 96, 3), 120, np.uint8), 8.0), tmp_path / "p.mp4")
    options = PairOptions(
        *SIZE, ("cutout-insert",), sources=Sources(clips=str(tmp_path), cutouts=str(objects))
    )
    outcome = generate.make_pair(0, options)
    assert isinstance(outcome, Rejected) and "too little texture" in outcome.reason
    assert footage.decode_clip(str(tmp_path / "p.mp4")).frames.shape[0] == 6
