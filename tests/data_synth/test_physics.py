"""Rooms: simulation, exact truth, twins and their masks. Pictures need OpenGL, so those tests skip without it."""

import dataclasses
import importlib.util

import cv2
import numpy as np
import pytest

if (
    importlib.util.find_spec("mujoco") is None
):  # not importorskip: MuJoCo chooses its OpenGL when first imported
    pytest.skip("needs the extra scenes", allow_module_level=True)

from data_synth import generate, quality
from data_synth.generate import PairOptions
from data_synth.language import grammar, rooms
from data_synth.physics import choose, draw, edits, figure, model, simulate, truth
from data_synth.physics.render import RoomView
from data_synth.physics.world import Body, Camera, Figure, Light, Room, Surface
from data_synth.recipes import physics, registry
from data_synth.rejection import Rejected
from tests.data_synth.outcomes import reason_of
from v2v.data import pair
from v2v.errors import InputError

T, H, W = 3, 40, 64


def room(*bodies, **changes) -> Room:
    light = Light(0.6, 1.0)
    camera = Camera((0.2, 0.2), (0.5, 0.5), (2.6, 2.6))
    return Room(
        "loose", Surface("plain", 1, "grey"), Surface("plain", 2, "white"), light, camera, bodies, **changes
    )


def ball(key=0, x=0.0, y=0.0, z=0.2, **changes) -> Body:
    return Body(key, "ball", "red", 0.2, 0.2, (x, y, z), **changes)


@pytest.fixture(scope="module")
def opengl():
    try:
        example_room = room(ball())
        with RoomView(example_room, simulate.resting_paths(example_room, 1), 1, 16, 16, 1.0):
            pass
    except InputError as error:
        pytest.skip(str(error))


def test_free_fall_is_half_g_t_squared():
    example_room = room(ball(z=3.0))
    z = simulate.simulate_paths(example_room, 5, 0.4)[0][:, 2]
    np.testing.assert_allclose(z, 3 - 0.5 * 9.81 * np.linspace(0, 0.4, 5) ** 2, atol=0.02)


def test_taking_the_support_away_lets_the_stack_fall_and_nothing_else_changes():
    support = Body(0, "box", "blue", 0.2, 0.2, (0.0, 0.0, 0.2))
    above = Body(1, "box", "red", 0.15, 0.15, (0.0, 0.0, 0.55))
    beside = Body(2, "cylinder", "green", 0.1, 0.2, (1.0, 0.0, 0.2))
    example_room = room(support, above, beside)
    source_paths = simulate.simulate_paths(example_room, 9, 1.6)
    target_paths = simulate.simulate_paths(example_room.without(0), 9, 1.6)
    assert simulate.max_displacement(source_paths[1]) < 0.02 and source_paths[1][-1, 2] > 0.5
    assert target_paths[1][-1, 2] < 0.2 and target_paths[1][0, 2] == pytest.approx(0.55)
    np.testing.assert_allclose(target_paths[2][:, :3], source_paths[2][:, :3], atol=1e-6)


def test_a_replacement_has_its_own_height_and_stands_where_the_old_thing_stood():
    heights = set()
    for seed in range(12):
        shape = ("ball", "capsule", "cone")[seed % 3]
        high = draw.half_height(shape, 0.2)
        old = Body(0, shape, "red", 0.2, high, (0.3, 0.0, high))
        source_room = room(old)
        paths = simulate.resting_paths(source_room, 2)
        edit = choose.choose_edit("replace", source_room, np.random.default_rng(seed), paths)
        new = edit.target_room.body(0)
        assert new.shape != shape and new.height == draw.half_height(new.shape, 0.2) == new.position[2]
        target_paths = edits._target_paths(edit, source_room, paths, 2, 1.0)
        np.testing.assert_allclose(target_paths[0][:, :3], [new.position] * 2)
        heights.add(new.height)
    assert len(heights) > 3


