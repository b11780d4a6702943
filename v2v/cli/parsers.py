"""The argument parsers of the command line: commands, options and their help.

Only modules that define options of their own are imported here, so that `v2v --help` starts without JAX or numpy.
"""

import argparse
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, get_args

from v2v import __version__
from v2v.cli import app, completion, edit_arguments, models, pairs, report, serve, synth
from v2v.cli import eval as evaluation
from v2v.cli.argument_types import parse_integer, parse_number
from v2v.cli.model_arguments import LORA_HELP, add_adapters, add_model, add_weights_dtype
from v2v.config import (
    LoraDtype,
    LoraStyle,
    PhaseKind,
    ProgramKind,
)
from v2v.errors import suggest

# Commands that take an experiment, and any field of it as an option.
WITH_EXPERIMENT = ("train", "encode", "plan")
ENCODE_EXAMPLES = """\
examples:
  v2v encode wan22_ti2v_5b --model Wan-AI/Wan2.2-TI2V-5B-Diffusers --sets data/pairs --latents runs/latents
  v2v encode wan22_ti2v_5b --model ... --sets gs://BUCKET/pairs --latents gs://BUCKET/latents --distributed
then: v2v train wan22_ti2v_5b ... with the same --sets and --latents
"""

CONVERT_EXAMPLES = """\
examples:
  v2v convert Wan2.2-TI2V-5B-Diffusers wan/ --lora easyv2v.safetensors     then: v2v edit ... --model wan/
  v2v convert runs/mine/edit/lora.safetensors out.safetensors --model runs/mine/export --format diffusers
"""


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors are one line that names the option and the remedy, without the usage.

    Args:
      build_epilog: Returns the end of the help, for texts that take long to make.
    """

    def __init__(self, *args, build_epilog: Callable[[], str] | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.build_epilog = build_epilog
        # Accepts -5,0,20,20 as a value, as Python 3.14 does.
        self._negative_number_matcher = re.compile(r"-(\.?\d|inf\b|nan\b)")
        self.register("type", int, parse_integer)
        self.register("type", float, parse_number)

    def list_options(self) -> list[str]:
        """Return the names of the options, such as "--steps"."""
        return [name for action in self._actions for name in action.option_strings]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is none of the choices, and tell the nearest of them."""
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        is_command = isinstance(action, argparse._SubParsersAction)  # noqa: SLF001  argparse offers no other way
        message = f"expected one of {', '.join(names)}, got '{value}'{suggest(str(value), names)}"
        raise argparse.ArgumentError(None if is_command else action, message)

    def format_help(self) -> str:
        """Return the help, with the epilog that `build_epilog` returns."""
        if self.build_epilog:
            self.epilog = self.build_epilog()
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with code 2."""
        line = " ".join(message.removeprefix("argument ").split())
        self.exit(2, f"{self.prog}: error: {line}; {self.prog} --help shows all options\n")


class _HelpLater(argparse.Action):
    """Sets a flag, and requires nothing else of the command line."""

    def __init__(self, option_strings, dest, help=None):
        super().__init__(option_strings, dest, nargs=0, const=True, default=False, help=help)

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, True)
        for action in parser._actions:  # noqa: SLF001  argparse offers no other way
            action.required = False


def build_parser(actions: Mapping[str, Callable]) -> argparse.ArgumentParser:
    """Build the parser of the whole command line.

    Args:
      actions: the function of each command, by the command's name. The parsed namespace holds it as `run`, and as `refuse` a
        function that exits with a usage error of that command.
    """
    parser = Parser(
        prog="v2v",
        description="Edit videos from written instructions, generate training pairs, and train editors.",
    )
    parser.add_argument("--version", action="version", version=f"v2v {__version__}")
    commands = parser.add_subparsers(required=True, metavar=" | ".join(actions), title="commands")
    common = Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one machine-readable line")
    common.add_argument("--quiet", action="store_true", help="no progress bars; warnings only")
    common.add_argument("-v", "--verbose", action="store_true", help="show debug messages")

    def add_command(
        name: str, summary: str, epilog: str | None = None, build_epilog: Callable[[], str] | None = None
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            parents=[common],
            epilog=epilog,
            build_epilog=build_epilog,
            allow_abbrev=False,
            add_help=name not in WITH_EXPERIMENT,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in WITH_EXPERIMENT:
            # argparse would exit before the experiment, whose fields belong to the help, is known.
            command.add_argument(
                "-h",
                "--help",
                action=_HelpLater,
                help="show this help and the fields of EXPERIMENT, and exit",
            )
        command.set_defaults(
            run=actions[name],
            refuse=command.error,
            print_help=command.print_help,
            command=name,
            list_options=command.list_options,
        )
        return command

    edit_arguments.add_arguments(
        add_command("edit", "edit a video from a written instruction", edit_arguments.EXAMPLES)
    )
    synth.add_arguments(
        add_command(
            "synth",
            "generate training pairs (source, instruction, edited clip, mask, reference)",
            build_epilog=synth.describe_recipes,
        )
    )
    pairs.add_arguments(
        add_command(
            "pairs",
            "check tables of your own training pairs; view, count, drop, merge, split, extend, caption and export sets",
        ),
    )
    _add_train_options(
        add_command(
            "train",
            "run the training that an experiment describes; run it again to resume",
            "any field of the configuration can be set: --edit.optim.peak-lr 1e-4",
        )
    )
    _add_encode_options(
        add_command(
            "encode",
            "encode the pairs that an experiment trains on, without training; run it again to resume",
            ENCODE_EXAMPLES,
        )
    )
    report.add_arguments(
        add_command(
            "report",
            "write a page about training runs: curves, previews, where the time went",
            report.EXAMPLES,
        )
    )
    _add_plan_options(
        add_command(
            "plan",
            "estimate memory, FLOPs and time on TPUs and GPUs that needn't be there",
            "any field can be set, as in v2v train: --edit.batch 8 --mesh.seq 4 --model.frames 121",
        )
    )
    evaluation.add_arguments(
        add_command("eval", "compare editors on a benchmark; run it again to resume", evaluation.ABOUT)
    )
    _add_convert_options(
        add_command(
            "convert",
            "convert a model folder for faster loading, or a LoRA file for other tools",
            CONVERT_EXAMPLES,
        )
    )
    words = add_command("words", "list the words that a model with a small vocabulary knows")
    add_model(words)
    models.add_arguments(
        add_command("models", "list the models that are known to work, and the ones fetched", models.EXAMPLES)
    )
    doctor = add_command("doctor", "report what is installed, and what a model folder contains or lacks")
    doctor.add_argument(
        "--model",
        default="",
        metavar="MODEL",
        help='a folder, "embedded", or ORG/NAME[@REVISION] on the Hugging Face Hub, examined without fetching its weights',
    )
    add_adapters(doctor)
    doctor.add_argument(
        "--effect",
        action="store_true",
        help="also load the model and try it on a few frames: whether sentence, source, mask, reference and adapters have an effect, and "
        "what its autoencoder loses (exit code 1 if one fails)",
    )
    app.add_arguments(add_command("app", "edit in a browser: a page for this machine", app.EXAMPLES))
    serve.add_arguments(
        add_command("serve", "edit over HTTP, from a queue that survives a crash", serve.EXAMPLES),
    )
    doctor.add_argument("--values", action="store_true", help="also read every value, to find NaN")
    completion.add_arguments(
        add_command("completion", "print what makes a shell complete v2v's words", completion.EXAMPLES)
    )
    return parser


def _add_train_options(train: argparse.ArgumentParser) -> None:
    train.add_argument(
        "experiment",
        nargs="?",
        help="name of an experiment that comes with v2v, NAME:VARIANT, or a Python file of your own",
    )
    train.add_argument(
        "--list", action="store_true", help="list the experiments that come with v2v, and exit"
    )
    train.add_argument("--workdir", metavar="DIR", help="folder (or gs://…) for checkpoints and the adapter")
    train.add_argument(
        "--distributed",
        action="store_true",
        help="run as one of several processes (TPU pod, Slurm, JAX_COORDINATOR_ADDRESS)",
    )


def _add_encode_options(encode: argparse.ArgumentParser) -> None:
    encode.add_argument(
        "experiment",
        help="an experiment on published weights, as in v2v train; --model, --sets and --latents are fields of it that must be given",
    )
    encode.add_argument(
        "--distributed",
        action="store_true",
        help="run as one of several processes, which share the pairs (TPU pod, Slurm, JAX_COORDINATOR_ADDRESS)",
    )


def _add_plan_options(plan: argparse.ArgumentParser) -> None:
    plan.add_argument(
        "experiment",
        help="as in v2v train, such as wan22_ti2v_5b; or the published model alone, as in --model",
    )
    plan.add_argument(
        "--topology",
        required=True,
        metavar="[Nx]CHIP:SHAPE",
        help="such as v5e:2x4, 2xv6e:4x4 (slices), v5p:4x4x4, h100:8, a100:1, rtx4090:1",
    )
    plan.add_argument(
        "--model",
        default="",
        metavar="MODEL",
        help="published model whose sizes replace the experiment's: a folder, or ORG/NAME[@REVISION], of which headers alone are read",
    )
    plan.add_argument(
        "--what",
        choices=(*get_args(ProgramKind), *get_args(PhaseKind)),
        default="train",
        help="train: a training step; sample: the sampler of an edit, with its cost per step relative to text-to-video; edit: memory and seconds of "
        "all phases of an edit, estimated without compiling; encode: the programs of v2v encode, hours and size; preview: the edit of one that a training "
        "run makes beside what it holds (default: train)",
    )
    add_weights_dtype(plan)
    plan.add_argument(
        "--utilisation",
        type=float,
        default=0.4,
        metavar="U",
        help="assumed fraction of peak FLOP/s for the time estimate (default: 0.4)",
    )
    plan.add_argument(
        "--no-search", action="store_true", help="plan only the given configuration, whether or not it fits"
    )


def _add_convert_options(convert: argparse.ArgumentParser) -> None:
    convert.add_argument(
        "source", metavar="SRC", help="model (folder or ORG/NAME), or adapter (F.safetensors)"
    )
    convert.add_argument("target", metavar="DST", help="folder or file to write")
    add_adapters(
        convert,
        f"adapter to store with the converted model: {LORA_HELP}",
        "the same for the {name}-noise transformer of a model of two",
    )
    convert.add_argument(
        "--model",
        default="",
        metavar="MODEL",
        help='for an adapter: the model it belongs to, a folder, ORG/NAME, or "embedded"',
    )
    convert.add_argument(
        "--format",
        choices=get_args(LoraStyle),
        default="original",
        help="tensor names of the written adapter (default: original, which ComfyUI, diffusers and others read)",
    )
    convert.add_argument(
        "--dtype",
        choices=get_args(LoraDtype),
        default="bfloat16",
        help="data type of the written adapter (default: bfloat16)",
    )
    convert.add_argument(
        "--preset",
        default="",
        metavar="NAME|FILE.json",
        help="how the result is sampled from then on, as in v2v edit: stored in the folder, or in the header of the adapter",
    )
    add_weights_dtype(convert)
