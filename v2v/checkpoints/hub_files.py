"""Which files of a published repository its layout needs: chosen from the names alone, so that nothing else is fetched.

Repositories often hold the same weights several times (other types, single files for other programs, pickles), pictures and examples.
`select_files` returns what `model_folder.read_model_folder` and `native` read, and of weights that are there twice one copy.
"""

import re
from collections.abc import Iterable, Sequence

from v2v.checkpoints import torch_file
from v2v.checkpoints.part_files import ORIGINAL_FOLDERS, SUBFOLDERS, guess_part
from v2v.checkpoints.tensor_files import SAFETENSORS_INDEX, TORCH_INDEX

# Small files of a published model, wherever a release keeps them.
DESCRIPTIONS = (
    "config.json",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer.json",
    "tokenizer/tokenizer.json",
    "google/umt5-xxl/tokenizer.json",
)
# Where there is no tokenizer.json.
SENTENCEPIECE_FILES = ("tokenizer/spiece.model", "google/umt5-xxl/spiece.model", "spiece.model")
# An editing adapter beside the weights.
ADAPTER_FILES = ("lora.safetensors", "lora.embeds.safetensors")
# What `v2v train` exports and `v2v convert` writes.
EXPORT_FILES = (
    "base.safetensors",
    "vae.safetensors",
    "config.json",
    "tokenizer.json",
    "abilities.json",
    *ADAPTER_FILES,
)
# Patch embeddings of conditions, of editors that have them.
EMBEDDER_FOLDERS = ("source_embedder", "ref_embedder")
CONVERTED_FOLDERS = ("dit", "dit_low", "vae", "text", "adapter", "adapter_low")

_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.safetensors")


def select_files(paths: Iterable[str]) -> list[str]:
    """Return the files of a model that editing needs, sorted.

    Args:
      paths: all files of the repository.
    """
    present = set(paths)
    if "base.safetensors" in present:
        return sorted(present.intersection(EXPORT_FILES))
    if is_converted(present):
        return sorted(
            path
            for path in present
            if path in ("config.json", "tokenizer.json") or path.partition("/")[0] in CONVERTED_FOLDERS
        )
    selected = present.intersection((*DESCRIPTIONS, *ADAPTER_FILES))
    parts: set[str] = set()
    for part, folder in (*SUBFOLDERS.items(), *ORIGINAL_FOLDERS.items()):
        inside = [p for p in present if p.rpartition("/")[0] == folder]
        weights = select_weights(inside) or _torch_files(inside)
        selected.update(weights, present.intersection([f"{folder}/config.json"]))
        parts.update([part] if weights else [])
    for folder in EMBEDDER_FOLDERS:
        weights = select_weights([p for p in present if p.rpartition("/")[0] == folder])
        selected.update(weights, present.intersection([f"{folder}/config.json"]))
    top = [p for p in present if "/" not in p]
    if "dit" not in parts:
        lone = [p for p in top if _is_weights(p) or p.endswith(SAFETENSORS_INDEX)]
        selected.update(lone)
        parts.update(guess_part(p) for p in lone)
    for part in SUBFOLDERS.keys() - parts:
        selected.update(_torch_files([p for p in top if guess_part(p) == part]))
    if not present.intersection(DESCRIPTIONS[-3:]):
        selected.update(sorted(present.intersection(SENTENCEPIECE_FILES))[:1])
    return sorted(selected)


def _torch_files(paths: Iterable[str]) -> list[str]:
    """Return one copy of weights of torch.save: an index and its shards, or the file with the shortest name; empty where there is none."""
    paths = list(paths)
    indices = sorted(
        (path for path in paths if path.endswith(TORCH_INDEX)), key=lambda path: (len(path), path)
    )
    if indices:
        stem = re.escape(indices[0].removesuffix(TORCH_INDEX))
        return [
            indices[0],
            *(p for p in sorted(paths) if re.fullmatch(rf"{stem}-\d{{5}}-of-\d{{5}}\.bin", p)),
        ]
    files = [path for path in paths if path.endswith(torch_file.SUFFIXES)]
    return sorted(files, key=lambda path: (len(path), path))[:1]


def is_converted(paths: Iterable[str]) -> bool:
    """Return whether `v2v convert` wrote the folder with these files."""
    folders = {path.partition("/")[0] for path in paths if "/" in path}
    return {"dit", "vae", "text"} <= folders and "config.json" in set(paths)


def select_weights(paths: Sequence[str]) -> list[str]:
    """Return the files of one copy of the weights among the files of a folder: the plain one before variants such as fp16."""
    copies: dict[str, list[str]] = {}
    for path in paths:
        shard = _SHARD.fullmatch(path)
        if path.endswith(SAFETENSORS_INDEX):
            copies.setdefault(path.removesuffix(SAFETENSORS_INDEX), []).append(path)
        elif shard:
            copies.setdefault(shard[1], []).append(path)
        elif _is_weights(path):
            copies.setdefault(path.removesuffix(".safetensors"), []).append(path)
    if not copies:
        return []
    plainest = min(copies, key=lambda stem: (stem.rpartition("/")[2].count("."), len(stem), stem))
    files = copies[plainest]
    # A whole file beside shards of the same name is a second copy.
    shards = [path for path in files if path != f"{plainest}.safetensors"]
    return shards if any(path.endswith(SAFETENSORS_INDEX) for path in shards) else files


def select_unreadable(paths: Iterable[str]) -> list[str]:
    """Return the GGUF files at the top of a repository; they are not fetched, and named where a part exists only so."""
    return sorted(path for path in paths if "/" not in path and path.endswith(".gguf"))


def find_adapters(paths: Iterable[str]) -> list[str]:
    """Return the files of a repository that may be LoRA files, sorted."""
    return sorted(path for path in paths if _is_weights(path) and not path.endswith(".embeds.safetensors"))


def is_model(paths: Iterable[str]) -> bool:
    """Return whether the files are those of a whole model, not of adapters."""
    present = set(paths)
    folders = {path.partition("/")[0] for path in present if "/" in path}
    return bool(
        present & {"model_index.json", "base.safetensors"}
        or folders & {*SUBFOLDERS.values(), *ORIGINAL_FOLDERS.values()}
    )


def describe_content(paths: Iterable[str]) -> str:
    """Return what a repository holds that is no model of a known layout, in a few words."""
    present = sorted(paths)
    folders = sorted({path.rpartition("/")[0] or "the top" for path in present if _is_weights(path)})
    if folders:
        return f"safetensors in {', '.join(folders[:6])} alone"
    kinds = (("GGUF files", (".gguf",)), ("files of torch.save", torch_file.SUFFIXES))
    names = [kind for kind, suffixes in kinds if any(path.endswith(suffixes) for path in present)]
    return " and ".join(names) or f"no weights among its {len(present)} files"


def adapter_files(path: str, paths: Iterable[str]) -> list[str]:
    """Return a LoRA file and what is read beside it: its embeddings and PEFT's adapter_config.json."""
    folder = path.rpartition("/")[0]
    beside = (
        f"{path.removesuffix('.safetensors')}.embeds.safetensors",
        f"{folder}/adapter_config.json".lstrip("/"),
    )
    return [path, *sorted(set(paths).intersection(beside))]


def _is_weights(path: str) -> bool:
    return path.endswith(".safetensors")
