"""The configuration that a published part's tensors and config.json fit. folder.py → **described** → wan.py

Sizes are read from shapes where no config.json says them; relatives of the backbone that share its tensor names, and that this
package cannot run, are refused with the reason.
"""

import re
from pathlib import Path

from v2v.checkpoints.safetensors_file import TensorFiles
from v2v.checkpoints.wan import NAME_PREFIXES
from v2v.config import WAN22_MEAN, WAN22_STD, DiTConfig, FlowConfig, TextConfig, VAEConfig
from v2v.errors import InputError

# A tensor each part has under exactly one layout or both, by which a lone file is recognised.
MARKER_TENSORS = {
    "dit": ("patch_embedding.weight",),
    "vae": ("encoder.conv_in.weight", "encoder.conv1.weight"),
    "text": ("shared.weight", "encoder.embed_tokens.weight", "token_embedding.weight"),
}
HEAD_DIM = 128
SUPPORTED_MODELS = "this package runs Wan2.2-TI2V-5B (48 latent channels, 16x16x4 VAE) and what is built on it; use Wan-AI/Wan2.2-TI2V-5B-Diffusers"


def build_dit_config(path: Path, files: TensorFiles, described: dict | None, top: dict | None) -> DiTConfig:
    """`described` and `top` are transformer/config.json and config.json. Raises InputError for backbones that can't be run."""
    find = {
        n.removeprefix(p): s.shape
        for p in reversed(NAME_PREFIXES)
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
    _check_backbone(path, width, channels, out, layers, find, said)
    heads = said.get("num_attention_heads") or said.get("num_heads") or width // HEAD_DIM
    if not all((layers, ffn[0], out, text[1], time[1], heads)):
        raise InputError(
            f"{files.path}: expected the tensors of a Wan2.2-type DiT, found only some of them; fetch it again"
        )
    return DiTConfig(
        width=width, ffn_width=ffn[0], heads=heads, layers=layers, in_channels=channels, out_channels=out,
        patch=tuple(patch), text_width=text[1], freq_dim=time[1], eps=float(said.get("eps", 1e-6)),
    )  # fmt: skip


def _check_backbone(
    path: Path, width: int, channels: int, out: int, layers: int, find: dict, said: dict
) -> None:
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
        raise InputError(f"{path}: is {what}; {SUPPORTED_MODELS}")


def build_flow_config(scheduler: dict, guidance: float) -> FlowConfig:
    """How the release is sampled: its scheduler and, of the two tables called UniPC, that of the version that wrote it."""
    shift = float(scheduler.get("flow_shift") or scheduler.get("shift") or 5.0)
    if scheduler.get("_class_name") == "FlowMatchEulerDiscreteScheduler":
        return FlowConfig(shift=shift, guidance=guidance)
    version = re.match(r"(\d+)\.(\d+)", scheduler.get("_diffusers_version", ""))
    new = version is not None and tuple(map(int, version.groups())) >= (0, 37)
    schedule = "diffusers" if new else "wan"
    return FlowConfig(shift=shift, guidance=guidance, solver="unipc", schedule=schedule)


def build_vae_config(path: Path, files: TensorFiles | None, said: dict | None, z_dim: int) -> VAEConfig:
    """`said` is vae/config.json. Raises InputError for another type of VAE, or one of other channels than `z_dim`."""
    if said and not said.get("is_residual", False):
        raise InputError(
            f"{path}/vae: is a Wan2.1-type VAE (no residual down and up paths, 8x8x4); {SUPPORTED_MODELS}"
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
            f"{path}: the VAE has {cfg.z_dim} latent channels, the transformer predicts {z_dim}; {SUPPORTED_MODELS}"
        )
    return cfg


def _vae_from_shapes(path: Path, files: TensorFiles) -> VAEConfig:
    """The published VAE in all but the widths, which its first and last convolutions tell."""
    at = {n: s.shape for n, s in files.slots.items()}
    if not any(
        n.startswith(("encoder.downsamples.0.downsamples", "encoder.down_blocks.0.resnets")) for n in at
    ):
        raise InputError(
            f"{files.path}: is a Wan2.1-type VAE (flat list of blocks, 16 channels, 8x8x4); {SUPPORTED_MODELS}"
        )
    first = at.get("encoder.conv1.weight") or at["encoder.conv_in.weight"]
    last = at.get("decoder.head.2.weight") or at["decoder.conv_out.weight"]
    quant = at.get("conv2.weight") or at["post_quant_conv.weight"]
    z_dim = quant[0]
    stats = {"mean": WAN22_MEAN, "std": WAN22_STD} if z_dim == len(WAN22_MEAN) else {}
    return VAEConfig(
        base_dim=first[0], decoder_base_dim=last[1], z_dim=z_dim, patch=round((first[1] / 3) ** 0.5), **stats
    )


def build_text_config(files: TensorFiles | None, said: dict | None, dit: DiTConfig) -> TextConfig:
    """`said` is text_encoder/config.json; without it and the files, the published sizes at the width that the DiT takes."""
    if said:
        return TextConfig(
            vocab=said["vocab_size"], width=said["d_model"], key_width=said["d_kv"], heads=said["num_heads"],
            ffn_width=said["d_ff"], layers=said["num_layers"], buckets=said["relative_attention_num_buckets"],
            max_distance=said.get("relative_attention_max_distance", 128), eps=said.get("layer_norm_epsilon", 1e-6),
        )  # fmt: skip
    if files is None:
        return TextConfig(width=dit.text_width)
    at = {n: s.shape for n, s in files.slots.items()}
    vocab, width = next(at[m] for m in MARKER_TENSORS["text"] if m in at)
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
