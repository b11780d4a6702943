"""What a local model folder holds: the parts it has, and the configuration they fit. **folder** → wan.py → pretrained.py

Two published arrangements are known:
    diffusers  model_index.json, transformer/ vae/ text_encoder/ tokenizer/ scheduler/, a config.json in each
    original   safetensors with the original names, side by side or in those folders, told apart by the tensors they hold; sizes
               are read from shapes. Heads are then 128 wide, as in every Wan, unless config.json says otherwise
An editing adapter may lie beside them as lora.safetensors (with lora.embeds.safetensors). Backbones of the family that this package cannot run are named with the reason, before anything is read.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from v2v.config import (
    WAN22_MEAN,
    WAN22_STD,
    ConditionConfig,
    DiTConfig,
    FlowConfig,
    ModelConfig,
    TextConfig,
    VAEConfig,
)
from v2v.errors import InputError
from v2v.weights import names
from v2v.weights.tensorfile import INDEX, TensorFiles
from v2v.weights.wan import PREFIXES

SUBFOLDER = {"dit": "transformer", "vae": "vae", "text": "text_encoder"}
# A tensor each part has under exactly one layout or both, by which a lone file is recognised.
MARKS = {
    "dit": ("patch_embedding.weight",),
    "vae": ("encoder.conv_in.weight", "encoder.conv1.weight"),
    "text": ("shared.weight", "encoder.embed_tokens.weight", "token_embedding.weight"),
}
HEAD_DIM = 128
TOKENIZER = "tokenizer (tokenizer/tokenizer.json)"
TI2V_5B = "this package runs Wan2.2-TI2V-5B (48 latent channels, 16x16x4 VAE) and what is built on it; use Wan-AI/Wan2.2-TI2V-5B-Diffusers"


@dataclass(frozen=True)
class Folder:
    """A folder that was looked through; nothing of the weights has been read."""

    path: Path
    config: ModelConfig
    parts: dict[str, TensorFiles]  # of "dit", "vae", "text" those that are there
    tokenizer: Path | None  # tokenizer.json
    adapter: Path | None = None  # lora.safetensors

    @property
    def missing(self) -> list[str]:
        """What is needed to edit and isn't here, in words."""
        lost = [lack(part) for part in names.PARTS if part not in self.parts]
        return lost + ([] if self.tokenizer else [TOKENIZER])

    def require(self) -> "Folder":
        """This folder, when complete. Raises InputError naming all that is missing."""
        if self.missing:
            raise InputError(
                f"{self.path}: expected a whole model, missing {', '.join(self.missing)}; copy them from the same release"
            )
        return self


def read(path: str | Path, parts: dict[str, TensorFiles] | None = None) -> Folder:
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
        raise InputError(f"{path}: is Wan2.2-A14B (two 14B experts, 16 latent channels); {TI2V_5B}")
    parts = open_parts(path) if parts is None else parts
    if "dit" not in parts:
        raise InputError(
            f"{path}: expected transformer/*.safetensors or a safetensors file with patch_embedding.weight, found "
            f"{', '.join(SUBFOLDER[p] for p in parts) or 'none'}; {TI2V_5B}"
        )
    described = {p: _json(path / SUBFOLDER[p] / "config.json") for p in names.PARTS}
    top = _json(path / "config.json")
    dit = _dit(path, parts["dit"], described["dit"], top)
    vae = _vae(path, parts.get("vae"), described["vae"], dit.out_channels)
    text = _text(parts.get("text"), described["text"], dit)
    wide = dit.in_channels > dit.out_channels
    try:
        config = ModelConfig(
            name=path.resolve().name,
            batch=1,
            dit=dit,
            vae=vae,
            text=text,
            condition=ConditionConfig(layout="channel" if wide else "sequence"),
            flow=_flow(_json(path / "scheduler" / "scheduler_config.json") or {}, 5.0 if wide else 3.0),
        )
    except ValueError as err:
        raise InputError(f"{path}: its parts don't go together ({err}); copy them from one release") from err
    adapter = path / "lora.safetensors"
    return Folder(path, config, parts, find_tokenizer(path), adapter if adapter.is_file() else None)


