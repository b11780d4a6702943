"""The argument parsers of the command line: commands, options and their help.

Only modules that define options of their own are imported here, so that `v2v --help` starts without JAX or numpy.
"""

import argparse
import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, get_args

from v2v import __version__
from v2v.cli import app, completion, models, pairs, report, serve, synth
from v2v.cli import eval as evaluation
from v2v.config import (
    Detail,
    Guide,
    LoraDtype,
    LoraStyle,
    MeshConfig,
    ProgramKind,
    ScheduleName,
    SolverName,
    TransformerName,
    WeightsDtype,
)
from v2v.errors import suggest
from v2v.runtime import environment
from v2v.video.output_format import Codec, Quality

EDIT_EXAMPLES = """\
examples:
  v2v edit sample "make it sepia" -o sepia.mp4          "sample" is the clip that comes with the package
  v2v edit in.mp4 "remove the red ball" -o out.mp4 --mask ball.png
  v2v edit in.mp4 "a bit colder, and darker in the left half" -o out.mp4
  v2v edit --looks                                      what the model can do; a picture of each with -o looks.png
  v2v edit in.mp4 "make it night" -o out.mp4 --start 1.5 --end 4
  v2v edit in.mp4 "make the blue cube green" -o out.mp4 --mask 100,40,320,200
  v2v edit in.mp4 "make it black and white" -o out.mp4 --mask background
  v2v edit in.mp4 "match the colors of the video to the reference image" -o out.mp4 --reference painting.jpg --anyway
  v2v edit --manifest jobs.jsonl --out edited/          many clips; run it again to resume
"""

