"""Published model folders: the parts they hold and the configuration that these fit.

Two published arrangements are supported:
    diffusers  model_index.json, transformer/ vae/ text_encoder/ tokenizer/ scheduler/, a config.json in each
    original   safetensors with the original names, side by side or in those folders, recognized by the tensors they hold; sizes
               are read from shapes. Heads are then 128 wide, as in every Wan model, unless config.json says otherwise

An editing adapter may lie beside them as lora.safetensors (with lora.embeds.safetensors). Backbones of the family that this package
cannot run are rejected with the reason before any tensor is read.
"""

from dataclasses import dataclass
from pathlib import Path

from v2v.checkpoints import hub_client, name_mapping, wan_config
from v2v.checkpoints.config_types import check_types
from v2v.checkpoints.safetensors_file import INDEX_SUFFIX, TensorFiles
from v2v.checkpoints.wan import NAME_PREFIXES
from v2v.config import ConditionConfig, ModelConfig, wan22_ti2v_5b
from v2v.errors import InputError
from v2v.runtime import text_files

SUBFOLDERS = {"dit": "transformer", "vae": "vae", "text": "text_encoder"}
# Files in which a part may lie that is not read, by their names.
FOREIGN_FILES = {
    "dit": ("*.pth", "*.pt", "*.gguf"),
    "vae": ("*VAE*.pth", "*vae*.pth", "*VAE*.pt", "*vae*.pt"),
    "text": ("*t5*.pth", "*t5*.pt", "*t5*.gguf"),
}
MISSING_TOKENIZER = "tokenizer (tokenizer/tokenizer.json)"


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose headers and configs have been read, but no weights.

    Attributes:
      path: the folder.
      config: the configuration that its tensors fit.
      parts: the open files of "dit", "vae" and "text", as far as they exist.
      tokenizer: tokenizer.json, if it exists.
      adapter: lora.safetensors, if it exists.
    """

    path: Path
    config: ModelConfig
    parts: dict[str, TensorFiles]
    tokenizer: Path | None
    adapter: Path | None = None

    @property
    def missing(self) -> list[str]:
        """Descriptions of the parts that editing needs and the folder lacks."""
        missing = [format_missing_part(part) for part in name_mapping.PARTS if part not in self.parts]
        return missing + ([] if self.tokenizer else [MISSING_TOKENIZER])

    def require(self) -> "ModelFolder":
        """Return this folder if it is complete; raise InputError that names everything missing."""
        if self.missing:
            raise InputError(
                f"{self.path}: expected a whole model, missing {', '.join(self.missing)}; copy them from the same release"
            )
        return self


def read_model_folder(path: str | Path, parts: dict[str, TensorFiles] | None = None) -> ModelFolder:
    """Read the headers and configs of a model folder; no tensors.

    Args:
      path: the folder.
      parts: the result of `open_parts`, if it has been called already.

    Raises:
      InputError: no folder, no transformer in it, an unsupported backbone, or damaged files.
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
    wan_config.check_pipeline(path, _read_json(path / "model_index.json"))
    problems: list[str] = []
    parts = open_parts(path, problems) if parts is None else parts
    if "dit" not in parts and problems:
        raise InputError(problems[0])
    if "dit" not in parts:
        raise InputError(
            f"{path}: expected transformer/*.safetensors or a safetensors file with patch_embedding.weight, found "
            f"{', '.join(SUBFOLDERS[p] for p in parts) or 'none'}; {wan_config.SUPPORTED_MODELS}"
        )
    configs = {p: _read_json(path / SUBFOLDERS[p] / "config.json") for p in name_mapping.PARTS}
    top = _read_json(path / "config.json")
    scheduler = _read_json(path / "scheduler" / "scheduler_config.json") or {}
    try:
        dit = wan_config.build_dit_config(path, parts["dit"], configs["dit"], top)
        vae = wan_config.build_vae_config(path, parts.get("vae"), configs["vae"], dit.out_channels)
        text = wan_config.build_text_config(parts.get("text"), configs["text"], dit)
        wide = dit.in_channels > dit.out_channels
        flow = wan_config.build_flow_config(scheduler, 5.0 if wide else 3.0)
        for part in (dit, vae, text, flow):
            check_types(part)
    except wan_config.UnsupportedBackboneError:  # the better reason, whatever else can't be read
        raise
    except InputError as err:
        raise (InputError(problems[0]) if problems else err) from None
    # Of fields that lack, of values of other types, and of tensors with other numbers of dimensions.
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, StopIteration) as err:
        raise InputError(
            f"{path}: its configuration or the shapes of its tensors can't be understood ({type(err).__name__}: {err}); fetch it again"
        ) from err
    if problems:
        raise InputError(problems[0])
    try:
        config = ModelConfig(
            name=hub_client.snapshot_name(path.resolve()) or path.resolve().name,
            largest=wan22_ti2v_5b().largest,
            batch=1,
            dit=dit,
            vae=vae,
            text=text,
            condition=ConditionConfig(layout="channel" if wide else "sequence"),
            flow=flow,
        )
    except ValueError as err:
        raise InputError(f"{path}: its parts don't go together ({err}); copy them from one release") from err
    adapter = path / "lora.safetensors"
    return ModelFolder(path, config, parts, find_tokenizer(path), adapter if adapter.is_file() else None)


