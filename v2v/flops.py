"""Operations of a traced program: matrix products and convolutions, 2 a multiply-add, loop bodies times their trips. The one counter.

model/passes.py counts passes of the DiT with it, plan/compile.py whole steps, the benches their cases. train/clock.py alone has a
closed formula, since a run can't trace every size of its batches: the blocks without what lies around them, and without what
remat repeats; tests/test_flops.py holds it to this counter.

The compiler's own count takes the body of a while loop once, so a scan over 30 blocks would count as one. Here
    scan      length x body           shard_map    devices x body, whose shapes are a device's share
    cond      its dearest branch      pallas_call  grid x body, whose shapes are a block
    dot       2 |out| x contracted    conv         2 |out| x taps x channels in
What rematerialisation repeats is in the backward pass of the traced program, and so is counted; elementwise work is not.
"""

import math
from typing import Any

import jax
from jax.extend import core


def count(jaxpr: Any) -> int:
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
        return max(count(branch) for branch in params["branches"])
    inner = sum(count(sub) for sub in _inner(params))
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
