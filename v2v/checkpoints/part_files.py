"""Where the parts of a published model lie: the arrangements in which people download them.

    diffusers   transformer/ vae/ text_encoder/, in each a file, shards with an index, or a file of torch.save; of a model of two
                transformers (Wan2.2-A14B) transformer/ is the high-noise one and transformer_2/ the low-noise one
    original    of such a model: high_noise_model/ low_noise_model/ beside single files
    side by side single files of any name in one folder, recognized by the tensors they hold (Wan-AI/Wan2.2-TI2V-5B itself)
    ComfyUI     diffusion_models/ (or unet/) vae/ text_encoders/ (or clip/), in the folder, in its split_files/ or in its models/
    one file    the transformer's, of any of these; the other parts are looked for around it, a second transformer by its name

Headers alone are read. Of several files that could be a part those that this package can't run are passed by.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from v2v.checkpoints import gguf_file, name_mapping, torch_file, wan_config
from v2v.checkpoints.gguf_blocks import BLOCK_FORMATS
from v2v.checkpoints.tensor_files import INDEX_SUFFIXES, TensorFiles
from v2v.checkpoints.wan import NAME_PREFIXES
from v2v.errors import InputError, note
from v2v.models.sentencepiece_model import Vocabulary
from v2v.runtime import text_files

WEIGHT_SUFFIXES = (".safetensors", *torch_file.SUFFIXES, gguf_file.SUFFIX, *INDEX_SUFFIXES)
SUBFOLDERS = {"dit": "transformer", "dit_low": "transformer_2", "vae": "vae", "text": "text_encoder"}
# Those of two transformers in original releases.
ORIGINAL_FOLDERS = {"dit": "high_noise_model", "dit_low": "low_noise_model"}
# In the name of a file of one of two transformers.
_NOISE_LEVEL = re.compile(r"(?<![a-z])(high|low)(?:[-_ ]?noise|(?![a-z]))", re.IGNORECASE)
# Folders of ComfyUI by what they hold, and where they are in what people name.
COMFY_FOLDERS = {
    "dit": ("diffusion_models", "unet"),
    "vae": ("vae",),
    "text": ("text_encoders", "clip"),
}
COMFY_ROOTS = ("", "split_files", "models")
# Places of the tokenizer, and its file in them; the first that is found is taken.
TOKENIZER_FOLDERS = (
    "tokenizer", "google/umt5-xxl", "", *(f"{root}/{folder}".lstrip("/") for root in COMFY_ROOTS for folder in COMFY_FOLDERS["text"]),
)  # fmt: skip
TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
# A tensor of ComfyUI's text encoders that holds spiece.model.
TOKENIZER_TENSOR = "spiece_model"


@dataclass(frozen=True)
class TokenizerSource:
    """Where a tokenizer is read from.

    Attributes:
      path: tokenizer.json, spiece.model, or the text encoder's checkpoint.
      inside: the checkpoint, where the tokenizer lies in one of its tensors.
      vocabulary: the tokenizer, where it lies among the entries of a GGUF file.
    """

    path: Path
    inside: TensorFiles | None = None
    vocabulary: Vocabulary | None = None

    def __str__(self) -> str:
        if self.vocabulary is not None:
            return f"{self.path} (its vocabulary)"
        return f"{self.path} ({TOKENIZER_TENSOR} in it)" if self.inside else str(self.path)

    def read(self) -> bytes | Vocabulary:
        """Return the SentencePiece file, or the vocabulary; not for tokenizer.json."""
        if self.vocabulary is not None:
            return self.vocabulary
        return self.path.read_bytes() if self.inside is None else self.inside.read_content(TOKENIZER_TENSOR)


def find_root(path: Path) -> Path:
    """Return the folder around which the parts of a model lie: the path, or where it is the transformer's file a folder above it."""
    if path.is_dir():
        return path
    inside = (*COMFY_FOLDERS["dit"], SUBFOLDERS["dit"], *ORIGINAL_FOLDERS.values())
    return next((folder.parent for folder in path.parents[:3] if folder.name in inside), path.parent)


def find_tokenizer(path: Path, parts: dict[str, TensorFiles]) -> TokenizerSource | None:
    """Return the tokenizer from any of the places where releases keep it, or None."""
    root = find_root(path)
    candidates = (root / folder / name for name in TOKENIZER_FILES for folder in TOKENIZER_FOLDERS)
    file = next((file for file in candidates if file.is_file()), None)
    if file is not None:
        return TokenizerSource(file)
    text = parts.get("text")
    if text is not None and TOKENIZER_TENSOR in text.slots:
        return TokenizerSource(text.path, text)
    if text is not None and text.path.suffix == gguf_file.SUFFIX:
        vocabulary = gguf_file.read_vocabulary(text.path)
        return TokenizerSource(text.path, vocabulary=vocabulary) if vocabulary else None
    return None


