"""Ablation: LoRA of rank 128. Command, hardware and the paper's scores: ablation.py."""

from experiments import ablation
from v2v.train.config import Experiment

run = ablation.run


def config() -> Experiment:
    return ablation.variant("rank128", **ablation.VARIANTS["rank128"])
