"""Options about the model that several commands have, and how their help says what names a model or an adapter."""

import argparse
from typing import Any, get_args

from v2v.config import TransformerName, WeightsDtype
from v2v.runtime import environment

MODEL_HELP = "a folder (or the file of its transformer), or ORG/NAME[@REVISION] or ORG/NAME/FILE.gguf on the Hugging Face Hub, which is fetched"
DEFAULT_MODEL_HELP = f"{MODEL_HELP} (default: $V2V_MODEL, or the packaged model)"
LORA_HELP = "F.safetensors, or ORG/NAME[/F.safetensors] on the hub"


def add_model(command: argparse.ArgumentParser) -> None:
    """Add --model, one model, by default that of the settings."""
    command.add_argument("--model", default=environment.MODEL.get(), metavar="MODEL", help=DEFAULT_MODEL_HELP)


def add_adapters(
    command: argparse.ArgumentParser,
    about: str = f"adapter for that model: {LORA_HELP}",
    about_transformer: str = "the same for the {name}-noise transformer of models that have two",
    metavar: str = "LORA",
    repeats: bool = False,
) -> None:
    """Add --lora, and --lora-high and --lora-low for the transformers of a model of two.

    Args:
      command: its parser.
      about: help of --lora.
      about_transformer: help of the others, with {name} for the transformer.
      metavar: what a value is.
      repeats: whether they may be repeated; their values are lists then.
    """
    kind: dict[str, Any] = {"action": "append", "default": []} if repeats else {"default": ""}
    command.add_argument("--lora", metavar=metavar, help=about, **kind)
    for name in get_args(TransformerName):
        command.add_argument(
            f"--lora-{name}", metavar=metavar, help=about_transformer.format(name=name), **kind
        )


def read_transformer_adapters(args: argparse.Namespace) -> dict[TransformerName, Any]:
    """Return the values of --lora-high and --lora-low by transformer, those alone that were given."""
    values: dict[TransformerName, Any] = {"high": args.lora_high, "low": args.lora_low}
    return {name: value for name, value in values.items() if value}


def add_weights_dtype(command: argparse.ArgumentParser) -> None:
    """Add the option that says what weights are stored in."""
    command.add_argument(
        "--weights-dtype",
        choices=get_args(WeightsDtype),
        help="type that weights of transformer and text encoder are stored in; int8 and fp8 take half of bfloat16's memory, nf4 a quarter; their "
        "rounding lies about 42, 32 and 20 dB below the weights (default: the model's own)",
    )
