"""Options about the model that several commands have, and how their help says what names a model or an adapter."""

import argparse
from typing import get_args

from v2v.config import WeightsDtype

MODEL_HELP = "a folder (or the file of its transformer), or ORG/NAME[@REVISION] or ORG/NAME/FILE.gguf on the Hugging Face Hub, which is fetched"
LORA_HELP = "F.safetensors, or ORG/NAME[/F.safetensors] on the hub"


def add_weights_dtype(command: argparse.ArgumentParser) -> None:
    """Add the option that says what weights are stored in."""
    command.add_argument(
        "--weights-dtype",
        choices=get_args(WeightsDtype),
        help="type that weights of transformer and text encoder are stored in; int8 and fp8 take half of bfloat16's memory, nf4 a quarter; their "
        "rounding lies about 42, 32 and 20 dB below the weights (default: the model's own)",
    )