def format_missing_part(part: str) -> str:
    """Return a description of a missing part."""
    return f"{SUBFOLDERS[part]} weights ({SUBFOLDERS[part]}/*.safetensors)"


def find_tokenizer(path: Path) -> Path | None:
    """Return tokenizer.json from any of the places where releases keep it, or None."""
    candidates = (path / place / "tokenizer.json" for place in ("tokenizer", "google/umt5-xxl", ""))
    return next((file for file in candidates if file.is_file()), None)


def open_parts(path: Path, problems: list[str] | None = None) -> dict[str, TensorFiles]:
    """Open each part's checkpoint: from its subfolder, else from single files recognized by their tensors.

    Args:
      path: the model folder.
      problems: receives the errors of single files, so that one damaged part does not hide the others; None raises them.

    Raises:
      InputError: a damaged file or a pickle, where `problems` is None.
    """
    parts: dict[str, TensorFiles] = {}

    def open_files(place: Path) -> TensorFiles | None:
        try:
            return TensorFiles.open(place)
        except InputError as err:
            if problems is None:
                raise
            problems.append(str(err))

    for part, sub in SUBFOLDERS.items():
        if any((path / sub).glob("*.safetensors*")) and (files := open_files(path / sub)):
            parts[part] = files
    indices = sorted(path.glob(f"*{INDEX_SUFFIX}"))
    shards = {name for index in indices for name in _listed_shards(index)}
    for file in [*indices, *(f for f in sorted(path.glob("*.safetensors")) if f.name not in shards)]:
        files = open_files(file)
        for part, marks in wan_config.MARKER_TENSORS.items():
            if (
                files
                and part not in parts
                and any(p + m in files.slots for p in NAME_PREFIXES for m in marks)
            ):
                parts[part] = files
                break
    for part in FOREIGN_FILES:
        foreign = next((f for pattern in FOREIGN_FILES[part] for f in sorted(path.glob(pattern))), None)
        if part not in parts and foreign is not None:
            open_files(foreign)  # raises, naming the safetensors alternative
    return parts


def _listed_shards(index: Path) -> set[str]:
    """Return the names of the files that an index lists; what is no name is left to `TensorFiles.open` to refuse."""
    weight_map = (_read_json(index) or {}).get("weight_map")
    names = weight_map.values() if isinstance(weight_map, dict) else ()
    return {name for name in names if isinstance(name, str)}


def _read_json(path: Path) -> dict | None:
    """Read a JSON object; None where there is no file."""
    if not path.is_file():
        return None
    values = text_files.read_json(path, "fetch it again")
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(values).__name__}; fetch it again")
    return values
