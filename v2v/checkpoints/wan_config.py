"""Configurations of published parts, from their config.json and the shapes of their tensors.

Sizes are read from shapes where config.json does not give them. Relatives of the backbone that share its tensor names but that this
package cannot run are rejected with the reason.
"""

import dataclasses
import math
import re
from collections.abc import Iterable
from pathlib import Path

from v2v.checkpoints.tensor_files import TensorFiles
from v2v.checkpoints.wan import NAME_PREFIXES
from v2v.config import (
    DiTConfig,
    FlowConfig,
    ModelConfig,
    SolverName,
    TextConfig,
    VAEConfig,
    wan21_t2v_1_3b,
    wan21_t2v_14b,
    wan21_vae,
    wan22_a14b,
    wan22_ti2v_5b,
)
from v2v.errors import InputError, note

# A tensor each part has under exactly one layout or both, by which a single file is recognized.
MARKER_TENSORS = {
    "dit": ("patch_embedding.weight",),
    "vae": ("encoder.conv_in.weight", "encoder.conv1.weight"),
    "text": ("shared.weight", "encoder.embed_tokens.weight", "token_embedding.weight"),
}
HEAD_DIM = 128
# Options of schedulers that give other noise levels.
FOREIGN_SCHEDULES = (
    "use_dynamic_shifting",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "shift_terminal",
)
# `_class_name` of model_index.json of models that are run as they are meant to be.
PIPELINES = (
    "WanPipeline",
    "WanImageToVideoPipeline",
    "WanVideoToVideoPipeline",
    "LucyEditPipeline",
    "KiwiEditPipeline",
    "WanDMDPipeline",
)
# Solvers of diffusers' schedulers with the noise levels of its Euler scheduler.
EULER_SCHEDULERS: dict[str, SolverName] = {
    "FlowMatchEulerDiscreteScheduler": "euler",
    "FlowMatchHeunDiscreteScheduler": "heun",
    "FlowMatchLCMScheduler": "renoise",
}
# A part of that name, and what such models need.
UNSUPPORTED_PIPELINES = {
    "CausalDMD": "its frames see earlier ones alone, block by block, which this package doesn't do",
    "VACE": "it has a second branch of control blocks",
}
# More layers than any published model has.
MAX_LAYERS = 1000
# Channels of the mask in the input of image-to-video models, beside noise and the first frame.
IMAGE_MASK_CHANNELS = 4
SUPPORTED_MODELS = "this package runs Wan2.2-TI2V-5B, Wan2.1-T2V (1.3B and 14B), Wan2.2-T2V-A14B and what is built on them; v2v models lists them"


class UnsupportedBackboneError(InputError):
    """A relative of the backbone that this package cannot run."""


