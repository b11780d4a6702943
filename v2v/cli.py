"""`v2v edit | synth | train | plan | eval | convert | doctor`: what a person types, turned into one call each, and every error of theirs into one line.

Nothing heavy is imported before it is needed, so that `v2v --help` answers at once. Exit codes: 0 done, 2 bad input (one line on
stderr says what, where, what was expected and the remedy), 130 interrupted, 1 from `eval --strict` when anything failed. Standard
output is one line: the path made, or with --json an object.
"""

import argparse
import importlib.util
import json
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from v2v import startup
from v2v.errors import InputError
from v2v.evaluation import command as evaluation

EXAMPLES = """\
examples:
  v2v edit sample "make it sepia" -o sepia.mp4          the clip that comes with the package
  v2v edit in.mp4 "remove the red ball" -o out.mp4 --mask ball.png
  v2v edit in.mp4 "make it night" -o out.mp4 --start 1.5 --end 4
  v2v edit in.mp4 "make the car blue" -o out.mp4 --mask 100,40,320,200
  v2v edit in.mp4 "use the colours of the reference" -o out.mp4 --reference painting.jpg
  v2v edit --manifest jobs.jsonl --out edited/          many clips; run again to go on
"""

CONVERSIONS = """\
examples:
  v2v convert Wan2.2-TI2V-5B-Diffusers wan/ --lora easyv2v.safetensors     then: v2v edit ... --model wan/
  v2v convert runs/mine/edit/lora.safetensors out.safetensors --model runs/mine/export --format diffusers
"""

