"""The small edit on the large clip: exact where a colour map explains it, sharp at objects, unmoved by noise."""

import cv2
import numpy as np
import pytest

from tests.example_clips import psnr
from v2v.video.detail_transfer import blur, color_map, local_affine
from v2v.video.detail_transfer.transfer import DetailTransfer, enlarge, evenly_spaced_frames

GREY = np.tile(np.float32([0.299, 0.587, 0.114]), (3, 1))
PHOTOMETRIC = {
    "identity": lambda x: x,
    "grey": lambda x: x @ GREY.T,
    "negative": lambda x: 255 - x,
    "night": lambda x: 255 * (x / 255) ** 1.25 * np.float32([0.32, 0.4, 0.66]),
    "brighter": lambda x: 255 * (x / 255) ** 0.55,
    "warm": lambda x: x * np.float32([1.22, 1.02, 0.62]) + np.float32([8, 0, 0]),
    "tones": lambda x: 127.5 * (np.floor(x / 127.5) + np.clip((x / 127.5 % 1 - 0.5) / 0.4 + 0.5, 0, 1)),
}


def texture(rng, n, roughness=0.8):
    """Natural-looking colours: noise at every scale, coarse ones strongest. float32 [n, n, 3] in levels."""
    out = np.zeros((n, n, 3), np.float32)
    for size in (4, 8, 16, 32, 64, 128, n):
        grain = rng.normal(0, 1, (size, size, 3)).astype(np.float32) @ np.float32(
            [[1, 0.7, 0.6], [0.3, 1, 0.5], [0.1, 0.4, 1]]
        )
        out += cv2.resize(grain, (n, n), interpolation=cv2.INTER_CUBIC) * size**-roughness
    return np.clip(120 + 45 * (out - out.mean()) / out.std(), 2, 253)


def clip(n=256, T=3, seed=0):
    rng = np.random.default_rng(seed)
    wide = texture(rng, n + 16)
    return np.stack([wide[4 * t : 4 * t + n, 2 * t : 2 * t + n] for t in range(T)]).astype(np.uint8)


def shrink(frames, size=64):
    return np.stack(
        [cv2.resize(f, (size, size), interpolation=cv2.INTER_AREA) for f in frames.astype(np.float32)]
    )


def transfer_frames(frames, source, edit, where=None):
    transfer = DetailTransfer.fit(source, edit, where)
    return np.stack([transfer(*arrays) for arrays in zip(frames, source, edit, strict=True)])


@pytest.mark.parametrize("name", PHOTOMETRIC)
@pytest.mark.parametrize("noise,floor", [(0, 38), (8, 34)])
def test_photometric_edits_reach_full_detail(name, noise, floor):
    frames, edit = clip(), PHOTOMETRIC[name]
    small = shrink(frames)
    rng = np.random.default_rng(1)
    small_edit = np.clip(edit(small), 0, 255) + rng.normal(0, noise, small.shape).astype(np.float32)
    truth = np.clip(edit(frames.astype(np.float32)), 0, 255)
    assert psnr(transfer_frames(frames, small, small_edit), truth) > floor


def test_what_the_vae_loses_cancels():
    """Source and edit blurred alike, as by one VAE, still give the sharp edit."""
    frames = clip()
    small = shrink(frames)
    soft, soft_edit = (np.stack([cv2.GaussianBlur(f, (0, 0), 1.0) for f in a]) for a in (small, 255 - small))
    assert psnr(transfer_frames(frames, soft, soft_edit), 255.0 - frames) > 38


def test_blur_brings_no_detail_back():
    frames = clip()
    blurred = np.stack([cv2.GaussianBlur(f, (0, 0), 12) for f in frames])
    assert psnr(transfer_frames(frames, shrink(frames), shrink(blurred)), blurred) > 33


