"""Configuration as frozen dataclasses, checked when they are created: of models, and of what every training run needs.

A `ModelConfig` (model.py) describes a model: transformer, autoencoder, text encoder (networks.py), LoRA, conditioning and flow.
`wan22_ti2v_5b()` (the paper's backbone), its relatives, `embedded()` (the packaged model) and `debug()` (small enough for tests) are
settings of the same classes (backbones.py). `MeshConfig`, `LogConfig`, `DataConfig` and `OptimConfig` (run.py) are the parts of a run that
packages below `v2v/train` read too. The names from which options choose are in choices.py. No logic is in this package, and nothing heavy:
`v2v --help` imports it.
"""

from v2v.config.backbones import (
    WAN21_MEAN,
    WAN21_STD,
    WAN22_MEAN,
    WAN22_STD,
    debug,
    embedded,
    wan21_t2v_1_3b,
    wan21_t2v_14b,
    wan21_vae,
    wan22_a14b,
    wan22_ti2v_5b,
)
from v2v.config.choices import (
    Detail,
    Guide,
    LoraDtype,
    LoraStyle,
    MemoryName,
    PhaseKind,
    ProgramKind,
    ScheduleName,
    SolverName,
    TransformerName,
    WeightsDtype,
)
from v2v.config.model import (
    LORA_TARGETS,
    ConditionConfig,
    FlowConfig,
    LoRAConfig,
    ModelConfig,
    SamplingConfig,
    check_levels,
    part_kind,
    transformer_part,
)
from v2v.config.networks import (
    REMAT_PRESETS,
    REMAT_TENSORS,
    DetailConfig,
    DiTConfig,
    RematPlace,
    TextConfig,
    VAEConfig,
    remat_places,
)
from v2v.config.run import DataConfig, LogConfig, MeshConfig, MixtureChange, OptimConfig

__all__ = [
    "ConditionConfig", "DataConfig", "Detail", "DetailConfig", "DiTConfig", "FlowConfig", "Guide", "LORA_TARGETS", "LoRAConfig",
    "LogConfig", "LoraDtype", "LoraStyle", "MemoryName", "MeshConfig", "MixtureChange", "ModelConfig", "OptimConfig", "PhaseKind", "ProgramKind",
    "REMAT_PRESETS", "REMAT_TENSORS", "RematPlace", "SamplingConfig", "ScheduleName", "SolverName", "TextConfig", "TransformerName",
    "VAEConfig", "WAN21_MEAN", "WAN21_STD", "WAN22_MEAN", "WAN22_STD", "WeightsDtype", "check_levels", "debug", "embedded", "part_kind",
    "remat_places", "transformer_part", "wan21_t2v_14b", "wan21_t2v_1_3b", "wan21_vae", "wan22_a14b", "wan22_ti2v_5b",
]  # fmt: skip
