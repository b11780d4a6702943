"""The words of the command line: commands, options and their help. **arguments** → cli.py

Nothing is imported here but what names an option of its own, so that `v2v --help` answers at once.
"""

import argparse
import math
import re
from collections.abc import Callable, Mapping

from v2v.cli import eval as evaluation

EDIT_EXAMPLES = """\
examples:
  v2v edit sample "make it sepia" -o sepia.mp4          the clip that comes with the package
  v2v edit in.mp4 "remove the red ball" -o out.mp4 --mask ball.png
  v2v edit in.mp4 "make it night" -o out.mp4 --start 1.5 --end 4
  v2v edit in.mp4 "make the car blue" -o out.mp4 --mask 100,40,320,200
  v2v edit in.mp4 "use the colours of the reference" -o out.mp4 --reference painting.jpg
  v2v edit --manifest jobs.jsonl --out edited/          many clips; run again to go on
"""

CONVERT_EXAMPLES = """\
examples:
  v2v convert Wan2.2-TI2V-5B-Diffusers wan/ --lora easyv2v.safetensors     then: v2v edit ... --model wan/
  v2v convert runs/mine/edit/lora.safetensors out.safetensors --model runs/mine/export --format diffusers
"""

RECIPE_HELP = """\
recipes (a family gives its members, evenly; without --recipes: local and photometric):
  local               recolour, remove, insert, replace, background: rendered scenes, exact truth
  photometric         greyscale, sepia, night, warmer, colder, negative, brighter, darker, more saturated,
                      less saturated, posterise, blur, autumn, winter, spring, palette
  halves              half-X for these X but blur and palette: in the left, right, top or bottom half
  control             to-X and from-X for X in canny, soft-edges, flow, inpainting, outpainting, greyscale, blur,
                      negation, saturation, contrast, brightness, pixelation, wave, posterisation, noise, overlay,
                      low-resolution, frame-drop, depth, segmentation, motion
  physics             rooms, simulated and rendered twice; needs pip install 'v2v-edit[scenes]' and headless OpenGL: physics-X
                      for X in insert, remove, recolour, retexture, replace, relight, background, floor, camera,
                      action, collapse (take the support away), spare (take the striking ball away), float
                      and to-X, from-X for X in physics-depth, physics-motion, physics-segmentation, pose
  lift, image         pairs of pictures, moved and still (image: alone, with --frames 1)
  removal, insertion, replacement
                      an object taken out of, put into, or exchanged in a static shot
  captions            a captioned long video, continued; needs --set captions=FILE and pip install 'v2v-edit[captions]'
  senorita, ditto, insvie, openve, refvie, gpt-image-edit
                      published sets; need --set NAME=FOLDER
  to-X, from-X, X     external experts; need --expert (fields: data_synth/experts/protocol.py)
  stylisation, human-animation, actor-transmutation
                      several experts in a row; need --expert data_synth/experts/standins/NAME.toml, with your networks
                      in place of the stand-ins (fields: data_synth/recipes/composition.py)
"""