def noise_level(name: str) -> str:
    """Return "high" or "low" for the name of a file of one of two transformers, "" for others."""
    match = _NOISE_LEVEL.search(name)
    return match[1].lower() if match else ""


def has_two_transformers(path: Path, parts: dict[str, TensorFiles]) -> bool:
    """Return whether a model has, or should have, two transformers.

    Args:
      path: the model's folder, or the transformer's file.
      parts: its open parts.
    """
    root = find_root(path)
    folders = (SUBFOLDERS["dit_low"], *ORIGINAL_FOLDERS.values())
    is_named = path.is_file() and noise_level(path.name) != ""
    return "dit_low" in parts or is_named or any((root / folder).is_dir() for folder in folders)


def open_parts(path: Path, problems: list[str] | None = None) -> dict[str, TensorFiles]:
    """Open the checkpoint of each part.

    Args:
      path: the model's folder, or the transformer's file.
      problems: receives the errors of single files, so that one damaged part does not hide the others; None raises them.

    Raises:
      InputError: a damaged file, or one of a format that is not read, where `problems` is None; several transformers.
    """
    finder = _Finder(find_root(path), problems)
    if path.is_file():
        finder.take_transformer(path)
        if "dit" not in finder.parts:
            return {}
    for folders in (SUBFOLDERS, ORIGINAL_FOLDERS):
        for part, folder in folders.items():
            finder.take_folder(part, finder.root / folder)
    files = _list_weights(finder.root)
    for part in name_mapping.PARTS:
        finder.take(part, files)
    for root in COMFY_ROOTS:
        for part, folders in COMFY_FOLDERS.items():
            finder.take(
                part,
                [file for folder in folders for file in _list_weights(finder.root / root / folder, True)],
            )
    finder.report_unreadable()
    return finder.parts


class _Finder:
    """Collects the parts of a model.

    Attributes:
      root: the folder around which they lie.
      parts: those that were found.
    """

    def __init__(self, root: Path, problems: list[str] | None):
        self.root, self.parts = root, {}
        self._problems = problems
        self._opened: dict[Path, TensorFiles | None] = {}

    def take_transformer(self, file: Path) -> None:
        """Take the transformer from the file that holds it, and of two the other from the file that has the other's name."""
        level = noise_level(file.name)
        match = _NOISE_LEVEL.search(file.name)
        if match:
            other = "low" if level == "high" else "high"
            start, end = match.span(1)
            other = other.upper() if match[1].isupper() else other.title() if match[1].istitle() else other
            partner = file.with_name(file.name[:start] + other + file.name[end:])
            self.take("dit", [f for f in (file, partner) if f.is_file()])
        else:
            self.take("dit", [file])
        if "dit" not in self.parts and self._opened[file] is not None:
            self._report(
                f"{file}: expected the weights of a transformer, found none; pass the model's folder"
            )

    def take_folder(self, part: str, folder: Path) -> None:
        """Take a part from its own folder in the layout of diffusers."""
        has_weights = any(file.name.endswith(WEIGHT_SUFFIXES) for file in folder.glob("*"))
        # ComfyUI calls a folder of any autoencoders vae.
        if part in self.parts or not has_weights or (part == "vae" and len(_list_weights(folder)) > 1):
            return
        if files := self._open(folder):
            self.parts[part] = files

    def take(self, part: str, files: list[Path]) -> None:
        """Take a part, if it hasn't been found, from the files that hold one.

        Raises:
          InputError: several transformers that can be run.
        """
        if part in self.parts:
            return
        candidates = {file: opened for file in files if (opened := self._open(file)) and _holds(part, opened)}
        if len(candidates) > 1:
            candidates = {
                file: opened for file, opened in candidates.items() if self._fits(part, opened)
            } or candidates
        plain = {file: opened for file, opened in candidates.items() if file.suffix != gguf_file.SUFFIX}
        if 0 < len(plain) < len(candidates):
            quantized = ", ".join(file.name for file in candidates if file not in plain)
            note(
                f"{SUBFOLDERS[part]}: {next(iter(plain)).name} goes before GGUF; pass the file to use {quantized}"
            )
            candidates = plain
        if part == "dit" and (pair := _find_pair(candidates)):
            self.parts |= pair
            return
        if len(candidates) > 1 and part == "dit":
            names = ", ".join(str(file.relative_to(self.root)) for file in candidates)
            raise InputError(
                f"{self.root}: holds {len(candidates)} transformers ({names}); pass the file of one, {next(iter(candidates))}"
            )
        if not candidates:
            return
        file = max(candidates, key=lambda file: _precision(candidates[file]))
        if len(candidates) > 1:
            others = ", ".join(other.name for other in candidates if other != file)
            note(f"{SUBFOLDERS[part]}: {file.name} is used; {others} would do too")
        self.parts[part] = candidates[file]

    def report_unreadable(self) -> None:
        """Tell of files in place of a part that is missing: relatives of the backbone, and parts in GGUF whose tensors have unknown names."""
        for opened in list(self._opened.values()) if "dit" not in self.parts else ():
            if opened is not None and (kind := wan_config.describe_relative(opened.slots)):
                self._report(f"{opened.path}: is {kind}; {wan_config.SUPPORTED_MODELS}")
        folders = [
            self.root / root / folder
            for root in COMFY_ROOTS
            for names in COMFY_FOLDERS.values()
            for folder in names
        ]
        quantized = [file for folder in (self.root, *folders) for file in sorted(folder.glob("*.gguf"))]
        for part in name_mapping.PARTS:
            mine = [file for file in quantized if guess_part(file.name) == part]
            if part not in self.parts and mine and self._open(mine[0]) is not None:
                self._report(
                    f"{mine[0]}: holds no {SUBFOLDERS[part]} by the names of its tensors; of GGUF, transformers and umT5 encoders are read, use safetensors for others"
                )

    def _open(self, place: Path) -> TensorFiles | None:
        """Open a file or folder once; None where it can't be read."""
        if place not in self._opened:
            try:
                self._opened[place] = TensorFiles.open(place)
            except InputError as err:
                self._report(str(err))
                self._opened[place] = None
        return self._opened[place]

    def _report(self, problem: str) -> None:
        if self._problems is None:
            raise InputError(problem)
        self._problems.append(problem)

    def _fits(self, part: str, files: TensorFiles) -> bool:
        """Return whether a part belongs to a model that this package runs, as far as shapes tell."""
        dit = self.parts.get("dit")
        if part == "vae":
            channels = None if dit is None else wan_config.velocity_channels(dit)
            return wan_config.vae_channels(files) in (channels, *([] if channels else [16, 48]))
        if part == "text":
            return wan_config.is_umt5(files, None if dit is None else wan_config.text_channels(dit))
        try:
            wan_config.build_dit_config(self.root, files, None, None)
        except wan_config.UnsupportedBackboneError:
            return False
        except (InputError, ValueError, LookupError, TypeError):
            return True  # damaged or incomplete, which is told when it is the only one
        return True