def lack(part: str) -> str:
    """A part that isn't there, in words."""
    return f"{SUBFOLDER[part]} weights ({SUBFOLDER[part]}/*.safetensors)"


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

    for part, sub in SUBFOLDER.items():
        if any((path / sub).glob("*.safetensors*")) and (files := opened(path / sub)):
            parts[part] = files
    indices = sorted(path.glob(f"*{INDEX}"))
    shards = {name for i in indices for name in set((_json(i) or {}).get("weight_map", {}).values())}
    for file in [*indices, *(f for f in sorted(path.glob("*.safetensors")) if f.name not in shards)]:
        files = opened(file)
        for part, marks in MARKS.items():
            if files and part not in parts and any(p + m in files.slots for p in PREFIXES for m in marks):
                parts[part] = files
                break
    for part, pattern in (("dit", "*.pth"), ("vae", "*VAE*.pth"), ("text", "*t5*.pth")):
        pickles = sorted(path.glob(pattern))
        if part not in parts and pickles:
            opened(pickles[0])  # raises, naming the safetensors alternative
    return parts


def _dit(path: Path, files: TensorFiles, described: dict | None, top: dict | None) -> DiTConfig:
    find = {
        n.removeprefix(p): s.shape
        for p in reversed(PREFIXES)
        for n, s in files.slots.items()
        if n.startswith(p)
    }
    width, channels, *patch = find["patch_embedding.weight"]
    blocks = [n.split(".")[1] for n in find if n.startswith("blocks.")]
    layers = 1 + max(map(int, blocks), default=-1)
    ffn = find.get("blocks.0.ffn.net.0.proj.weight") or find.get("blocks.0.ffn.0.weight") or (0,)
    head = find.get("proj_out.weight") or find.get("head.head.weight") or (0,)
    text = (
        find.get("condition_embedder.text_embedder.linear_1.weight")
        or find.get("text_embedding.0.weight")
        or (0, 0)
    )
    time = (
        find.get("condition_embedder.time_embedder.linear_1.weight")
        or find.get("time_embedding.0.weight")
        or (0, 0)
    )
    said = {**(top or {}), **(described or {})}
    out = head[0] // max(1, patch[0] * patch[1] * patch[2])
    _refuse(path, width, channels, out, layers, find, said)
    heads = said.get("num_attention_heads") or said.get("num_heads") or width // HEAD_DIM
    if not all((layers, ffn[0], out, text[1], time[1], heads)):
        raise InputError(
            f"{files.path}: expected the tensors of a Wan2.2-type DiT, found only some of them; fetch it again"
        )
    return DiTConfig(
        width=width, ffn_width=ffn[0], heads=heads, layers=layers, in_channels=channels, out_channels=out,
        patch=tuple(patch), text_width=text[1], freq_dim=time[1], eps=float(said.get("eps", 1e-6)),
    )  # fmt: skip


def _refuse(path: Path, width: int, channels: int, out: int, layers: int, find: dict, said: dict) -> None:
    """Name the relatives of the backbone that share its tensor names."""
    what = None
    if "vace_layers" in said or any(n.startswith("vace_") for n in find):
        what = "a VACE model (a second branch of control blocks)"
    elif any(".add_k_proj." in n or ".k_img." in n for n in find) or said.get("image_dim"):
        what = "a Wan2.1 image-to-video model (CLIP image tokens)"
    elif out == 16:
        size = {5120: "14B", 1536: "1.3B"}.get(width, f"width {width}")
        what = f"a Wan2.1 or Wan2.2-A14B backbone ({size}, {channels} channels in, 16 out, made for the 8x8x4 VAE)"
    elif out and channels not in (out, 2 * out):
        what = f"a model with {channels} channels in and {out} out (expected {out} or {2 * out} in)"
    elif (
        said.get("qk_norm", True) not in (True, "rms_norm_across_heads")
        or said.get("cross_attn_norm", True) is not True
    ):
        what = f"a variant with qk_norm={said.get('qk_norm')}, cross_attn_norm={said.get('cross_attn_norm')}"
    if what:
        raise InputError(f"{path}: is {what}; {TI2V_5B}")


def _flow(scheduler: dict, guidance: float) -> FlowConfig:
    """How the release is sampled: its scheduler and, of the two tables called UniPC, that of the version that wrote it."""
    shift = float(scheduler.get("flow_shift") or scheduler.get("shift") or 5.0)
    if scheduler.get("_class_name") == "FlowMatchEulerDiscreteScheduler":
        return FlowConfig(shift=shift, guidance=guidance)
    version = re.match(r"(\d+)\.(\d+)", scheduler.get("_diffusers_version", ""))
    new = version is not None and tuple(map(int, version.groups())) >= (0, 37)
    schedule = "diffusers" if new else "wan"
    return FlowConfig(shift=shift, guidance=guidance, solver="unipc", schedule=schedule)


