"""Ablation: everything of the DiT is trained; the source is added to the target's tokens. Command, hardware and the paper's scores: ablation.py."""

from experiments import ablation
from v2v.train.config import Experiment

run = ablation.run


def config() -> Experiment:
    return ablation.variant("full_add", **ablation.VARIANTS["full_add"])
