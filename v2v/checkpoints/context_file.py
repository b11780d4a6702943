"""Contexts that another network made of an instruction, the source and a reference, as files: what Kiwi-Edit's cross-attention reads.

A file is safetensors with one tensor and one entry of its header:

    context       [m, d], float32, float16 or bfloat16: the outputs of the editor's connector, at the width of the transformer; m is 512 for
                  a clip, 256 for a picture, up to 1,536 with a reference
    v2v_context   JSON: version 1, instruction, mode ("video", "picture" or "reference"), and if known sha256 of the source's and the
                  reference's file, and encoder, the folder or name of the network

tools/kiwi_contexts.py writes it beside the published network. Nothing but the tensor and this text is read: no code, no pickle.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from v2v.checkpoints import safetensors_file
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.config import ModelConfig
from v2v.errors import InputError, note
from v2v.runtime import text_files

CONTEXT_KEY = "v2v_context"
CONTEXT_TENSOR = "context"
VERSION = 1
# Beyond what any release makes; more would only slow every step down.
MOST_TOKENS = 4096
ContextMode = Literal["video", "picture", "reference"]
_REMEDY = "make it with tools/kiwi_contexts.py"


@dataclass(frozen=True, eq=False)
class StoredContext:
    """The context of one edit.

    Attributes:
      rows: [m, d], float32.
      instruction: what it was made from.
      mode: what else it was made from: a clip, a picture, or a clip with a reference.
      source_sha256: of the source's file; "" where unknown.
      reference_sha256: of the reference's file, the same.
    """

    rows: np.ndarray
    instruction: str
    mode: ContextMode
    source_sha256: str = ""
    reference_sha256: str = ""


def read_context(path: str | Path, config: ModelConfig) -> StoredContext:
    """Read a context.

    Args:
      path: the file.
      config: the model that it is for.

    Raises:
      InputError: a missing or damaged file, other tensors, a context of another width, or a description that can't be read.
    """
    if config.condition.context != "stored":
        raise InputError(
            f"context: {config.name} reads the sentence itself and takes no stored context; leave {path} out"
        )
    files = TensorFiles.open(path)
    if set(files.slots) != {CONTEXT_TENSOR}:
        names = ", ".join(sorted(files.slots)[:4])
        raise InputError(f'{path}: expected one tensor, "{CONTEXT_TENSOR}", got {names or "none"}; {_REMEDY}')
    shape = files.slots[CONTEXT_TENSOR].shape
    if len(shape) != 2 or not 1 <= shape[0] <= MOST_TOKENS or shape[1] != config.dit.width:
        raise InputError(
            f"{path}: expected a context of up to {MOST_TOKENS} rows of {config.dit.width} channels for {config.name}, got {list(shape)}; {_REMEDY}"
        )
    try:
        description = text_files.parse_json(files.metadata.get(CONTEXT_KEY, ""))
        version, instruction, mode = (description[name] for name in ("version", "instruction", "mode"))
        hashes = [description.get(f"{name}_sha256", "") for name in ("source", "reference")]
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise InputError(f"{path}: {CONTEXT_KEY} in its header can't be read ({err}); {_REMEDY}") from err
    if version != VERSION:
        raise InputError(f"{path}: expected a context of version {VERSION}, got {version!r}; {_REMEDY}")
    if mode not in get_args(ContextMode) or not all(isinstance(v, str) for v in (instruction, *hashes)):
        raise InputError(
            f"{path}: expected an instruction and a mode of {', '.join(get_args(ContextMode))}, got {instruction!r} and {mode!r}; {_REMEDY}"
        )
    rows = np.asarray(files.read(CONTEXT_TENSOR), np.float32)
    return StoredContext(rows, instruction, mode, *hashes)


def write_context(path: str | Path, context: StoredContext) -> None:
    """Write a context, in float32; arguments as of `read_context`."""
    description = {
        "version": VERSION,
        "instruction": context.instruction,
        "mode": context.mode,
        "source_sha256": context.source_sha256,
        "reference_sha256": context.reference_sha256,
    }
    rows = {CONTEXT_TENSOR: np.ascontiguousarray(context.rows, np.float32)}
    safetensors_file.write_safetensors(path, rows, {CONTEXT_KEY: json.dumps(description)})


def check_context(
    path: str | Path,
    context: StoredContext,
    instruction: str,
    *,
    source: object = None,
    reference: object = None,
    is_picture: bool = False,
) -> None:
    """Check that a context belongs to an edit; another source's causes a note.

    Args:
      path: its file, for messages.
      context: the context.
      instruction: the edit's.
      source: the edit's source; only files are compared.
      reference: the edit's first reference; None for none.
      is_picture: whether the source is one picture.

    Raises:
      InputError: it was made of another sentence, or with a reference where there is none, or the reverse.
    """
    if _words(context.instruction) != _words(instruction):
        raise InputError(
            f'{path}: is the context of "{context.instruction}", the instruction is "{instruction}"; give that one, or {_REMEDY} anew'
        )
    if (context.mode == "reference") != (reference is not None):
        had = "with" if context.mode == "reference" else "without"
        raise InputError(
            f"{path}: was made {had} a reference, the edit has {'none' if reference is None else 'one'}; {_REMEDY} anew"
        )
    if context.mode != "reference" and (context.mode == "picture") != is_picture:
        note(f"context: {path} was made of a {context.mode}, the source is none; the edit may be poor")
    for what, file, digest in (
        ("source", source, context.source_sha256),
        ("reference", reference, context.reference_sha256),
    ):
        is_file = isinstance(file, str | Path) and Path(file).is_file()
        if digest and is_file and _file_digest(Path(str(file))) != digest:
            note(f"context: {path} was made of another {what} than {file}; the edit may be poor")


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _words(sentence: str) -> str:
    return " ".join(sentence.split()).casefold().rstrip(".")