class Parser(argparse.ArgumentParser):
    """argparse's, whose errors are one line that names the option and the remedy, without the usage."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(
            r"-(\.?\d|inf\b|nan\b)"
        )  # so that -5,0,20,20 is a value, as in Python 3.14
        self.register("type", int, _whole)
        self.register("type", float, _number)

    def error(self, message: str):
        line = " ".join(message.removeprefix("argument ").split())
        self.exit(2, f"{self.prog}: error: {line}; {self.prog} --help shows all options\n")


def build_parser(actions: Mapping[str, Callable]) -> argparse.ArgumentParser:
    """The whole command line.

    Args:
      actions: what each command calls, by its name; found again as `run` among what was parsed, and as `refuse` what ends it
        with an error of that command.
    """
    whole = Parser(prog="v2v", description="Edit videos by instruction; make pairs; train editors.")
    commands = whole.add_subparsers(
        required=True, metavar="edit | synth | train | plan | eval | convert | doctor", title="commands"
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one machine-readable line")
    common.add_argument("--quiet", action="store_true", help="no progress bars, warnings only")
    common.add_argument("-v", "--verbose", action="store_true", help="show debug messages")

    def command(name: str, about: str, epilog: str | None = None) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=about,
            description=about,
            parents=[common],
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=actions[name], refuse=sub.error, command=name)
        return sub

    _edit(command("edit", "edit a clip as a sentence says", EDIT_EXAMPLES))
    _synth(
        command(
            "synth", "make training pairs (source, instruction, edited clip, mask, reference)", RECIPE_HELP
        )
    )

    train = command(
        "train",
        "train by an experiment; run again to resume",
        "any field can be set: --edit.optim.peak-lr 1e-4",
    )
    train.add_argument(
        "experiment",
        nargs="?",
        help="name of an experiment that comes with v2v, NAME:VARIANT, or a Python file of your own",
    )
    train.add_argument(
        "--list", action="store_true", help="show the experiments that come with v2v, and exit"
    )
    train.add_argument("--workdir", metavar="DIR", help="folder (or gs://…) for checkpoints and the adapter")
    train.add_argument(
        "--distributed", action="store_true", help="this is one of several processes (TPU pod, Slurm, JAX_COORDINATOR_ADDRESS)"
    )  # fmt: skip
    plan = command(
        "plan",
        "memory, FLOPs and time of a training step on TPUs, compiled without them",
        "any field can be set, as in v2v train: --edit.batch 8 --mesh.seq 4 --model.frames 121",
    )
    plan.add_argument("experiment", help="as in v2v train, such as wan22_ti2v_5b")
    plan.add_argument(
        "--topology", required=True, metavar="CHIP:SHAPE", help="such as v5e:2x4, v6e:2x4, v5p:4x4x4"
    )
    plan.add_argument("--what", choices=("train", "sample"), default="train",
                      help="train, or sample: an edit, and what its steps cost beside text-to-video's (default: train)")  # fmt: skip
    plan.add_argument("--utilisation", type=float, default=0.4, metavar="U",
                      help="assumed fraction of peak FLOP/s for the time estimate (default: 0.4)")  # fmt: skip
    plan.add_argument("--no-search", action="store_true", help="only the setting asked for, fit or not")
    evaluation.add_arguments(
        command("eval", "compare editors on a benchmark; run again to go on", evaluation.ABOUT)
    )

    convert = command("convert", "make a model start fast, or a LoRA file for other tools", CONVERT_EXAMPLES)
    convert.add_argument("source", metavar="SRC", help="model folder, or adapter (F.safetensors)")
    convert.add_argument("target", metavar="DST", help="folder, or file, to make")
    convert.add_argument(
        "--lora", default="", metavar="F.safetensors", help="adapter to put beside the weights"
    )
    convert.add_argument("--model", default="", metavar="DIR", help='of an adapter: its model, or "embedded"')
    convert.add_argument("--format", choices=("original", "diffusers"), default="original",
                         help="names in an adapter (default: original, which ComfyUI, diffusers and others read)")  # fmt: skip
    convert.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16",
                         help="of an adapter (default: bfloat16)")  # fmt: skip

    doctor = command("doctor", "say what is installed here, and what a model folder holds or lacks")
    doctor.add_argument("--model", default="", metavar="DIR", help='folder of weights, or "embedded"')
    doctor.add_argument("--lora", default="", metavar="F.safetensors", help="adapter for that model")
    doctor.add_argument("--values", action="store_true", help="read every number too, to find NaN")
    return whole


def _edit(edit: argparse.ArgumentParser) -> None:
    edit.add_argument("video", nargs="?",
                      help='any video or picture, or "sample" for the clip that comes with the package')  # fmt: skip
    edit.add_argument("instruction", nargs="?", help='what to do, such as "make the sky purple"')
    edit.add_argument("-o", "--output", metavar="OUT.mp4", help="MP4 or MOV; PNG or JPEG for one frame")
    edit.add_argument("--mask", metavar="M",
                      help="picture or video of the clip's size, white = edit here; a box x,y,w,h in pixels; "
                      "or auto: what the edit itself is found to change")  # fmt: skip
    edit.add_argument("--invert-mask", action="store_true", help="black marks where to edit")
    edit.add_argument("--soft", type=float, metavar="PX",
                      help="pixels over which the edit fades in from the mask's rim (default: fits the frame)")  # fmt: skip
    edit.add_argument("--start", type=float, metavar="S", help="second at which the edit begins")
    edit.add_argument("--end", type=float, metavar="S", help="second at which the edit ends")
    edit.add_argument(
        "--reference",
        metavar="R",
        help="picture of what the edit should look like; FILE@SECONDS takes a clip's frame",
    )
    edit.add_argument(
        "--model", default="embedded", metavar="DIR", help="weights (default: those in the package)"
    )
    edit.add_argument("--size", type=_size, default={}, metavar="WxH[xFRAMES]",
                      help="of the clips the model works on, such as 1280x704x121 (default: the model's)")  # fmt: skip
    edit.add_argument("--solver", choices=("euler", "heun", "unipc"), help="default: the model's")
    edit.add_argument("--schedule", choices=("linear", "wan", "diffusers"),
                      help="noise levels visited; the last two are the published UniPC tables (default: the model's)")  # fmt: skip
    edit.add_argument("--lora", action="append", default=[], metavar="F.safetensors[=X]",
                      help="adapter to add, with weight X; may be repeated")  # fmt: skip
    edit.add_argument("--lora-scale", type=float, default=1.0, metavar="X",
                      help="weight of adapters that have none of their own (default: 1)")  # fmt: skip
    edit.add_argument("--steps", type=int, metavar="N", help="sampler steps (default: the model's)")
    edit.add_argument(
        "--guidance", type=float, metavar="G", help="strength of the instruction (default: the model's)"
    )
    edit.add_argument("--strength", type=float, default=1.0, metavar="X",
                      help="below 1 the walk starts from the source with noise on it (default: 1)")  # fmt: skip
    edit.add_argument("--guide", choices=("prompt", "prompt+reference"), default="prompt",
                      help="what guidance strengthens (default: prompt)")  # fmt: skip
    edit.add_argument("--skip", type=float, default=0.0, metavar="TOL",
                      help="reuse steps that change little, such as 0.05; the first windows are done both ways and the cost is told")  # fmt: skip
    edit.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    edit.add_argument("--window", type=int, metavar="N",
                      help="frames the model sees at once; longer clips take several windows (default: the model's)")  # fmt: skip
    edit.add_argument("--detail", choices=("guided", "model", "tiles"), default="guided",
                      help="guided: keep the clip's own detail; model: only enlarge what the model made; "
                      "tiles: let the model paint at full size, piece by piece")  # fmt: skip
    edit.add_argument("--no-preserve", dest="preserve", action="store_false",
                      help="show the model's picture outside mask and time range too")  # fmt: skip
    edit.add_argument("--explain", metavar="DIR",
                      help="also write what each word and each place of the source had to say: explain.png, .mp4, .json")  # fmt: skip
    edit.add_argument("--manifest", metavar="JOBS.jsonl",
                      help="many edits: one JSON object a line with video, instruction and any of these options (what is given "
                      "here holds for every line that doesn't say it); spread over this machine's devices; finished ones are skipped, failed ones listed (exit 1)")  # fmt: skip
    edit.add_argument("--out", metavar="DIR", help="folder for a manifest's outputs")
    edit.add_argument("--distributed", action="store_true",
                      help="share the manifest with the other processes of this job (as v2v train --distributed)")  # fmt: skip
    edit.add_argument("--warm", nargs="?", const="", metavar="N[xFRAMES],...",
                      help="only compile what edits of so many steps need, and keep it for later starts")  # fmt: skip


def _synth(synth: argparse.ArgumentParser) -> None:
    synth.add_argument("--out", required=True, metavar="DIR", help="folder to make")
    synth.add_argument("--pairs", required=True, type=int, metavar="N", help="how many")
    synth.add_argument("--recipes", default="", metavar="a,b,c", help="kinds of edit, listed below")
    synth.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    synth.add_argument("--seed", type=int, default=0, metavar="N", help="first seed (default: 0)")
    synth.add_argument("--beam", nargs="?", const="", metavar="OPTIONS",
                       help="spread the work by Apache Beam: without OPTIONS over --workers local processes, or as in "
                            '--beam="--runner=FlinkRunner --flink_master=HOST:PORT"')  # fmt: skip
    synth.add_argument("--unfinished", default="", metavar="DIR",
                       help="where pairs wait until all are made (default: a hidden folder beside --out); gs://... for "
                            "Beam's workers that share no disk with this machine")  # fmt: skip
    synth.add_argument(
        "--preview", default="", metavar="DIR", help="folder for a contact sheet of every edit"
    )
    synth.add_argument("--frames", type=int, default=9, metavar="N", help="length of the clips (default: 9)")
    synth.add_argument("--height", type=int, default=64, metavar="N", help="in pixels (default: 64)")
    synth.add_argument("--width", type=int, default=64, metavar="N", help="in pixels (default: 64)")
    synth.add_argument("--transition", type=float, default=0.5, metavar="P",
                       help="probability that an edit begins inside the clip (default: 0.5)")  # fmt: skip
    synth.add_argument("--operators", default="cut,blend", metavar="a,b",
                       help="how it then begins: of cut, blend, dissolve, wipe (default: cut,blend)")  # fmt: skip
    synth.add_argument("--clips", default="", metavar="DIR",
                       help="videos for control, removal, insertion and experts (default: rendered scenes)")  # fmt: skip
    synth.add_argument("--license", default="unknown", metavar="TEXT", help="of those clips, to be recorded")
    synth.add_argument("--expert", action="append", default=[], metavar="TOML",
                       help="file of an external expert; may be repeated")  # fmt: skip
    synth.add_argument("--set", action="append", default=[], metavar="NAME=PATH",
                       help="place of a published set or caption file; may be repeated")  # fmt: skip
    synth.add_argument("--writer", default="", metavar="TOML",
                       help="file of a language model that turns captions into instructions (default: rules)")  # fmt: skip


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got '{text}'") from None


def _number(text: str) -> float:
    try:
        if math.isfinite(number := float(text)):
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number, got '{text}'")


def _size(text: str) -> dict[str, int]:
    if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8}){1,2}", text.lower()):
        raise argparse.ArgumentTypeError(
            f"expected WxH or WxHxFRAMES, whole numbers from 1 on such as 1280x704x121, got '{text}'"
        )
    return dict(zip(("width", "height", "frames"), map(int, text.lower().split("x")), strict=False))
