"""The file of a detail network: weights with its sizes in the header, so that it needs no configuration beside it."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from v2v.checkpoints import native, safetensors_file
from v2v.config import DetailConfig
from v2v.errors import InputError
from v2v.models.detail_network import DetailNetwork

FILE_NAME = "detail.safetensors"
_HEADER_KEY = "detail_network"


@dataclass(frozen=True)
class DetailWeights:
    """A trained detail network.

    Attributes:
      config: its sizes.
      params: its parameters.
    """

    config: DetailConfig
    params: dict[str, Any]


def save_detail(path: Path, weights: DetailWeights) -> None:
    """Write a detail network."""
    header = {_HEADER_KEY: json.dumps(dataclasses.asdict(weights.config))}
    native.save_parameters(path, {"detail": weights.params}, header)


def load_detail(path: Path) -> DetailWeights:
    """Read a detail network.

    Raises:
      InputError: the file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a detail network, found none; check the path")
    text = safetensors_file.read_header(path)[1].get(_HEADER_KEY)
    if text is None:
        raise InputError(
            f"{path}: expected a detail network of `v2v train`, whose header tells its sizes; export it again"
        )
    try:
        values = json.loads(text)
        config = DetailConfig(**values | {"widths": tuple(values["widths"])})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: expected the sizes of a detail network, got {text[:200]}; export it again"
        ) from error
    side = 2 * config.multiple
    frame = jnp.zeros((1, side, side, 3))
    shapes = jax.eval_shape(DetailNetwork(config).init, jax.random.key(0), *[frame] * 4)["params"]
    return DetailWeights(config, native.load_parameters(path, {"detail": shapes})["detail"])