MODEL_HELP = "a folder (or the file of its transformer), or ORG/NAME[@REVISION] or ORG/NAME/FILE.gguf on the Hugging Face Hub, which is fetched"
LORA_HELP = "F.safetensors, or ORG/NAME[/F.safetensors] on the hub"

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
        self.register("type", int, _parse_integer)
        self.register("type", float, _parse_number)

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
            add_help=name not in ("train", "plan"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in ("train", "plan"):
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

    _add_edit_options(add_command("edit", "edit a video from a written instruction", EDIT_EXAMPLES))
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
        _parse_size,
    )
    _add_train_options(
        add_command(
            "train",
            "run the training that an experiment describes; run it again to resume",
            "any field of the configuration can be set: --edit.optim.peak-lr 1e-4",
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
    words.add_argument(
        "--model",
        default=environment.MODEL.get(),
        metavar="MODEL",
        help=f"{MODEL_HELP} (default: $V2V_MODEL, or the packaged model)",
    )
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
    doctor.add_argument("--lora", default="", metavar="LORA", help=f"adapter for that model: {LORA_HELP}")
    for name in ("high", "low"):
        doctor.add_argument(
            f"--lora-{name}",
            default="",
            metavar="LORA",
            help=f"the same for the {name}-noise transformer of models that have two",
        )
    doctor.add_argument(
        "--effect",
        action="store_true",
        help="also load the model and try it on a few frames: whether sentence, source, mask, reference and adapters have an effect, and "
        "what its autoencoder loses (exit code 1 if one fails)",
    )
    app.add_arguments(
        add_command("app", "edit in a browser: a page for this machine", app.EXAMPLES), MODEL_HELP, LORA_HELP
    )
    serve.add_arguments(
        add_command("serve", "edit over HTTP, from a queue that survives a crash", serve.EXAMPLES),
        MODEL_HELP,
        LORA_HELP,
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
        choices=(*get_args(ProgramKind), "edit"),
        default="train",
        help="train: a training step; sample: the sampler of an edit, with its cost per step relative to text-to-video; edit: memory and seconds of "
        "all phases of an edit, estimated without compiling (default: train)",
    )
    _add_weights_dtype(plan)
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
    convert.add_argument(
        "--lora", default="", metavar="LORA", help=f"adapter to store with the converted model: {LORA_HELP}"
    )
    for name in get_args(TransformerName):
        convert.add_argument(
            f"--lora-{name}",
            default="",
            metavar="LORA",
            help=f"the same for the {name}-noise transformer of a model of two",
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
    _add_weights_dtype(convert)


def _add_weights_dtype(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--weights-dtype",
        choices=get_args(WeightsDtype),
        help="type that weights of transformer and text encoder are stored in; int8 and fp8 take half of bfloat16's memory, nf4 a quarter; their "
        "rounding lies about 42, 32 and 20 dB below the weights (default: the model's own)",
    )


def _add_edit_options(edit: argparse.ArgumentParser) -> None:
    edit.add_argument(
        "video", nargs="?", help='any video or image, or "sample" for the clip that comes with the package'
    )
    edit.add_argument("instruction", nargs="?", help='the edit, in English, such as "make the sky purple"')
    edit.add_argument(
        "-o",
        "--output",
        metavar="OUT.mp4",
        help="output file: MP4, MOV, MKV, WebM or GIF; PNG or JPEG for one frame; with --codec png a folder of frames",
    )
    edit.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    edit.add_argument(
        "--codec",
        choices=get_args(Codec),
        help="codec of the output (default: h264; vp9 in .webm); png: a folder of frames",
    )
    edit.add_argument(
        "--quality",
        choices=get_args(Quality),
        help="quality of the output; high is visually lossless, ffv1 and png are lossless (default: high)",
    )
    edit.add_argument(
        "--crf",
        type=float,
        metavar="N",
        help="quality on the codec's own scale instead, 0 (best) to 51 or 63",
    )
    edit.add_argument(
        "--pix-fmt",
        metavar="FORMAT",
        help="pixel format of the output, such as yuv444p or yuv420p10le (default: the codec's, mostly yuv420p)",
    )
    edit.add_argument(
        "--mask",
        metavar="M",
        help="where to edit: an image or video of the clip's size, white = edit; a box x,y,w,h in pixels; "
        "person or background (extra [subject]); text, text:WORD or subtitles (extra [text]); left, right, top, bottom or center of the frame; "
        "or auto: detect what the edit changed and restore everything else",
    )
    edit.add_argument("--invert-mask", action="store_true", help="edit where the mask is black instead")
    edit.add_argument(
        "--soft",
        type=float,
        metavar="PX",
        help="width in pixels over which the edit fades in from the edge of the mask (default: chosen by frame size)",
    )
    edit.add_argument(
        "--start",
        type=_parse_seconds,
        metavar="S",
        help="start of the edited time range, in seconds or as M:SS",
    )
    edit.add_argument(
        "--end", type=_parse_seconds, metavar="S", help="end of the edited time range, in seconds or as M:SS"
    )
    edit.add_argument(
        "--reference",
        metavar="R",
        action="append",
        help="image that shows how the edit should look; FILE@SECONDS takes a frame of a video; may be repeated for models that take several",
    )
    edit.add_argument(
        "--context",
        metavar="F",
        help="what Kiwi-Edit reads in place of the instruction: a file that tools/kiwi_contexts.py made of instruction, clip and reference",
    )
    edit.add_argument(
        "--second-video",
        metavar="F",
        help="a second clip, whose contents the sentence puts into the first, for models that take two (Bernini-R)",
    )
    edit.add_argument(
        "--first-frame",
        metavar="F",
        help="the first edited frame, as an image program made it; the edit goes on from it (Wan2.2-TI2V-5B needs no adapter for this)",
    )
    edit.add_argument(
        "--text-only",
        metavar="PROMPT",
        help='make a clip from a text, and from --first-frame, or of Bernini-R --reference, if given, without a source: v2v edit --text-only "a cat" -o OUT',
    )
    edit.add_argument(
        "--model",
        default=environment.MODEL.get(),
        metavar="MODEL",
        help=f"{MODEL_HELP} (default: $V2V_MODEL, or the packaged model)",
    )
    edit.add_argument(
        "--size",
        type=_parse_working_size,
        default={},
        metavar="WxH[xFRAMES]|480p|720p",
        help="working resolution and window length of the model, such as 1280x704x121, or 480p or 720p (as 720px121) for the clip's own aspect "
        "(default: the model's own; of models trained on many sizes, its area at the clip's aspect)",
    )
    _add_weights_dtype(edit)
    edit.add_argument(
        "--mesh",
        type=_parse_mesh,
        default={},
        metavar="AXIS=N,...",
        help="edit each clip on several devices: seq=8 splits its tokens, data=2 the passes of guidance, fsdp=8 the weights, tensor=2 heads "
        'and weights; axes multiply to the number of devices; "one" for the first device. With --manifest data=2,seq=4 runs two jobs at a time '
        "on four devices each (default: "
        "a large model edits one clip on all accelerators here, split as fits and communicates least; each job of a manifest has one device)",
    )
    edit.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        help="type of matrix products; float32 is exact on every device (default: the model's)",
    )
    edit.add_argument(
        "--device",
        metavar="D",
        help="cpu, gpu or tpu; gpu:1 or tpu:1 for one of several (default: the fastest that JAX finds)",
    )
    edit.add_argument(
        "--solver",
        choices=get_args(SolverName),
        help="ODE solver of the sampler (default: the model's)",
    )
    edit.add_argument(
        "--schedule",
        choices=get_args(ScheduleName),
        help="noise levels of the sampler; wan and diffusers are the published UniPC tables, euler diffusers' Euler scheduler (default: the model's)",
    )
    edit.add_argument(
        "--preset",
        metavar="NAME|FILE.json",
        help="sample as weights distilled to a few steps were published to be: solver, noise levels and guidance at once; such as fastwan, turbo, "
        "lightx2v, lucy-fastwan (with its LoRA, unless --lora gives another); v2v models lists them; --solver, --schedule, --steps and "
        "--guidance go before it",
    )
    edit.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="LORA[=X]",
        help=f"adapter to add, with weight X: {LORA_HELP}; may be repeated",
    )
    for name in get_args(TransformerName):
        edit.add_argument(
            f"--lora-{name}",
            action="append",
            default=[],
            metavar="LORA[=X]",
            help=f"adapter of the {name}-noise transformer of a model of two, such as Wan2.2-A14B; may be repeated",
        )
    edit.add_argument(
        "--lora-scale",
        type=float,
        default=1.0,
        metavar="X",
        help="default weight of --lora files given without =X (default: 1)",
    )
    edit.add_argument(
        "--steps", type=int, metavar="N", help="number of sampling steps (default: the model's)"
    )
    edit.add_argument(
        "--guidance", type=float, metavar="G", help="scale of classifier-free guidance (default: the model's)"
    )
    edit.add_argument(
        "--guidance-reference",
        type=float,
        metavar="G",
        help="the same of references, of models that are guided on them (Bernini-R; default: the model's)",
    )
    edit.add_argument(
        "--guidance-source",
        type=float,
        metavar="G",
        help="the same of the source (Bernini-R; default: the model's)",
    )
    edit.add_argument(
        "--low-guidance",
        type=float,
        metavar="G",
        help="the same of the low-noise transformer of a model of two (default: that of --guidance, else the model's)",
    )
    edit.add_argument(
        "--negative",
        default="",
        metavar="TEXT",
        help='what guidance leads away from, such as "blurry, static" (default: the model\'s, mostly the empty sentence)',
    )
    edit.add_argument(
        "--task",
        default="",
        metavar="NAME",
        help="what Bernini-R is told its task is: v2v, rv2v, mv2v and so on (default: by what the edit is given)",
    )
    edit.add_argument(
        "--strength",
        type=float,
        default=1.0,
        metavar="X",
        help="0.05 to 1; below 1 sampling starts from the noised source and keeps more of it, also with a model that was never "
        "trained to edit (default: 1)",
    )
    edit.add_argument(
        "--guide",
        choices=get_args(Guide),
        default="prompt",
        help="conditions that guidance amplifies; prompt+source has a scale for each (--guidance, --guidance-source) and is for weights trained with "
        "--data.drop-source-and-text; the last seven are modes of Bernini-R, of which prompt takes the one that fits (default: prompt)",
    )
    edit.add_argument(
        "--skip",
        type=float,
        default=0.0,
        metavar="TOL",
        help="step caching: reuse steps whose change is below TOL, e.g. 0.05; the error is measured on the first windows "
        "and printed",
    )
    edit.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    edit.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="frames per window; longer clips are edited in overlapping windows (default: the model's)",
    )
    edit.add_argument(
        "--detail",
        choices=get_args(Detail),
        default="auto",
        help="guided: upsample the model's result with the source as guide; model: plain upsampling; "
        "tiles: sample at full resolution, tile by tile (default: model where the clip has the size of a large model, else guided)",
    )
    edit.add_argument(
        "--no-preserve",
        dest="preserve",
        action="store_false",
        help="don't restore the source outside the mask and the time range",
    )
    edit.add_argument(
        "--explain",
        metavar="DIR",
        help="also write heat maps of how much each word and source region influenced the result: "
        "explain.png, .mp4, .json",
    )
    edit.add_argument(
        "--amount",
        type=float,
        default=1.0,
        metavar="X",
        help="how much of the edit is applied, up to 2: 0.5 goes half of the way, 1.5 exaggerates (default: 1)",
    )
    edit.add_argument(
        "--anyway",
        action="store_true",
        help="try an instruction that isn't understood, or that the model isn't known to do",
    )
    edit.add_argument(
        "--looks",
        action="store_true",
        help="list what the model can do; with -o SHEET.png also draw a picture of each, of the clip's first frame or the sample clip's",
    )
    edit.add_argument(
        "--manifest",
        metavar="JOBS.jsonl",
        help="edit many clips: one JSON object per line with video, instruction and any of these options, which default to "
        "those given here; jobs are spread over this machine's devices; finished jobs are skipped, failed jobs listed (exit "
        "code 1)",
    )
    edit.add_argument("--out", metavar="DIR", help="output folder of a manifest")
    edit.add_argument(
        "--distributed",
        action="store_true",
        help="share the manifest with the other processes of this job (as v2v train --distributed)",
    )
    edit.add_argument(
        "--beam",
        nargs="?",
        const="",
        metavar="OPTIONS",
        help="edit the lines of a manifest with Apache Beam: without OPTIONS in --workers local processes, or for example "
        '--beam="--runner=FlinkRunner --flink_master=HOST:PORT"; workers see inputs and --out under the same paths',
    )
    edit.add_argument(
        "--workers", type=int, metavar="N", help="number of local processes with --beam (default: 1)"
    )
    edit.add_argument(
        "--warm",
        nargs="?",
        const="",
        metavar="N[xFRAMES],...",
        help="compile for N steps, store the result for later runs, and exit",
    )


