"""Where a run's time goes, and how much of the hardware's arithmetic it uses. loop.py → **clock** → log.py

    model FLOP utilisation = FLOPs the model needs a step / (seconds a step · devices · peak FLOP/s of one)
What it needs are the matmuls of the DiT's blocks, full attention, and nothing that is recomputed: remat lowers the figure, as it
should. This is the closed form of what v2v/flops.py counts in a traced program; embeddings, text and time layers, head and the
text encoder are left out (0.03 % of the 5B's forward pass).
"""

import math
import time
from contextlib import contextmanager

import jax
import jax.numpy as jnp

from v2v.config import ModelConfig

# Peak dense bfloat16 FLOP/s a device, vendors' figures; other devices are measured with a matmul.
PEAK = {
    "TPU v4": 275e12, "TPU v5 lite": 197e12, "TPU v5e": 197e12, "TPU v5": 459e12, "TPU v5p": 459e12,
    "TPU v6 lite": 918e12, "TPU v6e": 918e12, "NVIDIA A100": 312e12, "NVIDIA H100": 989e12, "NVIDIA H200": 989e12,
}  # fmt: skip


class Clock:
    """Adds up seconds by name; `lap` gives and forgets them."""

    def __init__(self):
        self._seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    @contextmanager
    def on(self, name: str):
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - began

    def lap(self) -> tuple[float, dict[str, float]]:
        """(seconds since the last lap, seconds by name)."""
        now = time.perf_counter()
        elapsed, lost = now - self._began, self._seconds
        self._began, self._seconds = now, {}
        return elapsed, lost


def tokens(cfg: ModelConfig, reference: bool = False) -> int:
    """Joint tokens of one clip."""
    t, y, x, _ = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    pt, py, px = cfg.dit.patch
    frame = y // py * (x // px)
    streams = 2 if cfg.condition.layout == "sequence" and cfg.dit.in_channels == cfg.dit.out_channels else 1
    return streams * (t // pt) * frame + reference * frame


def forward_flops(cfg: ModelConfig, l: int, adapter: bool = True) -> float:  # noqa: E741
    """Of the DiT's blocks on one clip of l joint tokens, 2 a multiplication and addition; with LoRA, or with weights merged."""
    *base, low_rank = _parts(cfg, l)
    return sum(base) + adapter * low_rank


def step_flops(cfg: ModelConfig, batch: int, full: bool = False, reference: bool = False) -> float:
    """Of one edit step of clips of the model's size: forward, backward through activations, gradients of trained weights.

    A product of activations and weights costs as much again for the gradient of the activations, and again for that of the weights
    where they are trained; attention, a product of activations alone, costs twice its forward pass. Keys and values of the text
    need no gradient of the text.
    """
    linears, text, attention, low_rank = _parts(cfg, tokens(cfg, reference))
    if full:  # without LoRA
        return batch * (3 * linears + 2 * text + 3 * attention)
    return batch * (2 * linears + text + 3 * attention + 3 * low_rank)


def _parts(cfg: ModelConfig, l: int) -> tuple[float, float, float, float]:  # noqa: E741
    """Forward: linear layers of the l tokens, of the text's keys and values, attention of both kinds, LoRA."""
    d, f, m, rank = cfg.dit.width, cfg.dit.ffn_width, cfg.dit.text_len, cfg.lora.rank
    linears = l * (6 * d * d + 2 * d * f)
    attention = 2 * l * l * d + 2 * l * m * d
    low_rank = rank * (l * (12 * d + 2 * (d + f)) + 4 * m * d)
    each = 2.0 * cfg.dit.layers
    return each * linears, each * 2 * m * d * d, each * attention, each * low_rank


def peak_flops() -> float:
    """Of one device, FLOP/s: the vendor's bfloat16 figure where known, else what a float32 matmul reaches."""
    kind = jax.devices()[0].device_kind
    known = [name for name in PEAK if kind.lower().startswith(name.lower())]
    if known:
        return PEAK[max(known, key=len)]
    n, times = 1024, []
    x = jnp.ones((n, n), jnp.float32)
    matmul = jax.jit(lambda x: x @ x).lower(x).compile()
    for _ in range(4):
        began = time.perf_counter()
        matmul(x).block_until_ready()
        times.append(time.perf_counter() - began)
    return 2 * math.pow(n, 3) / min(times)