def build_dit_config(
    path: Path, files: TensorFiles, part_config: dict | None, top_config: dict | None
) -> DiTConfig:
    """Build the configuration of the transformer.

    Args:
      path: the model folder, for messages.
      files: the transformer's tensors.
      part_config: transformer/config.json.
      top_config: config.json of the folder.

    Raises:
      InputError: a backbone that this package cannot run.
    """
    shapes = _shapes_without_prefix(files)
    width, channels, *patch = shapes["patch_embedding.weight"]
    blocks = [n.split(".")[1] for n in shapes if n.startswith("blocks.")]
    layers = 1 + max(map(int, blocks), default=-1)
    _check_layers(layers)
    ffn = shapes.get("blocks.0.ffn.net.0.proj.weight") or shapes.get("blocks.0.ffn.0.weight") or (0,)
    text_width = text_channels(files) or 0
    time = (
        shapes.get("condition_embedder.time_embedder.linear_1.weight")
        or shapes.get("time_embedding.0.weight")
        or (0, 0)
    )
    settings = {**(top_config or {}), **(part_config or {})}
    out = velocity_channels(files) or 0
    _check_backbone(path, channels, out, shapes, settings)
    heads = settings.get("num_attention_heads") or settings.get("num_heads") or width // HEAD_DIM
    if heads and heads * settings.get("attention_head_dim", width // heads) != width:
        heads = width // HEAD_DIM  # sizes of another model, as a release of Bernini-R had them
    if not all((layers, ffn[0], out, text_width, time[1], heads)):
        raise InputError(
            f"{files.path}: expected the tensors of a Wan2.2-type DiT, found only some of them; fetch it again"
        )
    return DiTConfig(
        width=width, ffn_width=ffn[0], heads=heads, layers=layers, in_channels=channels, out_channels=out,
        patch=(patch[0], patch[1], patch[2]), text_width=text_width, freq_dim=time[1], eps=float(settings.get("eps", 1e-6)),
    )  # fmt: skip


def text_channels(dit: TensorFiles) -> int | None:
    """Return the channels of the text embeddings that a transformer takes; None where its tensors don't tell."""
    shapes = _shapes_without_prefix(dit)
    names = ("condition_embedder.text_embedder.linear_1.weight", "text_embedding.0.weight")
    return next((shapes[name][1] for name in names if len(shapes.get(name, ())) == 2), None)


def velocity_channels(dit: TensorFiles) -> int | None:
    """Return the channels that a transformer predicts, those of the latents; None where its tensors don't tell."""
    shapes = _shapes_without_prefix(dit)
    patch = shapes.get("patch_embedding.weight", ())[2:]
    head = shapes.get("proj_out.weight") or shapes.get("head.head.weight") or ()
    return head[0] // math.prod(patch) if head and len(patch) == 3 and math.prod(patch) else None


def _shapes_without_prefix(files: TensorFiles) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a transformer's tensors by the names that they have without the prefix of single files."""
    return {
        n.removeprefix(p): s.shape
        for p in reversed(NAME_PREFIXES)
        for n, s in files.slots.items()
        if n.startswith(p)
    }


def _check_layers(layers: int) -> None:
    """Raise ValueError for a number of layers that no model has and that would take very long to compare with the tensors."""
    if not layers <= MAX_LAYERS:
        raise ValueError(f"expected at most {MAX_LAYERS} layers, got {layers:,}")


def _check_backbone(path: Path, channels: int, out: int, shapes: dict, settings: dict) -> None:
    """Raise InputError that names a relative of the backbone with the same tensor names."""
    kind = None
    if any(".to_gate_compress." in n for n in shapes):
        kind = (
            "a model with video sparse attention (VSA, FastVideo's FastWan), which this package doesn't have and without which its frames are "
            "poor; FastVideo/FastWan2.2-TI2V-5B-FullAttn-Diffusers does without"
        )
    elif relative := describe_relative(shapes):
        kind = relative
    elif "vace_layers" in settings or any(n.startswith("vace_") for n in shapes):
        kind = "a VACE model (a second branch of control blocks)"
    elif any(".add_k_proj." in n or ".k_img." in n for n in shapes) or settings.get("image_dim"):
        kind = "a Wan2.1 image-to-video model (CLIP image tokens)"
    elif out and channels == 2 * out + IMAGE_MASK_CHANNELS:
        kind = f"an image-to-video model, such as Wan2.2-I2V-A14B or Wan-Fun-InP ({channels} channels in: noise, mask and first frame)"
    elif out and channels not in (out, 2 * out):
        kind = (
            f"a model with {channels} channels in and {out} out (expected {out} or {2 * out} in), such as Wan-Fun-Control, whose inputs are "
            "control videos"
        )
    elif (
        settings.get("qk_norm", True) not in (True, "rms_norm_across_heads")
        or settings.get("cross_attn_norm", True) is not True
    ):
        kind = f"a variant with qk_norm={settings.get('qk_norm')}, cross_attn_norm={settings.get('cross_attn_norm')}"
    if kind:
        raise UnsupportedBackboneError(f"{path}: is {kind}; {SUPPORTED_MODELS}")


def describe_relative(names: Iterable[str]) -> str:
    """Return what a checkpoint is whose tensors' first names tell it; "" for others."""
    tops = {name.partition(".")[0] for name in names}
    if tops & {"source_embedder", "vae_condition", "mllm"}:
        return "Kiwi-Edit in the layout of its training (several networks in one file; its diffusers releases run)"
    if tops & {"generator", "generator_ema"}:
        return "a training checkpoint of few-step distillation (generator; DMD or self-forcing)"
    return ""


def closest_published(dit: DiTConfig, transformers: int = 1) -> ModelConfig:
    """Return the published model of a transformer's type: of it are what the files of a model don't tell.

    Args:
      dit: the transformer.
      transformers: how many of them the model has.
    """
    if transformers > 1:
        return wan22_a14b()
    if dit.out_channels == wan21_vae().z_dim:
        return wan21_t2v_1_3b() if dit.width == wan21_t2v_1_3b().dit.width else wan21_t2v_14b()
    model = wan22_ti2v_5b()
    guidance = 5.0 if dit.in_channels > dit.out_channels else model.flow.guidance
    return dataclasses.replace(model, flow=FlowConfig(guidance=guidance, solver="unipc", schedule="wan"))


def check_pair(
    path: Path, dit: DiTConfig, low: TensorFiles, part_config: dict | None, top_config: dict | None
) -> None:
    """Check that the second transformer of a model is of the type of the first.

    Raises:
      InputError: it isn't.
    """
    second = build_dit_config(path, low, part_config, top_config)
    if second != dit:
        differences = ", ".join(
            f"{field.name} {getattr(dit, field.name)} and {getattr(second, field.name)}"
            for field in dataclasses.fields(dit)
            if getattr(dit, field.name) != getattr(second, field.name)
        )
        raise InputError(
            f"{path}: its two transformers are of different models ({differences}); copy both from one release"
        )


def build_flow_config(
    scheduler: dict, defaults: FlowConfig, boundary_ratio: float | None = None
) -> FlowConfig:
    """Build the sampling configuration from scheduler_config.json; the version decides between the two tables called UniPC.

    A scheduler that this package doesn't have, or an option of one, causes a note; a folder without a scheduler is sampled with UniPC.

    Args:
      scheduler: values of the file; {} for none.
      defaults: what it doesn't tell.
      boundary_ratio: of model_index.json, the boundary between two transformers; None for that of `defaults`.
    """
    if boundary_ratio is not None:
        defaults = dataclasses.replace(defaults, boundary=float(boundary_ratio))
    shift = float(scheduler.get("flow_shift") or scheduler.get("shift") or defaults.shift)
    name = scheduler.get("_class_name")
    options = [option for option in FOREIGN_SCHEDULES if scheduler.get(option)]
    if options:
        note(
            f"scheduler: {', '.join(options)} of scheduler_config.json would change the noise levels and are not applied; see --schedule"
        )
    if name in EULER_SCHEDULERS:
        solver = "renoise" if scheduler.get("stochastic_sampling") else EULER_SCHEDULERS[name]
        return dataclasses.replace(defaults, shift=shift, solver=solver, schedule="euler")
    if name not in (None, "UniPCMultistepScheduler"):
        note(
            f"scheduler: {name} is not one of this package, so the model is sampled with UniPC; choose with --solver and --schedule"
        )
    version = re.match(r"(\d+)\.(\d+)", scheduler.get("_diffusers_version", ""))
    new = version is not None and tuple(map(int, version.groups())) >= (0, 37)
    schedule = "diffusers" if new else "wan"
    return dataclasses.replace(defaults, shift=shift, solver="unipc", schedule=schedule)


def check_pipeline(path: Path, index: dict | None) -> None:
    """Check that the pipeline that a model was published for is one that this package runs; an unknown one causes a note.

    Args:
      path: the model folder, for messages.
      index: model_index.json.

    Raises:
      InputError: a pipeline whose models need what this package lacks.
    """
    name = (index or {}).get("_class_name")
    if not isinstance(name, str) or name in PIPELINES:
        return
    for key, reason in UNSUPPORTED_PIPELINES.items():
        if key in name:
            raise InputError(f"{path}: is made for {name}: {reason}; {SUPPORTED_MODELS}")
    note(f"{path}: is made for {name}, which this package doesn't know; edits may be poor")


def build_vae_config(
    path: Path, files: TensorFiles | None, part_config: dict | None, z_dim: int
) -> VAEConfig:
    """Build the configuration of the autoencoder.

    Args:
      path: the model folder, for messages.
      files: the autoencoder's tensors, if there are any.
      part_config: vae/config.json.
      z_dim: the latent channels that the transformer predicts.

    Raises:
      InputError: another type of autoencoder, or another number of latent channels.
    """
    if part_config:
        _check_layers(part_config["num_res_blocks"])
        cfg = VAEConfig(
            base_dim=part_config["base_dim"],
            decoder_base_dim=part_config.get("decoder_base_dim") or part_config["base_dim"],
            z_dim=part_config["z_dim"],
            dim_mult=tuple(part_config["dim_mult"]),
            num_res_blocks=part_config["num_res_blocks"],
            temporal_downsample=tuple(part_config["temperal_downsample"]),  # the published spelling
            patch=part_config.get("patch_size") or 1,
            residual=bool(part_config.get("is_residual", False)),
            mean=tuple(part_config.get("latents_mean") or ()),
            std=tuple(part_config.get("latents_std") or ()),
        )
    elif files is None:
        published = (wan22_ti2v_5b().vae, wan21_vae())
        return next((cfg for cfg in published if cfg.z_dim == z_dim), VAEConfig(z_dim=z_dim))
    else:
        cfg = _vae_from_shapes(files)
    if cfg.z_dim != z_dim:
        raise InputError(
            f"{path}: the VAE has {cfg.z_dim} latent channels, the transformer predicts {z_dim}: they are of different models; 16 channels "
            "are those of Wan2.1 and Wan2.2-A14B (Wan2.1_VAE), 48 those of Wan2.2-TI2V-5B (Wan2.2_VAE)"
        )
    return cfg


def _vae_from_shapes(files: TensorFiles) -> VAEConfig:
    """Build the published configuration with the widths of the first and last convolutions."""
    shapes = {n: s.shape for n, s in files.slots.items()}
    first = shapes.get("encoder.conv1.weight") or shapes["encoder.conv_in.weight"]
    last = shapes.get("decoder.head.2.weight") or shapes["decoder.conv_out.weight"]
    z_dim, residual = vae_channels(files), has_residual_paths(files)
    if z_dim is None:
        raise InputError(
            f"{files.path}: expected a Wan2.1 or Wan2.2 VAE, found only some of its tensors; fetch it again"
        )
    published = wan22_ti2v_5b().vae if residual else wan21_vae()
    is_published = z_dim == published.z_dim
    return VAEConfig(
        base_dim=first[0],
        decoder_base_dim=last[1],
        z_dim=z_dim,
        patch=math.isqrt(first[1] // 3),
        residual=residual,
        mean=published.mean if is_published else (),
        std=published.std if is_published else (),
    )


def has_residual_paths(files: TensorFiles) -> bool:
    """Return whether an autoencoder is of the type of Wan2.2, by the nested names of its blocks; those of Wan2.1 are numbered in one list."""
    return any(
        n.startswith(("encoder.downsamples.0.downsamples", "encoder.down_blocks.0.resnets"))
        for n in files.slots
    )


def vae_channels(files: TensorFiles) -> int | None:
    """Return the channels of an autoencoder's latents; None where its tensors don't tell."""
    shapes = (
        files.slots[name].shape for name in ("conv2.weight", "post_quant_conv.weight") if name in files.slots
    )
    return next((shape[0] for shape in shapes if shape), None)


def is_umt5(files: TensorFiles, width: int | None = None) -> bool:
    """Return whether a text encoder is of the type of umT5, which has position biases in every layer.

    Args:
      files: its tensors.
      width: channels that its embeddings must have; None for any.
    """
    shapes = {n: s.shape for n, s in files.slots.items()}
    layers = sum(n.endswith((".attn.q.weight", "SelfAttention.q.weight")) for n in shapes)
    biases = sum("relative_attention_bias" in n or "pos_embedding" in n for n in shapes)
    widths = {shapes[m][-1] for m in MARKER_TENSORS["text"] if m in shapes and shapes[m]}
    return layers == biases > 0 and width in (None, *widths)


def build_text_config(files: TensorFiles | None, part_config: dict | None, dit: DiTConfig) -> TextConfig:
    """Build the configuration of the text encoder from text_encoder/config.json, else from shapes, else the published one."""
    if part_config:
        _check_layers(part_config["num_layers"])
        return TextConfig(
            vocab=part_config["vocab_size"], width=part_config["d_model"], key_width=part_config["d_kv"], heads=part_config["num_heads"],
            ffn_width=part_config["d_ff"], layers=part_config["num_layers"], buckets=part_config["relative_attention_num_buckets"],
            max_distance=part_config.get("relative_attention_max_distance", 128), eps=part_config.get("layer_norm_epsilon", 1e-6),
        )  # fmt: skip
    if files is None:
        return TextConfig(width=dit.text_width)
    shapes = {n: s.shape for n, s in files.slots.items()}
    vocab, width = next(shapes[m] for m in MARKER_TENSORS["text"] if m in shapes)
    bias = next(s for n, s in shapes.items() if "relative_attention_bias" in n or "pos_embedding" in n)
    q = next(s for n, s in shapes.items() if n.endswith((".attn.q.weight", "SelfAttention.q.weight")))
    up = next(s for n, s in shapes.items() if n.endswith(("ffn.fc1.weight", "DenseReluDense.wi_1.weight")))
    layers = sum(n.endswith((".attn.q.weight", "SelfAttention.q.weight")) for n in shapes)
    return TextConfig(
        vocab=vocab,
        width=width,
        heads=bias[1],
        buckets=bias[0],
        key_width=q[0] // bias[1],
        ffn_width=up[0],
        layers=layers,
    )