RECIPES = """\
recipes (a family gives its members, evenly; without --recipes: local and photometric):
  local               recolour, remove, insert, replace, background: rendered scenes, exact truth
  photometric         greyscale, sepia, night, warmer, colder, negative, brighter, darker, more saturated,
                      less saturated, posterise, blur, autumn, winter, spring, palette
  control             to-X and from-X for X in canny, soft-edges, flow, inpainting, outpainting, greyscale, blur,
                      negation, saturation, contrast, brightness, pixelation, wave, posterisation, noise, overlay,
                      low-resolution, frame-drop, depth, segmentation, motion
  physics             rooms, simulated and rendered twice; needs pip install 'v2v[scenes]' and headless OpenGL: physics-X
                      for X in insert, remove, recolour, retexture, replace, relight, background, floor, camera,
                      action, collapse (take the support away), spare (take the striking ball away), float
                      and to-X, from-X for X in physics-depth, physics-motion, physics-segmentation, pose
  lift, image         pairs of pictures, moved and still (image: alone, with --frames 1)
  removal, insertion, replacement
                      an object taken out of, put into, or exchanged in a static shot
  captions            a captioned long video, continued; needs --set captions=FILE and pip install 'v2v[captions]'
  senorita, ditto, insvie, openve, refvie, gpt-image-edit
                      published sets; need --set NAME=FOLDER
  to-X, from-X, X     external experts; need --expert (fields: data_synth/experts/protocol.py)
  stylisation, human-animation, actor-transmutation
                      several experts in a row; need --expert data_synth/experts/standins/NAME.toml, with your networks
                      in place of the stand-ins (fields: data_synth/compositions.py)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; returns the exit code."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.run not in (_train, _plan):  # what follows an experiment's own options are its fields
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    startup.environment()
    warnings.showwarning = _show_note
    warnings.simplefilter("default", UserWarning)
    try:
        report = args.run(args)
    except InputError as error:
        line = " ".join(str(error).split())
        print(f"v2v: error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("v2v: interrupted", file=sys.stderr)
        return 130
    code = report.pop("exit", 0)
    print(json.dumps(report) if args.json else report["output"])
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="v2v", description="Edit videos by instruction; make pairs; train editors."
    )
    commands = parser.add_subparsers(
        required=True, metavar="edit | synth | train | plan | eval | convert | doctor", title="commands"
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one machine-readable line")
    common.add_argument("--quiet", action="store_true", help="no progress bars")

    def command(name: str, run, about: str, epilog: str | None = None) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=about,
            description=about,
            parents=[common],
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        return sub

    edit = command("edit", _edit, "edit a clip as a sentence says", EXAMPLES)
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
                      help="many edits: one JSON object a line with video, instruction and any of these options; "
                      "finished ones are skipped, failed ones listed (exit 1)")  # fmt: skip
    edit.add_argument("--out", metavar="DIR", help="folder for a manifest's outputs")
    edit.add_argument("--distributed", action="store_true",
                      help="share the manifest with the other processes of this job (as v2v train --distributed)")  # fmt: skip
    edit.add_argument("--warm", nargs="?", const="", metavar="N[xFRAMES],...",
                      help="only compile what edits of so many steps need, and keep it for later starts")  # fmt: skip

    synth = command(
        "synth", _synth, "make training pairs (source, instruction, edited clip, mask, reference)", RECIPES
    )
    synth.add_argument("--out", required=True, metavar="DIR", help="folder to make")
    synth.add_argument("--pairs", required=True, type=int, metavar="N", help="how many")
    synth.add_argument("--recipes", default="", metavar="a,b,c", help="kinds of edit, listed below")
    synth.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    synth.add_argument("--seed", type=int, default=0, metavar="N", help="first seed (default: 0)")
    synth.add_argument("--beam", nargs="?", const="", metavar="OPTIONS",
                       help="spread the work by Apache Beam: without OPTIONS over --workers local processes, or as in "
                            '--beam="--runner=FlinkRunner --flink_master=HOST:PORT"')  # fmt: skip
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

    train = command(
        "train",
        _train,
        "train by an experiment file; run again to resume",
        "any field can be set: --optim.peak-lr 1e-4",
    )
    train.add_argument(
        "experiment", help="Python file that says what to train, such as experiments/embedded.py"
    )
    train.add_argument(
        "--workdir", required=True, metavar="DIR", help="folder (or gs://…) for checkpoints and the adapter"
    )
    train.add_argument(
        "--distributed", action="store_true", help="this is one of several processes (TPU pod, Slurm, JAX_COORDINATOR_ADDRESS)"
    )  # fmt: skip
    plan = command(
        "plan",
        _plan,
        "memory, FLOPs and time of a training step on TPUs, compiled without them",
        "any field can be set, as in v2v train: --edit.batch 8 --mesh.seq 4 --model.frames 121",
    )
    plan.add_argument("experiment", help="Python file, such as experiments/wan22_ti2v_5b.py")
    plan.add_argument(
        "--topology", required=True, metavar="CHIP:SHAPE", help="such as v5e:2x4, v6e:2x4, v5p:4x4x4"
    )
    plan.add_argument("--what", choices=("train", "sample"), default="train", help="default: train")
    plan.add_argument("--utilisation", type=float, default=0.4, metavar="U",
                      help="share of the chip's rate to reckon time with (default: 0.4)")  # fmt: skip
    plan.add_argument("--no-search", action="store_true", help="only the setting asked for, fit or not")
    evaluation.add_arguments(
        command("eval", _eval, "compare editors on a benchmark; run again to go on", evaluation.ABOUT)
    )

    convert = command(
        "convert", _convert, "make a model start fast, or a LoRA file for other tools", CONVERSIONS
    )
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

    doctor = command("doctor", _doctor, "say what is installed here, and what a model folder holds or lacks")
    doctor.add_argument("--model", default="", metavar="DIR", help='folder of weights, or "embedded"')
    doctor.add_argument("--lora", default="", metavar="F.safetensors", help="adapter for that model")
    doctor.add_argument("--values", action="store_true", help="read every number too, to find NaN")
    return parser


def _edit(args: argparse.Namespace) -> dict:
    from v2v import command

    return command.edit(args, lambda: _model(args), _bars(args))


def _size(text: str) -> dict[str, int]:
    numbers = [int(n) for n in text.lower().split("x")]
    if len(numbers) not in (2, 3):
        raise ValueError
    return dict(zip(("width", "height", "frames"), numbers, strict=False))


def _model(args: argparse.Namespace):
    """The model asked for: its name when that is all, so that the packaged one needs no more."""
    settings = {**args.size, "solver": args.solver, "schedule": args.schedule}
    if args.model == "embedded" and not any(settings.values()):
        return args.model
    from v2v.weights.pretrained import load_pretrained

    return load_pretrained(args.model, progress=_bars(args), **settings)


def _convert(args: argparse.Namespace) -> dict:
    from v2v.weights.convert import convert

    made = {"model": args.model, "lora": args.lora, "style": args.format, "dtype": args.dtype}
    return convert(args.source, args.target, **made, progress=_bars(args))


def _doctor(args: argparse.Namespace) -> dict:
    from v2v.weights.doctor import doctor

    return doctor(args.model, args.lora, args.values)


def _synth(args: argparse.Namespace) -> dict:
    from tqdm import tqdm

    from data_synth.synth import synth

    with tqdm(total=args.pairs, unit=" pairs", disable=not _bars(args)) as bar:
        names = tuple(filter(None, args.recipes.split(",")))
        report = synth(
            args.out,
            args.pairs,
            args.seed,
            args.workers,
            edits=names,
            frames=args.frames,
            height=args.height,
            width=args.width,
            transition=args.transition,
            operators=tuple(filter(None, args.operators.split(","))),
            clips=args.clips,
            license=args.license,
            experts=args.expert,
            sets=args.set,
            writer=args.writer,
            preview=args.preview,
            beam=None if args.beam is None else shlex.split(args.beam),
            progress=bar.update,
        )
    return {"output": args.out, **report}


def _train(args: argparse.Namespace) -> dict:
    experiment, config = _experiment(args, "train")
    from etils import epath

    from v2v import sharding

    if args.distributed:
        sharding.join_processes()
    workdir = (epath.Path if "://" in args.workdir else Path)(args.workdir)
    return {"output": str(experiment.run(config, workdir))}


def _plan(args: argparse.Namespace) -> dict:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing runs; a chip at hand stays free
    from v2v.plan import report

    _, config = _experiment(args, "plan")
    made = report.plan(
        report.setting_of(config, args.what), args.topology, config.name, args.utilisation, not args.no_search
    )
    text = made.pop("text")
    return made if args.json else {"output": text}


def _experiment(args: argparse.Namespace, command: str):
    """The module of an experiment's file and its configuration with the fields given on the command line."""
    path = Path(args.experiment)
    if not path.is_file():
        raise InputError(f"{path}: no such experiment; expected a Python file, such as those in experiments/")
    sys.path.insert(0, str(path.resolve().parent.parent))  # so that one experiment can import another
    spec = importlib.util.spec_from_file_location(path.stem, path)
    experiment = sys.modules[path.stem] = importlib.util.module_from_spec(spec)  # tyro looks classes up there
    spec.loader.exec_module(experiment)
    if not (hasattr(experiment, "config") and hasattr(experiment, "run")):
        raise InputError(f"{path}: not an experiment; expected config() and run(config, workdir) in it")
    import tyro

    default = experiment.config()
    return experiment, tyro.cli(type(default), default=default, args=args.rest, prog=f"v2v {command} {path}")


def _eval(args: argparse.Namespace) -> dict:
    return evaluation.run(args, _bars(args))


def _bars(args: argparse.Namespace) -> bool:
    return sys.stderr.isatty() and not args.quiet


def _show_note(message, category, filename, lineno, file=None, line=None) -> None:
    if issubclass(category, UserWarning):
        print(f"v2v: note: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
