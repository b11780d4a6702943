"""What an edit runs, lowered for absent devices: attention lies within `shard_map`, or kernels can't be lowered or partitioned.

The 5B model at its full size is lowered for v5e:2x4 where libtpu is installed and for 8 H100 where jax's CUDA plugin is (.ci/run
installs both); tools/checks/compile_edit.py compiles too.
"""

import dataclasses
import importlib.util
from typing import Any

import jax
import pytest

from v2v.checkpoints import parameter_store
from v2v.config import ConditionConfig, debug, wan22_ti2v_5b
from v2v.errors import InputError
from v2v.pipeline.model_programs import build_programs
from v2v.planning import chips, edit_programs, gpus
from v2v.runtime import compiler_options, sharding

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)
needs_cuda = pytest.mark.skipif(not gpus.has_cuda_plugin(), reason="jax's CUDA plugin is not installed")
# The first is what `--manifest` runs; the others split one clip: branches of guidance and tokens, weights, or both tokens and weights.
MESHES = (None, {"data": 2, "seq": 4}, {"data": 1, "fsdp": 8}, {"data": 1, "seq": 4, "tensor": 2})
KERNELS = {"tpu": "tpu_custom_call", "gpu": "__cudnn$fmhaSoftmax"}


def lower(config, mesh, devices):
    """Name of each program → its text."""
    if mesh is None:
        programs = edit_programs.lower_jobs(config, sharding.make_mesh(devices=devices))
    else:
        programs = edit_programs.lower_clip_edit(config, sharding.make_mesh(**mesh, devices=devices))
    return {program.name: program.lowered.as_text() for program in programs}


def lucy(config):
    """The same backbone with the source beside the noise."""
    dit = dataclasses.replace(config.dit, in_channels=2 * config.dit.out_channels)
    return dataclasses.replace(config, dit=dit, condition=ConditionConfig(layout="channel"))


def full_size():
    config = wan22_ti2v_5b()
    return dataclasses.replace(
        config, flow=dataclasses.replace(config.flow, solver="unipc", schedule="diffusers")
    )


@pytest.mark.parametrize(
    "mesh", [None, pytest.param({"data": 2, "fsdp": 2, "seq": 2}, marks=pytest.mark.slow)]
)
def test_an_edits_programs_on_several_devices(mesh):
    config = debug()
    texts = lower(config, mesh, jax.devices()[:8])
    assert set(texts) == {"embed", "encode", "sample", "decode"}
    assert "manual_computation" in texts["sample"]  # kernels are opaque to the partitioner


def assert_kernels_lower(platform, mesh, devices):
    for config in (full_size(), lucy(full_size())):
        texts = lower(config, mesh, devices)
        assert set(texts) == {"embed", "encode", "sample", "decode"}
        assert KERNELS[platform] in texts["sample"] and "manual_computation" in texts["sample"]


@pytest.mark.slow
@needs_libtpu
@pytest.mark.parametrize("mesh", MESHES)
def test_the_5b_lowers_for_eight_tpus(mesh):
    assert_kernels_lower("tpu", mesh, chips.resolve_topology("v5e:2x4")[1])


@pytest.mark.slow
@needs_cuda
@pytest.mark.parametrize("mesh", MESHES)
def test_the_5b_lowers_for_eight_gpus(mesh):
    assert_kernels_lower("gpu", mesh, gpus.absent_gpus("h100", 8))


def test_gpus_that_are_unknown_or_cannot_be_compiled_for_are_refused(monkeypatch):
    with pytest.raises(InputError, match="h100, a100, rtx4090"):
        gpus.absent_gpus("v100", 8)
    monkeypatch.setattr(gpus, "has_cuda_plugin", lambda: False)
    with pytest.raises(InputError, match="jax-cuda12-plugin"):
        gpus.absent_gpus("h100", 8)


@needs_libtpu
@pytest.mark.slow
def test_the_autoencoders_options_reach_the_compiler(monkeypatch):
    """libtpu knows those in use, and refuses another."""
    devices = chips.resolve_topology("v5e:1x1")[1]
    mesh, config = sharding.make_mesh(devices=devices), debug()
    used = compiler_options.CONVOLUTIONS
    assert compiler_options.supported_options(used, devices) == (used, ())
    monkeypatch.setattr(compiler_options, "CONVOLUTIONS", {"xla_nonsense": "1"})
    # Statistics of its own: programs of equal configurations are shared.
    vae = dataclasses.replace(config.vae, mean=(0.5,) * config.vae.z_dim)
    config = dataclasses.replace(config, vae=vae)
    z = jax.ShapeDtypeStruct(
        (1, *vae.latent_shape(1, 32, 32)), "float32", sharding=sharding.replicated_sharding(mesh)
    )
    params = parameter_store.abstract_parameters("vae", config, mesh)
    with jax.set_mesh(mesh):
        programs: Any = build_programs(config)
        decode = programs.decode.lower(params, z)
        with pytest.raises(jax.errors.JaxRuntimeError, match="xla_nonsense"):
            decode.compile()
