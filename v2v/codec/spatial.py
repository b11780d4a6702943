"""How a mesh shares a video inside the VAE: rows and columns of every frame. **spatial** → vae_layers.py, vae.py.

A full-size clip is too large for one chip in pixels, not in weights: every device holds the whole VAE and a rectangle of every
frame, and the compiler exchanges the borders that convolutions look at (halos). Only the middle attention, at latent size, sees
whole frames. Clips come first: mesh axes that divide the batch split it. The others are given, one by one, to the longer side of
the rectangle where they divide it, else to the other side, which keeps rectangles near squares (short borders) and the split the
same at every resolution; an axis that divides neither side into pieces of at least two repeats the work.
"""

import jax
from jax.sharding import PartitionSpec

from v2v.shapes import Array, Float
from v2v.sharding import AXES, BATCH

LEAST = 2  # rows and columns on a device: XLA (jaxlib 0.10.2) computes wrong 3x3 convolutions on 1x1 pieces


def spread(x: Float[Array, "b T H W c"]) -> Float[Array, "b T H W c"]:
    """`x`, laid out over the mesh in use (`jax.set_mesh`); untouched without one."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or set(mesh.axis_names) != set(AXES):
        return x
    return jax.lax.with_sharding_constraint(x, spec(x.shape, mesh.shape))


def spec(shape: tuple[int, ...], mesh: dict[str, int]) -> PartitionSpec:
    """Of [b, T, H, W, c] on a mesh of these axis sizes."""
    b, _, rows, columns, _ = shape
    split_batch = b % (mesh[BATCH[0]] * mesh[BATCH[1]]) == 0
    sides, over = {"rows": rows, "columns": columns}, {"rows": (), "columns": ()}
    for axis in AXES:
        if mesh[axis] == 1 or (split_batch and axis in BATCH):
            continue
        for side in sorted(sides, key=sides.get, reverse=True):
            if sides[side] % mesh[axis] == 0 and sides[side] // mesh[axis] >= LEAST:
                sides[side] //= mesh[axis]
                over[side] += (axis,)
                break
    return PartitionSpec(
        BATCH if split_batch else None, None, over["rows"] or None, over["columns"] or None, None
    )
