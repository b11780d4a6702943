"""Options of the compiler by chip, and those that a compiler doesn't know."""

from types import SimpleNamespace

import jax

from v2v.runtime import compiler_options as options


def devices(kind, count, platform="tpu", slices=1):
    return [
        SimpleNamespace(device_kind=kind, platform=platform, slice_index=i % slices) for i in range(count)
    ]


def test_options_fit_chip_mesh_and_memory():
    assert options.training_options(devices("TPU v5 lite", 1)) == {}
    assert "xla_tpu_scoped_vmem_limit_kib" in options.training_options(devices("TPU v5", 1))
    several = options.training_options(devices("TPU v6 lite", 8))
    assert several == options.COLLECTIVES
    assert (
        options.training_options(devices("TPU v5 lite", 16, slices=2)) == options.COLLECTIVES | options.SLICES
    )
    assert options.training_options(devices("TPU v5 lite", 1), uses_host=True) == options.HOST
    assert options.training_options(devices("NVIDIA H100", 1, "gpu"), uses_host=True) == options.GPU_HOST
    assert options.training_options(devices("cpu", 8, "cpu"), uses_host=True) == {}


def test_options_of_the_autoencoder():
    assert options.autoencoder_options("tpu") == options.CONVOLUTIONS
    assert options.autoencoder_options("gpu") == options.autoencoder_options("cpu") == {}


def test_what_the_compiler_does_not_know_is_left_out():
    options_of_cpus = {"xla_cpu_enable_fast_math": False}
    assert options.supported_options(options_of_cpus, jax.devices()) == (options_of_cpus, ())
    with jax.set_mesh(jax.make_mesh((len(jax.devices()),), ("data",))):  # in which training compiles
        assert options.supported_options(options_of_cpus, jax.devices()[:1]) == (options_of_cpus, ())
    assert options.supported_options(options_of_cpus | {"xla_nonsense": "1"}, jax.devices()) == (
        options_of_cpus,
        ("xla_nonsense",),
    )
