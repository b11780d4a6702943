"""Types of configurations that come from files: each field is compared with its annotation."""

import dataclasses
import types
import typing
from typing import Any


def check_types(config: Any, name: str = "") -> None:
    """Check the fields of a dataclass, and of the dataclasses in it, against their annotations.

    Args:
      config: An instance whose annotations are numbers, texts, `Literal`, tuples, unions and dataclasses of such.
      name: Prefix of the fields' names in the message.

    Raises:
      ValueError: A field holds another type; the message is one line that names it.
    """
    for field, kind in typing.get_type_hints(type(config)).items():
        value = getattr(config, field)
        if not _fits(value, kind):
            text = repr(value)
            raise ValueError(
                f"{name}{field}: expected {_describe(kind)}, got {text[:40]}{'...' * (len(text) > 40)}"
            )
        if dataclasses.is_dataclass(value):
            check_types(value, f"{name}{field}.")


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of an annotated type; an integer is a float too, a bool is no number."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if kind is float:
        return type(value) in (int, float)
    if origin is typing.Literal:
        return value in arguments
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1:] == (Ellipsis,):
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    return type(value) is kind


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(kind)))}"
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)