def _holds(part: str, files: TensorFiles) -> bool:
    """Return whether a checkpoint holds a tensor by which a part is recognized."""
    return any(
        prefix + mark in files.slots for prefix in NAME_PREFIXES for mark in wan_config.MARKER_TENSORS[part]
    )


def _find_pair(candidates: dict[Path, TensorFiles]) -> dict[str, TensorFiles]:
    """Return both transformers of a model by part where files are named as such; {} for others."""
    levels = {noise_level(file.name): files for file, files in candidates.items()}
    if len(candidates) != 2 or set(levels) != {"high", "low"}:
        return {}
    return {"dit": levels["high"], "dit_low": levels["low"]}


def _precision(files: TensorFiles) -> tuple[int, int]:
    """Return what of several files of the same part is more: few bits last, then by size."""
    slots = files.slots.values()
    small = sum(slot.dtype.startswith("F8_") or slot.dtype in BLOCK_FORMATS for slot in slots)
    return -small, sum(slot.size for slot in slots)


def guess_part(path: str) -> str:
    """Return the part that a file's name tells of."""
    name = path.rpartition("/")[2].lower()
    return "vae" if "vae" in name else "text" if "t5" in name else "dit"


def _list_weights(folder: Path, recursive: bool = False) -> list[Path]:
    """Return the checkpoints in a folder: indices, files that no index lists, and files of torch.save."""
    files = [file for file in sorted(folder.glob("**/*" if recursive else "*")) if file.is_file()]
    indices = [file for file in files if file.name.endswith(INDEX_SUFFIXES)]
    shards = {index.parent / name for index in indices for name in _listed_shards(index)}
    lone = [file for file in files if file.name.endswith(WEIGHT_SUFFIXES) and file not in {*shards, *indices}]
    return [*indices, *sorted(lone, key=lambda file: (file.suffix != ".safetensors", file))]


def _listed_shards(index: Path) -> set[str]:
    """Return the names of the files that an index lists; what is no name is left to `TensorFiles.open` to refuse."""
    weight_map = (read_json_object(index) or {}).get("weight_map")
    names = weight_map.values() if isinstance(weight_map, dict) else ()
    return {name for name in names if isinstance(name, str)}


def read_json_object(path: Path) -> dict | None:
    """Read a JSON object; None where there is no file.

    Raises:
      InputError: no JSON, or another value than an object.
    """
    if not path.is_file():
        return None
    values = text_files.read_json(path, "fetch it again")
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(values).__name__}; fetch it again")
    return values
