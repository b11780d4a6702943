"""The arguments of `v2v edit` and their help. The options that are fields of `EditSettings` have their names and defaults; a test compares them."""

import argparse
from typing import get_args

from v2v.cli.argument_types import parse_mesh, parse_seconds, parse_working_size
from v2v.cli.beam_arguments import add_beam, add_workers
from v2v.cli.model_arguments import LORA_HELP, add_adapters, add_model, add_weights_dtype
from v2v.config import Detail, Guide, ScheduleName, SolverName
from v2v.video.output_format import Codec, Quality

EXAMPLES = """\
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


def add_arguments(edit: argparse.ArgumentParser) -> None:
    """Add the arguments of `v2v edit`."""
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
        type=parse_seconds,
        metavar="S",
        help="start of the edited time range, in seconds or as M:SS",
    )
    edit.add_argument(
        "--end", type=parse_seconds, metavar="S", help="end of the edited time range, in seconds or as M:SS"
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
    add_model(edit)
    edit.add_argument(
        "--size",
        type=parse_working_size,
        default={},
        metavar="WxH[xFRAMES]|480p|720p",
        help="working resolution and window length of the model, such as 1280x704x121, or 480p or 720p (as 720px121) for the clip's own aspect "
        "(default: the model's own; of models trained on many sizes, its area at the clip's aspect)",
    )
    add_weights_dtype(edit)
    edit.add_argument(
        "--mesh",
        type=parse_mesh,
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
    add_adapters(
        edit,
        f"adapter to add, with weight X: {LORA_HELP}; may be repeated",
        "adapter of the {name}-noise transformer of a model of two, such as Wan2.2-A14B; may be repeated",
        metavar="LORA[=X]",
        repeats=True,
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
    add_beam(edit, "edit the lines of a manifest", "inputs and --out")
    add_workers(edit)
    edit.add_argument(
        "--warm",
        nargs="?",
        const="",
        metavar="N[xFRAMES],...",
        help="compile for N steps, store the result for later runs, and exit",
    )
