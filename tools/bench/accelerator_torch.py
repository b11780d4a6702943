"""The diffusers side of `accelerator.py`: the same shapes, random weights, bfloat16, eager and compiled by torch.

The DiT gets latents of twice the frames, so that its sequence has as many tokens as source and target together; it has no cached pass
to compare with. Needs a GPU, unless tiny.
"""

import dataclasses
import time

from tools.bench import measurement


def run_case(name: str, cfg, tiny: bool) -> dict:
    """Return the figures of one case.

    Args:
      name: "matmul", "eager", "compiled", "encode" or "decode".
      cfg: Configuration of the model.
      tiny: Run on the CPU where there is no GPU.

    Returns:
      Seconds, TFLOP/s where counted, peak memory in GB, seconds of the first call.
    """
    import torch

    if not tiny and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    torch.set_default_device(device)
    builders = {"matmul": build_matmul, "encode": build_vae, "decode": build_vae}
    call, flops = builders.get(name, build_dit)(name, cfg, tiny, dtype)

    def run():
        with torch.no_grad():
            call()
        if device == "cuda":
            torch.cuda.synchronize()

    first_seconds = measurement.measure(run, time.perf_counter)
    seconds = measurement.median_seconds(run)
    peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None
    return {
        "seconds": seconds,
        "tflops": flops and flops / seconds / 1e12,
        "peak_gb": peak,
        "first_call": first_seconds,
    }


def build_matmul(name: str, cfg, tiny: bool, dtype):
    """Return (call, FLOPs) of a matrix product."""
    import torch

    n = 256 if tiny else 8192
    x, w = torch.randn(n, n, dtype=dtype), torch.randn(n, n, dtype=dtype)
    return (lambda: x @ w), 2 * n**3


def build_dit(name: str, cfg, tiny: bool, dtype):
    """Return (call, FLOPs) of one pass of the DiT."""
    import torch
    from diffusers import WanTransformer3DModel

    from v2v.planning.passes import count_pass_flops

    d, (t, y, x, c) = cfg.dit, cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    torch.set_default_dtype(dtype)  # of the weights, too
    model = WanTransformer3DModel(
        patch_size=d.patch, num_attention_heads=d.heads, attention_head_dim=d.head_dim, in_channels=c, out_channels=c,
        text_dim=d.text_width, freq_dim=d.freq_dim, ffn_dim=d.ffn_width, num_layers=d.layers,
    ).eval()  # fmt: skip
    z, text = torch.randn(1, c, 2 * t, y, x), torch.randn(1, d.text_len, d.text_width)
    velocity = torch.compile(model) if name == "compiled" else model
    tau = torch.full((1,), 500.0, dtype=torch.float32)
    flops = count_pass_flops(dataclasses.replace(cfg, dit=dataclasses.replace(d, dtype="float32")))["full"]
    return (lambda: velocity(z, tau, text, return_dict=False)), flops


def build_vae(name: str, cfg, tiny: bool, dtype):
    """Return (call, None) of encoding or decoding in float32, as both sides do by default; FLOPs are not counted."""
    import torch
    from diffusers import AutoencoderKLWan

    v, (t, y, x, c) = cfg.vae, cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    if tiny and v.patch == 1:
        raise SystemExit("diffusers' VAE has no patch of 1")
    model = AutoencoderKLWan(
        base_dim=v.base_dim, decoder_base_dim=v.decoder_base_dim, z_dim=v.z_dim, dim_mult=list(v.dim_mult),
        num_res_blocks=v.num_res_blocks, temperal_downsample=list(v.temporal_downsample), is_residual=True,
        in_channels=3 * v.patch**2, out_channels=3 * v.patch**2, patch_size=v.patch, scale_factor_temporal=v.stride_t,
        scale_factor_spatial=v.stride_xy, latents_mean=[0.0] * c, latents_std=[1.0] * c,
    ).eval()  # fmt: skip
    if name == "encode":
        clip = torch.tanh(torch.randn(1, 3, cfg.frames, cfg.height, cfg.width))
        return (lambda: model.encode(clip)), None
    z = torch.randn(1, c, t, y, x)
    return (lambda: model.decode(z)), None
