"""Parameter names of published CLIP, DINOv2 and ViCLIP files, mapped to the trees of towers.py.

    clip     Hugging Face CLIPModel (openai/clip-vit-large-patch14, laion/CLIP-ViT-H-14-..., yuvalkirstain/PickScore_v1)
    dinov2   Hugging Face Dinov2Model (facebook/dinov2-base)
    viclip   the state dict of ViClip-InternVid-10M-FLT.pth, saved as safetensors (pickles are never loaded)

A linear layer's matrix is transposed, a convolution's put into height, width, in, out order; everything becomes float32.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from v2v.checkpoints.tensor_files import TensorFiles
from v2v.errors import InputError
from v2v.evaluation.counts import format_count

# Pairs of a pattern of published names and the path in the tree that replaces it; None for tensors that the model does not use.
NameTable = Sequence[tuple[str, str | None]]

_BLOCK = r"\.(\d+)\."
CLIP = (
    (r"(vision|text)_model\.encoder\.layers" + _BLOCK + r"self_attn\.(q|k|v|out)_proj\.(weight|bias)", r"\1/block\2/\3/\4"),
    (r"(vision|text)_model\.encoder\.layers" + _BLOCK + r"layer_norm(1|2)\.(weight|bias)", r"\1/block\2/norm\3/\4"),
    (r"(vision|text)_model\.encoder\.layers" + _BLOCK + r"mlp\.(fc1|fc2)\.(weight|bias)", r"\1/block\2/\3/\4"),
    (r"vision_model\.embeddings\.class_embedding", "vision/class"),
    (r"vision_model\.embeddings\.patch_embedding\.weight", "vision/patch/weight"),
    (r"vision_model\.embeddings\.position_embedding\.weight", "vision/position"),
    (r"vision_model\.pre_layrnorm\.(weight|bias)", r"vision/pre/\1"),  # spelt so in the published files
    (r"vision_model\.post_layernorm\.(weight|bias)", r"vision/post/\1"),
    (r"text_model\.embeddings\.token_embedding\.weight", "text/token/embedding"),
    (r"text_model\.embeddings\.position_embedding\.weight", "text/position"),
    (r"text_model\.final_layer_norm\.(weight|bias)", r"text/post/\1"),
    (r"visual_projection\.weight", "project_vision/weight"),
    (r"text_projection\.weight", "project_text/weight"),
    (r"logit_scale", "logit_scale"),
    (r".*\.position_ids", None),
)  # fmt: skip
DINOV2 = (
    (r"embeddings\.cls_token", "vision/class"),
    (r"embeddings\.position_embeddings", "vision/position"),
    (r"embeddings\.mask_token", None),
    (r"embeddings\.patch_embeddings\.projection\.(weight|bias)", r"vision/patch/\1"),
    (r"encoder\.layer" + _BLOCK + r"attention\.attention\.(q|k|v)(?:uery|ey|alue)\.(weight|bias)", r"vision/block\1/\2/\3"),
    (r"encoder\.layer" + _BLOCK + r"attention\.output\.dense\.(weight|bias)", r"vision/block\1/o/\2"),
    (r"encoder\.layer" + _BLOCK + r"(norm1|norm2|)(?:mlp\.(fc1|fc2)|)\.(weight|bias)", r"vision/block\1/\2\3/\4"),
    (r"encoder\.layer" + _BLOCK + r"layer_scale(1|2)\.lambda1", r"vision/block\1/scale\2"),
    (r"layernorm\.(weight|bias)", r"vision/post/\1"),
)  # fmt: skip
_SIDES = r"(vision|text)_encoder\.transformer\.resblocks" + _BLOCK
VICLIP = (
    (_SIDES + r"attn\.in_proj_(weight|bias)", r"\1/block\2/qkv/\3"),
    (_SIDES + r"attn\.out_proj\.(weight|bias)", r"\1/block\2/o/\3"),
    (_SIDES + r"ln_(1|2)\.(weight|bias)", r"\1/block\2/norm\3/\4"),
    (_SIDES + r"mlp\.c_fc\.(weight|bias)", r"\1/block\2/fc1/\3"),
    (_SIDES + r"mlp\.c_proj\.(weight|bias)", r"\1/block\2/fc2/\3"),
    (r"vision_encoder\.class_embedding", "vision/class"),
    (r"vision_encoder\.positional_embedding", "vision/position"),
    (r"vision_encoder\.temporal_positional_embedding", "vision/temporal"),
    (r"vision_encoder\.conv1\.weight", "vision/patch/weight"),
    (r"vision_encoder\.ln_(pre|post)\.(weight|bias)", r"vision/\1/\2"),
    (r"vision_encoder\.proj", "project_vision/kernel"),
    (r"text_encoder\.token_embedding\.weight", "text/token/embedding"),
    (r"text_encoder\.positional_embedding", "text/position"),
    (r"text_encoder\.ln_final\.(weight|bias)", r"text/post/\1"),
    (r"text_encoder\.text_projection", "project_text/kernel"),
    (r"temp", None),
)  # fmt: skip


def load_parameters(path: Path, table: NameTable, *, only: str = "") -> dict:
    """Load a folder's (or file's) tensors as a nested tree of float32 arrays.

    Args:
      path: folder with safetensors, or one file.
      table: CLIP, DINOV2 or VICLIP.
      only: a top-level name, to read that part alone.

    Raises:
      InputError: damaged files, or tensors the table doesn't know, all at once.
    """
    files = TensorFiles.open(path)
    tree: dict = {}
    unknown = []
    for name in files.slots:
        target = _target_path(name.removeprefix("model."), table)
        if target is None:
            unknown.append(name)
        elif target and (not only or target.split("/")[0] in (only, f"project_{only}", "logit_scale")):
            _insert(tree, target.split("/"), np.asarray(files.read(name), np.float32))
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise InputError(
            f"{path}: {format_count(len(unknown), 'tensor has', 'tensors have')} no place in this model: {', '.join(unknown[:5])}{more}"
        )
    return tree


def _target_path(name: str, table: NameTable) -> str | None:
    """Return the path of a tensor in the tree; "" for one that the model does not use, None for an unknown one."""
    for pattern, target in table:
        match = re.fullmatch(pattern, name)
        if match:
            return "" if target is None else match.expand(target).replace("/out/", "/o/")
    return None


def _insert(tree: dict, target: list[str], value: np.ndarray) -> None:
    *parents, leaf = target
    if parents and parents[-1] == "qkv":
        for part, piece in zip("qkv", np.split(value, 3), strict=True):
            _insert(tree, [*parents[:-1], part, leaf], piece)
        return
    if leaf == "weight":
        leaf, value = _layer(value)
    if leaf in ("class", "position", "temporal"):
        value = value.reshape(-1, value.shape[-1])
        value = value[0] if leaf == "class" else value
    for name in parents:
        tree = tree.setdefault(name, {})
    tree[leaf] = value


def _layer(weight: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the name and value of a weight in the tree: a norm's scale, the kernel of a linear layer or a convolution."""
    if weight.ndim == 1:
        return "scale", weight
    if weight.ndim == 2:
        return "kernel", weight.T
    # A convolution over one frame at a time.
    if weight.ndim == 5:
        weight = weight[:, :, 0]
    return "kernel", weight.transpose(2, 3, 1, 0)
