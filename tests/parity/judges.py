"""Tiny random folders of the models that metrics use, and the questions put to them; shared by golden and live tests. Needs no torch."""

import json
from pathlib import Path

import numpy as np

from v2v.checkpoints import safetensors_file

SEED = 7


def _tensors(shapes: dict[str, tuple], seed: int) -> dict[str, np.ndarray]:
    """Every tensor random: norms' scales about 1, the rest small enough for activations of order one."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in shapes.items():
        noise = rng.standard_normal(shape).astype(np.float32)
        one = len(shape) == 1 and name.endswith("weight") or "lambda" in name
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 16
        made[name] = 1 + 0.2 * noise if one else noise * np.float32(min(0.5, 1.2 / np.sqrt(fan)))
    return made


def _block(prefix: str, d: int, f: int, norms=("layer_norm1", "layer_norm2")) -> dict[str, tuple]:
    shapes = {f"{prefix}.mlp.fc1.weight": (f, d), f"{prefix}.mlp.fc1.bias": (f,),
              f"{prefix}.mlp.fc2.weight": (d, f), f"{prefix}.mlp.fc2.bias": (d,)}  # fmt: skip
    return shapes | {f"{prefix}.{n}.{p}": (d,) for n in norms for p in ("weight", "bias")}


def clip(folder: Path, act: str = "quick_gelu", end: int = 2) -> Path:
    """A CLIPModel of odd sizes: vision 24 wide, 3 layers, 4 heads; text 20 wide, 2 layers, 2 heads; 11 words."""
    v, t, e = 24, 20, 16
    shapes = {
        "logit_scale": (), "visual_projection.weight": (e, v), "text_projection.weight": (e, t),
        "vision_model.embeddings.class_embedding": (v,), "vision_model.embeddings.patch_embedding.weight": (v, 3, 7, 7),
        "vision_model.embeddings.position_embedding.weight": (17, v),
        "text_model.embeddings.token_embedding.weight": (11, t), "text_model.embeddings.position_embedding.weight": (9, t),
    }  # fmt: skip
    for norm, d in (
        ("vision_model.pre_layrnorm", v),
        ("vision_model.post_layernorm", v),
        ("text_model.final_layer_norm", t),
    ):
        shapes |= {f"{norm}.weight": (d,), f"{norm}.bias": (d,)}
    for side, d, f, layers in (("vision", v, 40, 3), ("text", t, 36, 2)):
        for k in range(layers):
            prefix = f"{side}_model.encoder.layers.{k}"
            shapes |= _block(prefix, d, f)
            for part in ("q", "k", "v", "out"):
                shapes |= {
                    f"{prefix}.self_attn.{part}_proj.weight": (d, d),
                    f"{prefix}.self_attn.{part}_proj.bias": (d,),
                }
    config = {
        "model_type": "clip", "architectures": ["CLIPModel"], "projection_dim": e,
        "vision_config": {"hidden_size": v, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 28,
                          "patch_size": 7, "hidden_act": act, "projection_dim": e, "model_type": "clip_vision_model"},
        "text_config": {"hidden_size": t, "intermediate_size": 36, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 11,
                        "max_position_embeddings": 9, "hidden_act": act, "eos_token_id": end, "bos_token_id": 9, "pad_token_id": 1,
                        "projection_dim": e, "model_type": "clip_text_model"},
    }  # fmt: skip
    made = _tensors(shapes, SEED)
    made["logit_scale"] = np.array(1.7, np.float32)
    return _write(folder, made, config)


def dinov2(folder: Path) -> Path:
    """A Dinov2Model: 24 wide, 3 layers, 3 heads, positions of a 5x5 grid."""
    d, f = 24, 96
    shapes = {
        "embeddings.cls_token": (1, 1, d), "embeddings.mask_token": (1, d), "embeddings.position_embeddings": (1, 26, d),
        "embeddings.patch_embeddings.projection.weight": (d, 3, 7, 7), "embeddings.patch_embeddings.projection.bias": (d,),
        "layernorm.weight": (d,), "layernorm.bias": (d,),
    }  # fmt: skip
    for k in range(3):
        prefix = f"encoder.layer.{k}"
        shapes |= _block(prefix, d, f, ("norm1", "norm2"))
        shapes |= {f"{prefix}.layer_scale{n}.lambda1": (d,) for n in (1, 2)}
        for part in (
            "attention.attention.query",
            "attention.attention.key",
            "attention.attention.value",
            "attention.output.dense",
        ):
            shapes |= {f"{prefix}.{part}.weight": (d, d), f"{prefix}.{part}.bias": (d,)}
    config = {
        "model_type": "dinov2", "architectures": ["Dinov2Model"], "hidden_size": d, "num_hidden_layers": 3, "num_attention_heads": 3,
        "mlp_ratio": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-6, "image_size": 35, "patch_size": 7, "layerscale_value": 1.0,
    }  # fmt: skip
    return _write(folder, _tensors(shapes, SEED + 1), config)


def viclip(folder: Path) -> Path:
    """ViCLIP's state dict: vision 24 wide, 3 layers, 4 frames; text 16 wide, 2 layers."""
    shapes = {
        "temp": (), "vision_encoder.class_embedding": (24,), "vision_encoder.positional_embedding": (17, 24),
        "vision_encoder.temporal_positional_embedding": (1, 4, 24), "vision_encoder.conv1.weight": (24, 3, 1, 7, 7),
        "vision_encoder.proj": (24, 12), "text_encoder.token_embedding.weight": (11, 16),
        "text_encoder.positional_embedding": (8, 16), "text_encoder.text_projection": (16, 12),
        **{f"vision_encoder.ln_{n}.{p}": (24,) for n in ("pre", "post") for p in ("weight", "bias")},
        **{f"text_encoder.ln_final.{p}": (16,) for p in ("weight", "bias")},
    }  # fmt: skip
    for side, d, layers in (("vision", 24, 3), ("text", 16, 2)):
        for k in range(layers):
            p = f"{side}_encoder.transformer.resblocks.{k}"
            shapes |= {
                f"{p}.attn.in_proj_weight": (3 * d, d), f"{p}.attn.in_proj_bias": (3 * d,), f"{p}.attn.out_proj.weight": (d, d),
                f"{p}.attn.out_proj.bias": (d,), f"{p}.mlp.c_fc.weight": (4 * d, d), f"{p}.mlp.c_fc.bias": (4 * d,),
                f"{p}.mlp.c_proj.weight": (d, 4 * d), f"{p}.mlp.c_proj.bias": (d,),
                **{f"{p}.ln_{n}.{w}": (d,) for n in (1, 2) for w in ("weight", "bias")},
            }  # fmt: skip
    return _write(folder, _tensors(shapes, SEED + 2), {})


