"""Ablation: pictures only, as clips of one frame. Command, hardware and the paper's scores: ablation.py."""

from experiments import ablation
from v2v.train.config import Experiment

run = ablation.run


def config() -> Experiment:
    return ablation.variant("images", **ablation.VARIANTS["images"])
