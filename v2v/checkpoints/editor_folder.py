"""Published editors among model folders: how they are told, and what they hold beside the parts of their backbone.

Lucy-Edit   by its shapes: twice the input channels
Bernini-R   its tensors are those of Wan2.1 or Wan2.2-A14B. config.json of the release says model_type "bernini_renderer"; of single files
            (ComfyUI) the name of the file or folder must hold "bernini"
Kiwi-Edit   by its folders: source_embedder/ and, where it takes references, ref_embedder/ hold patch embeddings of their own. It has no
            text encoder: mllm_encoder/, a multimodal network, is not read (checkpoints/context_file.py)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from v2v.checkpoints.part_files import SUBFOLDERS, read_json_object
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.config import ModelConfig
from v2v.errors import InputError, note
from v2v.models import editor_presets

# Folders of Kiwi-Edit's patch embeddings by the condition that they are for.
EMBEDDERS = {"source": "source_embedder", "reference": "ref_embedder"}
# How the configuration of Bernini-R, and of Bernini with its planner, calls itself.
BERNINI_TYPE, PLANNER_TYPE = "bernini_renderer", "bernini"


def open_embedders(root: Path) -> dict[str, TensorFiles]:
    """Open Kiwi-Edit's patch embeddings; empty for other models.

    Args:
      root: the model's folder.

    Raises:
      InputError: damaged files.
    """
    return {
        name: TensorFiles.open(root / folder)
        for name, folder in EMBEDDERS.items()
        if any((root / folder).glob("*.safetensors"))
    }


def read_vae_config(root: Path) -> dict[str, Any] | None:
    """Return vae/config.json; None where it is that of another program, as Kiwi-Edit's, whose sizes the tensors tell."""
    values = read_json_object(root / SUBFOLDERS["vae"] / "config.json")
    return values if values is None or "base_dim" in values or "z_dim" not in values else None


def as_editor(
    config: ModelConfig,
    path: Path,
    root: Path,
    top: dict[str, Any] | None,
    parts: dict[str, TensorFiles],
    embedders: dict[str, TensorFiles],
) -> ModelConfig:
    """Return the configuration of the editor that a backbone's folder holds; the backbone's where it holds none.

    Args:
      config: the backbone's, as its tensors and scheduler tell it.
      path: what was named: the folder, or the transformer's file.
      root: the folder.
      top: config.json of the folder.
      parts: the open files.
      embedders: what `open_embedders` found.

    Raises:
      InputError: parts of several releases, or an editor that this package does not run.
    """
    kind = (top or {}).get("model_type")
    if kind == PLANNER_TYPE:
        raise InputError(
            f"{path}: is Bernini with its planner (Qwen2.5-VL-7B), which this package doesn't run; use ByteDance/Bernini-R-1.3B-Diffusers or "
            "ByteDance/Bernini-R-Diffusers, its renderer alone"
        )
    if embedders:
        return _as_kiwi(config, path, root, parts, embedders)
    if kind == BERNINI_TYPE or _is_called_bernini(config, path, parts):
        return _as_bernini(config, path, top or {}, is_declared=kind == BERNINI_TYPE)
    return config


def load_embeddings(
    embedders: Mapping[str, TensorFiles], config: ModelConfig
) -> dict[str, dict[str, np.ndarray]]:
    """Load Kiwi-Edit's patch embeddings as the flax collection `embed`, float32.

    Args:
      embedders: what `open_embedders` found.
      config: the model.

    Raises:
      InputError: values that are no numbers.
    """
    width = config.dit.width
    return {
        name: {
            "kernel": np.asarray(files.read("patch_embedding.weight"), np.float32).reshape(width, -1).T,
            "bias": np.asarray(files.read("patch_embedding.bias"), np.float32),
        }
        for name, files in embedders.items()
    }


def _as_kiwi(
    config: ModelConfig,
    path: Path,
    root: Path,
    parts: dict[str, TensorFiles],
    embedders: dict[str, TensorFiles],
) -> ModelConfig:
    """Return the configuration of Kiwi-Edit, once all of its folder is checked."""
    dit = config.dit
    if "source" not in embedders:
        raise InputError(
            f"{path}: is Kiwi-Edit without {EMBEDDERS['source']}/*.safetensors, so that it would not see the clip; fetch it again"
        )
    if "text" in parts:
        raise InputError(
            f"{path}: mixes releases: Kiwi-Edit has no text encoder (its context comes from mllm_encoder), found {parts['text'].path}; "
            "remove it, or use the folder of one release"
        )
    if dit.in_channels != dit.out_channels:
        raise InputError(
            f"{path}: mixes releases: {EMBEDDERS['source']} is Kiwi-Edit's, the transformer takes the source as further channels "
            f"({dit.in_channels} in, {dit.out_channels} out) as Lucy-Edit's does; use the folder of one release"
        )
    expected = {
        "patch_embedding.weight": (dit.width, dit.out_channels, *dit.patch),
        "patch_embedding.bias": (dit.width,),
    }
    for name, files in embedders.items():
        shapes = {tensor: slot.shape for tensor, slot in files.slots.items()}
        if shapes != expected:
            actual = ", ".join(f"{tensor} {list(shape)}" for tensor, shape in sorted(shapes.items())[:4])
            needed_shapes = ", ".join(f"{tensor} {list(shape)}" for tensor, shape in expected.items())
            raise InputError(
                f"{path}: {EMBEDDERS[name]} expected {needed_shapes} as its transformer needs, got {actual or 'no tensors'}; they are of different releases"
            )
    settings = read_json_object(root / EMBEDDERS["reference"] / "config.json") or {}
    return editor_presets.as_kiwi(config, reference_first=bool(settings.get("ref_pad_first", False)))


def _is_called_bernini(config: ModelConfig, path: Path, parts: dict[str, TensorFiles]) -> bool:
    """Return whether a backbone that Bernini-R may stand on is named after it; paths of the hub's cache hold the repository's name."""
    is_possible = config.dit.in_channels == config.dit.out_channels and not config.vae.residual
    names = (path.name, config.name, parts["dit"].path.name)
    return is_possible and any("bernini" in name.lower() for name in names)


def _as_bernini(config: ModelConfig, path: Path, top: dict[str, Any], *, is_declared: bool) -> ModelConfig:
    """Return the configuration of Bernini-R; one that only its name tells causes a note."""
    if config.dit.in_channels != config.dit.out_channels or config.vae.residual:
        raise InputError(
            f"{path}: mixes releases: its config.json is Bernini-R's, which stands on Wan2.1-T2V-1.3B or Wan2.2-T2V-A14B, the transformer and "
            "autoencoder are not; use the folder of one release"
        )
    if not is_declared:
        note(
            f"model: {config.name} is taken for Bernini-R because of its name; nothing in its tensors tells it from Wan"
        )
    boundary = config.flow.boundary
    if boundary:
        value = top.get("switch_dit_boundary", editor_presets.BERNINI_BOUNDARY)
        boundary = float(value) if isinstance(value, int | float) and 0 < value < 1 else boundary
    return editor_presets.as_bernini(config, boundary)
