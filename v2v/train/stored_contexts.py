"""Stored contexts of training pairs, for editors whose cross-attention reads what another network made (Kiwi-Edit).

encode_dataset.py reads them in place of embedded sentences. They lie in contexts/ in the folder of a set, or beside a table, one for each
pair by its number: contexts/0000012.safetensors is that of pair 12, of the format of checkpoints/context_file.py. Every sentence of a pair
gets the pair's context.
"""

import hashlib
from pathlib import Path

import numpy as np

from v2v.checkpoints import context_file
from v2v.config import ModelConfig
from v2v.errors import InputError


def contexts_folder(dataset: str | Path) -> Path:
    """Return the folder of a set's contexts."""
    path = Path(dataset)
    return (path if path.is_dir() else path.parent) / "contexts"


def fingerprint_contexts(dataset: str | Path) -> str:
    """Return twelve hexadecimal digits that identify a set's contexts by their names, sizes and times.

    Raises:
      InputError: the set has none.
    """
    folder = contexts_folder(dataset)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(
            f"{folder}: expected the contexts of the set's pairs, NNNNNNN.safetensors each, found none; make them with "
            "tools/kiwi_contexts.py --table"
        )
    digest = hashlib.sha256()
    for file in files:
        facts = file.stat()
        digest.update(f"{file.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def read_pair_context(
    dataset: str | Path, config: ModelConfig, index: int, sentences: list[str]
) -> list[np.ndarray]:
    """Return the context of a pair for each of its sentences, float16 [text_len, d], and zeros for the empty one.

    Args:
      dataset: the set, a folder or a table.
      config: the model.
      index: number of the pair in its set.
      sentences: those of the pair; the empty one is never shown.

    Raises:
      InputError: no context, one that can't be read, or one of another length: batches hold contexts of one length.
    """
    path = contexts_folder(dataset) / f"{index:07d}.safetensors"
    context = context_file.read_context(path, config)
    length = config.dit.text_len
    if len(context.rows) != length:
        raise InputError(
            f"{path}: training takes contexts of {length} rows, which clips without a reference have, got {len(context.rows)} ({context.mode}); "
            "make it anew from a clip without a reference"
        )
    rows = context.rows.astype(np.float16)
    return [rows if sentence else np.zeros((1, rows.shape[1]), np.float16) for sentence in sentences]
