"""Print the table of layouts in which models and adapters are downloaded: what `v2v doctor` and `v2v edit` make of each.

    python tools/checks/layouts.py [--only WORD] [--keep DIR] [--adapters] [--models]

Each row is a folder or file as its publisher or another program lays it out, with the published names and tiny random tensors, written here; nothing is
fetched. Folders that hold the same model must edit a clip to the same pixels as the one of diffusers does, but for rounding, those in few bits to nearly the same;
what is no model for editing must be refused with the reason. Adapters must read as the same factors in every convention. A row that isn't as
it should be is marked WRONG, and the exit code is then 1.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.checkpoints import gguf_files, small_models, test_layouts, test_lora_files, torch_files
from tests.example_clips import picture
from tests.parity import tiny
from v2v import Video, read
from v2v.checkpoints import adapters, lora_files, safetensors_file
from v2v.checkpoints.flat_tree import flatten_tree
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.cli import main as command
from v2v.config import ModelConfig
from v2v.errors import InputError

Tensors = dict[str, np.ndarray]
# Least PSNR in dB of an edit against that of the plain folder: without a configuration latents are not normalized, which may round a pixel otherwise.
SAME, FEW_BITS = 60.0, 25.0
# What a folder's configuration says and a plain file doesn't.
SAMPLING = ("--size", "32x32x5", "--solver", "unipc", "--schedule", "diffusers", "--guidance", 5)


@dataclass(frozen=True)
class Layout:
    """A layout of a model.

    Attributes:
      name: where it is found.
      write: writes it into a folder and returns what is passed as --model.
      psnr: least PSNR of its edit in dB against the plain folder's, where it is one for editing.
      refusal: words of the reason for which it is refused, a regular expression; "" where it isn't.
      lucy: whether the source lies beside the noise, so that no adapter is needed.
    """

    name: str
    write: Callable[[Path], Path]
    psnr: float = SAME
    refusal: str = ""
    lucy: bool = False


def config(lucy: bool = False) -> ModelConfig:
    """Return a tiny model whose rows are whole blocks of GGUF."""
    # The number of stages of an autoencoder, unlike its widths, is that of the published one where no configuration tells.
    base = tiny.config(2 * tiny.Z if lucy else tiny.Z)
    dit = dataclasses.replace(base.dit, width=96, ffn_width=128, text_width=32)
    text = dataclasses.replace(base.text, width=32, key_width=32, ffn_width=64, vocab=400)
    # Of latents of six channels no published mean and deviation would be known without a configuration.
    vae = dataclasses.replace(base.vae, mean=(0.0,) * tiny.Z, std=(1.0,) * tiny.Z)
    return dataclasses.replace(base, frames=5, height=32, width=32, dit=dit, text=text, vae=vae)


CFG, LUCY = config(), config(lucy=True)


def tensors_of(part: str, cfg: ModelConfig = CFG, layout: str = "original") -> Tensors:
    """Return a part's tensors by their published names."""
    return tiny.tensors(part, cfg, layout)


def save(path: Path, tensors: Tensors) -> Path:
    """Write a safetensors file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors_file.write_safetensors(path, tensors)
    return path


def in_8_bits(tensors: Tensors, scaled: bool = True) -> Tensors:
    """Return tensors with the matrices of blocks in float8, beside factors where `scaled`."""
    out: Tensors = {}
    for name, x in tensors.items():
        if not (name.endswith(".weight") and x.ndim == 2 and "block" in name):
            out[name] = x
        elif scaled:
            factor = np.float32(np.abs(x).max() / 448)
            out[name] = (x / factor).astype(ml_dtypes.float8_e4m3fn)
            out[name.removesuffix("weight") + "scale_weight"] = np.asarray(factor)
        else:
            out[name] = x.astype(ml_dtypes.float8_e4m3fn)
    return out | {"scaled_fp8": np.zeros(2, ml_dtypes.float8_e4m3fn)} if scaled else out


def add_heads(folder: Path) -> Path:
    """Write the number of heads, which files without a configuration are else taken to follow from the published width."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"num_heads": CFG.dit.heads}))
    return folder


