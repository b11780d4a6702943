"""LPIPS with AlexNet: a learned perceptual distance between pictures.

    d = sum over 5 layers of mean over positions of w . (f(x) / |f(x)| - f(y) / |f(y)|)^2

f after each of AlexNet's five rectified convolutions, w learnt from people's judgements (Zhang et al. 2018, arXiv 1801.03924). The folder holds
the state dict of the `lpips` package's `LPIPS(net="alex")` as safetensors: `safetensors.torch.save_file(model.state_dict(), "lpips.safetensors")`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from v2v.checkpoints.tensor_files import TensorFiles
from v2v.errors import InputError
from v2v.evaluation.metrics.base import Case, Column, Score
from v2v.evaluation.metrics.learned_metric import BATCH, LearnedMetric, compute_in_batches
from v2v.video.pixels import normalize_pixels

# Place in AlexNet's list of layers, stride, padding, and whether a 3x3 maximum of stride 2 comes first.
ALEXNET_LAYERS = ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))
EPS = 1e-10
# Pixels; a smaller frame leaves no position after the second maximum.
MIN_SIDE = 32


@dataclass(frozen=True)
class Lpips(LearnedMetric):
    """Mean over frames of the LPIPS distance to the truth, at the truth's size; smaller frames than 32 pixels have none."""

    name: str = "LPIPS"
    about: str = "AlexNet, against the truth, mean over frames"
    required_fields: Sequence[str] = ("truth",)
    required_files: ClassVar[tuple[str, ...]] = ()

    @property
    def columns(self) -> Sequence[Column]:
        """Return the one column, lower is better."""
        return (Column(self.name, "lower", about=self.about),)

    def score(self, case: Case) -> Score:
        """Compute the mean distance over frames."""
        output, truth = case.against_truth
        if min(truth.size) < MIN_SIDE:
            return Score({})
        model = load_lpips(Path(self.folder))
        pairs = (normalize_pixels(np.stack([x, y])) for x, y in zip(output, truth, strict=True))
        distances = compute_in_batches(lambda batch: model(batch[:, 0], batch[:, 1]), pairs, BATCH)
        return Score({self.name: float(np.mean(distances))})


class LpipsModel:
    """The jitted distance with its weights."""

    def __init__(self, folder: Path):
        import jax

        self._weights = load_weights(folder)
        self._distance = jax.jit(lpips_distance)

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the distances [b] of pictures [b, H, W, 3] in [-1, 1]."""
        return np.asarray(self._distance(self._weights, x, y))


@functools.lru_cache(maxsize=1)
def load_lpips(folder: Path) -> LpipsModel:
    """Load the model from a folder."""
    return LpipsModel(folder)


def load_weights(folder: Path) -> dict:
    """Load the weights of `lpips_distance` from the state dict of the lpips package.

    Returns:
      "shift" and "scale", float32 [3]; "kernels", "biases" and "lines" (the linear weights), lists over the five layers.

    Raises:
      InputError: tensors of that state dict are missing.
    """
    files = TensorFiles.open(folder)
    convs = [f"net.slice{k + 1}.{at}" for k, (at, *_) in enumerate(ALEXNET_LAYERS)]
    linear_names = [f"lin{k}.model.1.weight" for k in range(5)]
    tensor_names = [
        "scaling_layer.shift",
        "scaling_layer.scale",
        *(f"{c}.{p}" for c in convs for p in ("weight", "bias")),
        *linear_names,
    ]
    missing_names = [name for name in tensor_names if name not in files.slots]
    if missing_names:
        raise InputError(
            f'{folder}: expected the state dict of LPIPS(net="alex"), missing {", ".join(missing_names[:5])}'
        )
    tensors = {name: np.asarray(files.read(name), np.float32) for name in tensor_names}
    return {
        "shift": tensors["scaling_layer.shift"].reshape(3),
        "scale": tensors["scaling_layer.scale"].reshape(3),
        "kernels": [tensors[f"{c}.weight"].transpose(2, 3, 1, 0) for c in convs],
        "biases": [tensors[f"{c}.bias"] for c in convs],
        "lines": [tensors[name].reshape(-1) for name in linear_names],
    }


def lpips_distance(weights: dict, x: Float[Array, "b H W 3"], y: Float[Array, "b H W 3"]) -> Float[Array, b]:
    """Compute distances [b] of pictures [b, H, W, 3] in [-1, 1]."""
    import jax.numpy as jnp

    total = jnp.zeros(x.shape[0])
    for line, a, b in zip(weights["lines"], _features(weights, x), _features(weights, y), strict=True):
        a, b = (f / (jnp.sqrt(jnp.sum(f * f, -1, keepdims=True)) + EPS) for f in (a, b))
        total = total + jnp.mean(jnp.square(a - b) @ line, (1, 2))
    return total


def _features(weights: dict, x):
    import jax

    x = (x - weights["shift"]) / weights["scale"]
    features = []
    for (_, stride, pad, pool), kernel, bias in zip(
        ALEXNET_LAYERS, weights["kernels"], weights["biases"], strict=True
    ):
        if pool:
            x = nn.max_pool(x, (3, 3), (2, 2))
        x = jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), ((pad, pad), (pad, pad)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = nn.relu(x + bias)
        features.append(x)
    return features
