"""The models that experiments name: published backbones, the packaged model, and the smallest for tests.

Sources: the published configurations of Wan2.1 and Wan2.2; EasyV2V (arXiv 2512.16920), section 5.
"""

import dataclasses

from v2v.config.model import ConditionConfig, FlowConfig, LoRAConfig, ModelConfig
from v2v.config.networks import DiTConfig, TextConfig, VAEConfig

# Per-channel mean and standard deviation of Wan2.1-VAE and Wan2.2-VAE latents, as published with the VAE's code.
WAN21_MEAN: tuple[float, ...] = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
    -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
WAN21_STD: tuple[float, ...] = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579,
    1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
WAN22_MEAN: tuple[float, ...] = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)  # fmt: skip
WAN22_STD: tuple[float, ...] = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)  # fmt: skip


def wan22_ti2v_5b() -> ModelConfig:
    """Return Wan2.2-TI2V-5B as EasyV2V uses it: 81x480x832, rank 256, prompt guidance 3."""
    return ModelConfig(largest=(121, 704, 1280), batch=1, vae=VAEConfig(mean=WAN22_MEAN, std=WAN22_STD))


def wan21_vae() -> VAEConfig:
    """Return the autoencoder of Wan2.1 and of Wan2.2-A14B: 16 channels, 4x8x8 pixels a latent cell."""
    return VAEConfig(
        base_dim=96, decoder_base_dim=96, z_dim=16, patch=1, residual=False, mean=WAN21_MEAN, std=WAN21_STD
    )


def wan21_t2v_1_3b() -> ModelConfig:
    """Return Wan2.1-T2V-1.3B, with the shift and guidance that its card recommends."""
    return ModelConfig(
        name="wan21_t2v_1_3b",
        largest=(81, 480, 832),
        batch=1,
        fps=16.0,
        dit=DiTConfig(
            width=1536,
            ffn_width=8960,
            heads=12,
            layers=30,
            in_channels=16,
            out_channels=16,
            frame_times=False,
        ),
        vae=wan21_vae(),
        flow=FlowConfig(shift=8.0, steps=50, guidance=6.0, solver="unipc", schedule="wan"),
    )


def wan21_t2v_14b() -> ModelConfig:
    """Return Wan2.1-T2V-14B."""
    return ModelConfig(
        name="wan21_t2v_14b",
        largest=(81, 720, 1280),
        batch=1,
        fps=16.0,
        dit=DiTConfig(
            width=5120,
            ffn_width=13824,
            heads=40,
            layers=40,
            in_channels=16,
            out_channels=16,
            frame_times=False,
        ),
        vae=wan21_vae(),
        flow=FlowConfig(shift=5.0, steps=50, guidance=5.0, solver="unipc", schedule="wan"),
    )


def wan22_a14b() -> ModelConfig:
    """Return Wan2.2-T2V-A14B: two transformers of the size of Wan2.1-T2V-14B, each for a range of noise levels."""
    flow = FlowConfig(
        shift=12.0, steps=40, guidance=4.0, boundary=0.875, low_guidance=3.0, solver="unipc", schedule="wan"
    )
    return dataclasses.replace(wan21_t2v_14b(), name="wan22_a14b", flow=flow)


def embedded() -> ModelConfig:
    """Return the packaged model: clips of 9x64x64 pixels, 48 tokens each, small enough to train on two CPU cores."""
    return ModelConfig(
        name="embedded",
        frames=9,
        height=64,
        width=64,
        dit=DiTConfig(
            width=192, ffn_width=640, heads=6, layers=6, in_channels=48, out_channels=48, patch=(1, 1, 1), text_width=96,
            text_len=24, freq_dim=64, rope_theta=100.0, qk_gain=1.5, dtype="float32",
        ),
        vae=VAEConfig(
            base_dim=48, decoder_base_dim=48, z_dim=48, dim_mult=(1, 2, 2), num_res_blocks=0,
            temporal_downsample=(True, True), patch=4,
        ),
        text=TextConfig(
            vocab=512, width=96, key_width=24, heads=4, ffn_width=192, layers=2, buckets=16, max_distance=32, text_len=24,
            dtype="float32",
        ),
        lora=LoRAConfig(rank=32),
        condition=ConditionConfig(rope="shared"),
        flow=FlowConfig(shift=5.0, steps=4, guidance=2.0),
    )  # fmt: skip


def debug() -> ModelConfig:
    """Return the smallest model with every part, which tests train in seconds."""
    base = embedded()
    return dataclasses.replace(
        base,
        name="debug",
        frames=5,
        height=32,
        width=32,
        dit=dataclasses.replace(
            base.dit, width=32, ffn_width=64, heads=2, layers=2, in_channels=8, out_channels=8, text_width=16
        ),
        vae=VAEConfig(
            base_dim=4, decoder_base_dim=4, z_dim=8, dim_mult=(1, 2, 2), num_res_blocks=1,
            temporal_downsample=(True, True),
        ),
        text=dataclasses.replace(base.text, width=16, key_width=4, heads=2, ffn_width=32, layers=1),
        lora=LoRAConfig(rank=4),
    )  # fmt: skip