def add_tokenizer(folder: Path) -> None:
    """Write the tokenizer that every layout has."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(small_models.TOKENIZER, folder / "tokenizer.json")


def diffusers(
    kind: str = "WanPipeline", cfg: ModelConfig = CFG, layout: str = "diffusers"
) -> Callable[[Path], Path]:
    """Return what writes the folder of a pipeline of diffusers, its transformer in two shards."""

    def write(root: Path) -> Path:
        folder = small_models.write(root / "Wan2.2-TI2V-5B-Diffusers", layout=layout, cfg=cfg)
        (folder / "model_index.json").write_text(json.dumps({"_class_name": kind, "expand_timesteps": True}))
        # As published, and as folders without a scheduler are sampled.
        scheduler = small_models.SCHEDULER | {"flow_shift": 5.0}
        (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
        return folder

    return write


def comfyui(
    place: str = "",
    dit: Callable[[], Tensors] = lambda: tensors_of("dit"),
    text: Callable[[], Tensors] = lambda: tensors_of("text"),
    spiece: bool = False,
) -> Callable[[Path], Path]:
    """Return what writes the three files that users of ComfyUI have, and a tokenizer beside or inside the text encoder."""

    def write(root: Path) -> Path:
        add_heads(root)
        folder = root / place
        save(folder / "diffusion_models" / "wan2.2_ti2v_5B_fp16.safetensors", dit())
        save(folder / "vae" / "wan2.2_vae.safetensors", tensors_of("vae"))
        inside: Tensors = (
            {"spiece_model": np.frombuffer(test_layouts.vocabulary(), np.uint8)} if spiece else {}
        )
        save(folder / "text_encoders" / "umt5_xxl.safetensors", text() | inside)
        if not spiece:
            add_tokenizer(folder / "text_encoders")
        return root

    return write


def original(root: Path) -> Path:
    """Write Wan-AI's own release: a transformer in shards with an index, other parts by torch.save."""
    tensors = tensors_of("dit")
    weight_map = {}
    for number, names in enumerate((list(tensors)[::2], list(tensors)[1::2]), 1):
        file = f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"
        save(root / file, {name: tensors[name] for name in names})
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (root / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    add_heads(root)
    torch_files.write(root / "Wan2.2_VAE.pth", tensors_of("vae"))
    torch_files.write(root / "models_t5_umt5-xxl-enc-bf16.pth", tensors_of("text"))
    add_tokenizer(root / "google" / "umt5-xxl")
    return root


def cache(snapshot: bool) -> Callable[[Path], Path]:
    """Return what writes a repository in the hub's cache, of which a snapshot or the whole is passed."""

    def write(root: Path) -> Path:
        repository = root / "models--Wan-AI--Wan2.2-TI2V-5B-Diffusers"
        commit = "a" * 40
        written = diffusers()(root)
        (repository / "blobs").mkdir(parents=True)
        (repository / "snapshots").mkdir()
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        shutil.move(written, repository / "snapshots" / commit)
        # As the hub's own library has it: links into blobs.
        for number, file in enumerate(sorted((repository / "snapshots" / commit).rglob("*.safetensors"))):
            blob = repository / "blobs" / f"{number:064d}"
            shutil.move(file, blob)
            file.symlink_to(os.path.relpath(blob, file.parent))
        return repository / "snapshots" / commit if snapshot else repository

    return write


def torch_bin(root: Path) -> Path:
    """Write a pipeline's folder whose transformer is in .bin shards, as older releases have them."""
    folder = diffusers()(root)
    place = folder / "transformer"
    for file in [*place.glob("*.safetensors"), *place.glob("*.index.json")]:
        file.unlink()
    tensors = tensors_of("dit", layout="diffusers")
    weight_map = {}
    for number, names in enumerate((list(tensors)[::2], list(tensors)[1::2]), 1):
        name = f"diffusion_pytorch_model-0000{number}-of-00002.bin"
        torch_files.write(place / name, {n: tensors[n] for n in names})
        weight_map |= dict.fromkeys(names, name)
    index = place / "diffusion_pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def gguf(root: Path) -> Path:
    """Write ComfyUI's folder with transformer and text encoder in GGUF."""
    folder = comfyui()(root)
    shutil.rmtree(folder / "diffusion_models")
    (folder / "text_encoders" / "umt5_xxl.safetensors").unlink()
    gguf_files.write(folder / "unet" / "Wan2.2-TI2V-5B-Q8_0.gguf", tensors_of("dit"))
    names = gguf_files.llama_names(tensors_of("text", layout="diffusers"))
    gguf_files.write(folder / "text_encoders" / "umt5-xxl-encoder-Q8_0.gguf", names)
    return folder


def several(root: Path) -> Path:
    """Write ComfyUI's folder with a second transformer and return the file of the first."""
    folder = comfyui()(root)
    save(folder / "diffusion_models" / "other.safetensors", tensors_of("dit"))
    return folder / "diffusion_models" / "wan2.2_ti2v_5B_fp16.safetensors"


def generator(root: Path) -> Path:
    """Write a checkpoint of few-step distillation (Turbo, Self-Forcing) beside the other parts, and return its file."""
    folder = diffusers()(root)
    shutil.rmtree(folder / "transformer")
    add_heads(folder)
    named = {f"model.{name}": x for name, x in tensors_of("dit").items()}
    wrap = b"}(" + torch_files.text("step") + b"K\5" + torch_files.text("generator")
    return torch_files.write(folder / "model.pt", named, wrap, b"u")


def lucy_file(root: Path) -> Path:
    """Write Lucy Edit as ComfyUI has it: three files in one folder."""
    save(root / "lucy_edit_fp16.safetensors", tensors_of("dit", LUCY))
    save(root / "wan2.2_vae.safetensors", tensors_of("vae"))
    save(root / "umt5_xxl.safetensors", tensors_of("text"))
    add_tokenizer(root)
    return add_heads(root)


def one_file(**more: tuple[int, ...]) -> Callable[[Path], Path]:
    """Return what writes a transformer's file with tensors of another kind of model."""

    def write(root: Path) -> Path:
        extra = {name.replace("__", "."): np.zeros(shape, np.float32) for name, shape in more.items()}
        folder = comfyui(dit=lambda: tensors_of("dit") | extra)(root)
        return folder / "diffusion_models" / "wan2.2_ti2v_5B_fp16.safetensors"

    return write


def fun(root: Path) -> Path:
    """Write a model of VideoX-Fun, which has further input channels."""
    wide = {"patch_embedding.weight": np.zeros((96, 100, 1, 2, 2), np.float32)}
    return comfyui(dit=lambda: tensors_of("dit") | wide)(root)


def without(part: str) -> Callable[[Path], Path]:
    """Return what writes a pipeline's folder in which a part is missing."""

    def write(root: Path) -> Path:
        folder = diffusers()(root)
        shutil.rmtree(folder / part)
        return folder

    return write


def short_shard(root: Path) -> Path:
    """Write a pipeline's folder in which the download of a shard broke off."""
    folder = diffusers()(root)
    file = sorted((folder / "transformer").glob("*.safetensors"))[-1]
    file.write_bytes(file.read_bytes()[:-1000])
    return folder


def lost_shard(root: Path) -> Path:
    """Write a pipeline's folder in which a shard is missing."""
    folder = diffusers()(root)
    sorted((folder / "transformer").glob("*.safetensors"))[-1].unlink()
    return folder


LAYOUTS = (
    Layout("Wan-AI/Wan2.2-TI2V-5B-Diffusers", diffusers()),
    Layout("the same, tensors by the original names", diffusers(layout="original")),
    Layout("a snapshot in the hub's cache", cache(True)),
    Layout("the repository's folder in the cache", cache(False)),
    Layout("transformer in .bin shards", torch_bin),
    Layout("Wan-AI/Wan2.2-TI2V-5B: shards, .pth", original),
    Layout("ComfyUI: diffusion_models, vae, text_encoders", comfyui()),
    Layout("Comfy-Org as downloaded: split_files/", comfyui("split_files")),
    Layout("ComfyUI/models", comfyui("models")),
    Layout("a file among several transformers", several),
    Layout("fp8 scaled transformer", comfyui(dit=lambda: in_8_bits(tensors_of("dit"))), FEW_BITS),
    Layout("fp8 transformer without factors", comfyui(dit=lambda: in_8_bits(tensors_of("dit"), False)), FEW_BITS),
    Layout("fp8 scaled text encoder", comfyui(text=lambda: in_8_bits(tensors_of("text"))), FEW_BITS),
    Layout("tokenizer inside the text encoder (spiece_model)", comfyui(spiece=True), 0.0),
    Layout("GGUF transformer and text encoder", gguf, FEW_BITS),
    Layout("Turbo, Self-Forcing: model.pt", generator, 0.0),
    Layout("decart-ai/Lucy-Edit-Dev", diffusers("LucyEditPipeline", LUCY), SAME, lucy=True),
    Layout("Lucy for ComfyUI, one folder", lucy_file, SAME, lucy=True),
    Layout("two transformers in a ComfyUI folder", lambda root: several(root).parents[1], refusal="pass the file of one"),
    Layout("FastWan with sparse attention", one_file(blocks__0__self_attn__to_gate_compress__weight=(1,)), refusal="VSA"),
    Layout("VACE", one_file(vace_blocks__0__before_proj__weight=(1,)), refusal="VACE"),
    Layout("Kiwi-Edit, one file", one_file(vae_condition__patch_embedding__weight=(1,)), refusal="Kiwi-Edit"),
    Layout("Fun-5B-InP, Control, Camera", fun, refusal="100 channels"),
    Layout("no text encoder", without("text_encoder"), refusal="missing text_encoder weights"),
    Layout("no tokenizer", without("tokenizer"), refusal="missing tokenizer"),
    Layout("a shard that broke off", short_shard, refusal="cut off|bytes|damaged|incomplete"),
    Layout("a shard that is missing", lost_shard, refusal="1 not there"),
)  # fmt: skip


def main() -> None:
    """Parse the command line, print the table, and exit with 1 where a row isn't as it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="rows whose name contains this word")
    parser.add_argument("--keep", type=Path, help="folder to write the layouts to, which must not exist")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--models", action="store_true", help="models alone")
    which.add_argument("--adapters", action="store_true", help="adapters alone")
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    is_wrong = False
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=not args.keep)
        if not args.adapters:
            is_wrong |= check_models(folder, args.only)
        if not args.models:
            is_wrong |= check_adapters(folder, args.only)
    sys.exit(int(is_wrong))


def check_models(root: Path, word: str) -> bool:
    """Print the rows of models, and return whether one of them is wrong."""
    clip, adapter = root / "in.mp4", root / "edit.safetensors"
    Video.from_array(picture(5, 32, 32), 10).save(str(clip))
    adapters.save_adapter(adapter, small_models.adapter(CFG), CFG)
    print("| layout | v2v doctor | v2v edit | verdict |\n|---|---|---|---|", flush=True)
    expected: dict[bool, np.ndarray] = {}
    is_wrong = False
    for number, layout in enumerate(LAYOUTS):
        is_plain = layout.lucy not in expected and layout.psnr == SAME and not layout.refusal
        if not is_plain and word.lower() not in layout.name.lower():
            continue
        model = layout.write(root / f"layout{number:02}")
        doctor = run("doctor", "--model", model)
        out = root / f"out{number:02}.mkv"
        more = [] if layout.lucy else ["--lora", adapter]
        words = ("in.mp4", "make it blue", "-o", out, "--model", model, "--codec", "ffv1", "--steps", 2)
        edit = run(
            "edit", clip, *words[1:], "--dtype", "float32", "--detail", "model", "--size", "32x32x5", *more
        )
        frames = read(str(out)).frames if edit.code == 0 else None
        if is_plain and frames is not None:
            expected[layout.lucy] = frames
        verdict = judge(layout, doctor, edit, frames, expected.get(layout.lucy))
        is_wrong |= verdict.startswith("WRONG")
        row = (layout.name, doctor.summary(root), edit.summary(root), verdict)
        print(f"| {' | '.join(text.replace('|', '/') for text in row)} |", flush=True)
    return is_wrong


@dataclass(frozen=True)
class Answer:
    """What a command answered.

    Attributes:
      code: its exit code.
      out: its output.
      err: its notes and errors.
    """

    code: int
    out: str
    err: str

    def summary(self, root: Path) -> str:
        """Return the answer in a line, without the name of the folder."""
        if self.code == 0:
            return "complete" if "nothing is missing" in self.out else "edited"
        problems = re.findall(r"^problem: (.*)", self.out, re.MULTILINE)
        problems = problems or [line for line in self.err.splitlines() if "error" in line]
        text = "; ".join(problems).replace(f"{root}/", "")
        return f"{self.code}: {text if len(text) < 300 else text[:300] + ' ...'}"


def run(*words: object) -> Answer:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = command.main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
    return Answer(code, out.getvalue(), err.getvalue())


def judge(
    layout: Layout, doctor: Answer, edit: Answer, frames: np.ndarray | None, expected: np.ndarray | None
) -> str:
    """Return the verdict of a row, "WRONG" in front where it isn't as it should be."""
    if layout.refusal:
        lines = [line for line in edit.err.splitlines() if "error" in line]
        is_right = edit.code == 2 and len(lines) == 1 and re.search(layout.refusal, edit.err)
        is_told = doctor.code != 0 and re.search(layout.refusal, doctor.out + doctor.err)
        if is_right and is_told:
            return "refused"
        return f"WRONG: expected {layout.refusal!r} of {'doctor' if is_right else 'edit'}"
    if doctor.code or edit.code or frames is None or expected is None:
        return "WRONG: not edited"
    difference = frames.astype(float) - expected
    psnr = np.inf if not difference.any() else 10 * np.log10(255**2 / np.square(difference).mean())
    text = "the same pixels" if psnr == np.inf else f"{psnr:.1f} dB"
    return text if psnr >= layout.psnr else f"WRONG: {text}, expected {layout.psnr:g} dB"


def check_adapters(root: Path, word: str) -> bool:
    """Print the rows of adapters, and return whether one of them is wrong."""
    print("\n| adapter | read | verdict |\n|---|---|---|")
    is_wrong = False
    for number, (name, (write, factor, refusal)) in enumerate(adapter_files().items()):
        if word.lower() not in name.lower():
            continue
        folder = root / f"adapter{number:02}"
        folder.mkdir()
        path = write(folder)
        try:
            updates = lora_files.load_lora(path, test_lora_files.CFG)
        except InputError as err:
            text = str(err).replace(f"{root}/", "").replace("|", "/")
            verdict = "refused" if refusal and re.search(refusal, text) else "WRONG: refused"
        else:
            low_rank = flatten_tree(updates.lora)
            text = f"{len(low_rank) // 2} modules"
            verdict = "WRONG: read" if refusal else compare_factors(low_rank, factor)
        is_wrong |= verdict.startswith("WRONG")
        print(f"| {name} | {text[:300]} | {verdict} |", flush=True)
    return is_wrong


def compare_factors(low_rank: Mapping[str, np.ndarray], factor: float) -> str:
    """Return the verdict on the factors that were read of a file with an update of every module."""
    expected = test_lora_files.adapter()
    if low_rank.keys() != expected.keys():
        return f"WRONG: expected {len(expected) // 2} modules"
    error = max(
        float(np.abs(x - expected[path] * (factor if path.endswith("/b") else 1)).max())
        for path, x in low_rank.items()
    )
    return "the same factors" if error < 1e-6 else f"WRONG: differs by {error:.2g}"


AdapterFile = tuple[Callable[[Path], Path], float, str]


def adapter_files() -> Mapping[str, AdapterFile]:
    """Return by name what writes an adapter's file, the factor it is applied with, and the reason for which it is refused."""
    files: dict[str, AdapterFile] = {}
    alpha = float(test_lora_files.FACTOR)
    for name, (layout, spell, options) in test_lora_files.CONVENTIONS.items():
        has_alpha = "alpha" in options or "metadata" in options

        def write(folder: Path, layout=layout, spell=spell, options=options) -> Path:
            return test_lora_files.write(folder / "lora.safetensors", layout, spell, **options)

        files[name] = write, alpha if has_alpha else 1.0, ""

    def peft(**settings: object) -> Callable[[Path], Path]:
        def write(folder: Path) -> Path:
            path = folder / "adapter_model.safetensors"
            given = {"r": test_lora_files.RANK, "lora_alpha": test_lora_files.ALPHA, **settings}
            (folder / "adapter_config.json").write_text(json.dumps(given))
            return test_lora_files.write(path, "diffusers", "base_model.model.{}".format)

        return write

    def spelled(
        spell: Callable[[str], str], down: str = "lora_A", up: str = "lora_B", **extra: tuple[int, ...]
    ) -> Callable[[Path], Path]:
        def write(folder: Path) -> Path:
            path = test_lora_files.write(folder / "lora.safetensors", "original", spell, down=down, up=up)
            if extra:
                files = TensorFiles.open(path)
                given = {name: files.read(name) for name in files.slots}
                given |= {n.replace("__", "."): np.zeros(shape, np.float32) for n, shape in extra.items()}
                safetensors_file.write_safetensors(path, given)
            return path

        return write

    root = test_lora_files.RANK**0.5
    files |= {
        "peft, adapter_config.json": (peft(), alpha, ""),
        "peft, rsLoRA": (peft(use_rslora=True), alpha * root, ""),
        "DoRA": (spelled(str, blocks__0__self_attn__q__dora_scale=(60,)), 1.0, "DoRA"),
        "LoHa": (spelled(str, blocks__0__self_attn__q__hada_w1_a=(60, 2)), 1.0, "LoHa"),
        "LoKr": (spelled(str, blocks__0__self_attn__q__lokr_w1=(60, 2)), 1.0, "LoKr"),
        "of the text encoder too": (spelled(str, lora_te_text_model_q__lora_down__weight=(2, 60)), 1.0, "text encoder"),
        "of another width": (lambda folder: save(folder / "l.safetensors", {"blocks.0.ffn.0.lora_A.weight": np.zeros((2, 5120), np.float32), "blocks.0.ffn.0.lora_B.weight": np.zeros((13824, 2), np.float32)}), 1.0, "another backbone"),
    }  # fmt: skip
    return files


if __name__ == "__main__":
    main()
