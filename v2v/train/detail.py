"""Training of the detail network: its objective, on crops of frames edited by exact operators.

examples -> **detail** -> train_step.py

    loss = mean |out - target| + 2 mean (out - target)^2,   out at twice the network's lines (models/detail_network.merge_detail)
without a margin of each crop, where convolutions see the border of the crop instead of the frame around it.
"""

from typing import TypedDict, cast

import jax
import jax.numpy as jnp

from v2v.array_types import Array, Float, UInt8
from v2v.models.detail_network import Detail, DetailNetwork, merge_detail
from v2v.train.objectives import Metrics, Objective, Parameters
from v2v.video.pixels import normalize_pixels

# Pixels of a crop's margin, at the network's lines.
MARGIN = 8


class DetailBatch(TypedDict):
    """A batch of frames, each with n crops.

    Attributes:
      source: small source frames in levels.
      edit: small edit frames in levels.
      frames: crops of the source.
      transfer: the same of what the detail transfer makes of it.
      large: the same crops of the source at twice the lines.
      target: the same of the exact edit.
    """

    source: Float[Array, "b h w 3"]
    edit: Float[Array, "b h w 3"]
    frames: UInt8[Array, "b n H W 3"]
    transfer: UInt8[Array, "b n H W 3"]
    large: UInt8[Array, "b n Y X 3"]
    target: UInt8[Array, "b n Y X 3"]


def objective(network: DetailNetwork) -> Objective[DetailBatch, DetailBatch, int]:
    """Return the objective of a batch of examples; the state holds {"detail": params}."""

    def draw(key: jax.Array, batch: DetailBatch) -> tuple[DetailBatch, int]:
        del key
        return batch, len(batch["source"])

    def loss(
        trained: Parameters, frozen: Parameters | None, rows: DetailBatch, total: int
    ) -> tuple[jax.Array, Metrics]:
        del frozen
        share, crops = len(rows["source"]) / total, rows["frames"].shape[1]
        small = (jnp.repeat(normalize_pixels(rows[name]), crops, 0) for name in ("source", "edit"))
        frames, transfer, large, target = (
            normalize_pixels(rows[name].reshape(-1, *rows[name].shape[2:]))
            for name in ("frames", "transfer", "large", "target")
        )
        detail = cast(Detail, network.apply({"params": trained["detail"]}, frames, transfer, *small))
        inner = slice(2 * MARGIN, -2 * MARGIN)
        error = (merge_detail(frames, large, detail) - target)[:, inner, inner]
        mse = (error**2).mean((1, 2, 3))
        psnr = 10 * jnp.log10(4 / jnp.maximum(mse, 4e-6)).mean()
        value = share * (jnp.abs(error).mean() + 2 * mse.mean())
        return value, {"loss": value, "psnr": share * psnr}

    return Objective(draw, loss)
