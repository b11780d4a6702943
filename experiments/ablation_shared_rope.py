"""Ablation: source and target share their temporal positions. Command, hardware and the paper's scores: ablation.py."""

from experiments import ablation
from v2v.train.config import Experiment

run = ablation.run


def config() -> Experiment:
    return ablation.variant("shared_rope", **ablation.VARIANTS["shared_rope"])
