"""Weights that tests of training start from."""

import jax

from v2v.config import ModelConfig
from v2v.models import initialization


def live_base(cfg: ModelConfig) -> dict:
    """Return initial {"dit", "text"} with a head that is not zero, behind which every other gradient would be zero too."""
    base = initialization.init_base(jax.random.key(0), cfg)
    head = base["dit"]["head"]["linear"]
    head["kernel"] = jax.random.normal(jax.random.key(9), head["kernel"].shape)
    return base
