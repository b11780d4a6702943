from pathlib import Path
from typing import Any

import jax

from v2v.errors import InputError


def save_tree(folder: Path, tree: Any) -> None:
    """One tree of arrays, complete or absent."""
    from orbax.checkpoint import v1 as ocp

    ocp.save(folder.absolute(), tree)


def load_tree(folder: Path, like: Any = None) -> Any:
    """A tree saved by `save_tree`, straight onto the devices; with shapes, types and shardings of `like`, or as it was saved.

    Raises:
      InputError: missing, damaged, or another tree.
    """
    from orbax.checkpoint import v1 as ocp

    if like is None:
        like = _read_metadata(folder)
    else:
        check_tree(folder, like)
    one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def place(x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None) or one)

    try:
        return ocp.load(folder.absolute(), jax.tree.map(place, like))
    except (ValueError, KeyError, OSError) as err:
        raise InputError(
            f"{folder}: expected weights written by v2v convert, could not read them ({_first_line(err)}); convert again"
        ) from err


def check_tree(folder: Path, like: Any) -> None:
    """Compares names and shapes with `like` and reads nothing. Raises InputError naming what differs."""
    found = _read_metadata(folder)
    got, want = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in flat}
        for flat, _ in map(jax.tree_util.tree_flatten_with_path, (found, like))
    )
    wrong = [f"{path} {got.get(path, 'missing')}, expected {want.get(path, 'none')}" for path in sorted({*got, *want}) if got.get(path) != want.get(path)]  # fmt: skip
    if wrong:
        raise InputError(
            f"{folder}: {len(wrong)} tensors don't fit config.json: {'; '.join(wrong[:8])}; convert again"
        )


def _read_metadata(folder: Path) -> Any:
    from orbax.checkpoint import v1 as ocp

    try:
        return ocp.metadata(folder.absolute()).metadata
    except (ValueError, KeyError, OSError) as err:
        raise InputError(
            f"{folder}: expected weights written by v2v convert ({_first_line(err)}); convert again"
        ) from err


def _first_line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:300]
