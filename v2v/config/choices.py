"""The names from which options of the command line choose, here since `v2v --help` imports no JAX."""

from typing import Literal

# Names of `v2v.diffusion.solvers.SOLVERS`, also the choices of `--solver`.
SolverName = Literal["euler", "heun", "unipc", "renoise"]
# Names of noise levels (`v2v/diffusion/schedule.py`), also the choices of `--schedule`.
ScheduleName = Literal["linear", "wan", "diffusers", "euler", "diffsynth"]
# How an edit reaches the clip's full size, and what guidance strengthens: fields of `EditSettings`, `--detail` and `--guide`.
Detail = Literal["auto", "guided", "model", "tiles"]
# The last seven are the modes of Bernini-R.
Guide = Literal[
    "prompt",
    "prompt+reference",
    "prompt+source",
    "v2v",
    "v2v_apg",
    "v2v_chain",
    "rv2v",
    "r2v_apg",
    "t2v",
    "t2v_apg",
]
# Tensor names and data type of LoRA files, `--format` and `--dtype` of `v2v convert`.
LoraStyle = Literal["original", "diffusers"]
LoraDtype = Literal["bfloat16", "float16", "float32"]
# What `v2v plan` plans, `--what`: one program that is searched for, or phases.
ProgramKind = Literal["train", "sample"]
PhaseKind = Literal["edit", "encode", "preview"]

# The transformers of a model of two, each for a range of noise levels: `--lora-high`, `--lora-low`.
TransformerName = Literal["high", "low"]

# Devices that `--memory` knows: NVIDIA cards by their GB, and TPUs.
MemoryName = Literal["12", "16", "24", "40", "80", "v5e", "v6e", "v5p"]

# What weights of transformer and text encoder may be stored in, other than the model's own type (`v2v/models/quantized.py`).
WeightsDtype = Literal["bfloat16", "int8", "fp8", "nf4"]