def lpips(folder: Path) -> Path:
    """LPIPS's state dict at AlexNet's own sizes, which the package fixes."""
    shapes = {}
    for k, (at, out, into, side) in enumerate(
        ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))
    ):
        shapes |= {
            f"net.slice{k + 1}.{at}.weight": (out, into, side, side),
            f"net.slice{k + 1}.{at}.bias": (out,),
        }
        shapes[f"lin{k}.model.1.weight"] = (1, out, 1, 1)
    made = _tensors(shapes, SEED + 3)
    made |= {k: np.abs(v) for k, v in made.items() if k.startswith("lin")}  # as learnt: none is negative
    made["scaling_layer.shift"] = np.array([-0.03, -0.088, -0.188], np.float32).reshape(1, 3, 1, 1)
    made["scaling_layer.scale"] = np.array([0.458, 0.448, 0.45], np.float32).reshape(1, 3, 1, 1)
    return _write(folder, made, {})


def pixels(*shape: int) -> np.ndarray:
    """Normalised pictures or clips, [..., 3]."""
    return np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)


# Three sentences as ids, 10 the end mark, of different length; the last one fills the row.
IDS = np.array(
    [[9, 3, 5, 10, 10, 10, 10, 10], [9, 1, 10, 10, 10, 10, 10, 10], [9, 2, 8, 4, 4, 6, 7, 10]], np.int32
)
PHOTO = np.random.default_rng(1).integers(0, 256, (9, 13, 3)).astype(np.uint8).repeat(7, 0).repeat(5, 1)
SIZES = (
    (28, 29),
    (40, 41),
    (126, 130),
    (12, 12),
)  # of PHOTO [63, 65], its sides changed alike, smaller and larger


def _write(folder: Path, tensors: dict[str, np.ndarray], config: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    safetensors_file.write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder / "tokenizer.json")
    return folder


def write_tokenizer(path: Path) -> None:
    """Words of one letter, start 9 and end 10 put around them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(
        models.WordLevel({**{c: k for k, c in enumerate("abcdefghi")}, "<s>": 9, "</s>": 10}, unk_token="a")
    )
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 9), ("</s>", 10)]
    )
    made.save(str(path))


def ours(tmp: Path) -> dict[str, np.ndarray]:
    """Our answers to every question, by name."""
    from v2v.evaluation.metrics import lpips as distance
    from v2v.evaluation.metrics.models import loading, preprocessing

    found = {}
    for act, end in (("quick_gelu", 2), ("gelu", 10)):
        model = loading.ClipModel(clip(tmp / f"clip-{act}", act, end))
        model.tokens = lambda _: IDS
        x = pixels(3, 28, 28, 3)
        found |= {
            f"clip/{act}/pooled": model.pooled(x),
            f"clip/{act}/vision": model.vision(x),
            f"clip/{act}/text": model.text([]),
        }
        found[f"clip/{act}/scale"] = np.float32(model.scale)
    dino = loading.DinoModel(dinov2(tmp / "dinov2"))
    for side in (35, 28, 49):
        found[f"dinov2/{side}"] = dino.pooled(pixels(2, side, side, 3))
    found["dinov2/wide"] = dino.pooled(pixels(2, 28, 42, 3))
    video = loading.ViclipModel(viclip(tmp / "viclip"), head=8)
    video.tokens = lambda _: IDS
    found |= {"viclip/video": video.video(pixels(2, 4, 28, 28, 3)), "viclip/text": video.text([])}
    found["lpips"] = distance.LpipsModel(lpips(tmp / "lpips"))(
        np.tanh(pixels(2, 40, 56, 3)), np.tanh(pixels(2, 40, 56, 3)[::-1] + 0.3)
    )
    for height, width in SIZES:
        found[f"resize/{height}x{width}"] = preprocessing.resize_bicubic(PHOTO, height, width)
    return found
