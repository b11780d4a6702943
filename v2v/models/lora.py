"""LoRA as a pytree: initialize, scale, combine and merge adapters. No modules are wrapped: `layers.Dense` reads the collection `lora`.

For a kernel W [i, o] (or [L, i, o] under the scan over blocks), a [.., i, r] is random and b [.., r, o] is zero, so step 0 equals the
base bit for bit. The model computes x W + (α/r)(x a) b. `scale_adapter` folds α/r into b and is the only place that knows it: the
low-rank path runs on the scaled adapter, and `merge_adapter` adds the product a b of the same.

DoRA (arXiv 2402.09353) gives every output o a magnitude besides: its weights are V m / |V| with V = W + (α/r) a b and |V| their length, which counts
as a constant in gradients. Training holds `magnitude_change` [.., o], m - |W|, which starts at zero, so that step 0 equals the base bit for bit
here too; files and adapters to be merged hold `magnitude`, m itself (`with_magnitudes`). A magnitude of 0 leaves an output's length alone.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from v2v.config import LoRAConfig
from v2v.models import quantized
from v2v.runtime import host_memory

# Nested dicts of arrays.
Tree = dict[str, Any]


def init_lora(key: jax.Array, params: Tree, cfg: LoRAConfig) -> Tree:
    """Return an adapter for every Dense layer of `params` whose path matches `cfg.targets`.

    Args:
      key: random key.
      params: parameters of the model, arrays or ShapeDtypeStructs.
      cfg: ranks and targets.

    Raises:
      ValueError: nothing matches the targets, or one of the ranks; lists the paths that could have.
    """
    leaves = _flatten(params)
    kernels = {
        path.removesuffix("/kernel"): leaf for path, leaf in leaves.items() if path.endswith("/kernel")
    }
    targets = {
        path: quantized.weight_shape(kernel, leaves.get(f"{path}/{quantized.SCALE}"))
        for path, kernel in kernels.items()
        if re.search(cfg.targets, path)
    }
    if not targets:
        raise ValueError(
            f"LoRA: no layer matches {cfg.targets!r}; the model has {', '.join(sorted(kernels))}"
        )
    ranks = _choose_ranks(sorted(targets), cfg)
    factors = {}
    for i, (path, shape) in enumerate(sorted(targets.items())):
        *lead, d_in, d_out = shape
        rank = ranks[path]
        # Kaiming-uniform with a = sqrt(5), the usual choice for `a`: bound 1/sqrt(d_in)
        a = jax.random.uniform(jax.random.fold_in(key, i), (*lead, d_in, rank), jnp.float32, -1, 1)
        factors[f"{path}/a"] = a * d_in**-0.5
        factors[f"{path}/b"] = jnp.zeros((*lead, rank, d_out), jnp.float32)
        if cfg.dora:
            factors[f"{path}/magnitude_change"] = jnp.zeros((*lead, d_out), jnp.float32)
    return _unflatten(factors)


def _choose_ranks(paths: Sequence[str], cfg: LoRAConfig) -> dict[str, int]:
    """Return the rank of every layer; raise ValueError for an entry of `cfg.ranks` that no layer matches."""
    ranks = {path: cfg.layer_rank(path) for path in paths}
    entries = {cfg.find_entry(path) for path in paths}
    if idle := [entry for entry in cfg.ranks if entry not in entries]:
        raise ValueError(
            f"LoRA: ranks {', '.join(idle)}: matches none of the layers left, {', '.join(paths)}"
        )
    return ranks


def scale_adapter(adapter: Tree, scale: float | jax.Array) -> Tree:
    """Return the adapter as the model applies it: b multiplied by `scale`, which is α/r times any strength at inference."""
    factors = _flatten(adapter)
    return _unflatten({path: x * scale if path.endswith("/b") else x for path, x in factors.items()})


def combine_adapters(parts: Sequence[tuple[Tree, float]], multiple: int = 1) -> Tree:
    """Return several adapters as one of scale 1, with their ranks side by side: x a1 b1 + x a2 b2 = x [a1 a2] [b1; b2].

    An average of the factors would be something else: (a1 + a2)(b1 + b2) / 4 holds the cross terms a1 b2 and a2 b1 too. The adapters may
    have different layers and ranks. The work is done on the host, so nothing is compiled.

    Args:
      parts: adapters, each with its scale.
      multiple: ranks are padded with zeros to a multiple of this, so that other combinations have the same shapes and run in the same
        compiled program.

    Raises:
      ValueError: several, one of which is a DoRA.
    """
    if len(parts) > 1 and any(is_dora(adapter) for adapter, _ in parts):
        raise ValueError("LoRA: a DoRA can't be one with other adapters, as it sets the length of weights")
    factors: dict[str, list[np.ndarray]] = {}
    for adapter, scale in parts:
        for path, x in _flatten(adapter).items():
            x = np.asarray(x, np.float32)
            factors.setdefault(path, []).append(x * np.float32(scale) if path.endswith("/b") else x)
    combined = {}
    for path, arrays in factors.items():
        if path.endswith("/magnitude"):
            combined[path] = arrays[0]
            continue
        axis = -1 if path.endswith("/a") else -2
        padding = list(arrays[0].shape)
        padding[axis] = -sum(x.shape[axis] for x in arrays) % multiple
        combined[path] = np.concatenate([*arrays, np.zeros(padding, np.float32)], axis)
    return _unflatten(combined)


def is_dora(adapter: Tree) -> bool:
    """Return whether an adapter sets magnitudes."""
    return any(path.endswith(("/magnitude", "/magnitude_change")) for path in _flatten(adapter))


def with_magnitudes(adapter: Tree, params: Tree) -> Tree:
    """Return a trained adapter with magnitudes in place of their changes; one without any as it is.

    Args:
      adapter: the adapter.
      params: parameters of the base that it was trained on.
    """
    return _shift_magnitudes(adapter, params, "magnitude_change", "magnitude", 1.0)


def with_magnitude_changes(adapter: Tree, params: Tree) -> Tree:
    """Return an adapter as it is trained: the inverse of `with_magnitudes`."""
    return _shift_magnitudes(adapter, params, "magnitude", "magnitude_change", -1.0)


def _shift_magnitudes(adapter: Tree, params: Tree, old_name: str, new_name: str, sign: float) -> Tree:
    factors, base = _flatten(adapter), _flatten(params)
    shifted = {}
    for path, x in factors.items():
        layer, _, name = path.rpartition("/")
        if name == old_name:
            norms = _kernel_norms(base[f"{layer}/kernel"], base.get(f"{layer}/{quantized.SCALE}"))
            shifted[f"{layer}/{new_name}"] = x + sign * norms
        else:
            shifted[path] = x
    return _unflatten(shifted)


def _kernel_norms(kernel: jax.Array, scale: jax.Array | None) -> jax.Array:
    """Return the length of each output's weights, float32 [.., o], a layer at a time, which is all that the device takes of weights in the host's memory."""

    def norms(weights: tuple) -> jax.Array:
        kernel, *scale = host_memory.move_to_device(weights)
        return column_norms(quantized.dequantize(kernel, scale[0]) if scale else kernel)

    weights = (kernel,) if scale is None else (kernel, scale)
    return jax.lax.map(norms, weights) if kernel.ndim == 3 else norms(weights)


def column_norms(kernel: Any) -> jax.Array:
    """Return the length of each output's weights, float32 [.., o]."""
    return jnp.sqrt((jnp.asarray(kernel).astype(jnp.float32) ** 2).sum(-2))


