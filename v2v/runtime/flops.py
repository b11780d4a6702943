"""Counts of floating-point operations, of traced programs and in closed form, and the peak rate of a device.

`count_flops` counts the matrix products and convolutions of any traced program, 2 operations per multiplication and addition,
with loop bodies as often as they run; elementwise work does not count. The compiler's own count takes the body of a while loop
once, so a scan over 30 blocks would count as one. Here

    scan      length x body           shard_map    devices x body, whose shapes are a device's share
    cond      its dearest branch      pallas_call  grid x body, whose shapes are a block
    dot       2 |out| x contracted    conv         2 |out| x taps x channels in
    cuDNN     2 products of its attention forward, 5 backward, which computes one of them again

and what rematerialisation repeats is counted, as it is in the backward pass of the traced program. `planning` counts passes of
the transformer and steps of training with it, the benchmarks their cases.

`forward_flops` and `step_flops` are closed forms of the transformer's blocks, without what surrounds them and without what
rematerialisation repeats, for training runs, which can't trace every size of their batches. `tests/runtime/test_flops.py`
compares them with the counter. `peak_flops` is what a device could do, the denominator of model FLOPs utilisation.
"""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import partial_eval

from v2v.config import ModelConfig

# Peak dense bfloat16 FLOP/s of a device, vendors' figures; other devices are measured with a matrix product.
PEAK_FLOPS = {
    "TPU v4": 275e12, "TPU v5 lite": 197e12, "TPU v5e": 197e12, "TPU v5": 459e12, "TPU v5p": 459e12,
    "TPU v6 lite": 918e12, "TPU v6e": 918e12, "NVIDIA A100": 312e12, "NVIDIA H100": 989e12, "NVIDIA H200": 989e12,
}  # fmt: skip


# cuDNN's attention, and the products of queries and keys, or as large, that a call computes.
CUDNN_PRODUCTS = {"dot_product_attention_fwd": 2, "dot_product_attention_bwd": 5}


def count_flops(jaxpr: core.Jaxpr | core.ClosedJaxpr) -> int:
    """Count the operations of a traced program on all devices together; a `while` of unknown length counts once."""
    equations = (jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr).eqns
    return sum(_count_equation(equation) for equation in equations)


def remove_dead_code(jaxpr: core.ClosedJaxpr) -> core.Jaxpr:
    """Return a traced program without what its results don't need, as compilers leave it out.

    Rematerialization's second forward pass repeats kernels whose results are kept under a name; nothing takes them then.
    """
    program = jaxpr.jaxpr
    return partial_eval.dce_jaxpr(program, [True] * len(program.outvars))[0]


def count_product_bytes(jaxpr: core.Jaxpr | core.ClosedJaxpr) -> int:
    """Count the bytes that matrix products and convolutions read and write on all devices together, each operand and result once.

    What lies between products is taken to be fused with them, and products with batch axes, those of attention, to keep their results to
    themselves.
    """
    equations = (jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr).eqns
    return sum(_count_equation(equation, _product_bytes) for equation in equations)


def _product_flops(equation: Any) -> int:
    params = equation.params
    if (products := _cudnn_products(equation)) is not None:
        queries, keys = (variable.aval.shape for variable in equation.invars[:2])
        # [b, l, h, k], or [b, h, l, k].
        lengths = math.prod(shape[2 if params["layout"] else 1] for shape in (queries, keys))
        heads = queries[1 if params["layout"] else 2]
        return 2 * products * queries[0] * heads * lengths * queries[3]
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        lhs = equation.invars[0].aval.shape
        return 2 * _size(equation.outvars[0]) * math.prod(lhs[i] for i in contracted)
    # rhs_spec is (out, in, *taps).
    kernel, spec = equation.invars[1].aval.shape, params["dimension_numbers"].rhs_spec
    return 2 * _size(equation.outvars[0]) * math.prod(kernel) // kernel[spec[0]]


def _cudnn_products(equation: Any) -> int | None:
    """Return the products of a call of cuDNN's attention; None for any other operation."""
    return CUDNN_PRODUCTS.get(equation.primitive.name.removesuffix("_wrapper"))


def _product_bytes(equation: Any) -> int:
    if _cudnn_products(equation) is not None:
        return 0
    if equation.primitive.name == "dot_general" and equation.params["dimension_numbers"][1][0]:
        return 0
    variables = (*equation.invars, *equation.outvars)
    return sum(_size(variable) * variable.aval.dtype.itemsize for variable in variables)