def test_a_person_keeps_the_length_of_its_limbs_and_stands_on_the_floor():
    for action in figure.ACTIONS:
        at = figure.compute_joints(Figure(action, (0.3, -0.2), 0.7, "red", "blue", 0.3), 9, 1.6)
        for a, b, _, _ in figure.LIMBS:
            length = np.linalg.norm(at[:, figure.JOINTS.index(a)] - at[:, figure.JOINTS.index(b)], axis=1)
            np.testing.assert_allclose(length, length[0], rtol=1e-6, err_msg=f"{action} {a} {b}")
        assert at[..., 2].min() > 0.03 and at[..., 2].min() < 0.2
        assert np.abs(np.diff(at, axis=0)).max() > 0.02, f"{action} moves"


def test_projection_depth_and_parts_agree(opengl):
    example_room = room(ball(x=0.3, y=-0.2))
    with RoomView(example_room, simulate.resting_paths(example_room, 1), 1, 120, 160, 1.0) as view:
        parts, far = view.parts()[0] == model.FIRST_BODY, view.depth()[0]
        x, y, z = view.project(0, np.array([0.3, -0.2, 0.2]))
    rows, columns = np.nonzero(parts)
    assert abs(columns.mean() - x) < 1.5 and abs(rows.mean() - y) < 1.5
    assert far[round(float(y)), round(float(x))] == pytest.approx(
        z - 0.2, abs=0.01
    )  # its surface, a radius nearer


def test_motion_is_where_the_ball_went(opengl):
    example_room = room(ball(x=-0.3))
    path = simulate.resting_paths(example_room, 2)
    path[0][1, :3] = 0.1, 0.05, 0.3
    with RoomView(example_room, path, 2, 90, 160, 1.0) as view:
        move = truth.compute_motion(view)
        ball_pixels = view.parts()[0] == model.FIRST_BODY
        to_eye = view.eye[0] - path[0][0, :3]
        front = 0.2 * to_eye / np.linalg.norm(to_eye)  # the point of its surface in front of its centre
        a, b = (view.project(k, path[0][k, :3] + front)[:2] for k in (0, 1))
    np.testing.assert_allclose(move[0][round(float(a[1])), round(float(a[0]))], b - a, atol=0.2)
    assert np.abs(move[0][~ball_pixels]).max() < 1e-2  # the camera stands still


def test_motion_of_the_ground_under_a_moving_camera(opengl):
    example_room = dataclasses.replace(room(), camera=Camera((0.0, 0.3), (0.5, 0.5), (2.6, 2.2)))
    with RoomView(example_room, {}, 2, 60, 80, 1.0) as view:
        move, point = truth.compute_motion(view), np.array([0.4, 0.3, 0.0])
        (x, y), next_position = (view.project(k, point)[:2] for k in (0, 1))
        np.testing.assert_allclose(
            move[0][round(float(y)), round(float(x))], next_position - (x, y), atol=0.5
        )


def test_pose_video_shows_the_joints(opengl):
    example_room = room(figure=Figure("wave", (0.0, 0.3), -1.5, "red", "blue"))
    example_room = dataclasses.replace(
        example_room, camera=Camera((0.1, 0.1), (0.2, 0.2), (3.6, 3.6), target=(0.0, 0.0, 0.85))
    )
    with RoomView(example_room, {}, 2, 90, 120, 1.0) as view:
        video, parts = truth.render_pose(view), view.parts()
        for k in range(2):
            for x, y, _ in view.project(k, view.joints[k]):
                assert video[k, round(float(y)), round(float(x))].max() > 100
                assert parts[k, round(float(y)), round(float(x))] == model.PERSON


