"""Compare the VAE in bfloat16 with float32.

    python tools/checks/autoencoder_precision.py [--model DIR] [--video CLIP.mp4]

Prints differences in dB. The first frames of a clip, scaled to the model's size, go both ways through the VAE in either precision.
`decode` starts from the same float32 latents, `both ways` from the pixels; the last line compares each with the clip itself.
"""

import argparse
import copy
import dataclasses
from pathlib import Path

import cv2
import numpy as np

import v2v
from v2v.evaluation.metrics.pixel import psnr_from_mse
from v2v.pipeline.pretrained import load_pretrained
from v2v.pipeline.pretrained_model import Pretrained
from v2v.video import video


def main() -> None:
    """Parse the command line and print the differences."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--video", type=Path, default=Path(v2v.__file__).parent / "assets" / "sample.mp4")
    args = parser.parse_args()
    model = load_pretrained(args.model)
    cfg = model.config
    frames = video.read_video(args.video).frames[: cfg.frames]
    frames = frames[: len(frames) - (len(frames) - 1) % cfg.vae.stride_t]
    clip = np.stack([cv2.resize(f, (cfg.width, cfg.height), interpolation=cv2.INTER_AREA) for f in frames])[
        None
    ]
    exact, rounded = with_vae_dtype(model, "float32"), with_vae_dtype(model, "bfloat16")
    latents, rounded_latents = exact.encode(clip), rounded.encode(clip)
    pixels, decoded, both = exact.decode(latents), rounded.decode(latents), rounded.decode(rounded_latents)
    size = "x".join(map(str, clip.shape[1:4]))
    print(f"{args.model}, {args.video.name}, {size}: bfloat16 against float32")
    print(
        f"  latents    root mean square difference {float(np.sqrt(((latents - rounded_latents) ** 2).mean())):.4f}"
    )
    print(f"  decode     {psnr(decoded, pixels):.1f} dB")
    print(f"  both ways  {psnr(both, pixels):.1f} dB")
    print(f"against the clip: float32 {psnr(pixels, clip):.2f} dB, bfloat16 {psnr(both, clip):.2f} dB")


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the PSNR of pixels 0..255 that are not rounded to levels."""
    return psnr_from_mse(float(((a - b.astype(np.float32)) ** 2).mean()))


def with_vae_dtype(model: Pretrained, dtype: str) -> Pretrained:
    """Return a model with the same weights whose VAE computes in `dtype`."""
    result = copy.copy(model)
    result.config = dataclasses.replace(model.config, vae=dataclasses.replace(model.config.vae, dtype=dtype))
    return result


if __name__ == "__main__":
    main()
