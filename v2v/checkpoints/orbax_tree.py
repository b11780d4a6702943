"""Trees of arrays in the layout of orbax: save, load, and check without reading. orbax is imported on first use."""

from pathlib import Path
from typing import Any

import jax

from v2v.errors import InputError


def save_tree(folder: Path, tree: Any) -> None:
    """Save one tree of arrays in a folder, which is complete or absent."""
    from orbax.checkpoint import v1 as ocp

    ocp.save(str(folder.absolute()), tree)


def load_tree(folder: Path, like: Any = None) -> Any:
    """Load a tree saved by `save_tree` onto the devices.

    Args:
      folder: where it was saved.
      like: shapes, types and shardings to load with; None loads it as it was saved, onto the first device.

    Raises:
      InputError: a missing, damaged or different tree.
    """
    from orbax.checkpoint import v1 as ocp

    if like is None:
        like = _read_metadata(folder)
    else:
        check_tree(folder, like)
    first_device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def place(leaf: Any) -> jax.ShapeDtypeStruct:
        sharding = leaf.sharding if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) else None
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding or first_device)

    try:
        return ocp.load(str(folder.absolute()), jax.tree.map(place, like))
    except (ValueError, KeyError, OSError) as err:
        raise InputError(
            f"{folder}: expected weights written by v2v convert, could not read them ({first_line(err)}); convert again"
        ) from err


def check_tree(folder: Path, like: Any) -> None:
    """Compare the names and shapes of a saved tree with `like`, without reading values.

    Raises:
      InputError: names the differences.
    """
    metadata = _read_metadata(folder)
    shapes, expected = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in flat}
        for flat, _ in map(jax.tree_util.tree_flatten_with_path, (metadata, like))
    )
    wrong = [
        f"{path} {shapes.get(path, 'missing')}, expected {expected.get(path, 'none')}"
        for path in sorted({*shapes, *expected})
        if shapes.get(path) != expected.get(path)
    ]
    if wrong:
        raise InputError(
            f"{folder}: {len(wrong)} tensors don't fit config.json: {'; '.join(wrong[:8])}; convert again"
        )


def _read_metadata(folder: Path) -> Any:
    from orbax.checkpoint import v1 as ocp

    try:
        return ocp.metadata(str(folder.absolute())).metadata
    except (ValueError, KeyError, OSError) as err:
        raise InputError(
            f"{folder}: expected weights written by v2v convert ({first_line(err)}); convert again"
        ) from err


def first_line(err: Exception) -> str:
    """Return the first line of an error's message, at most 300 characters, or the error's type where it has no message."""
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:300]
