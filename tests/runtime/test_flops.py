"""Operations by hand and by the counter: loops, remat, shard_map, kernels, a whole forward pass of the DiT, and a step."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo
from jax.sharding import PartitionSpec

from v2v.config import LoRAConfig, debug, wan22_ti2v_5b
from v2v.models.attention_kernels import cudnn, splash
from v2v.models.conditioning import count_tokens
from v2v.models.transformer import DiT
from v2v.planning import programs, search
from v2v.runtime import flops
from v2v.runtime.sharding import make_mesh

X, W = jax.ShapeDtypeStruct((3, 4), jnp.float32), jax.ShapeDtypeStruct((5, 4, 4), jnp.float32)
MATMUL = 2 * 3 * 4 * 4


def count(f, *args):
    return flops.count_flops(jax.jit(f).trace(*args).jaxpr)


def chain(x, ws, wrap=lambda f: f):
    return jax.lax.scan(lambda x, w: (wrap(lambda x: jnp.tanh(x @ w))(x), None), x, ws)[0]


def test_a_loop_counts_its_body_as_often_as_it_runs():
    assert count(chain, X, W) == 5 * MATMUL


def test_a_backward_pass_counts_what_remat_repeats():
    def loss(wrap):
        return jax.grad(lambda x, ws: chain(x, ws, wrap).sum(), argnums=(0, 1))

    assert count(loss(lambda f: f), X, W) == 3 * 5 * MATMUL
    assert count(loss(jax.checkpoint), X, W) == 4 * 5 * MATMUL


@pytest.mark.slow
def test_each_preset_of_remat_computes_over_five_percent_more_than_the_one_before():
    """Of a model with the proportions of the 5B: as many tokens and as wide an MLP for its width."""
    small = debug()
    dit = dataclasses.replace(small.dit, width=64, ffn_width=300, heads=4, layers=2, backend="chunked")

    def operations(remat):
        cfg = dataclasses.replace(
            small, frames=17, height=64, width=48, dit=dataclasses.replace(dit, remat=remat)
        )
        program = programs.build_program(programs.PlanSetting(cfg, batch=1), jax.devices()[:1])
        with jax.set_mesh(program.mesh):
            return flops.count_flops(program.jitted.trace(*program.args).jaxpr)

    counts = [operations(preset) for preset in search.REMAT_POLICIES]
    assert all(more > 1.05 * less for less, more in itertools.pairwise(counts)), counts
    assert operations("offload") == counts[-1] > operations("ffn_up=device")


def test_a_branch_counts_as_its_dearest():
    def f(x, ws):
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ ws[0] @ ws[1], lambda: x @ ws[2])

    assert count(f, X, W) == 2 * MATMUL


def test_shares_of_devices_add_up():
    mesh = make_mesh(8, 1, 1, 1)
    x = jax.ShapeDtypeStruct((16, 4), jnp.float32)
    f = jax.shard_map(
        jnp.dot, mesh=mesh, in_specs=(PartitionSpec("data"), PartitionSpec()), out_specs=PartitionSpec("data")
    )
    assert count(f, x, jax.ShapeDtypeStruct((4, 4), jnp.float32)) == 2 * 16 * 4 * 4


def test_a_convolution_counts_taps_and_channels():
    x, k = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32), jax.ShapeDtypeStruct((3, 3, 3, 6), jnp.float32)
    conv = partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    assert count(conv, x, k) == 2 * (8 * 8 * 6) * (3 * 3 * 3)


def test_a_kernel_counts_its_grid():
    q = jax.ShapeDtypeStruct((2, 256, 3, 128), jnp.float32)
    kernel = partial(splash.attend, limits=splash.BlockLimits(128, 128), interpret=True)
    assert count(kernel, q, q, q) == 2 * 3 * 2 * (2 * 256 * 256 * 128)


def test_cudnn_attention_counts_its_products(monkeypatch):
    """2 forward, 5 backward; traced, which needs no GPU."""
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    q = jax.ShapeDtypeStruct((2, 16, 3, 8), jnp.bfloat16)
    k = jax.ShapeDtypeStruct((2, 24, 3, 8), jnp.bfloat16)
    product = 2 * (2 * 3 * 16 * 24 * 8)

    def loss(q, k, v):
        return cudnn.attend(q, k, v).astype(jnp.float32).sum()

    jaxpr = jax.make_jaxpr(loss)(q, k, k)
    assert flops.count_flops(jaxpr) == 2 * product and flops.count_product_bytes(jaxpr) == 0
    assert flops.count_flops(jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(q, k, k)) == 7 * product


def test_the_formula_counts_the_rank_of_each_layer():
    m = debug()
    tokens, d, f, text = 10, m.dit.width, m.dit.ffn_width, m.dit.text_len

    def low_rank(**changes):
        lora = LoRAConfig(rank=4, **changes)
        cfg = dataclasses.replace(m, lora=lora)
        return flops.forward_flops(cfg, tokens) - flops.forward_flops(cfg, tokens, adapter=False)

    queries = 2 * m.dit.layers * tokens * 2 * d
    assert low_rank(targets="self_attn/q$") == 4 * queries
    assert low_rank(targets="self_attn/(q|k)$", ranks=("/k=7",)) == (4 + 7) * queries
    assert low_rank(targets="cross_attn/k$") == 2 * m.dit.layers * 4 * text * 2 * d
    assert low_rank(targets="ffn", ranks=("ffn=1",)) == 2 * 2 * m.dit.layers * tokens * (d + f)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_model_costs_what_it_costs_by_hand(layers):
    """Blocks by `forward_flops`; patch embedding, text, time and head by theirs."""
    m = debug()
    cfg = dataclasses.replace(m.dit, layers=layers)
    t, y, x, c = m.vae.latent_shape(m.frames, m.height, m.width)
    n, d = t * y * x, cfg.width
    z = jnp.zeros((1, t, y, x, c))
    args = (z, jnp.ones(1), jnp.zeros((1, cfg.text_len, cfg.text_width)))
    variables = jax.eval_shape(DiT(cfg).init, jax.random.key(0), *args)
    blocks = flops.forward_flops(dataclasses.replace(m, dit=cfg), n, adapter=False)
    text = cfg.text_len
    around = n * c * d + text * (cfg.text_width * d + d * d) + n * d * c
    around += 2 * (cfg.freq_dim * d + d * d + 6 * d * d)  # time, at tau and at 0
    assert count(DiT(cfg).apply, variables, *args) == pytest.approx(blocks + 2 * around, rel=1e-6)
    assert np.isfinite(blocks)


@pytest.mark.parametrize("trains", ["lora", "full"])
def test_a_step_of_the_5b_costs_what_the_formula_says(trains):
    """Counted without remat; x a is kept for the gradient of b, so LoRA computes nothing twice."""
    m = wan22_ti2v_5b()
    m = dataclasses.replace(m, dit=dataclasses.replace(m.dit, backend="plain"))
    program = programs.build_program(programs.PlanSetting(m, batch=1, trains=trains), jax.devices()[:1])
    with jax.set_mesh(program.mesh):
        operations = flops.count_flops(program.jitted.trace(*program.args).jaxpr)
    formula = flops.step_flops(m, 1, count_tokens(m, reference=True), trains == "full")
    assert formula == pytest.approx(operations, rel=1e-3)


def test_what_nothing_takes_is_not_counted_after_dead_code_is_removed():
    """As the forward kernel that rematerialization repeats though its result is kept."""

    def run(x):
        def body(carry, _):
            return carry @ x, (x @ x @ x).sum()

        return jax.lax.scan(body, x, length=3)[0]

    jaxpr = jax.make_jaxpr(run)(jnp.ones((4, 4)))
    product = 2 * 4**3
    assert flops.count_flops(jaxpr) == 9 * product
    assert flops.count_flops(flops.remove_dead_code(jaxpr)) == 3 * product
