"""Lifting: never outside, exactly the stated move, the same on both pictures."""

import cv2
import numpy as np
import pytest

from data_synth.operators import camera_move

SIZES = [(480, 832), (64, 64), (720, 1280), (832, 480), (300, 1200), (17, 23)]


@pytest.mark.parametrize("H, W", SIZES)
@pytest.mark.parametrize("frames", [2, 9, 81])
def test_no_pixel_from_outside_in_10000_draws(H, W, frames):
    n = 10_000
    moves = camera_move.sample_trajectories(np.random.default_rng(frames + W), n, frames, H, W)
    # An affine map takes a frame's pixel grid to a parallelogram: its corners are the extreme positions.
    corners = np.array([[0, 0, 1], [W - 1, 0, 1], [0, H - 1, 1], [W - 1, H - 1, 1]], float).T
    for k in range(frames):
        at = moves[:, k] @ corners
        assert at.min() > -1e-7 and at[:, 0].max() < W - 1 + 1e-7 and at[:, 1].max() < H - 1 + 1e-7


@pytest.mark.parametrize("H, W", SIZES[:4])
def test_moves_are_linear_in_range_and_half_reversed(H, W):
    frames, n = 9, 4000
    moves = camera_move.sample_trajectories(np.random.default_rng(5), n, frames, H, W)
    neutral = np.abs(moves - np.eye(2, 3)).max((2, 3)) < 1e-9
    first, last = neutral[:, 0], neutral[:, -1]
    assert np.all(first ^ last) and 0.46 < last.mean() < 0.54
    forward = np.where(last[:, None, None, None], moves[:, ::-1], moves)
    zoom = np.hypot(forward[..., 0, 0], forward[..., 1, 0])
    angle = np.arctan2(forward[..., 1, 0], forward[..., 0, 0])
    centre = forward @ np.array([(W - 1) / 2, (H - 1) / 2, 1]) - np.array([(W - 1) / 2, (H - 1) / 2])
    u = np.arange(frames) / (frames - 1)
    np.testing.assert_allclose(angle, u * angle[:, -1:], atol=1e-9)
    np.testing.assert_allclose(zoom, 1 + u * (zoom[:, -1:] - 1), atol=1e-9)
    np.testing.assert_allclose(centre, u[:, None] * centre[:, -1:], atol=1e-7)
    assert (
        zoom.min() >= 0.66 - 1e-9 and zoom.max() <= 1 + 1e-9 and np.abs(angle).max() <= np.deg2rad(15) + 1e-9
    )
    assert np.all(np.abs(centre) <= 0.33 * np.array([W, H]) + 1e-9)
    # and the ranges are used, not shrunk to nothing
    assert zoom[:, -1].min() < 0.68 and np.abs(angle).max() > 0.95 * camera_move.max_angle(frames, H, W)
    assert np.abs(centre[:, -1]).max() > 0.1 * min(H, W)


def test_greatest_angle_is_where_the_zoom_runs_out():
    # 832 x 480 x 81: 1 - theta A / B = 0.66 to first order, hence near 0.34 * 479 / 831 = 11.2 degrees
    assert abs(np.rad2deg(camera_move.max_angle(81, 480, 832)) - 11.2) < 0.15
    assert camera_move.max_angle(81, 64, 64) == pytest.approx(camera_move.MAX_ANGLE)
    assert camera_move.max_angle(2, 480, 832) == pytest.approx(camera_move.MAX_ANGLE)
    assert 0 < camera_move.max_angle(81, 100, 1000) < np.deg2rad(3)


def test_warp_is_exact_between_pixels():
    H, W = 40, 60
    y, x = np.mgrid[:H, :W].astype(float)
    ramp = np.clip(np.stack([4 * x, 5 * y, 2 * x + 2 * y], -1), 0, 255)
    moves = camera_move.sample_trajectories(np.random.default_rng(1), 20, 5, H, W)
    for move in moves:
        count = camera_move.warp_picture(ramp.astype(np.uint8), move)
        for k in range(5):
            at = np.einsum("ij,hwj->hwi", move[k], np.stack([x, y, np.ones_like(x)], -1))
            want = np.stack([4 * at[..., 0], 5 * at[..., 1], 2 * at[..., 0] + 2 * at[..., 1]], -1)
            np.testing.assert_allclose(
                count[k], want, atol=0.51
            )  # rounding alone: bilinear is exact on a ramp


def test_warp_never_blends_with_a_border(monkeypatch):
    plain = np.full((30, 50, 3), 200, np.uint8)
    monkeypatch.setattr(cv2, "BORDER_REPLICATE", cv2.BORDER_CONSTANT)  # outside would now be black
    for move in camera_move.sample_trajectories(np.random.default_rng(2), 200, 4, 30, 50):
        assert camera_move.warp_picture(plain, move).min() >= 199


def test_lift_keeps_unmasked_pixels_equal_and_moves_alike():
    rng = np.random.default_rng(3)
    source = rng.integers(0, 256, (48, 64, 3), np.uint8)
    target, mask = source.copy(), np.zeros((48, 64), np.uint8)
    target[20:30, 10:40], mask[20:30, 10:40] = 255 - target[20:30, 10:40], 255
    for move in camera_move.sample_trajectories(rng, 30, 6, 48, 64):
        a, b, m = camera_move.lift_pictures(source, target, mask, move)
        np.testing.assert_array_equal(a[m == 0], b[m == 0])
        assert 0 < (m > 0).mean() < 0.75 and set(np.unique(m)) <= {0, 255}
        neutral_frame = int(np.abs(move - np.eye(2, 3)).max((1, 2)).argmin())  # the neutral end
        np.testing.assert_array_equal(a[neutral_frame], source)
        np.testing.assert_array_equal(b[neutral_frame], target)


def test_single_frame_and_reference():
    picture = np.random.default_rng(4).integers(0, 256, (20, 30, 3), np.uint8)
    moves = camera_move.sample_trajectories(np.random.default_rng(5), 1, 1, 20, 30)[0]
    np.testing.assert_array_equal(camera_move.warp_picture(picture, moves)[0], picture)
    varied = [camera_move.vary_reference(picture, np.random.default_rng(s)) for s in range(5)]
    assert all(v.shape == picture.shape and v.dtype == np.uint8 for v in varied)
    assert all((v != picture).mean() > 0.2 for v in varied)
