"""Weights that tests of training start from."""

import jax

from v2v.config import ModelConfig
from v2v.models import initialization


def live_base(cfg: ModelConfig) -> dict:
    """Fresh {"dit", "text"} with a head that isn't zero: behind a zero head every other gradient would be zero too."""
    made = initialization.init_base(jax.random.key(0), cfg)
    head = made["dit"]["head"]["linear"]
    head["kernel"] = jax.random.normal(jax.random.key(9), head["kernel"].shape)
    return made
