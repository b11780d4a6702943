"""The tensors of one checkpoint by name, whatever its files are: safetensors, files of torch.save, shards of either with an index, or GGUF.

Weights of 8 bits with a factor beside them ("scaled" checkpoints of ComfyUI) are read as their product, in float32:

    NAME.weight  F8_E4M3 [o, i]      NAME.scale_weight or NAME.weight_scale  [], [1], [o] or [o, 1]
"""

from pathlib import Path

import numpy as np

from v2v.checkpoints import gguf_file, safetensors_file, torch_file
from v2v.checkpoints.tensor_slot import TensorSlot, read_bytes, read_slot
from v2v.errors import InputError
from v2v.runtime import text_files

# Of the indices of sharded checkpoints, of safetensors and of torch.save.
SAFETENSORS_INDEX, TORCH_INDEX = ".safetensors.index.json", ".bin.index.json"
INDEX_SUFFIXES = (SAFETENSORS_INDEX, TORCH_INDEX)
# What lies beside NAME.weight of a scaled checkpoint: its factor; what a program that multiplies in 8 bits wants to know.
SCALES = ("scale_weight", "weight_scale")
QUANTISATION_NOTES = ("scale_input", "input_scale", "comfy_quant")
# Tells that a whole checkpoint is scaled.
SCALED_MARK = "scaled_fp8"


class TensorFiles:
    """The tensors of one checkpoint by name, read one at a time.

    Attributes:
      path: the file, or the index of a sharded checkpoint.
      slots: the place of every tensor, by name; factors of scaled weights are not listed.
      metadata: entries of the headers' "__metadata__".
    """

    def __init__(self, path: Path, slots: dict[str, TensorSlot], metadata: dict[str, str]):
        self.path, self.metadata = path, metadata
        self.slots, self._scales = _split_scales(slots)

    @classmethod
    def open(cls, path: str | Path) -> "TensorFiles":
        """Open a file, an index, or a folder that holds one of either; reads headers only.

        Raises:
          InputError: missing or truncated files, an index with missing files or tensors, or a format that is not read.
        """
        path = _find_file(Path(path))
        if not path.name.endswith(INDEX_SUFFIXES):
            return cls(path, *_read_header(path))
        text = text_files.read_text(path)
        try:
            weight_map = text_files.parse_json(text)["weight_map"]
            files = sorted(set(weight_map.values()))
            if not all(isinstance(name, str) for name in files):
                raise TypeError("names of files must be texts")
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise InputError(
                f"{path}: expected an index with a weight_map of names to files ({err}); fetch it again"
            ) from err
        absent = [name for name in files if not (path.parent / name).is_file()]
        if absent:
            raise InputError(
                f"{path}: names {len(files)} files, {len(absent)} not there: {', '.join(absent)}; fetch them into {path.parent}"
            )
        slots, metadata = {}, {}
        for name in files:
            file_slots, file_metadata = _read_header(path.parent / name)
            slots.update(file_slots)
            metadata.update(file_metadata)
        missing = sorted(set(weight_map) - set(slots))
        if missing:
            raise InputError(
                f"{path}: {len(missing)} tensors of the index are in none of its files, first {missing[0]}; fetch the shards again"
            )
        return cls(path, slots, metadata)

    def read(self, name: str) -> np.ndarray:
        """Read one tensor in the file's own type, a scaled or quantized one in float32: floats of 8 to 64 bits, or a scalar integer.

        Raises:
          InputError: another type, NaN or infinite values, or a file that ends early.
        """
        x = read_slot(self.slots[name], name)
        if name not in self._scales:
            return x
        scale = read_slot(self._scales[name], f"the scale of {name}").astype(np.float32).reshape(-1)
        if scale.size not in (1, x.shape[0]):
            raise InputError(
                f"{self.path}: the scale of {name} holds {scale.size} numbers, expected one, or one for each of {x.shape[0]} rows"
            )
        return x.astype(np.float32) * scale.reshape(-1, *[1] * (x.ndim - 1))

    def read_content(self, name: str) -> bytes:
        """Read a tensor of bytes, such as a file that lies inside a checkpoint.

        Raises:
          InputError: a file that ends early.
        """
        return read_bytes(self.slots[name], name).tobytes()


def _read_header(path: Path) -> tuple[dict[str, TensorSlot], dict[str, str]]:
    """Return the places of a file's tensors, and its metadata; the format is known by the file's name."""
    if path.suffix in torch_file.SUFFIXES:
        return torch_file.read_torch_file(path), {}
    if path.suffix == gguf_file.SUFFIX:
        return gguf_file.read_gguf_file(path)
    return safetensors_file.read_header(path)


def _split_scales(slots: dict[str, TensorSlot]) -> tuple[dict[str, TensorSlot], dict[str, TensorSlot]]:
    """Return the tensors without what quantisation adds, and the factor of each scaled one by its name."""
    weights = {
        name.removesuffix("weight"): name
        for name, slot in slots.items()
        if name.endswith(".weight") and slot.dtype.startswith("F8_")
    }
    scales, extra_names = {}, {name for name in slots if name.rpartition(".")[2] == SCALED_MARK}
    for stem, name in weights.items():
        for suffix in SCALES:
            if stem + suffix in slots:
                scales[name] = slots[stem + suffix]
        extra_names.update(stem + suffix for suffix in (*SCALES, *QUANTISATION_NOTES))
    return {name: slot for name, slot in slots.items() if name not in extra_names}, scales


def _find_file(path: Path) -> Path:
    """Return the index or the only file of weights at `path`."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{path}: expected a .safetensors file or a folder with one, found nothing")
    kinds = (
        (SAFETENSORS_INDEX,),
        (".safetensors",),
        (TORCH_INDEX,),
        torch_file.SUFFIXES,
        (gguf_file.SUFFIX,),
    )
    candidates: list[Path] = []
    for suffixes in kinds:
        files = sorted(file for file in path.iterdir() if file.name.endswith(suffixes))
        if len(files) == 1 and not candidates:
            return files[0]
        candidates = candidates or files
    names = ", ".join(p.name for p in candidates) or "neither"
    raise InputError(
        f"{path}: expected one *{SAFETENSORS_INDEX} or one .safetensors file, found {names}; pass the file itself"
    )
