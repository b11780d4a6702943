"""Ablation: the mask is never shown, only when the edit happens. Command, hardware and the paper's scores: ablation.py."""

from experiments import ablation
from v2v.train.config import Experiment

run = ablation.run


def config() -> Experiment:
    return ablation.variant("no_mask", **ablation.VARIANTS["no_mask"])
