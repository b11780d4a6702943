"""Conversions of pixel values: the same numbers from NumPy and JAX, and back; floats to bytes."""

import jax
import numpy as np

from v2v.video.pixels import denormalize_pixels, normalize_pixels, round_to_uint8

LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)


def test_scaling_is_the_formula_bit_for_bit():
    values = normalize_pixels(LEVELS)
    assert values.dtype == np.float32 and values.min() == -1 and values.max() == 1
    np.testing.assert_array_equal(values, LEVELS.astype(np.float32) / 127.5 - 1)
    np.testing.assert_array_equal(denormalize_pixels(values), (values + 1) * 127.5)


def test_numpy_and_jax_agree():
    values = normalize_pixels(LEVELS)
    for normalize, denormalize in (
        (normalize_pixels, denormalize_pixels),
        (jax.jit(normalize_pixels), jax.jit(denormalize_pixels)),
    ):
        # A compiler may divide by multiplying with the reciprocal, which rounds differently in the last bit.
        np.testing.assert_allclose(normalize(jax.numpy.asarray(LEVELS)), values, rtol=0, atol=2e-7)
        np.testing.assert_array_equal(denormalize(jax.numpy.asarray(values)), denormalize_pixels(values))


def test_levels_survive_the_way_there_and_back():
    back = denormalize_pixels(normalize_pixels(LEVELS))
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back.round().astype(np.uint8), LEVELS)


def test_half_precision_stays_half_precision():
    assert denormalize_pixels(np.zeros(2, np.float16)).dtype == np.float16


def test_levels_are_rounded_and_clipped():
    levels = np.float32([[-3, 0.4, 0.6, 254.7, 300]])
    out = np.empty((1, 5), np.uint8)
    round_to_uint8(levels, out)
    assert round_to_uint8(levels).dtype == np.uint8
    for rounded in (out, round_to_uint8(levels)):
        np.testing.assert_array_equal(rounded, [[0, 0, 1, 255, 255]])