def _count_equation(equation: Any, count: Callable[[Any], int] = _product_flops) -> int:
    name, params = equation.primitive.name, equation.params
    if name in ("dot_general", "conv_general_dilated") or _cudnn_products(equation) is not None:
        return count(equation)

    def count_inner(jaxpr: core.Jaxpr | core.ClosedJaxpr) -> int:
        equations = (jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr).eqns
        return sum(_count_equation(inner, count) for inner in equations)

    if name == "cond":
        return max(count_inner(branch) for branch in params["branches"])
    inner = sum(count_inner(jaxpr) for jaxpr in _inner_jaxprs(params))
    if name == "scan":
        return params["length"] * inner
    if name == "shard_map":
        mesh, manual = params["mesh"], params.get("manual_axes", params["mesh"].axis_names)
        return math.prod(mesh.shape[axis] for axis in manual) * inner
    if name == "pallas_call":
        return math.prod(params["grid_mapping"].grid) * inner
    return inner


def _inner_jaxprs(params: dict) -> list[core.Jaxpr | core.ClosedJaxpr]:
    """Return the programs among the parameters of an equation."""
    kinds = (core.Jaxpr, core.ClosedJaxpr)
    leaves = jax.tree.leaves(list(params.values()), is_leaf=lambda x: isinstance(x, kinds))
    return [leaf for leaf in leaves if isinstance(leaf, kinds)]


def _size(variable: Any) -> int:
    return math.prod(variable.aval.shape)


def forward_flops(cfg: ModelConfig, tokens: int, adapter: bool = True) -> float:
    """Compute the operations of a forward pass of the transformer's blocks on one clip.

    Args:
      cfg: the model.
      tokens: joint tokens of the clip (`models.conditioning.count_tokens`).
      adapter: compute LoRA beside the base; False for merged weights.
    """
    parts = _forward_parts(cfg, tokens)
    return parts.linears + parts.text + parts.attention + adapter * parts.low_rank


def step_flops(cfg: ModelConfig, batch: int, tokens: int, full: bool = False) -> float:
    """Compute the operations of one training step: forward, backward through activations, gradients of trained weights.

    A product of activations and weights costs as much again for the gradient of the activations, and again for that of the
    weights where they are trained; attention, a product of activations alone, costs twice its forward pass. Keys and values of
    the text need no gradient of the text.

    Args:
      cfg: the model.
      batch: clips of a step.
      tokens: joint tokens of a clip (`models.conditioning.count_tokens`).
      full: whether all weights are trained, instead of LoRA.
    """
    parts = _forward_parts(cfg, tokens)
    if full:
        return batch * (3 * parts.linears + 2 * parts.text + 3 * parts.attention)
    return batch * (2 * parts.linears + parts.text + 3 * parts.attention + 3 * parts.low_rank)


class _ForwardParts(NamedTuple):
    """Operations of the blocks' forward pass on one clip.

    Attributes:
      linears: linear layers of the clip's tokens.
      text: keys and values of the text.
      attention: products of activations in both attentions.
      low_rank: LoRA.
    """

    linears: float
    text: float
    attention: float
    low_rank: float


def _forward_parts(cfg: ModelConfig, tokens: int) -> _ForwardParts:
    d, f, m = cfg.dit.width, cfg.dit.ffn_width, cfg.dit.text_len
    linears = tokens * (6 * d * d + 2 * d * f)
    attention = 2 * tokens * tokens * d + 2 * tokens * m * d
    # Inputs and outputs together, and rows, of the layers of a block.
    layers = {f"self_attn/{name}": (2 * d, tokens) for name in "qkvo"}
    layers |= {f"cross_attn/{name}": (2 * d, m if name in "kv" else tokens) for name in "qkvo"}
    layers |= {f"ffn/{name}": (d + f, tokens) for name in ("up", "down")}
    low_rank = sum(
        cfg.lora.layer_rank(f"blocks/{path}") * rows * size for path, (size, rows) in layers.items()
    )
    factor = 2.0 * cfg.dit.layers
    return _ForwardParts(factor * linears, factor * 2 * m * d * d, factor * attention, factor * low_rank)


def peak_flops() -> float:
    """Return the FLOP/s of one device: the vendor's bfloat16 figure where known, else what a float32 matrix product reaches."""
    kind = jax.devices()[0].device_kind
    matches = [name for name in PEAK_FLOPS if kind.lower().startswith(name.lower())]
    if matches:
        return PEAK_FLOPS[max(matches, key=len)]
    n, times = 1024, []
    x = jnp.ones((n, n), jnp.float32)
    matmul = jax.jit(lambda x: x @ x).lower(x).compile()
    for _ in range(4):
        start = time.perf_counter()
        matmul(x).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * math.pow(n, 3) / min(times)
