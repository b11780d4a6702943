"""A tiny model folder in the published layout, every tensor random, made with NumPy alone.

The live comparison hands the folder to the real packages; the golden files hold what those answered. Weights follow from their
published name and shape, so both see the same ones, and a tensor that we lay out wrongly changes its values or is refused.
"""

import json
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from v2v.checkpoints import name_mapping, part_files, safetensors_file, wan
from v2v.config import DiTConfig, FlowConfig, ModelConfig, TextConfig, VAEConfig

Z = 6
STATS = {"mean": tuple(np.linspace(-0.4, 0.5, Z).tolist()), "std": tuple(np.linspace(0.6, 1.7, Z).tolist())}


def wan21_vae() -> VAEConfig:
    """The autoencoder of Wan2.1: no residual paths, nothing folded into channels, a decoder that halves them."""
    return VAEConfig(base_dim=6, decoder_base_dim=10, z_dim=Z, patch=1, residual=False, **STATS)


def config(in_channels: int = Z, vae: VAEConfig | None = None, boundary: float = 0.0) -> ModelConfig:
    """Heads of 20 (RoPE 8, 6, 6), widths that share no factor by accident, non-square sizes."""
    return ModelConfig(
        name="tiny",
        frames=5,
        height=64,
        width=32,
        dit=DiTConfig(
            width=60, ffn_width=88, heads=3, layers=2, in_channels=in_channels, out_channels=Z, text_width=20, freq_dim=32,
            dtype="float32",
        ),
        vae=vae or VAEConfig(base_dim=8, decoder_base_dim=12, z_dim=Z, **STATS),
        text=TextConfig(vocab=300, width=20, key_width=6, heads=3, ffn_width=28, layers=2, dtype="float32"),
        flow=FlowConfig(boundary=boundary),
    )  # fmt: skip


def normal(key: str, *shape: int) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, np.float32)


def tensors(part: str, cfg: ModelConfig, layout: str = "diffusers") -> dict[str, np.ndarray]:
    """Published name → random tensor. The key is the diffusers name in both layouts, so the layouts hold the same model."""
    out, which = {}, "low." if part == "dit_low" else ""
    pairs = zip(
        *(
            name_mapping.map_tensors(part, wan.parameter_shapes(part, cfg), cfg, lay)
            for lay in ("diffusers", layout)
        ),
        strict=True,
    )
    for keyed, named in pairs:
        x = normal(which + keyed.name, *keyed.shape)
        if keyed.name.endswith(
            ("norm_q.weight", "norm_k.weight", "gamma", "norm2.weight", "layer_norm.weight")
        ):
            x = 1 + 0.3 * x
        elif keyed.name.endswith(".bias") or "scale_shift_table" in keyed.name:
            x = 0.3 * x
        elif "relative_attention_bias" not in keyed.name and "shared" not in keyed.name:
            x = x / np.sqrt(np.prod(keyed.shape[1:]))
        if keyed.name.startswith("decoder.conv_out"):
            x = 0.3 * x  # most pixels inside [-1, 1], where the clip doesn't hide errors
        out[named.name] = x.astype(np.float32)
    return out


