"""Loaded models written as folders that load fast: config.json, tokenizer.json and an orbax tree for each part, adapters included.

pretrained.py -> **saved_model** -> cli/convert.py, editor.py
"""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
from tqdm import tqdm

from v2v.checkpoints import native, orbax_tree, parameter_store
from v2v.checkpoints.adapters import Adapter
from v2v.errors import InputError
from v2v.pipeline.pretrained_model import Pretrained
from v2v.video.file_checks import error_reason


def check_target(folder: Path) -> None:
    """Check that a folder can be made; raise InputError where it can't."""
    if folder.exists():
        raise InputError(f"{folder}: already there; choose another name or remove it")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"{folder}: no folder {folder.absolute().parent}; make it first")


def save_model(model: Pretrained, folder: Path, *, progress: bool = False) -> None:
    """Write a model with its adapters; the folder is complete or absent.

    Args:
      model: the model.
      folder: the folder to make.
      progress: show a bar.

    Raises:
      InputError: the folder exists, has no parent, or can't be written.
    """
    check_target(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with explained_write_errors(folder):
            partial.mkdir()
            tokenizer = model.tokenizer.backend.to_str(pretty=True)
            (partial / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
        for part in tqdm(
            model.config.parts, desc="converting", unit=" parts", disable=not progress, leave=False
        ):
            tree = model.parameters(part)
            with explained_write_errors(folder):
                orbax_tree.save_tree(partial / part, tree)
        config = dataclasses.replace(model.config, name=folder.resolve().name)
        with explained_write_errors(folder):
            for part in config.transformers:
                if (adapter := model.adapter(part)) is not None:
                    orbax_tree.save_tree(
                        partial / parameter_store.ADAPTER_FOLDERS[part], _adapter_tree(adapter)
                    )
            native.save_config(partial / "config.json", config)
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def explained_write_errors(target: Path) -> Iterator[None]:
    """Turn errors of the system inside the block, such as that of a full disk, into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{target}: can't be written ({error_reason(error)}); check the disk and the folder's permissions"
        ) from error


def _adapter_tree(adapter: Adapter) -> dict:
    tree = {"lora": adapter.lora, "delta": adapter.delta, "embed": adapter.embed}
    return jax.device_put({name: leaves for name, leaves in tree.items() if leaves})
