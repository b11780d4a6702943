"""Trees of parameters as flat dicts, with the path of each leaf joined by "/"."""

from typing import Any

from flax import traverse_util


def flatten_tree(tree: Any) -> dict[str, Any]:
    """Return the leaves of a nested dict by path."""
    return dict(traverse_util.flatten_dict(tree, sep="/"))


def unflatten_tree(leaves: dict[str, Any]) -> dict[str, Any]:
    """Return the nested dict of leaves by path."""
    return traverse_util.unflatten_dict(leaves, sep="/")