def write_folder(path: Path, cfg: ModelConfig, layout: str = "diffusers") -> Path:
    """The folder a release would be: configs, safetensors (the DiT in two shards with an index), no tokenizer."""
    for part in cfg.parts:
        folder = part_files.SUBFOLDERS[part]
        (path / folder).mkdir(parents=True)
        (path / folder / "config.json").write_text(json.dumps(described(part, cfg)))
        ts = tensors(part, cfg, layout)
        if not part.startswith("dit"):
            name = "model.safetensors" if part == "text" else "diffusion_pytorch_model.safetensors"
            safetensors_file.write_safetensors(path / folder / name, ts)
            continue
        halves, weight_map = (list(ts)[::2], list(ts)[1::2]), {}
        for i, half in enumerate(halves):
            name = f"diffusion_pytorch_model-{i + 1:05d}-of-00002.safetensors"
            safetensors_file.write_safetensors(path / folder / name, {n: ts[n] for n in half})
            weight_map.update(dict.fromkeys(half, name))
        index = {"metadata": {"total_size": sum(t.nbytes for t in ts.values())}, "weight_map": weight_map}
        (path / folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    return path


def described(part: str, cfg: ModelConfig) -> dict:
    """config.json of a part, as the real packages write it."""
    if part.startswith("dit"):
        d = cfg.dit
        return {
            "_class_name": "WanTransformer3DModel", "patch_size": list(d.patch), "num_attention_heads": d.heads,
            "attention_head_dim": d.head_dim, "in_channels": d.in_channels, "out_channels": d.out_channels,
            "text_dim": d.text_width, "freq_dim": d.freq_dim, "ffn_dim": d.ffn_width, "num_layers": d.layers,
            "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "eps": d.eps, "image_dim": None,
            "added_kv_proj_dim": None, "rope_max_seq_len": 1024,
        }  # fmt: skip
    if part == "vae":
        v = cfg.vae
        return {
            "_class_name": "AutoencoderKLWan", "base_dim": v.base_dim, "decoder_base_dim": v.decoder_base_dim,
            "z_dim": v.z_dim, "dim_mult": list(v.dim_mult), "num_res_blocks": v.num_res_blocks, "attn_scales": [],
            "temperal_downsample": list(v.temporal_downsample), "dropout": 0.0, "latents_mean": list(v.mean),
            "latents_std": list(v.std), "is_residual": v.residual, "in_channels": 3 * v.patch**2, "out_channels": 3 * v.patch**2,
            "patch_size": v.patch if v.patch > 1 else None, "scale_factor_temporal": v.stride_t, "scale_factor_spatial": v.stride_xy,
        }  # fmt: skip
    t = cfg.text
    return {
        "model_type": "umt5", "architectures": ["UMT5EncoderModel"], "vocab_size": t.vocab, "d_model": t.width,
        "d_kv": t.key_width, "d_ff": t.ffn_width, "num_layers": t.layers, "num_heads": t.heads,
        "relative_attention_num_buckets": t.buckets, "relative_attention_max_distance": t.max_distance,
        "layer_norm_epsilon": t.eps, "feed_forward_proj": "gated-gelu", "dropout_rate": 0.0, "pad_token_id": 0,
        "eos_token_id": 1,
    }  # fmt: skip


# The questions asked of both sides.


def dit_inputs(in_channels: int = Z) -> dict[str, np.ndarray]:
    """b=2, latents 3x4x6 (tokens 3x2x3), 7 text tokens of which 2 are padding zeros, flow times that are no integers / 1000."""
    text = normal("text", 2, 7, 20)
    text[1, 5:] = 0
    return {
        "z": normal("z", 2, 3, 4, 6, in_channels),
        "tau": np.array([0.7313, 0.052], np.float32),
        "text": text,
    }


def clip(frames: int, height: int = 32, width: int = 16) -> np.ndarray:
    return np.tanh(normal(f"clip{frames}", 1, frames, height, width, 3))


def latents(t: int, y: int = 2, x: int = 1) -> np.ndarray:
    return normal(f"latents{t}", 1, t, y, x, Z)


def text_inputs() -> tuple[np.ndarray, np.ndarray]:
    """Ids [2, 70] (past the first log-spaced buckets) and true lengths."""
    ids = np.abs(normal("ids", 2, 70) * 97).astype(np.int32) % 298 + 2
    lengths = np.array([70, 41], np.int32)
    ids[np.arange(70)[None] >= lengths[:, None]] = 0
    return ids, lengths


def seek(x, tau):
    """A velocity towards data near +-1, stronger as tau falls: how a trained model behaves, without one."""
    return (x - jnp.tanh(1.5 * x + 0.3 * tau)) / (0.1 + tau)
