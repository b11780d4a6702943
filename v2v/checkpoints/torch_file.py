"""Files of torch.save (.pth, .pt, .bin, .ckpt): the names and places of their tensors, found without running anything.

Such a file is a ZIP archive: `data.pkl` is a pickle of the saved object, in which each tensor refers to a member `data/KEY` of raw bytes.
Python's own reader of pickles imports and calls whatever the file names. Here the pickle is only taken apart into opcodes, by `pickletools`,
and the few of them that build dictionaries, lists, tuples, texts and numbers are followed by `_Reader`. Nothing is imported: a name is a
name (`_Global`), and what would be a call becomes a tensor, where the name is one of torch's functions that rebuild one, an empty dictionary for
OrderedDict, or an `_Opaque` value that is skipped.
"""

import math
import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2v.checkpoints.tensor_slot import TensorSlot, count_bytes
from v2v.errors import InputError, note

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
# Of data.pkl; more than any model's has.
MAX_PICKLE_BYTES = 100 << 20
# Names under which programs keep the tensors of a model beside other things.
WRAPPERS = ("state_dict", "model", "module", "model_state_dict", "params")
# Under which training of few-step models keeps the network that samples, first the one that its releases sample with, beside critics and optimizers.
GENERATORS = ("generator_ema", "generator")
# What wrappers of torch put into the names of the modules that they hold.
MODULE_WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.", "_checkpoint_wrapped_module.")
# Dictionaries in dictionaries that are looked at.
MAX_DICTIONARIES = 500
# Types of torch's storages by the names of their classes.
STORAGE_DTYPES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
# Types of torch by name, as newer files give them for types without a storage class of their own.
TORCH_DTYPES = {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}