def discs(colour_of):
    """A shaded disc in front of a texture, and how much of each pixel it covers."""
    frames = clip().astype(np.float32)
    y, x = np.mgrid[:256, :256].astype(np.float32)
    cover = np.clip(40 - np.hypot(x - 120, y - 140) + 0.5, 0, 1)[..., None]
    shade = np.float32(colour_of) * (1 - 0.004 * (x + y - 260))[..., None]
    return (frames * (1 - cover) + shade * cover).clip(0, 255).astype(np.uint8), cover[..., 0]


@pytest.mark.parametrize("noise", [0, 6])
@pytest.mark.parametrize("case", ["remove", "insert", "recolour"])
def test_local_edits_change_the_object_alone(case, noise):
    empty, (red, cover), (blue, _) = clip(), discs((200, 40, 40)), discs((40, 70, 200))
    source, target = {"remove": (red, empty), "insert": (empty, red), "recolour": (red, blue)}[case]
    rng = np.random.default_rng(2)
    small = shrink(source)
    edit = shrink(target) + rng.normal(0, noise, small.shape).astype(np.float32)
    out = transfer_frames(source, small, edit).astype(np.float32)
    inside, outside = cover > 0, cover == 0
    error = ((out - target) ** 2)[:, inside].mean() / ((source.astype(np.float32) - target) ** 2)[
        :, inside
    ].mean()
    assert error < 0.05
    assert psnr(out[:, outside], source[:, outside]) > 34


def test_the_rest_of_a_local_edit_keeps_its_colours():
    """The model takes the disc away and shifts all colours a little; only the first was asked for."""
    (red, cover), empty = discs((200, 40, 40)), clip()
    small = shrink(red)
    out = transfer_frames(red, small, 0.97 * shrink(empty) + np.float32([10, -4, 8])).astype(np.float32)
    assert psnr(out[:, cover == 0], red[:, cover == 0]) > 40
    error, original = ((a.astype(np.float32)[:, cover > 0] - empty[:, cover > 0]) for a in (out, red))
    assert (error**2).mean() < 0.05 * (original**2).mean()


def test_a_mask_keeps_the_rest_of_the_clip_out_of_the_fit():
    frames = clip()
    where = np.zeros((3, 64, 64), bool)
    where[:, 20:40, 10:30] = True
    small = shrink(frames)
    out = transfer_frames(frames, small, np.where(where[..., None], 255 - small, small), where)
    assert psnr(out[:, 84:156, 44:116], 255.0 - frames[:, 84:156, 44:116]) > 38


@pytest.mark.parametrize("H,W", [(1, 1), (3, 200), (64, 64), (117, 61)])
def test_any_size(H, W):
    frames = np.stack([cv2.resize(f, (W, H), interpolation=cv2.INTER_AREA) for f in clip()])
    small = np.stack([cv2.resize(f.astype(np.float32), (64, 64)) for f in frames])
    out = transfer_frames(frames, small, 255 - small)
    assert out.shape == frames.shape and out.dtype == np.uint8 and psnr(out, 255.0 - frames) > 30
    assert enlarge(small[0], H, W).shape == (H, W, 3)


@pytest.mark.parametrize("level", [0, 255])
def test_flat_clips(level):
    frames = np.full((2, 96, 96, 3), level, np.uint8)
    out = transfer_frames(frames, shrink(frames), np.full((2, 64, 64, 3), 77, np.float32))
    assert np.abs(out.astype(int) - 77).max() <= 2


def test_the_map_ignores_outliers():
    """A fifth of the pixels changed otherwise leaves the map of the others."""
    x = np.random.default_rng(0).uniform(0, 255, (20_000, 3)).astype(np.float32)
    y = 255 - x
    y[::5] = (250, 0, 0)
    fitted = color_map.fit_color_map(x, y)(x[None, 1:1000].astype(np.uint8))[0]
    assert np.median(np.abs(fitted - (255 - x[1:1000]))) < 2


def test_the_map_of_a_local_edit_is_the_identity():
    x = np.random.default_rng(0).uniform(0, 255, (20_000, 3)).astype(np.float32)
    y = x.copy()
    y[::4] = 0
    assert color_map.fit_color_map(x, y) is color_map.IDENTITY


