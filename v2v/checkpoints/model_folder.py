"""Published model folders: the parts they hold and the configuration that these fit.

Their files lie as `part_files` finds them; the tensors have the names of diffusers, with a config.json for each part, or the original
ones: sizes are then read from shapes, and heads are 128 wide, as in every Wan model, unless config.json says otherwise.

An editing adapter may lie beside them as lora.safetensors (with lora.embeds.safetensors). Backbones of the family that this package
cannot run are rejected with the reason before any tensor is read.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from v2v.checkpoints import editor_folder, hub_client, name_mapping, part_files, presets, wan_config
from v2v.checkpoints.config_types import check_types
from v2v.checkpoints.part_files import ORIGINAL_FOLDERS, SUBFOLDERS, TokenizerSource, read_json_object
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.config import ConditionConfig, ModelConfig
from v2v.errors import InputError

MISSING_TOKENIZER = "tokenizer (tokenizer/tokenizer.json)"


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose headers and configs have been read, but no weights.

    Attributes:
      path: the folder, or the transformer's file.
      config: the configuration that its tensors fit.
      parts: the open files of the model's parts (`ModelConfig.parts`), as far as they exist.
      tokenizer: where the tokenizer is read from, if there is one.
      adapter: lora.safetensors, if it exists.
      embedders: the open files of patch embeddings of conditions, of editors that have them (editor_folder.py).
    """

    path: Path
    config: ModelConfig
    parts: dict[str, TensorFiles]
    tokenizer: TokenizerSource | None
    adapter: Path | None = None
    embedders: Mapping[str, TensorFiles] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Descriptions of the parts that editing needs and the folder lacks."""
        reads_text = self.config.condition.context == "text"
        missing = [format_missing_part(part) for part in self.config.parts if part not in self.parts]
        return missing + ([] if self.tokenizer or not reads_text else [MISSING_TOKENIZER])

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
      path: the folder, or the transformer's file among the other parts.
      parts: the result of `part_files.open_parts`, if it has been called already.

    Raises:
      InputError: no folder, no transformer in it, an unsupported backbone, or damaged files.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"{path}: expected a model folder (transformer/, vae/, text_encoder/, tokenizer/), found no folder"
        )
    root = part_files.find_root(path)
    index = read_json_object(root / "model_index.json") or {}
    wan_config.check_pipeline(root, index)
    problems: list[str] = []
    parts = part_files.open_parts(path, problems) if parts is None else parts
    if "dit" not in parts and problems:
        raise InputError(problems[0])
    if "dit" not in parts and "dit_low" in parts:
        raise InputError(
            f"{path}: has the low-noise transformer of two alone, missing the high-noise one ({SUBFOLDERS['dit']}/ or "
            f"{ORIGINAL_FOLDERS['dit']}/); copy it from the same release"
        )
    if "dit" not in parts:
        raise InputError(
            f"{path}: expected transformer/*.safetensors or a safetensors file with patch_embedding.weight, found "
            f"{', '.join(SUBFOLDERS[p] for p in parts) or 'none'}; {wan_config.SUPPORTED_MODELS}"
        )
    configs = {p: read_json_object(root / SUBFOLDERS[p] / "config.json") for p in name_mapping.PARTS}
    configs["vae"] = editor_folder.read_vae_config(root)
    if configs["dit"] is None:
        configs["dit"] = read_json_object(root / ORIGINAL_FOLDERS["dit"] / "config.json")
    embedders = editor_folder.open_embedders(root)
    is_pair = index.get("boundary_ratio") is not None or part_files.has_two_transformers(path, parts)
    top = read_json_object(root / "config.json")
    scheduler = read_json_object(root / "scheduler" / "scheduler_config.json") or {}
    try:
        dit = wan_config.build_dit_config(path, parts["dit"], configs["dit"], top)
        vae = wan_config.build_vae_config(path, parts.get("vae"), configs["vae"], dit.out_channels)
        text = wan_config.build_text_config(parts.get("text"), configs["text"], dit)
        if "dit_low" in parts:
            wan_config.check_pair(path, dit, parts["dit_low"], configs["dit"], top)
        published = wan_config.closest_published(dit, 1 + is_pair)
        has_frame_times = index.get("expand_timesteps", vae.residual)
        dit = dataclasses.replace(dit, frame_times=bool(has_frame_times))
        flow = wan_config.build_flow_config(scheduler, published.flow, index.get("boundary_ratio"))
        flow = presets.apply_pipeline(path, index, flow)
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
            name=path.stem
            if path.is_file()
            else hub_client.snapshot_name(path.resolve()) or path.resolve().name,
            largest=published.largest,
            batch=1,
            fps=published.fps,
            dit=dit,
            vae=vae,
            text=text,
            condition=ConditionConfig(layout="channel" if dit.in_channels > dit.out_channels else "sequence"),
            flow=flow,
        )
        config = editor_folder.as_editor(config, path, root, top, parts, embedders)
    except InputError:
        raise
    except ValueError as err:
        raise InputError(f"{path}: its parts don't go together ({err}); copy them from one release") from err
    adapter = root / "lora.safetensors"
    tokenizer = part_files.find_tokenizer(path, parts)
    return ModelFolder(path, config, parts, tokenizer, adapter if adapter.is_file() else None, embedders)


def format_missing_part(part: str) -> str:
    """Return a description of a missing part."""
    if part == "dit_low":
        return f"the second, low-noise transformer ({SUBFOLDERS[part]}/ or {ORIGINAL_FOLDERS[part]}/)"
    return f"{SUBFOLDERS[part]} weights ({SUBFOLDERS[part]}/*.safetensors)"
