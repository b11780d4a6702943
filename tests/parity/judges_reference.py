"""The real packages' answers to the questions of judges.py: transformers (CLIP, DINOv2), Pillow, and torch's own layers where the
published model is no package (ViCLIP) or a package that needs more than tests should (LPIPS)."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPModel, Dinov2Model

from tests.parity import judges
from v2v.checkpoints.tensor_files import TensorFiles


@torch.no_grad()
def answers(tmp: Path) -> dict[str, np.ndarray]:
    """As `judges.ours`."""
    found = {}
    for act, end in (("quick_gelu", 2), ("gelu", 10)):
        model = CLIPModel.from_pretrained(judges.clip(tmp / f"clip-{act}", act, end)).eval()
        x, ids = _planes(judges.pixels(3, 28, 28, 3)), torch.tensor(judges.IDS, dtype=torch.long)
        pooled = model.vision_model(pixel_values=x).pooler_output
        text = model.text_model(input_ids=ids).pooler_output
        found |= {
            f"clip/{act}/pooled": pooled, f"clip/{act}/vision": model.visual_projection(pooled),
            f"clip/{act}/text": model.text_projection(text), f"clip/{act}/scale": model.logit_scale.exp(),
        }  # fmt: skip
    dino = Dinov2Model.from_pretrained(judges.dinov2(tmp / "dinov2")).eval()
    for side in (35, 28, 49):
        found[f"dinov2/{side}"] = dino(pixel_values=_planes(judges.pixels(2, side, side, 3))).pooler_output
    found["dinov2/wide"] = dino(pixel_values=_planes(judges.pixels(2, 28, 42, 3))).pooler_output
    found |= _viclip(_read(judges.viclip(tmp / "viclip")))
    x = _planes(np.tanh(judges.pixels(2, 40, 56, 3)))
    y = _planes(np.tanh(judges.pixels(2, 40, 56, 3)[::-1] + 0.3))
    found["lpips"] = _lpips(_read(judges.lpips(tmp / "lpips")), x, y)
    photo = Image.fromarray(judges.PHOTO)
    for height, width in judges.SIZES:
        found[f"resize/{height}x{width}"] = photo.resize((width, height), Image.Resampling.BICUBIC)
    return {name: np.asarray(value) for name, value in found.items()}


def _planes(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.moveaxis(x, -1, -3).copy())


def _read(folder: Path) -> dict[str, torch.Tensor]:
    files = TensorFiles.open(folder)
    return {name: torch.tensor(np.asarray(files.read(name))) for name in files.slots}


def _viclip(w: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """By the published description, on torch's MultiheadAttention; heads are 8 wide."""

    def blocks(x, side, causal):
        for k in range(sum(f"{side}_encoder.transformer.resblocks.{n}.ln_1.weight" in w for n in range(9))):
            p = f"{side}_encoder.transformer.resblocks.{k}."
            norm = lambda x, n, p=p: F.layer_norm(x, x.shape[-1:], w[p + n + ".weight"], w[p + n + ".bias"])  # noqa: E731
            attention = torch.nn.MultiheadAttention(x.shape[-1], x.shape[-1] // 8, batch_first=True).eval()
            attention.load_state_dict(
                {n.removeprefix(p + "attn."): v for n, v in w.items() if n.startswith(p + "attn.")}
            )
            mask = torch.triu(torch.full((x.shape[1],) * 2, -torch.inf), 1) if causal else None
            y = norm(x, "ln_1")
            x = x + attention(y, y, y, need_weights=False, attn_mask=mask)[0]
            y = F.linear(norm(x, "ln_2"), w[p + "mlp.c_fc.weight"], w[p + "mlp.c_fc.bias"])
            x = x + F.linear(
                y * torch.sigmoid(1.702 * y), w[p + "mlp.c_proj.weight"], w[p + "mlp.c_proj.bias"]
            )
        return x

    def last(x, name):
        return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"])

    clip = torch.tensor(judges.pixels(2, 4, 28, 28, 3)).permute(0, 4, 1, 2, 3)
    x = (
        F.conv3d(clip, w["vision_encoder.conv1.weight"], stride=(1, 7, 7)).flatten(3).permute(0, 2, 3, 1)
    )  # [b, t, n, d]
    table = w["vision_encoder.positional_embedding"]
    x = x + table[1:] + w["vision_encoder.temporal_positional_embedding"][0][:, None]
    x = x.transpose(1, 2).flatten(1, 2)  # positions before times
    first = (w["vision_encoder.class_embedding"] + table[0]).expand(2, 1, -1)
    x = last(
        blocks(last(torch.cat([first, x], 1), "vision_encoder.ln_pre"), "vision", False)[:, 0],
        "vision_encoder.ln_post",
    )
    ids = torch.tensor(judges.IDS, dtype=torch.long)
    t = w["text_encoder.token_embedding.weight"][ids] + w["text_encoder.positional_embedding"]
    t = last(blocks(t, "text", True), "text_encoder.ln_final")[torch.arange(3), ids.argmax(-1)]
    return {
        "viclip/video": x @ w["vision_encoder.proj"],
        "viclip/text": t @ w["text_encoder.text_projection"],
    }


def _lpips(w: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """By the paper, on torch's convolutions; `python -m tests.parity.judges_reference` compares with the package itself."""
    total = torch.zeros(len(x))
    x, y = ((p - w["scaling_layer.shift"]) / w["scaling_layer.scale"] for p in (x, y))
    for k, (at, stride, pad) in enumerate(((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))):
        if k in (1, 2):
            x, y = (F.max_pool2d(p, 3, 2) for p in (x, y))
        name = f"net.slice{k + 1}.{at}"
        x, y = (F.relu(F.conv2d(p, w[name + ".weight"], w[name + ".bias"], stride, pad)) for p in (x, y))
        a, b = (p / (p.square().sum(1, keepdim=True).sqrt() + 1e-10) for p in (x, y))
        total = total + F.conv2d((a - b).square(), w[f"lin{k}.model.1.weight"]).mean((1, 2, 3))
    return total


def check_lpips(tmp: Path) -> float:
    """Largest difference between `_lpips` and the lpips package (pip install lpips) on the same weights."""
    import lpips

    model = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False).eval()
    weights = _read(judges.lpips(tmp))
    state = model.state_dict()
    model.load_state_dict({n: weights[n.replace("lins.", "lin")] for n in state})
    x, y = (_planes(np.tanh(judges.pixels(2, 40, 56, 3) + d)) for d in (0, 0.3))
    with torch.no_grad():
        return float((model(x, y).flatten() - _lpips(weights, x, y)).abs().max())


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        print(f"LPIPS, package against reference: {check_lpips(Path(folder)):.1e}")
