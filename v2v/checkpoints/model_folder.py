"""What a local model folder holds: the parts it has, and the configuration they fit. **folder**, described.py → wan.py → pretrained.py

Two published arrangements are known:
    diffusers  model_index.json, transformer/ vae/ text_encoder/ tokenizer/ scheduler/, a config.json in each
    original   safetensors with the original names, side by side or in those folders, told apart by the tensors they hold; sizes
               are read from shapes. Heads are then 128 wide, as in every Wan, unless config.json says otherwise
An editing adapter may lie beside them as lora.safetensors (with lora.embeds.safetensors). Backbones of the family that this package cannot run are named with the reason, before anything is read.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from v2v.checkpoints import name_mapping, wan_config
from v2v.checkpoints.safetensors_file import INDEX_SUFFIX, TensorFiles
from v2v.checkpoints.wan import NAME_PREFIXES
from v2v.config import ConditionConfig, ModelConfig, wan22_ti2v_5b
from v2v.errors import InputError

SUBFOLDERS = {"dit": "transformer", "vae": "vae", "text": "text_encoder"}
MISSING_TOKENIZER = "tokenizer (tokenizer/tokenizer.json)"


@dataclass(frozen=True)
class ModelFolder:
    """A folder that was looked through; nothing of the weights has been read."""

    path: Path
    config: ModelConfig
    parts: dict[str, TensorFiles]  # of "dit", "vae", "text" those that are there
    tokenizer: Path | None  # tokenizer.json
    adapter: Path | None = None  # lora.safetensors

    @property
    def missing(self) -> list[str]:
        """What is needed to edit and isn't here, in words."""
        lost = [format_missing_part(part) for part in name_mapping.PARTS if part not in self.parts]
        return lost + ([] if self.tokenizer else [MISSING_TOKENIZER])

    def require(self) -> "ModelFolder":
        """This folder, when complete. Raises InputError naming all that is missing."""
        if self.missing:
            raise InputError(
                f"{self.path}: expected a whole model, missing {', '.join(self.missing)}; copy them from the same release"
            )
        return self


def read_model_folder(path: str | Path, parts: dict[str, TensorFiles] | None = None) -> ModelFolder:
    """Look through a model folder: opens headers and configs, no tensors.

    Args:
      parts: what `open_parts` found there, when that has been asked already.

    Raises:
      InputError: not a folder, no DiT in it, a backbone we can't run, damaged files.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(
            f"{path}: expected a model folder (transformer/, vae/, text_encoder/, tokenizer/), found no folder"
        )
    if (path / "transformer_2").is_dir() or (path / "high_noise_model").is_dir():
        raise InputError(
            f"{path}: is Wan2.2-A14B (two 14B experts, 16 latent channels); {wan_config.SUPPORTED_MODELS}"
        )
    parts = open_parts(path) if parts is None else parts
    if "dit" not in parts:
        raise InputError(
            f"{path}: expected transformer/*.safetensors or a safetensors file with patch_embedding.weight, found "
            f"{', '.join(SUBFOLDERS[p] for p in parts) or 'none'}; {wan_config.SUPPORTED_MODELS}"
        )
    said = {p: _read_json(path / SUBFOLDERS[p] / "config.json") for p in name_mapping.PARTS}
    top = _read_json(path / "config.json")
    dit = wan_config.build_dit_config(path, parts["dit"], said["dit"], top)
    vae = wan_config.build_vae_config(path, parts.get("vae"), said["vae"], dit.out_channels)
    text = wan_config.build_text_config(parts.get("text"), said["text"], dit)
    wide = dit.in_channels > dit.out_channels
    try:
        config = ModelConfig(
            name=path.resolve().name,
            largest=wan22_ti2v_5b().largest,
            batch=1,
            dit=dit,
            vae=vae,
            text=text,
            condition=ConditionConfig(layout="channel" if wide else "sequence"),
            flow=wan_config.build_flow_config(
                _read_json(path / "scheduler" / "scheduler_config.json") or {}, 5.0 if wide else 3.0
            ),
        )
    except ValueError as err:
        raise InputError(f"{path}: its parts don't go together ({err}); copy them from one release") from err
    adapter = path / "lora.safetensors"
    return ModelFolder(path, config, parts, find_tokenizer(path), adapter if adapter.is_file() else None)


def format_missing_part(part: str) -> str:
    """A part that isn't there, in words."""
    return f"{SUBFOLDERS[part]} weights ({SUBFOLDERS[part]}/*.safetensors)"


def find_tokenizer(path: Path) -> Path | None:
    """tokenizer.json in any of the places releases keep it."""
    return next((p for p in (path / place / "tokenizer.json" for place in ("tokenizer", "google/umt5-xxl", "")) if p.is_file()), None)  # fmt: skip


def open_parts(path: Path, problems: list[str] | None = None) -> dict[str, TensorFiles]:
    """Each part's open checkpoint: from its subfolder, else from lone files told apart by their tensors.

    Args:
      problems: takes the errors of single files, so that one damaged part doesn't hide the others; None raises them.
    """
    parts: dict[str, TensorFiles] = {}

    def opened(place: Path) -> TensorFiles | None:
        try:
            return TensorFiles.open(place)
        except InputError as err:
            if problems is None:
                raise
            problems.append(str(err))

    for part, sub in SUBFOLDERS.items():
        if any((path / sub).glob("*.safetensors*")) and (files := opened(path / sub)):
            parts[part] = files
    indices = sorted(path.glob(f"*{INDEX_SUFFIX}"))
    shards = {name for i in indices for name in set((_read_json(i) or {}).get("weight_map", {}).values())}
    for file in [*indices, *(f for f in sorted(path.glob("*.safetensors")) if f.name not in shards)]:
        files = opened(file)
        for part, marks in wan_config.MARKER_TENSORS.items():
            if (
                files
                and part not in parts
                and any(p + m in files.slots for p in NAME_PREFIXES for m in marks)
            ):
                parts[part] = files
                break
    for part, pattern in (("dit", "*.pth"), ("vae", "*VAE*.pth"), ("text", "*t5*.pth")):
        pickles = sorted(path.glob(pattern))
        if part not in parts and pickles:
            opened(pickles[0])  # raises, naming the safetensors alternative
    return parts


def _read_json(path: Path) -> dict | None:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as err:
        raise InputError(f"{path}: expected JSON, could not read it ({err}); fetch it again") from err
