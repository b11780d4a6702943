"""Where a run's time goes, and how much of the hardware's arithmetic it uses. loop.py → **clock** → log.py

    model FLOP utilisation = FLOPs the model needs a step / (seconds a step · devices · peak FLOP/s of one)
Counted are matmuls and attention of one forward pass, twice more for the backward pass through activations, once more for
gradients of trained weights, and nothing that is recomputed: remat lowers the figure, as it should.
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


def forward_flops(cfg: ModelConfig, l: int) -> float:  # noqa: E741
    """Of the DiT's blocks on one clip of l joint tokens: 2 a multiplication and addition, full attention."""
    d, f, m, rank = cfg.dit.width, cfg.dit.ffn_width, cfg.dit.text_len, cfg.lora.rank
    linears = l * (6 * d * d + 2 * d * f) + 2 * m * d * d
    attention = 2 * l * l * d + 2 * l * m * d
    low_rank = rank * (l * (12 * d + 2 * (d + f)) + 4 * m * d)
    return 2.0 * cfg.dit.layers * (linears + attention + low_rank)


def step_flops(cfg: ModelConfig, batch: int, full: bool = False) -> float:
    """Of one edit step: forward, backward through activations, and weight gradients when all is trained."""
    return batch * forward_flops(cfg, tokens(cfg)) * (3 if full else 2)


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