def _parse_integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got '{text}'") from None


def _parse_number(text: str) -> float:
    try:
        if math.isfinite(number := float(text)):
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number, got '{text}'")


def _parse_seconds(text: str) -> float:
    """Parse seconds, M:SS or H:MM:SS."""
    match = re.fullmatch(r"(?:(\d{1,6}):)?(\d{1,6}):(\d{1,2}(?:\.\d+)?)", text)
    if match and float(match[3]) < 60:
        return 3600 * int(match[1] or 0) + 60 * int(match[2]) + float(match[3])
    try:
        return _parse_number(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected seconds such as 2.5 or 0:02.5, got '{text}'") from None


def _parse_working_size(text: str) -> dict[str, int | bool]:
    """Parse as `_parse_size`, or "480p", "720p" and "720px121": an area, and clips of their own aspect."""
    area, _, frames = text.lower().partition("px")
    area = area if not frames else f"{area}p"
    if area in AREAS and (not frames or re.fullmatch(r"[1-9]\d{0,8}", frames)):
        height, width = AREAS[area]
        return {"height": height, "width": width, "any_aspect": True} | (
            {"frames": int(frames)} if frames else {}
        )
    return {**_parse_size(text)}


def _parse_mesh(text: str) -> dict[str, int]:
    """Parse "data=2,seq=4" into sizes by mesh axis; "one" is every axis of size 1."""
    names = [field.name for field in dataclasses.fields(MeshConfig)]
    if text == "one":
        return dict.fromkeys(names, 1)
    axes = "|".join(names)
    if not re.fullmatch(rf"({axes})=[1-9]\d{{0,4}}(,({axes})=[1-9]\d{{0,4}})*", text):
        raise argparse.ArgumentTypeError(
            f"expected axes of {', '.join(names)} and their sizes such as data=2,seq=4, got '{text}'"
        )
    pairs = [part.split("=") for part in text.split(",")]
    if len({axis for axis, _ in pairs}) < len(pairs):
        raise argparse.ArgumentTypeError(f"expected each axis once, got '{text}'")
    return {axis: int(size) for axis, size in pairs}


# Heights and widths that stand for an area, of the clip's aspect.
AREAS = {"480p": (480, 832), "720p": (704, 1280)}


def _parse_size(text: str) -> dict[str, int]:
    """Parse "WxH" or "WxHxFRAMES" into the fields of a model's configuration."""
    if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8}){1,2}", text.lower()):
        raise argparse.ArgumentTypeError(
            f"expected WxH or WxHxFRAMES, whole numbers from 1 on such as 1280x704x121, got '{text}'"
        )
    return dict(zip(("width", "height", "frames"), map(int, text.lower().split("x")), strict=False))