def _vae(path: Path, files: TensorFiles | None, said: dict | None, z_dim: int) -> VAEConfig:
    if said and not said.get("is_residual", False):
        raise InputError(
            f"{path}/vae: is a Wan2.1-type VAE (no residual down and up paths, 8x8x4); {TI2V_5B}"
        )
    if said:
        cfg = VAEConfig(
            base_dim=said["base_dim"],
            decoder_base_dim=said.get("decoder_base_dim") or said["base_dim"],
            z_dim=said["z_dim"],
            dim_mult=tuple(said["dim_mult"]),
            num_res_blocks=said["num_res_blocks"],
            temporal_downsample=tuple(said["temperal_downsample"]),  # spelt so in the published files
            patch=said.get("patch_size") or 1,
            mean=tuple(said.get("latents_mean") or ()),
            std=tuple(said.get("latents_std") or ()),
        )
    elif files is None:
        return VAEConfig(
            z_dim=z_dim, mean=WAN22_MEAN if z_dim == 48 else (), std=WAN22_STD if z_dim == 48 else ()
        )
    else:
        cfg = _vae_from_shapes(path, files)
    if cfg.z_dim != z_dim:
        raise InputError(
            f"{path}: the VAE has {cfg.z_dim} latent channels, the transformer predicts {z_dim}; {TI2V_5B}"
        )
    return cfg


def _vae_from_shapes(path: Path, files: TensorFiles) -> VAEConfig:
    """The published VAE in all but the widths, which its first and last convolutions tell."""
    at = {n: s.shape for n, s in files.slots.items()}
    if not any(
        n.startswith(("encoder.downsamples.0.downsamples", "encoder.down_blocks.0.resnets")) for n in at
    ):
        raise InputError(
            f"{files.path}: is a Wan2.1-type VAE (flat list of blocks, 16 channels, 8x8x4); {TI2V_5B}"
        )
    first = at.get("encoder.conv1.weight") or at["encoder.conv_in.weight"]
    last = at.get("decoder.head.2.weight") or at["decoder.conv_out.weight"]
    quant = at.get("conv2.weight") or at["post_quant_conv.weight"]
    z_dim = quant[0]
    stats = {"mean": WAN22_MEAN, "std": WAN22_STD} if z_dim == len(WAN22_MEAN) else {}
    return VAEConfig(
        base_dim=first[0], decoder_base_dim=last[1], z_dim=z_dim, patch=round((first[1] / 3) ** 0.5), **stats
    )


def _text(files: TensorFiles | None, said: dict | None, dit: DiTConfig) -> TextConfig:
    if said:
        return TextConfig(
            vocab=said["vocab_size"], width=said["d_model"], key_width=said["d_kv"], heads=said["num_heads"],
            ffn_width=said["d_ff"], layers=said["num_layers"], buckets=said["relative_attention_num_buckets"],
            max_distance=said.get("relative_attention_max_distance", 128), eps=said.get("layer_norm_epsilon", 1e-6),
        )  # fmt: skip
    if files is None:
        return TextConfig(width=dit.text_width)
    at = {n: s.shape for n, s in files.slots.items()}
    vocab, width = next(at[m] for m in MARKS["text"] if m in at)
    bias = next(s for n, s in at.items() if "relative_attention_bias" in n or "pos_embedding" in n)
    q = next(s for n, s in at.items() if n.endswith((".attn.q.weight", "SelfAttention.q.weight")))
    up = next(s for n, s in at.items() if n.endswith(("ffn.fc1.weight", "DenseReluDense.wi_1.weight")))
    layers = sum(n.endswith((".attn.q.weight", "SelfAttention.q.weight")) for n in at)
    return TextConfig(
        vocab=vocab,
        width=width,
        heads=bias[1],
        buckets=bias[0],
        key_width=q[0] // bias[1],
        ffn_width=up[0],
        layers=layers,
    )


def _json(path: Path) -> dict | None:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as err:
        raise InputError(f"{path}: expected JSON, could not read it ({err}); fetch it again") from err
