"""Trees of arrays in the layout of orbax: save, load, and check without reading. orbax is imported on first use."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from v2v.errors import InputError


@contextlib.contextmanager
def quiet_absl() -> Iterator[None]:
    """Keep threads of orbax from logging tracebacks of an error that is raised to the caller.

    After an error the logger stays quiet: threads that were not waited for meet the same error later.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


def save_tree(folder: Path, tree: Any) -> None:
    """Save one tree of arrays in a folder, which is complete or absent.

    Raises:
      OSError: the disk is full or can't be written.
    """
    from orbax.checkpoint import v1 as ocp

    try:
        with quiet_absl():
            ocp.save(str(folder.absolute()), tree)
    except ValueError as err:  # of TensorStore, whose message alone tells the system's error
        code = re.search(r"os_error_code='(\d+)'", str(err))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(folder)) from err


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


def tree_differences(saved: Any, expected: Any) -> list[str]:
    """Return the differences of names and shapes of two trees of arrays or their metadata, a text each."""
    shapes, expected_shapes = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in flat}
        for flat, _ in map(jax.tree_util.tree_flatten_with_path, (saved, expected))
    )
    return [
        f"{path} {shapes.get(path, 'missing')}, expected {expected_shapes.get(path, 'none')}"
        for path in sorted({*shapes, *expected_shapes})
        if shapes.get(path) != expected_shapes.get(path)
    ]


def check_tree(folder: Path, like: Any) -> None:
    """Compare the names and shapes of a saved tree with `like`, without reading values.

    Raises:
      InputError: names the differences.
    """
    wrong = tree_differences(_read_metadata(folder), like)
    if wrong:
        raise InputError(
            f"{folder}: {len(wrong)} tensors don't fit config.json: {'; '.join(wrong[:8])}; convert again"
        )


def find_scaled_type(folder: Path, scale: str) -> np.dtype | None:
    """Return the type of kernels that have scales beside them in a saved tree; None where none has.

    Args:
      folder: where it was saved.
      scale: name of the scales' leaves.
    """
    leaves = jax.tree_util.tree_flatten_with_path(_read_metadata(folder))[0]
    types = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.dtype for path, leaf in leaves}
    kernels = [path.removesuffix(scale) + "kernel" for path in types if path.endswith(f"/{scale}")]
    return np.dtype(types[kernels[0]]) if kernels and kernels[0] in types else None


def _read_metadata(folder: Path) -> Any:
    from orbax.checkpoint import v1 as ocp

    try:
        return ocp.metadata(str(folder.absolute())).metadata
    except (ValueError, KeyError, OSError) as err:
        raise InputError(
            f"{folder}: expected weights written by v2v convert ({first_line(err)}); convert again"
        ) from err


def first_line(err: BaseException) -> str:
    """Return the first line of an error's message, at most 300 characters, or the error's type where it has no message."""
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:300]