@pytest.mark.parametrize("name", choose.EDIT_NAMES)
def test_every_edit_gives_an_exact_pair_that_passes_the_gates(opengl, name):
    for seed in range(8):
        pair = generate.make_pair(seed, PairOptions(T, H, W, (f"physics-{name}",), 0.0))
        if not isinstance(pair, Rejected):
            break
    assert reason_of(pair) == ""
    assert pair.edit == f"physics-{name}" and quality.find_rejection(pair) is None
    out = pair.mask == 0
    np.testing.assert_array_equal(pair.source[out], pair.target[out])
    if name in ("relight", "camera"):
        assert pair.effect is None and not out.any()
    else:
        assert ((pair.effect > 0) <= (pair.mask > 0)).all() and (pair.effect != pair.mask).any()
    vocabulary = set(grammar.vocabulary()) | set(rooms.vocabulary())
    for text in (*pair.instructions, pair.source_caption, pair.target_caption):
        assert set(grammar.split_words(text)) <= vocabulary, text


def test_a_twin_is_a_function_of_its_seed(opengl):
    a, b = (physics.edit_pair("physics-recolour", 3, T, H, W) for _ in range(2))
    assert pair.encode_pair(a) == pair.encode_pair(b)


def test_a_removed_things_shadow_is_effect_and_not_thing(opengl):
    example_room = room(ball(z=0.7))
    paths = simulate.resting_paths(example_room, 1)
    with RoomView(example_room, paths, 1, 120, 160, 1.0) as view:
        source, ball_pixels = view.video()[0], view.parts()[0] == model.FIRST_BODY
    with RoomView(example_room.without(0), {}, 1, 120, 160, 1.0) as view:
        target = view.video()[0]
    changed = np.abs(source.astype(int) - target).max(-1) > edits.NOISE_THRESHOLD
    shadow = changed & (cv2.dilate(ball_pixels.view(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    assert ball_pixels.sum() > 100 and shadow.sum() > 60  # it hangs above the floor: the shadow lies apart
    assert source[shadow].mean() < target[shadow].mean() - 10
    assert (~changed).mean() > 0.7


def test_what_is_replaced_can_be_seen_before_and_after(opengl, monkeypatch):
    screen = Body(0, "box", "blue", 0.4, 0.25, (0.0, -0.8, 0.25))
    behind = Body(1, "box", "red", 0.1, 0.1, (0.0, 0.4, 0.1))
    low = Camera((0.0, 0.0), (0.1, 0.1), (2.6, 2.6))
    tall = dataclasses.replace(behind, shape="cylinder", height=1.0, position=(0.0, 0.4, 1.0))
    for bodies, is_visible in (((screen, behind), False), ((behind,), True)):
        source_room = dataclasses.replace(room(*bodies), camera=low)
        edit = choose.Edit("replace", source_room.with_body(tall), {}, (1,))
        monkeypatch.setattr(draw, "sample_room", lambda *_, source_room=source_room: source_room)
        monkeypatch.setattr(edits, "choose_edit", lambda *_, edit=edit: edit)
        twin = edits.build_twin("replace", np.random.default_rng(0), T, H, W)
        assert isinstance(twin, edits.Twin) == is_visible


def test_the_default_mix_has_no_rooms_and_needs_no_mujoco(monkeypatch):
    assert "physics" in registry.FAMILIES and "physics" not in registry.DEFAULT_MIX
    monkeypatch.setitem(__import__("sys").modules, "mujoco", None)
    with pytest.raises(InputError, match=r"pip install 'v2v-edit\[scenes\]'"):
        physics.edit_pair("physics-remove", 0, T, H, W)


def test_draws_stand_apart_and_differ_in_colour():
    for seed in range(40):
        for kind in draw.KINDS:
            example_room = draw.sample_room(np.random.default_rng(seed), kind, 1.7)
            colours = [body.color for body in example_room.bodies]
            assert len(set(colours)) == len(colours) and all(
                body.position[2] >= body.height - 1e-9 for body in example_room.bodies
            )
            assert all(draw.stands_out(c, example_room) for c in colours)
            assert (example_room.figure is not None) == (kind == "person")
