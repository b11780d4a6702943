"""The contract of editing on Wan2.2-TI2V-5B at its real size, by abstract evaluation; and its dtypes at a size that runs."""

import dataclasses
from functools import partial

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import tiny
from v2v.checkpoints import name_mapping, parameter_store, wan
from v2v.config import (
    ConditionConfig,
    LoRAConfig,
    wan21_t2v_1_3b,
    wan21_t2v_14b,
    wan22_a14b,
    wan22_ti2v_5b,
)
from v2v.diffusion.sampler import Sampler
from v2v.models import lora
from v2v.models.initialization import init_adapter
from v2v.models.transformer import DiT

CFG = wan22_ti2v_5b()
f32 = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)


def arguments(cfg, size, batch=1):
    """Noisy latents, flow time and text of a clip."""
    z = f32((batch, *cfg.vae.latent_shape(*size)))
    return z, f32((batch,)), f32((batch, cfg.text.text_len, cfg.text.width))


def count(tree) -> int:
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def adapter():
    return jax.eval_shape(
        partial(init_adapter, cfg=CFG, dit_params=parameter_store.abstract_parameters("dit", CFG)),
        jax.random.key(0),
    )


def test_what_is_trained(adapter):
    """Rank 256 on q, k, v, o and both FFN linears is 0.64 B, as the paper's Table IV; the embeddings are three patch convolutions."""
    assert count(adapter["lora"]) == 30 * 256 * (8 * (3072 + 3072) + 2 * (3072 + 14336)) == 644_874_240
    assert count(adapter["embed"]) == 3 * (48 * 4 * 3072 + 3072)
    merged = jax.eval_shape(
        lora.merge_adapter, parameter_store.abstract_parameters("dit", CFG), adapter["lora"], 1.0
    )
    assert merged == parameter_store.abstract_parameters(
        "dit", CFG
    )  # shapes and types: bfloat16 matmuls, float32 where the original has it
    assert sum(parameter_store.part_bytes(CFG).values()) < 25e9


@pytest.mark.parametrize("size", [(81, 480, 832), (81, 704, 1280), (121, 1280, 704)])
@pytest.mark.parametrize("attention", ["full", "one_way"])
def test_all_conditions(adapter, size, attention):
    """Source, mask and reference as tokens, low-rank path and new embeddings, at the paper's sizes."""
    z, tau, text = arguments(CFG, size)
    picture = f32((1, 1, *z.shape[2:]))
    variables = {"params": parameter_store.abstract_parameters("dit", CFG), **adapter}
    dit = DiT(CFG.dit, ConditionConfig(attention=attention))
    out = jax.eval_shape(dit.apply, variables, z, tau, text, source=z, mask=z, reference=picture)
    assert out == z


@pytest.mark.parametrize("wide", [False, True])
def test_the_sampler(adapter, wide):
    """50 guided steps, for tokens beside the target and for 96 channels in."""
    cfg = CFG
    if wide:
        cfg = dataclasses.replace(
            CFG,
            dit=dataclasses.replace(CFG.dit, in_channels=96),
            condition=ConditionConfig(layout="channel"),
            flow=dataclasses.replace(CFG.flow, solver="unipc", schedule="diffusers"),
        )
        assert parameter_store.abstract_parameters("dit", cfg)["patch_embedding"]["kernel"].shape == (
            96 * 4,
            3072,
        )
    z, _, text = arguments(cfg, (81, 480, 832))
    conditions = {"source": z} if wide else {"source": z, "mask": z, "reference": f32((1, 1, *z.shape[2:]))}
    variables = {
        "params": parameter_store.abstract_parameters("dit", cfg),
        "embed": {} if wide else adapter["embed"],
    }
    sample = Sampler(cfg)
    out = jax.eval_shape(lambda *a: sample(*a, 50, 5.0).latents, variables, z, text, text, conditions)
    assert out == z


