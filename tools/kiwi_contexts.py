#!/usr/bin/env python3
"""Make contexts for Kiwi-Edit beside its published encoder, which v2v does not run itself.

    git clone https://github.com/showlab/Kiwi-Edit
    pip install torch torchvision transformers==4.57.* diffusers accelerate safetensors av
    python tools/kiwi_contexts.py --model kiwi-edit-5b-instruct-only-diffusers --video in.mp4 --instruction "Remove the monkey." --out in.context.safetensors
    v2v edit in.mp4 "Remove the monkey." --model linyq/kiwi-edit-5b-instruct-only-diffusers --context in.context.safetensors -o out.mp4

--model is the folder of a release (huggingface-cli download linyq/...), with mllm_encoder/ and processor/. Its own file
mllm_encoder/mllm_encoder.py is run: look at it first if you don't trust the release. Nothing of v2v is needed here, so that this can run on another
machine, with the versions of packages that the release wants.

A context depends on instruction, clip and reference: make one for each edit. --table makes many with the encoder loaded once: JSON
Lines with "video", "instruction", "out" and optionally "reference", relative to the table's folder.

The file: safetensors with the tensor "context", [m, 3072], and in the header "v2v_context", a JSON text (v2v/checkpoints/context_file.py).
"""

import argparse
import hashlib
import importlib.util
import json
import os
import sys
from pathlib import Path

# Frames that the release reads of a clip at most before the encoder takes 16 of them; it gives the clip without its times.
MOST_FRAMES = 81
MOST_PIXELS = 720 * 1280


def main(words: list[str] | None = None) -> None:
    """Make the contexts; `words` are those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="folder of a Kiwi-Edit release"
    )
    parser.add_argument("--video", type=Path, metavar="FILE", help="the clip or picture to edit")
    parser.add_argument("--instruction", metavar="TEXT", help="the edit")
    parser.add_argument(
        "--reference", type=Path, metavar="FILE", help="a picture that shows how the edit should look"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the file to write, NAME.safetensors")
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="JSON Lines of many edits, in place of the four above"
    )
    parser.add_argument("--device", default="cuda", help="where the encoder runs (default: cuda)")
    args = parser.parse_args(words)
    edits = read_edits(parser, args)
    encoder = load_encoder(args.model, args.device)
    for edit in edits:
        save_context(edit["out"], *encode(encoder, edit), encoder=args.model.name)
        print(edit["out"], file=sys.stderr)


def read_edits(parser: argparse.ArgumentParser, args: argparse.Namespace) -> list[dict]:
    """Return the edits that were asked for, each with video, instruction, out and reference; end the program where something lacks."""
    if args.table is None:
        edits = [vars(args)]
        folder = Path()
    else:
        lines = args.table.read_text(encoding="utf-8").splitlines()
        edits, folder = [json.loads(line) for line in lines if line.strip()], args.table.parent
    out = []
    for number, edit in enumerate(edits, 1):
        missing = [name for name in ("video", "instruction", "out") if not edit.get(name)]
        if missing:
            parser.error(f"edit {number}: expected --{', --'.join(missing)}, or a --table with them")
        paths = {name: edit.get(name) and folder / edit[name] for name in ("video", "reference", "out")}
        absent = [
            str(paths[name]) for name in ("video", "reference") if paths[name] and not paths[name].is_file()
        ]
        if absent:
            parser.error(f"edit {number}: {', '.join(absent)}: no such file")
        out.append({**paths, "instruction": edit["instruction"]})
    return out


def load_encoder(model: Path, device: str):
    """Load the published encoder, queries and connectors included, in bfloat16."""
    import torch

    file = model / "mllm_encoder" / "mllm_encoder.py"
    if not file.is_file():
        sys.exit(
            f"{file}: expected the encoder of a Kiwi-Edit release, found no file; download the whole release"
        )
    spec = importlib.util.spec_from_file_location("mllm_encoder", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["mllm_encoder"] = module
    spec.loader.exec_module(module)
    encoder = module.MLLMEncoder.from_pretrained(model / "mllm_encoder", torch_dtype=torch.bfloat16)
    encoder = encoder.to(device).eval()
    encoder.load_qwen_model(device=device, dtype=torch.bfloat16)
    return encoder


def encode(encoder, edit: dict) -> tuple:
    """Return the context of an edit, float32 [m, d], and its description."""
    import torch
    from PIL import Image

    frames = read_frames(edit["video"])
    reference = edit["reference"]
    if reference is not None:
        mode, given = "reference", {"src_video": frames, "ref_image": [Image.open(reference).convert("RGB")]}
    elif len(frames) == 1:
        mode, given = "picture", {"src_image": frames}
    else:
        mode, given = "video", {"src_video": frames}
    with torch.no_grad():
        context = encoder(edit["instruction"], **given)[0].float().cpu().numpy()
    description = {"instruction": edit["instruction"], "mode": mode, "source_sha256": digest(edit["video"])}
    if reference is not None:
        description["reference_sha256"] = digest(reference)
    return context, description


def read_frames(path: Path) -> list:
    """Return the first frames of a clip as pictures, reduced as the release reduces them."""
    import av
    from PIL import Image

    frames = []
    with av.open(os.fspath(path)) as container:
        for frame in container.decode(video=0):
            picture = frame.to_image()
            scale = min(1.0, (MOST_PIXELS / (picture.width * picture.height)) ** 0.5)
            if scale < 1:
                size = [int(side * scale) // 16 * 16 for side in picture.size]
                picture = picture.resize(size, Image.Resampling.LANCZOS)
            frames.append(picture)
            if len(frames) == MOST_FRAMES:
                break
    return frames


def save_context(path: Path, context, description: dict, encoder: str = "") -> None:
    """Write a context.

    Args:
      path: the file, NAME.safetensors.
      context: float [m, d].
      description: instruction, mode, and the hashes of the files it was made of.
      encoder: the release that made it.
    """
    import numpy as np
    from safetensors.numpy import save_file

    text = json.dumps({"version": 1, **description, "encoder": encoder})
    partial = path.with_name(path.name + ".partial")
    save_file({"context": np.ascontiguousarray(context, np.float32)}, partial, {"v2v_context": text})
    partial.replace(path)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
