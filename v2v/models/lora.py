"""LoRA as a pytree: init, scale, merge. No wrapped modules: layers.Dense reads the collection `lora`, nothing else knows.

For a kernel W [i, o] (or [L, i, o] under the scan over blocks):  a [.., i, r] is random, b [.., r, o] is zero, so step 0 equals
the base bit for bit. What the model computes is  x W + (α/r)(x a) b ; `scaled` folds α/r into b and is the one place that
knows it: the low-rank path runs on `scaled(adapter)`, `merge` adds a b of the same.
"""

import re
from collections.abc import Sequence

import flax
import jax
import jax.numpy as jnp
import numpy as np

from v2v.config import LoRAConfig

Tree = dict


def init_lora(key: jax.Array, params: Tree, cfg: LoRAConfig) -> Tree:
    """An adapter for every Dense of `params` (arrays or ShapeDtypeStructs) whose path matches `cfg.targets`.

    Raises:
      ValueError: when nothing matches; lists paths that could have.
    """
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    kernels = {path.removesuffix("/kernel"): leaf for path, leaf in flat.items() if path.endswith("/kernel")}
    chosen = {p: w for p, w in kernels.items() if re.search(cfg.targets, p)}
    if not chosen:
        raise ValueError(
            f"LoRA: no layer matches {cfg.targets!r}; the model has {', '.join(sorted(kernels))}"
        )
    out = {}
    for i, (path, w) in enumerate(sorted(chosen.items())):
        *lead, d_in, d_out = w.shape
        # Kaiming-uniform with a = sqrt(5), the usual choice for `a`: bound 1/sqrt(d_in)
        a = jax.random.uniform(jax.random.fold_in(key, i), (*lead, d_in, cfg.rank), jnp.float32, -1, 1)
        out[f"{path}/a"] = a * d_in**-0.5
        out[f"{path}/b"] = jnp.zeros((*lead, cfg.rank, d_out), jnp.float32)
    return flax.traverse_util.unflatten_dict(out, sep="/")


def scale_adapter(adapter: Tree, scale: float) -> Tree:
    """The adapter as the model applies it: b multiplied by `scale` (α/r, times any strength at inference)."""
    flat = flax.traverse_util.flatten_dict(adapter, sep="/")
    flat = {path: leaf * scale if path.endswith("/b") else leaf for path, leaf in flat.items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def combine_adapters(parts: Sequence[tuple[Tree, float]], multiple: int = 1) -> Tree:
    """Several adapters, each with its scale, as one of scale 1: x a1 b1 + x a2 b2 = x [a1 a2] [b1; b2], ranks side by side.

    Averaging factors would be something else: (a1 + a2)(b1 + b2) / 4 holds the cross terms a1 b2 and a2 b1 too. Adapters may
    reach different layers and differ in rank. On the host, so nothing is compiled.

    Args:
      multiple: ranks are filled up with zeros to a multiple of this, so that other combinations have the same shapes and run in
        what is compiled.
    """
    factors: dict[str, list] = {}
    for adapter, scale in parts:
        for path, x in flax.traverse_util.flatten_dict(adapter, sep="/").items():
            x = np.asarray(x, np.float32)
            factors.setdefault(path, []).append(x * np.float32(scale) if path.endswith("/b") else x)
    out = {}
    for path, found in factors.items():
        axis = -1 if path.endswith("/a") else -2
        rank = sum(x.shape[axis] for x in found)
        fill = list(found[0].shape)
        fill[axis] = -rank % multiple
        out[path] = np.concatenate([*found, np.zeros(fill, np.float32)], axis)
    return flax.traverse_util.unflatten_dict(out, sep="/")


def merge_adapter(params: Tree, adapter: Tree, scale: float) -> Tree:
    """Base weights with the adapter added in: W + scale · a b. Done once before sampling.

    Raises:
      ValueError: for adapter entries that have no kernel in `params` or other sizes, all at once.
    """
    base = flax.traverse_util.flatten_dict(params, sep="/")
    low = flax.traverse_util.flatten_dict(scale_adapter(adapter, scale), sep="/")
    out, wrong = dict(base), []
    for path in sorted({p.rsplit("/", 1)[0] for p in low}):
        kernel, a, b = base.get(f"{path}/kernel"), low[f"{path}/a"], low[f"{path}/b"]
        if kernel is None or (*a.shape[:-1], b.shape[-1]) != kernel.shape:
            found = "no such layer" if kernel is None else f"kernel {kernel.shape}"
            wrong.append(f"{path}: a {a.shape}, b {b.shape}, {found}")
        else:
            out[f"{path}/kernel"] = (kernel + a @ b).astype(kernel.dtype)
    if wrong:
        raise ValueError("LoRA: made for another backbone: " + "; ".join(wrong))
    return flax.traverse_util.unflatten_dict(out, sep="/")