def read_torch_file(path: Path) -> dict[str, TensorSlot]:
    """Return the place of every tensor of a file, by its name; those of dictionaries in dictionaries are joined by dots.

    Where the file is one dictionary that holds the tensors beside other things (`state_dict`, `model`), its name is left out. Of a checkpoint of
    few-step distillation (Turbo, CausVid, Self-Forcing) only the generator is read, which a note tells.

    Raises:
      InputError: no such file, an older format, a damaged one, or tensors that can't be read as they are.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            index = next((name for name in members if name.endswith("data.pkl")), None)
            if index is None:
                raise InputError(
                    f"{path}: is a ZIP archive without data.pkl, which torch.save writes; fetch it again"
                )
            if members[index].file_size > MAX_PICKLE_BYTES:
                raise InputError(f"{path}: its data.pkl is larger than any model's; save the tensors alone")
            folder = index.removesuffix("data.pkl")
            order = folder + "byteorder"
            if order in members and archive.read(order).strip() != b"little":
                raise InputError(f"{path}: was written on a big-endian machine; save it again as safetensors")
            tree = _Reader(path, folder, members).read(archive.read(index))
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as err:
        hint = "it is damaged, or older than torch 1.6; fetch it again, or load it in torch and save it as safetensors"
        raise InputError(f"{path}: expected a file of torch.save, could not read it ({err}); {hint}") from err
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, UnicodeError) as err:
        raise InputError(
            f"{path}: its index of tensors can't be followed ({type(err).__name__}: {err}); fetch it again, or load it in torch "
            "and save it as safetensors"
        ) from err
    return _collect_tensors(path, tree)


def _collect_tensors(path: Path, tree: Any) -> dict[str, TensorSlot]:
    """Return the tensors of nested dictionaries by their joined names."""
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected a dictionary of tensors, got {type(tree).__name__.strip('_')}")
    nested = _find_dictionaries(tree)
    generator = next((name for name in GENERATORS if name in nested), None)
    if generator is not None:
        others = ", ".join(str(name) for name in tree if name != generator)
        note(
            f"{path.name}: is a checkpoint of few-step distillation, of which {generator} is read{f' and not {others}' if others else ''}; "
            "sample it as its release does, with --preset"
        )
        tree = tree[generator]
        nested = _find_dictionaries(tree)
    is_wrapped = len(nested) == 1 and nested[0] in WRAPPERS
    if is_wrapped and not any(isinstance(value, TensorSlot) for value in tree.values()):
        tree = tree[nested[0]]
    tensors = dict(_iterate_tensors(tree, set()))
    if generator is not None:
        tensors = {_without_wrappers(name): slot for name, slot in tensors.items()}
    if not tensors:
        raise InputError(f"{path}: holds no tensors")
    return tensors


def _find_dictionaries(tree: dict) -> list[str]:
    """Return the names of the dictionaries in a dictionary that hold tensors."""
    return [
        name
        for name, value in tree.items()
        if isinstance(value, dict) and any(_iterate_tensors(value, set()))
    ]


def _without_wrappers(name: str) -> str:
    """Return the name of a tensor of a generator in the network itself, which its class holds as `model`."""
    for wrapper in MODULE_WRAPPERS:
        name = name.replace(wrapper, "")
    return name.removeprefix("model.")


def _iterate_tensors(tree: dict, visited: set[int], prefix: str = "") -> Iterator[tuple[str, TensorSlot]]:
    """Yield tensors by their joined names; a dictionary that occurs again, be it in itself, is passed by."""
    visited.add(id(tree))
    for name, value in tree.items():
        if isinstance(value, TensorSlot):
            yield f"{prefix}{name}", value
        elif isinstance(value, dict) and id(value) not in visited and len(visited) < MAX_DICTIONARIES:
            yield from _iterate_tensors(value, visited, f"{prefix}{name}.")


@dataclass(frozen=True)
class _Global:
    """A name that the pickle would import."""

    name: str


@dataclass(frozen=True)
class _Opaque:
    """What the pickle would make by calling something that is not looked at."""


@dataclass(frozen=True)
class _Storage:
    """A member of the archive that holds values.

    Attributes:
      member: its name in the archive.
      dtype: of the values; "" for bytes of any type.
    """

    member: str
    dtype: str


class _Mark:
    """A place on the stack."""


class _Reader:
    """Follows the opcodes of one pickle.

    Args:
      path: the file, for the places of tensors.
      folder: the archive's top folder, with its slash.
      members: all members by name.
    """

    def __init__(self, path: Path, folder: str, members: dict[str, zipfile.ZipInfo]):
        self._path, self._folder, self._members = path, folder, members
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        """Return what the pickle holds.

        Raises:
          ValueError, TypeError, KeyError, IndexError: it isn't one that torch writes.
        """
        stack = self._stack
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                return stack.pop()
            if opcode.name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif argument is not None and opcode.stack_before == [] and name not in _MEMO_OPCODES:
                self._push_argument(name, argument)
            else:
                self._apply(name, argument)
        raise ValueError("no end")

    def _push_argument(self, name: str, argument: Any) -> None:
        """Push a text, a number or a name."""
        if name == "GLOBAL":
            self._stack.append(_Global(argument.replace(" ", ".")))
        elif name in ("PROTO", "FRAME"):
            return
        elif isinstance(argument, str | int | float | bytes):
            self._stack.append(argument)
        else:
            raise ValueError(f"opcode {name}")

    def _apply(self, name: str, argument: Any) -> None:
        """Follow an opcode that takes values from the stack or the memo."""
        stack = self._stack
        match name:
            case "MARK":
                stack.append(_Mark())
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE" | "LIST":
                items = self._pop_mark()
                stack.append(tuple(items) if name == "TUPLE" else items)
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "DICT":
                stack.append(self._make_dict(self._pop_mark()))
            case "SETITEM" | "SETITEMS":
                items = self._pop_mark() if name == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
                if isinstance(stack[-1], dict):
                    stack[-1].update(self._make_dict(items))
            case "APPEND" | "APPENDS":
                items = self._pop_mark() if name == "APPENDS" else [stack.pop()]
                if isinstance(stack[-1], list):
                    stack[-1].extend(items)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_Global(f"{module}.{name}"))
            case "BINPERSID":
                stack.append(self._find_storage(stack.pop()))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._rebuild(function, arguments))
            case "BUILD":  # the state of an object, such as attributes of an OrderedDict
                stack.pop()
            case "POP":
                stack.pop()
            case _:
                raise ValueError(f"opcode {name}")

    def _pop_mark(self) -> list[Any]:
        """Return the values above the last mark, and take both from the stack."""
        place = max(i for i, value in enumerate(self._stack) if isinstance(value, _Mark))
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items

    def _make_dict(self, items: list[Any]) -> dict:
        pairs = zip(items[::2], items[1::2], strict=True)
        return {key: value for key, value in pairs if isinstance(key, str | int)}

    def _find_storage(self, reference: tuple) -> _Storage:
        """Return the storage that ("storage", class, key, location, count) refers to."""
        _, kind, key, *_ = reference
        name = kind.name.rpartition(".")[2]
        if name not in STORAGE_DTYPES and name != "UntypedStorage":
            raise ValueError(f"values of {kind.name}")
        return _Storage(f"{self._folder}data/{key}", STORAGE_DTYPES.get(name, ""))

    def _rebuild(self, function: Any, arguments: tuple) -> Any:
        """Return what a call makes, without calling anything."""
        match function:
            case _Global("collections.OrderedDict" | "collections.defaultdict" | "builtins.dict"):
                return (
                    self._make_dict([x for pair in arguments[0] for x in pair])
                    if arguments and isinstance(arguments[0], list)
                    else {}
                )
            case _Global("torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor"):
                storage, offset, shape, strides, *_ = arguments
                return self._place(storage, storage.dtype, offset, shape, strides)
            case _Global("torch._utils._rebuild_tensor_v3"):
                storage, offset, shape, strides, _, _, kind, *_ = arguments
                return self._place(
                    storage, TORCH_DTYPES[kind.name.rpartition(".")[2]], offset, shape, strides
                )
            case _Global("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state"):
                return arguments[0]
        return _Opaque()

    def _place(
        self, storage: _Storage, dtype: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> TensorSlot:
        """Return where a tensor lies in its member."""
        numbers = (offset, *shape, *strides)
        if not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers) or len(shape) != len(strides):
            raise ValueError("sizes that are no sizes")
        info = self._members[storage.member]
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{storage.member} is compressed")
        width = count_bytes(dtype, ())
        reach = (
            1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
            if math.prod(shape)
            else 0
        )
        if (offset + reach) * width > info.file_size:
            raise ValueError(f"a tensor reaches beyond {storage.member}")
        return TensorSlot(
            self._path,
            dtype,
            shape,
            info.header_offset,
            reach * width,
            None if _is_c_order(shape, strides) else strides,
            offset * width,
        )


def _is_c_order(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Return whether values follow each other in C order; the stride along an axis of one value means nothing."""
    step = 1
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and stride != step:
            return math.prod(shape) == 0
        step *= n
    return True


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MEMO_OPCODES = frozenset(
    (
        "PUT",
        "BINPUT",
        "LONG_BINPUT",
        "GET",
        "BINGET",
        "LONG_BINGET",
        "MEMOIZE",
        "PERSID",
        "EXT1",
        "EXT2",
        "EXT4",
    )
)