def test_an_untrained_adapter_changes_no_bit():
    """bfloat16 matmuls, float32 residual stream: without condition tokens, LoRA at its start equals the base, merged or beside it."""
    small = dataclasses.replace(
        CFG.dit, width=96, ffn_width=160, heads=4, layers=2, text_width=20, text_len=7, freq_dim=32
    )
    cfg = dataclasses.replace(
        CFG, dit=small, text=dataclasses.replace(CFG.text, width=20, text_len=7), lora=LoRAConfig(rank=8)
    )  # fmt: skip
    like = flax.traverse_util.flatten_dict(parameter_store.abstract_parameters("dit", cfg), sep="/")
    flat = {p: jnp.asarray(tiny.normal(p, *x.shape) * x.shape[-1] ** -0.5, x.dtype) for p, x in like.items()}
    params = flax.traverse_util.unflatten_dict(flat, sep="/")
    assert {str(x.dtype) for x in flat.values()} == {"bfloat16", "float32"}
    low = lora.init_lora(jax.random.key(0), params, cfg.lora)
    z, tau, text = tiny.normal("z", 2, 3, 4, 6, 48), np.float32([0.73, 0.05]), tiny.normal("text", 2, 7, 20)
    apply = jax.jit(DiT(cfg.dit).apply)
    base = apply({"params": params}, z, tau, text)
    assert base.dtype == jnp.float32 and base.std() > 0.1
    np.testing.assert_array_equal(apply({"params": params, "lora": low}, z, tau, text), base)
    np.testing.assert_array_equal(apply({"params": lora.merge_adapter(params, low, 1.0)}, z, tau, text), base)
    moved = jax.tree.map(lambda x: x + 0.01, low)
    assert np.abs(apply({"params": params, "lora": moved}, z, tau, text) - base).max() > 1e-3


@pytest.mark.parametrize("build, dit", [(wan21_t2v_1_3b, (825, 1_418_996_800)), (wan21_t2v_14b, (1095, 14_288_491_584)), (wan22_a14b, (1095, 14_288_491_584)), (wan22_ti2v_5b, (825, 4_999_787_712))])  # fmt: skip
def test_tensors_and_parameters_of_the_family(build, dit):
    """The published counts, in both layouts; every tensor of ours has one published name and the other way round."""
    cfg = build()
    vae = (196, 704_688_668) if cfg.vae.residual else (194, 126_892_531)
    assert cfg.parts == ("dit", *(["dit_low"] if build is wan22_a14b else []), "vae", "text")
    for part, expected in (("dit", dit), ("vae", vae)):
        for layout in name_mapping.LAYOUTS:
            entries = name_mapping.map_tensors(part, wan.parameter_shapes(part, cfg), cfg, layout)
            assert (len(entries), sum(int(np.prod(e.shape)) for e in entries)) == expected
            assert len({e.name for e in entries}) == len({(e.path, e.layer) for e in entries}) == len(entries)
    if build is wan22_a14b:
        assert wan.parameter_shapes("dit_low", cfg) == wan.parameter_shapes("dit", cfg)
        sizes = parameter_store.part_bytes(cfg)
        assert sizes["dit_low"] == sizes["dit"] > 28.5e9


def test_names_of_the_autoencoder_without_residual_paths():
    """One flat list of blocks in the original; diffusers nests those of the decoder alone."""
    cfg = wan21_t2v_1_3b()
    shapes = wan.parameter_shapes("vae", cfg)
    names = [
        {e.path: e.name for e in name_mapping.map_tensors("vae", shapes, cfg, layout)}
        for layout in name_mapping.LAYOUTS
    ]
    for path, diffusers, original in (
        ("encoder/down_1_res_0/shortcut/kernel", "down_blocks.3.conv_shortcut.weight", "downsamples.3.shortcut.weight"),
        ("encoder/down_1_resample/time_conv/bias", "down_blocks.5.time_conv.bias", "downsamples.5.time_conv.bias"),
        ("encoder/down_3_res_1/conv2/bias", "down_blocks.10.conv2.bias", "downsamples.10.residual.6.bias"),
        ("decoder/up_1_res_0/shortcut/bias", "up_blocks.1.resnets.0.conv_shortcut.bias", "upsamples.4.shortcut.bias"),
        ("decoder/up_2_resample/conv/kernel", "up_blocks.2.upsamplers.0.resample.1.weight", "upsamples.11.resample.1.weight"),
        ("decoder/up_3_res_2/norm2/gamma", "up_blocks.3.resnets.2.norm2.gamma", "upsamples.14.residual.3.gamma"),
    ):  # fmt: skip
        side = path.partition("/")[0]
        assert (names[0][path], names[1][path]) == (f"{side}.{diffusers}", f"{side}.{original}")
