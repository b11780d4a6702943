"""Operations of a traced program: matrix products and convolutions, 2 a multiply-add, loop bodies times their trips. The one counter.

planning/passes.py counts passes of the DiT with it, planning/compile.py whole steps, the benches their cases. train/timer.py alone has a
closed formula, since a run can't trace every size of its batches: the blocks without what lies around them, and without what
remat repeats; tests/runtime/test_flops.py holds it to this counter.

The compiler's own count takes the body of a while loop once, so a scan over 30 blocks would count as one. Here
    scan      length x body           shard_map    devices x body, whose shapes are a device's share
    cond      its dearest branch      pallas_call  grid x body, whose shapes are a block
    dot       2 |out| x contracted    conv         2 |out| x taps x channels in
What rematerialisation repeats is in the backward pass of the traced program, and so is counted; elementwise work is not.
"""

import math
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from v2v.config import ModelConfig


def count_flops(jaxpr: Any) -> int:
    """Operations of a (closed) jaxpr on all devices together. A `while` of unknown length counts once."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    return sum(_equation(eqn) for eqn in jaxpr.eqns)


def _equation(eqn: Any) -> int:
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        lhs = eqn.invars[0].aval.shape
        return 2 * _size(eqn.outvars[0]) * math.prod(lhs[i] for i in contracted)
    if name == "conv_general_dilated":
        kernel, spec = eqn.invars[1].aval.shape, params["dimension_numbers"].rhs_spec  # (out, in, *taps)
        return 2 * _size(eqn.outvars[0]) * math.prod(kernel) // kernel[spec[0]]
    if name == "cond":
        return max(count_flops(branch) for branch in params["branches"])
    inner = sum(count_flops(sub) for sub in _inner(params))
    if name == "scan":
        return params["length"] * inner
    if name == "shard_map":
        mesh, manual = params["mesh"], params.get("manual_axes", params["mesh"].axis_names)
        return math.prod(mesh.shape[axis] for axis in manual) * inner
    if name == "pallas_call":
        return math.prod(params["grid_mapping"].grid) * inner
    return inner


def _inner(params: dict) -> list:
    kinds = (core.Jaxpr, core.ClosedJaxpr)
    found = []
    for value in params.values():
        for leaf in jax.tree.leaves(value, is_leaf=lambda x: isinstance(x, kinds)):
            if isinstance(leaf, kinds):
                found.append(leaf)
    return found


def _size(var: Any) -> int:
    return math.prod(var.aval.shape)


# Peak dense bfloat16 FLOP/s a device, vendors' figures; other devices are measured with a matmul.
PEAK_FLOPS = {
    "TPU v4": 275e12, "TPU v5 lite": 197e12, "TPU v5e": 197e12, "TPU v5": 459e12, "TPU v5p": 459e12,
    "TPU v6 lite": 918e12, "TPU v6e": 918e12, "NVIDIA A100": 312e12, "NVIDIA H100": 989e12, "NVIDIA H200": 989e12,
}  # fmt: skip


def forward_flops(cfg: ModelConfig, l: int, adapter: bool = True) -> float:  # noqa: E741
    """Of the DiT's blocks on one clip of l joint tokens, 2 a multiplication and addition; with LoRA, or with weights merged."""
    *base, low_rank = _parts(cfg, l)
    return sum(base) + adapter * low_rank


def step_flops(cfg: ModelConfig, batch: int, tokens: int, full: bool = False) -> float:
    """Return the FLOPs of one training step: forward, backward through activations, gradients of trained weights.

    A product of activations and weights costs as much again for the gradient of the activations, and again for that of the weights
    where they are trained; attention, a product of activations alone, costs twice its forward pass. Keys and values of the text
    need no gradient of the text.

    Args:
      cfg: the model.
      batch: clips of a step.
      tokens: joint tokens of a clip (`models.conditioning.count_tokens`).
      full: whether all weights are trained, instead of LoRA.
    """
    linears, text, attention, low_rank = _parts(cfg, tokens)
    if full:
        return batch * (3 * linears + 2 * text + 3 * attention)
    return batch * (2 * linears + text + 3 * attention + 3 * low_rank)


def _parts(cfg: ModelConfig, l: int) -> tuple[float, float, float, float]:  # noqa: E741
    """Forward: linear layers of the l tokens, of the text's keys and values, attention of both kinds, LoRA."""
    d, f, m, rank = cfg.dit.width, cfg.dit.ffn_width, cfg.dit.text_len, cfg.lora.rank
    linears = l * (6 * d * d + 2 * d * f)
    attention = 2 * l * l * d + 2 * l * m * d
    low_rank = rank * (l * (12 * d + 2 * (d + f)) + 4 * m * d)
    each = 2.0 * cfg.dit.layers
    return each * linears, each * 2 * m * d * d, each * attention, each * low_rank


def peak_flops() -> float:
    """Of one device, FLOP/s: the vendor's bfloat16 figure where known, else what a float32 matmul reaches."""
    kind = jax.devices()[0].device_kind
    known = [name for name in PEAK_FLOPS if kind.lower().startswith(name.lower())]
    if known:
        return PEAK_FLOPS[max(known, key=len)]
    n, times = 1024, []
    x = jnp.ones((n, n), jnp.float32)
    matmul = jax.jit(lambda x: x @ x).lower(x).compile()
    for _ in range(4):
        began = time.perf_counter()
        matmul(x).block_until_ready()
        times.append(time.perf_counter() - began)
    return 2 * math.pow(n, 3) / min(times)
