"""A model of middle size and its inputs, on which `sampling.py` and `sampling_torch.py` measure."""

import numpy as np

from v2v import config

STEPS = 4
DIT = config.DiTConfig(
    width=512, ffn_width=2048, heads=4, layers=4, text_width=256, text_len=64, dtype="float32"
)
MODEL = config.ModelConfig(
    name="mid", frames=17, height=256, width=320, dit=DIT, flow=config.FlowConfig(steps=STEPS),
    text=config.TextConfig(vocab=64, width=256, key_width=64, heads=4, ffn_width=64, layers=1, text_len=64),
    vae=config.VAEConfig(base_dim=8, decoder_base_dim=8, mean=config.WAN22_MEAN, std=config.WAN22_STD),
)  # fmt: skip


def random_inputs() -> dict[str, np.ndarray]:
    """Return random latents [1, t, y, x, c] (noise, source, mask) and text [1, m, d] (prompt, null) in float32."""
    rng, shape = (
        np.random.default_rng(0),
        (1, *MODEL.vae.latent_shape(MODEL.frames, MODEL.height, MODEL.width)),
    )
    text = (1, DIT.text_len, DIT.text_width)
    shapes = {"noise": shape, "source": shape, "mask": shape, "prompt": text, "null": text}
    return {name: rng.standard_normal(s, np.float32) for name, s in shapes.items()}
