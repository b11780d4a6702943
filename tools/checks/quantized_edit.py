"""Edit a clip with the model's weights as they are and in few bits, and print what that costs.

    python tools/checks/quantized_edit.py CLIP "make it sepia" [--model embedded] [--weights-dtype int8 fp8 nf4] [--steps 20]

All edits begin from the same noise. The PSNR is that to the first, over all frames at the clip's size.
"""

import argparse
from typing import get_args

import numpy as np

from v2v.config import WeightsDtype
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.pretrained import load_pretrained
from v2v.pipeline.pretrained_model import Pretrained


def main() -> None:
    """Parse the command line, edit twice, print decibels."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", help='a video, or "sample"')
    parser.add_argument("instruction")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--lora", default="")
    parser.add_argument("--weights-dtype", nargs="+", choices=get_args(WeightsDtype), default=["int8"])
    parser.add_argument("--steps", type=int)
    args = parser.parse_args()
    own = edit_frames(args, load_pretrained(args.model))
    for dtype in args.weights_dtype:
        other = edit_frames(args, load_pretrained(args.model, weights_dtype=dtype))
        print(f"{dtype} against the model's own weights: PSNR {psnr(own, other):.1f} dB", flush=True)


def edit_frames(args: argparse.Namespace, model: Pretrained) -> np.ndarray:
    """Return the frames of an edit, uint8 [T, H, W, 3]."""
    editor = EasyV2VEditor(model)
    if args.lora:
        editor.load_lora_weights(args.lora)
    return np.stack(list(editor.edit_video(args.clip, args.instruction, steps=args.steps).frames))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of two clips of 8 bits, in decibels."""
    error = np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


if __name__ == "__main__":
    main()