def apply_magnitude(base: Any, directed: Any, magnitude: Any, strength: Any = 1.0) -> Any:
    """Return the weights of a DoRA.

    Args:
      base: W [.., i, o], float32, a NumPy or JAX array; the result is of the same kind.
      directed: V = W + (α/r) a b.
      magnitude: m [.., o]; where 0, the length of V stays.
      strength: 1 for V m / |V|, 0 for W, and what lies between.
    """
    xp = np if isinstance(base, np.ndarray) else jnp
    norms = xp.sqrt((directed**2).sum(-2))
    factor = xp.where(magnitude == 0, 1.0, magnitude / xp.maximum(norms, 1e-30)).astype(directed.dtype)
    return base + strength * (directed * factor[..., None, :] - base)


def merge_adapter(
    params: Tree, adapter: Tree, scale: float | jax.Array, strength: float | jax.Array = 1.0
) -> Tree:
    """Return the base weights with the adapter added, W + scale · a b, or those of a DoRA; done once before sampling.

    Args:
      params: parameters of the base.
      adapter: the adapter.
      scale: α/r, times any strength; of a DoRA without the strength.
      strength: of a DoRA.

    Raises:
      ValueError: adapter entries have no kernel in `params` or other sizes; lists all of them.
    """
    base = _flatten(params)
    factors = _flatten(scale_adapter(adapter, scale))
    merged, mismatches = dict(base), []
    for path in sorted({p.rsplit("/", 1)[0] for p in factors}):
        kernel, a, b = base.get(f"{path}/kernel"), factors[f"{path}/a"], factors[f"{path}/b"]
        magnitude = factors.get(f"{path}/magnitude")
        base_scale = base.get(f"{path}/{quantized.SCALE}")
        shape = None if kernel is None else quantized.weight_shape(kernel, base_scale)
        if kernel is None or (*a.shape[:-1], b.shape[-1]) != shape:
            actual = "no such layer" if shape is None else f"kernel {shape}"
            mismatches.append(f"{path}: a {a.shape}, b {b.shape}, {actual}")
        elif magnitude is not None and shape is not None and np.shape(magnitude) != (*shape[:-2], shape[-1]):
            mismatches.append(f"{path}: magnitude {np.shape(magnitude)}, kernel {shape}")
        elif magnitude is not None and base_scale is not None:
            change = _dora_change(kernel, base_scale, a, b, magnitude, strength)
            merged[f"{path}/kernel"], merged[f"{path}/{quantized.SCALE}"] = quantized.update(
                kernel, base_scale, change
            )
        elif magnitude is not None:
            weights = jnp.asarray(kernel).astype(jnp.float32)
            merged[f"{path}/kernel"] = apply_magnitude(weights, weights + a @ b, magnitude, strength).astype(
                kernel.dtype
            )
        elif base_scale is not None:
            merged[f"{path}/kernel"], merged[f"{path}/{quantized.SCALE}"] = quantized.update(
                kernel, base_scale, _layer_product(a, b)
            )
        else:
            merged[f"{path}/kernel"] = (kernel + a @ b).astype(kernel.dtype)
    if mismatches:
        raise ValueError("LoRA: made for another backbone: " + "; ".join(mismatches))
    return _unflatten(merged)


def _layer_product(a: jax.Array | np.ndarray, b: jax.Array | np.ndarray) -> Callable[[Any], jax.Array]:
    """Return a function from a layer's index to the product of its factors."""
    on_device = jnp.asarray(a), jnp.asarray(b)
    return lambda layer: on_device[0][layer] @ on_device[1][layer]


def _dora_change(
    kernel: Any, scale: Any, a: Any, b: Any, magnitude: Any, strength: Any
) -> Callable[[Any], jax.Array]:
    """Return a function from a layer's index to what a DoRA adds to its weights."""
    product, lengths = _layer_product(a, b), jnp.asarray(magnitude)

    def change(layer: Any) -> jax.Array:
        weights = quantized.dequantize(kernel[layer], scale[layer])
        return apply_magnitude(weights, weights + product(layer), lengths[layer], strength) - weights

    return change


def _flatten(tree: Tree) -> dict[str, Any]:
    """Return the leaves by their path, such as blocks/ffn/up/kernel."""
    return flax.traverse_util.flatten_dict(tree, sep="/")


def _unflatten(leaves: dict[str, Any]) -> Tree:
    return flax.traverse_util.unflatten_dict(leaves, sep="/")