@pytest.mark.parametrize("count", [1, 2, 50, 20_000])
def test_some_frames_of_long_clips_are_fitted(count):
    """All of a short clip, and of any clip no more pixels than a bound, from its first frame to its last."""
    rows = evenly_spaced_frames(count, 64, 64)
    assert (
        len(rows) == min(count, 244) and rows[0] == 0 and rows[-1] == count - 1 and np.all(np.diff(rows) > 0)
    )
    assert len(evenly_spaced_frames(count, 704, 1280)) == min(count, 2)


def test_a_region_equals_that_of_the_complete_frame():
    frames = clip(n=250)
    small = shrink(frames)
    edit = small.copy()
    edit[:, 20:40, 10:30] = (200, 40, 40)
    transfer = DetailTransfer.fit(small, edit)
    complete = transfer(frames[1], small[1], edit[1])
    for part in (
        (slice(0, 250), slice(0, 250)),
        (slice(31, 97), slice(2, 177)),
        (slice(249, 250), slice(9, 10)),
    ):
        np.testing.assert_array_equal(transfer(frames[1], small[1], edit[1], part), complete[part])


@pytest.mark.parametrize("H,W,h,w", [(97, 130, 12, 9), (40, 33, 40, 33), (30, 50, 64, 16), (9, 200, 1, 3)])
def test_the_local_part_is_its_formula(H, W, h, w):
    """A I + b + r with A enlarged linearly and b + r cubically, whichever bands of rows it is worked out in."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
    source = rng.uniform(0, 255, (h, w, 3)).astype(np.float32)
    residual = rng.normal(0, 40, (h, w, 3)).astype(np.float32)
    residual[:, w // 2 + 1 :] = 0
    matrix = local_affine._fit_matrix(source, residual)
    level = residual - np.einsum("hwij,hwj->hwi", matrix, source)
    wide = [
        cv2.resize(cv2.resize(a, (W, h), interpolation=how), (W, H), interpolation=how)
        for a, how in ((matrix.reshape(h, w, 9)[..., k : k + 3].copy(), cv2.INTER_LINEAR) for k in (0, 3, 6))
    ]
    truth = cv2.resize(level, (W, H), interpolation=cv2.INTER_CUBIC)
    truth += np.stack([(m * frame).sum(-1) for m in wide], -1)
    part = (slice(0, H), slice(0, W))
    local = local_affine.LocalAffine(source, residual, (H, W), part)
    out = np.zeros((H, 3, W), np.float32)
    for top in range(0, H, 7):
        planes = np.ascontiguousarray(frame[top : top + 7].transpose(2, 0, 1))
        local.add(out[top : top + 7], planes, top)
    np.testing.assert_allclose(out.transpose(0, 2, 1), truth, atol=0.02)


@pytest.mark.parametrize("H,W", [(256, 256), (180, 320)])
@pytest.mark.parametrize("look", ["identity", "grey"])
def test_a_blur_is_carried_as_one(look, H, W):
    """A blur, with or without a change of colours, under noise that hides what the small frames alone could show."""
    frames = np.stack([cv2.resize(f, (W, H), interpolation=cv2.INTER_AREA) for f in clip()])
    blurred = np.stack(
        [cv2.GaussianBlur(PHOTOMETRIC[look](f.astype(np.float32)), (0, 0), 0.05 * H) for f in frames]
    )
    small = shrink(frames)
    edit = shrink(blurred) + np.random.default_rng(1).normal(0, 12, small.shape).astype(np.float32)
    assert psnr(transfer_frames(frames, small, edit), blurred) > 36


@pytest.mark.parametrize("size", [64, 256])
def test_the_blur_is_found(size):
    small = shrink(clip(), size)
    where, sigma = np.ones(small.shape[:3], bool), (size / 32, size / 16)
    edit = blur.blur_frames(small, sigma) * 0.7 + 20
    np.testing.assert_allclose(blur.fit_blur(small, edit, where), sigma, rtol=0.1)
    assert (
        blur.fit_blur(small, shrink(clip(seed=5), size), where) == blur.NO_BLUR
    )  # another picture is no blur of this one
