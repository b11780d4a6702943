"""Ablation: condition tokens don't look at noisy ones. Command, hardware and the paper's scores: ablation.py."""

from experiments import ablation
from v2v.train.config import Experiment

run = ablation.run


def config() -> Experiment:
    return ablation.variant("one_way", **ablation.VARIANTS["one_way"])
