"""`v2v edit`: edits one clip or a manifest of clips, or compiles ahead of time."""

import argparse
import dataclasses
import functools
import json
import logging
import math
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from v2v.assets import EMBEDDED
from v2v.checkpoints.presets import Preset, find_preset
from v2v.cli.edit_ahead import compile_ahead, parse_buckets
from v2v.cli.edit_report import format_report, format_skips, tell_memory
from v2v.config import TransformerName
from v2v.errors import InputError, note, suggest
from v2v.pipeline.settings import (
    EditReport,
    EditRequest,
    EditSettings,
    add_skips,
    check_combination,
    picture_inputs,
)
from v2v.runtime import devices
from v2v.video import file_checks
from v2v.video.file_checks import DEFAULT_FORMAT, URL
from v2v.video.inputs import FRAME_REFERENCE
from v2v.video.output_format import STILLS, OutputFormat

if TYPE_CHECKING:  # heavy imports wait until the input is checked
    from jax.sharding import Mesh

    from v2v.config import WeightsDtype
    from v2v.pipeline.editor import EasyV2VEditor
    from v2v.pipeline.manifest import ManifestDefaults
    from v2v.pipeline.pretrained import Pretrained

logger = logging.getLogger(__name__)

# Far beyond what gives a picture, and far from where float32 ends.
LARGEST_WEIGHT = 1e6
# Options without effect: for one clip, for a manifest, and with --warm, whose argument sets steps and windows.
UNUSED_FOR_ONE = ("out", "distributed", "beam", "workers")
UNUSED_FOR_MANIFEST = (
    "explain", "warm", "overwrite", "first_frame", "text_only", "context", "second_video",
)  # fmt: skip
UNUSED_FOR_LOOKS = (
    "manifest", "warm", "out", "distributed", "beam", "workers", "explain", "mask", "reference", "start", "end", "window", "anyway",
    "first_frame", "text_only", "context", "second_video",
)  # fmt: skip
UNUSED_FOR_TEXT = (
    "explain", "out", "distributed", "beam", "workers", "manifest", "warm", "mask", "invert_mask", "soft", "start", "end", "context",
    "second_video",
)  # fmt: skip
# Settings that say how a source is used, which must have their defaults without one.
SOURCE_SETTINGS = ("strength", "amount", "detail", "preserve", "guide")
UNUSED_FOR_WARM = (
    "explain", "out", "distributed", "beam", "workers", "mask", "invert_mask", "soft", "reference", "start", "end", "steps", "window", "seed",
    "overwrite", "codec", "quality", "crf", "pix_fmt", "first_frame", "text_only", "context", "second_video",
)  # fmt: skip


@dataclass(frozen=True)
class ModelOptions:
    """The model to edit with, and what is added to it.

    Attributes:
      path: "embedded", a folder, or ORG/NAME[@REVISION] on the hub.
      size: frames, height and width other than the model's, and whether clips keep their aspect (`load_pretrained`).
      dtype: of matrix products, other than the model's.
      device: as `devices.select_device` takes it.
      solver: another solver than the model's.
      schedule: another schedule than the model's.
      adapters: files, or their names on the hub, and their weights.
      pairs: adapters of the transformers of a model of two, each with the name of its transformer.
      skip: tolerance of step skipping; 0 for none.
      progress: show bars while weights are read.
      mesh: sizes by mesh axis, to edit a clip on several devices; empty for one device a clip.
      weights_dtype: type that weights are stored in; None for the model's own.
      branches: passes of guidance in a step that devices of one clip may share; None for those of the model's guidance.
      preset: name or JSON file of a sampling preset (checkpoints/presets.py); "" for none.
    """

    path: str = "embedded"
    size: Mapping[str, int] = field(default_factory=dict)
    solver: str | None = None
    schedule: str | None = None
    adapters: tuple[tuple[str, float], ...] = ()
    pairs: tuple[tuple[str, float, TransformerName], ...] = ()
    skip: float = 0.0
    progress: bool = False
    mesh: Mapping[str, int] = field(default_factory=dict)
    weights_dtype: "WeightsDtype | None" = None
    dtype: str | None = None
    device: str = ""
    branches: int | None = None
    preset: str = ""

    def find_preset(self) -> Preset | None:
        """Return the preset, without its adapter where others are given.

        Raises:
          InputError: no such preset.
        """
        if not self.preset:
            return None
        preset = find_preset(self.preset)
        return dataclasses.replace(preset, adapter="") if self.adapters else preset

    def load_editor(self, jobs: bool = False) -> "EasyV2VEditor":
        """Load the model and its adapters.

        Args:
          jobs: whether it edits several clips side by side, so that devices are no mesh of one clip unless `mesh` says so.

        Raises:
          InputError: no such model, adapter or device, or unsuitable ones.
        """
        preset = self.find_preset()
        devices.select_device(self.device)
        # Where nobody watches, bad input still ends in one line; the report tells the device.
        level = logging.INFO if self.progress else logging.DEBUG
        logger.log(level, "v2v: editing on %s", devices.describe_devices())
        if hint := devices.find_unused_device():
            note(hint)
        from v2v.checkpoints import hub, hub_client
        from v2v.pipeline.editor import EasyV2VEditor
        from v2v.pipeline.pretrained import load_pretrained

        if hub_client.find_hub_name(self.path):  # fetched here, so that --quiet shows no bar
            hub.resolve_model(self.path, progress=self.progress)
        settings = {
            **self.size,
            "solver": self.solver,
            "schedule": self.schedule,
            "weights_dtype": self.weights_dtype,
            "dtype": self.dtype,
            "preset": preset,
        }
        if self.dtype == "float32":
            devices.use_exact_float32()
        if self.path == "embedded" and not any(settings.values()) and not self.mesh:
            editor = EasyV2VEditor(self.path)
        else:
            load = functools.partial(load_pretrained, self.path, progress=self.progress, **settings)
            mesh = _build_clip_mesh(self.mesh) if self.mesh else None
            model = load(mesh=mesh)
            # Nothing has been read yet but names and shapes, by which the mesh is chosen.
            if (
                not self.mesh
                and not jobs
                and (mesh := choose_clip_mesh(model, self.weights_dtype, self.branches)) is not None
            ):
                model = load(mesh=mesh)
            editor = EasyV2VEditor(model)
        for file, weight in self.adapters:
            editor.load_lora_weights(file, weight)
        for file, weight, transformer in self.pairs:
            editor.load_lora_weights(file, weight, transformer)
        if self.skip:
            editor.skip_steps(self.skip)
        return editor

    def fingerprint(self) -> str:
        """Return what tells the results of this model from those of others, for the records of finished jobs."""
        from v2v.checkpoints import hub
        from v2v.pipeline.batch import fingerprint_weights

        files = hub.resolve_model(self.path, progress=self.progress) if self.path != "embedded" else EMBEDDED
        preset, names = self.find_preset(), [file for file, *_ in (*self.adapters, *self.pairs)]
        adapters = [
            hub.resolve_adapter(file)
            for file in (names + [preset.adapter] if preset and preset.adapter else names)
        ]
        weights = [weight for _, weight in self.adapters]
        settings = repr((weights, dict(self.size), self.solver, self.schedule))
        if self.pairs:
            settings += repr([place for _, *place in self.pairs])
        if self.dtype is not None:
            settings += f" {self.dtype}"
        if preset is not None:
            settings += f" {preset.sampling}"
        return fingerprint_weights(files, *adapters) + settings + (self.weights_dtype or "")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command.

    Args:
      args: the parsed command line.

    Returns:
      The report that `--json` prints.

    Raises:
      InputError: bad input, or options that don't go together.
    """
    progress = sys.stderr.isatty() and not args.quiet
    if args.looks:
        return _list_looks(args, progress)
    if args.text_only is not None:
        return _run_text(args, progress)
    has_manifest = args.manifest is not None
    if has_manifest or args.warm is not None:
        if any(option is not None for option in (args.video, args.instruction, args.output)):
            raise InputError(
                "edit: with --manifest or --warm no clip, instruction or -o is expected; leave them out"
            )
        if has_manifest:
            _check_effect(args, "with --manifest", UNUSED_FOR_MANIFEST)
            return _run_manifest(args, progress)
        _check_effect(args, "with --warm", UNUSED_FOR_WARM)
        _check_scale(args)
        buckets, settings = parse_buckets(args.warm), _settings(args)
        return compile_ahead(buckets, settings, _model_options(args, progress).load_editor(), progress)
    if args.out is not None and args.output is None:
        raise InputError(f"edit: --out is the folder of a manifest; for one clip say -o {args.out}")
    _check_effect(args, "without --manifest", UNUSED_FOR_ONE)
    missing = [name for name in ("video", "instruction", "output") if getattr(args, name) is None]
    if missing:
        raise InputError(
            f"edit: expected a clip, an instruction and -o OUT, got no {missing[0]}; see v2v edit --help"
        )
    _check_clip(args.video, args.instruction)
    if args.explain == "":
        raise InputError("edit: --explain expected a folder, got an empty name; name one, or leave it out")
    _check_scale(args)
    settings = _settings(args)
    check_combination(settings, args.mask, args.reference)
    if args.explain:
        file_checks.check_folder(args.explain, "--explain")
    request = EditRequest(
        args.video,
        args.instruction,
        args.mask,
        _references(args),
        settings,
        first_frame=args.first_frame,
        context=args.context,
        second_video=args.second_video,
    )
    return edit_clip(
        request,
        args.output,
        _model_options(args, progress),
        output_format=_output_format(args),
        overwrite=args.overwrite,
        explain=args.explain,
        progress=progress,
        quiet=args.quiet,
    )


def edit_clip(
    request: EditRequest,
    output: str,
    model: ModelOptions,
    *,
    output_format: OutputFormat = DEFAULT_FORMAT,
    overwrite: bool = False,
    explain: str | None = None,
    progress: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Edit one clip.

    Args:
      request: the edit of a file.
      output: the file to write.
      model: the model.
      output_format: codec, quality and pixel format of the output.
      overwrite: replace an output that exists.
      explain: folder for attention maps; None for none.
      progress: show progress bars.
      quiet: don't print what was done.

    Returns:
      The report.

    Raises:
      InputError: bad input.
    """
    start = time.perf_counter()
    file_checks.check_not_input(
        Path(output),
        input=request.video,
        mask=request.mask,
        first_frame=request.first_frame,
        context=request.context,
        second_video=request.second_video,
    )
    for reference in request.references:
        file_checks.check_not_input(Path(output), reference=reference)
    target = file_checks.check_output(output, output_format, overwrite=overwrite)
    if isinstance(request.video, str | Path):
        file_checks.check_readable(Path(request.video))
    editor = model.load_editor()
    tell_memory(editor.model, quiet)
    loaded = time.perf_counter()
    if explain:
        from v2v.pipeline.attention_maps import write_attention_maps

        edited, _ = write_attention_maps(editor, request, explain, progress=progress)
        edited.video.save(target, **dataclasses.asdict(output_format))
    else:
        edited = editor.write(request, target, output_format=output_format, progress=progress)
    end = time.perf_counter()
    report = add_skips(edited.report, editor.model.skipping)
    if not quiet:
        print(f"v2v: {format_report(report, is_picture=len(edited.video.frames) == 1)}", file=sys.stderr)
    T, H, W = edited.video.frames.shape[:3]
    return {
        "output": str(target),
        "frames": T,
        "width": W,
        "height": H,
        "fps": edited.video.fps,
        "duration": edited.video.duration,
        "audio": edited.video.audio is not None,
        "instruction": request.instruction,
        **report,
        "device": devices.describe_devices(),
        "seconds": {"load": round(loaded - start, 3), "edit": round(end - loaded, 3)},
    }


def _check_clip(video: str, instruction: str) -> None:
    """Refuse a clip that isn't there where what was meant can be told: the instruction typed first, or "sample" mistyped."""
    if video == "sample" or os.path.exists(video) or URL.match(video):
        return
    if os.path.exists(instruction):
        raise InputError(
            f"edit: expected the clip before the instruction, got the sentence first; "
            f"v2v edit {shlex.quote(instruction)} {shlex.quote(video)} -o OUT"
        )
    if hint := suggest(video, ["sample"]):
        raise InputError(f"{video}: no such file; expected a video or an image{hint}")


def _list_looks(args: argparse.Namespace, progress: bool) -> dict[str, Any]:
    """Check the options of --looks and list what the model can do."""
    if args.instruction is not None:
        raise InputError("edit: with --looks no instruction is expected; leave it out")
    _check_effect(args, "with --looks", UNUSED_FOR_LOOKS)
    if args.output is None and args.video is not None:
        raise InputError(
            "edit: with --looks a clip is drawn on a contact sheet; add -o SHEET.png, or leave the clip out"
        )
    if args.output is not None:
        target = file_checks.check_output(args.output, overwrite=args.overwrite)
        if target.suffix.lower() not in STILLS:
            raise InputError(
                f"edit: {target}: with --looks expected a picture, PNG or JPEG; name one with -o"
            )
    from v2v.cli.looks import list_looks

    return list_looks(
        _model_options(args, progress).load_editor(), args.video or "sample", args.output, quiet=args.quiet
    )


def _run_text(args: argparse.Namespace, progress: bool) -> dict[str, Any]:
    """Check the options of a clip that is made from a text alone, and make it."""
    if args.video is not None:
        raise InputError("edit: with --text-only no clip is expected; leave it out, or leave out --text-only")
    _check_effect(args, "with --text-only", UNUSED_FOR_TEXT)
    _check_scale(args)
    settings = _settings(args)
    changed = [name for name in SOURCE_SETTINGS if getattr(settings, name) != getattr(EditSettings(), name)]
    if changed:
        verb, pronoun = ("says", "it") if len(changed) == 1 else ("say", "them")
        raise InputError(
            f"edit: {', '.join(changed)} {verb} how a clip is used; leave {pronoun} out with --text-only"
        )
    if args.output is None:
        raise InputError("edit: expected -o OUT, got no output; see v2v edit --help")
    return generate_clip(
        args.text_only,
        args.output,
        _model_options(args, progress),
        settings,
        first_frame=args.first_frame,
        reference=_references(args),
        output_format=_output_format(args),
        overwrite=args.overwrite,
        progress=progress,
    )


def generate_clip(
    prompt: str,
    output: str,
    model: ModelOptions,
    settings: EditSettings,
    *,
    first_frame: str | None = None,
    reference: str | tuple[str, ...] | None = None,
    output_format: OutputFormat = DEFAULT_FORMAT,
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Make a clip from a text.

    Args:
      prompt: what it shows.
      output: the file to write.
      model: the model.
      settings: steps, guidance, negative text, seed and window.
      first_frame: its first frame.
      reference: pictures of what it shows.
      output_format: codec, quality and pixel format of the output.
      overwrite: replace an output that exists.
      progress: show progress bars.

    Returns:
      The report.

    Raises:
      InputError: bad input.
    """
    start = time.perf_counter()
    file_checks.check_not_input(Path(output), first_frame=first_frame)
    for picture in picture_inputs(reference):
        file_checks.check_not_input(Path(output), reference=picture)
    target = file_checks.check_output(output, output_format, overwrite=overwrite)
    editor = model.load_editor()
    loaded = time.perf_counter()
    clip = editor.generate(
        prompt,
        first_frame=first_frame,
        reference=reference,
        progress=progress,
        **dataclasses.asdict(settings),
    )
    clip.save(target, **dataclasses.asdict(output_format))
    end = time.perf_counter()
    T, H, W = clip.frames.shape[:3]
    return {
        "output": str(target), "frames": T, "width": W, "height": H, "fps": clip.fps, "duration": clip.duration,
        **add_skips(cast(EditReport, clip.report), editor.model.skipping), "device": devices.describe_devices(),
        "seconds": {"load": round(loaded - start, 3), "edit": round(end - loaded, 3)},
    }  # fmt: skip


def _run_manifest(args: argparse.Namespace, progress: bool) -> dict[str, Any]:
    """Check the options of a manifest and run it."""
    if not args.out:
        raise InputError("edit: --manifest needs a folder for its outputs; add --out DIR")
    from v2v.pipeline.manifest import ManifestDefaults

    if args.beam is None and args.workers is not None:
        raise InputError(
            "edit: --workers is the number of processes of --beam; add it, or leave --workers out"
        )
    if args.beam is not None and args.distributed:
        raise InputError("edit: --beam and --distributed both share lines of a manifest; leave one out")
    if args.distributed:
        from v2v.runtime.sharding import join_processes

        join_processes()
    defaults = ManifestDefaults(
        args.mask, _references(args), _settings(args), args.lora_scale, _output_format(args)
    )
    model = _model_options(args, progress)
    if args.beam is None:
        return edit_manifest(args.manifest, args.out, defaults, model, progress=progress, quiet=args.quiet)
    beam = BeamOptions(args.workers or 1, tuple(shlex.split(args.beam)))
    # Workers have working folders of their own.
    reference = defaults.reference
    if reference is not None:
        reference = tuple(map(_absolute, reference)) if isinstance(reference, tuple) else _absolute(reference)
    defaults = dataclasses.replace(
        defaults, mask=defaults.mask and _absolute(defaults.mask), reference=reference
    )
    adapters = tuple((_absolute(file), weight) for file, weight in model.adapters)
    pairs = tuple((_absolute(file), *others) for file, *others in model.pairs)
    model = dataclasses.replace(model, path=_absolute(model.path), adapters=adapters, pairs=pairs)
    manifest_file = str(Path(args.manifest).absolute())
    return edit_manifest(manifest_file, args.out, defaults, model, quiet=args.quiet, beam=beam)


def _absolute(name: str) -> str:
    """Return the absolute path of an existing file or folder, or of a frame of one; other names as they are."""
    match = FRAME_REFERENCE.fullmatch(name)
    exists = Path(name).exists() or (match is not None and Path(match[1]).exists())
    return str(Path(name).absolute()) if exists and name not in ("embedded", "sample") else name


@dataclass(frozen=True)
class BeamOptions:
    """How a manifest is run by Apache Beam.

    Attributes:
      workers: number of local processes.
      options: options of Beam, as on its command line.
    """

    workers: int = 1
    options: tuple[str, ...] = ()


def edit_manifest(
    manifest_file: str,
    out: str,
    defaults: "ManifestDefaults",
    model: ModelOptions,
    *,
    progress: bool = False,
    quiet: bool = False,
    beam: BeamOptions | None = None,
) -> dict[str, Any]:
    """Edit the clips of a manifest, shared among all processes of a job; the exit code is 1 if any failed.

    Args:
      manifest_file: the manifest.
      out: folder of the outputs.
      defaults: what lines default to.
      model: the model; its adapters are added on every line.
      progress: show progress bars.
      quiet: don't print what becomes of each line.
      beam: run by Apache Beam; None for this process and others of its job.

    Returns:
      The report.

    Raises:
      InputError: no manifest, a default without effect on any line, or an unsuitable model.
    """
    from v2v.pipeline import batch, distributed_batch, manifest

    jobs = manifest.read_manifest(manifest_file, defaults)
    requests = [job.request for job in jobs if job.request is not None]
    if len(requests) == len(jobs):  # a default must have an effect on at least one line
        masks = any(request.mask is not None for request in requests) or None
        references = any(request.reference is not None for request in requests) or None
        check_combination(defaults.settings, masks, references)
        _require_adapter(
            defaults.lora_scale,
            bool(model.adapters or model.pairs) or any(job.lora or job.pairs for job in jobs),
        )
    parallel_jobs = model.mesh.get("data", 1) * model.mesh.get("fsdp", 1)
    worker_options = model
    if beam is not None:
        mesh, model = None, dataclasses.replace(model, mesh={})
    elif model.mesh and parallel_jobs > 1:  # several devices a job, several jobs at a time
        mesh, model = _build_clip_mesh(model.mesh), dataclasses.replace(model, mesh={})
    else:
        mesh = None if model.skip or model.mesh else _build_mesh()
    editor, results = model.load_editor(jobs=True), []
    tell_memory(editor.model, quiet)
    weights = model.fingerprint()
    if editor.model.for_clip(1000, 500) is not editor.model:  # before, all clips were edited at one size
        weights += " any aspect"
    if beam is None:
        running = batch.run_jobs(editor, jobs, out, weights=weights, progress=progress, mesh=mesh)
    else:
        running = distributed_batch.run_jobs(
            worker_options.load_editor, jobs, out, weights=weights, workers=beam.workers, options=beam.options
        )
    for result in running:
        results.append(result)
        for text in result["notes"] if result["status"] != "skipped" else ():
            print(f"v2v: note: line {result['line']}: {text}", file=sys.stderr)
        if not quiet:
            status = f"line {result['line']}: {result['status']}: {result['output']}"
            status = result["error"] or ", ".join([status, *format_skips([result["report"]])])
            print(f"v2v: {'error: ' if result['error'] else ''}{status}", file=sys.stderr)
    results = batch.gather_results(results)
    target = Path(out) / batch.RESULTS_FILE
    if batch.process_share()[0] == 0:
        partial = target.with_suffix(".partial")
        partial.write_text("".join(json.dumps(result) + "\n" for result in results))
        partial.replace(target)
    counts = Counter(result["status"] for result in results)
    if not quiet:
        summary = f"{counts['done']} done, {counts['skipped']} done before, {counts['failed']} failed"
        skips = format_skips(result["report"] for result in results)
        print(f"v2v: {'; '.join([summary, *skips])}", file=sys.stderr)
    return {
        "output": str(target),
        "done": counts["done"],
        "skipped": counts["skipped"],
        "failed": counts["failed"],
        "failures": [result["error"] for result in results if result["status"] == "failed"],
        "exit": 1 if counts["failed"] else 0,
    }


def _check_effect(args: argparse.Namespace, mode: str, option_names: tuple[str, ...]) -> None:
    """Raise InputError if options are set that have no effect in this mode."""
    options = [
        "--" + name.replace("_", "-") for name in option_names if getattr(args, name) not in (None, False)
    ]
    if options:
        raise InputError(f"edit: {', '.join(options)} would do nothing {mode}; leave it out")


def _references(args: argparse.Namespace) -> str | tuple[str, ...] | None:
    """Return the references that were given, one as itself."""
    references = args.reference or ()
    return tuple(references) if len(references) > 1 else references[0] if references else None


def _check_scale(args: argparse.Namespace) -> None:
    _require_adapter(args.lora_scale, bool(args.lora or args.lora_high or args.lora_low))


def _require_adapter(lora_scale: float, has_adapter: bool) -> None:
    """Raise InputError for --lora-scale without an adapter."""
    if lora_scale != 1 and not has_adapter:
        raise InputError(
            "edit: --lora-scale expected an adapter with it, got none; add --lora, or leave it out"
        )


def _settings(args: argparse.Namespace) -> EditSettings:
    return EditSettings(**{f.name: getattr(args, f.name) for f in dataclasses.fields(EditSettings)})


def _output_format(args: argparse.Namespace) -> OutputFormat:
    return OutputFormat(args.codec, args.quality, args.crf, args.pix_fmt)


def _model_options(args: argparse.Namespace, progress: bool) -> ModelOptions:
    adapters = parse_adapters(args.lora, args.lora_scale)
    names: tuple[TransformerName, ...] = ("high", "low")
    pairs: tuple[tuple[str, float, TransformerName], ...] = tuple(
        (file, weight, name)
        for name, arguments in zip(names, (args.lora_high, args.lora_low), strict=True)
        for file, weight in parse_adapters(arguments, args.lora_scale)
    )
    if args.mesh and args.explain:
        raise InputError("edit: --explain looks at the model on one device; leave out --mesh")
    return ModelOptions(
        args.model,
        args.size,
        args.solver,
        args.schedule,
        adapters,
        pairs,
        args.skip,
        progress,
        args.mesh,
        args.weights_dtype,
        args.dtype,
        args.device or "",
        _shared_branches(args),
        args.preset or "",
    )


def _shared_branches(args: argparse.Namespace) -> int | None:
    """Return the passes of guidance that devices may share, by its options; None where they don't tell."""
    if args.guidance == 1 or args.guide != "prompt":  # one pass, or passes of different tokens
        return 1
    return None if args.guidance is None else 2


def parse_adapters(arguments: Iterable[str], scale: float) -> tuple[tuple[str, float], ...]:
    """Parse the files of --lora and their weights, FILE or FILE=WEIGHT.

    Args:
      arguments: of --lora.
      scale: default weight.

    Raises:
      InputError: a weight that is not a finite number.
    """
    adapters = []
    for argument in arguments:
        file, equals, text = argument.rpartition("=")
        if not equals or Path(argument).exists():
            file, text = argument, str(scale)
        try:
            weight = float(text)
        except ValueError:
            raise InputError(f"--lora {argument}: expected a number after =, such as {file}=0.5") from None
        if not abs(weight) <= LARGEST_WEIGHT:
            raise InputError(
                f"--lora {argument}: expected a finite weight, {LARGEST_WEIGHT:g} at most, got {text}"
            )
        adapters.append((file, weight))
    return tuple(adapters)


def choose_clip_mesh(
    model: "Pretrained", weights_dtype: "WeightsDtype | None" = None, branches: int | None = None
) -> "Mesh | None":
    """Return a mesh of this process's accelerators that edit one clip together; None where one device does it alone.

    Args:
      model: the model.
      weights_dtype: type that its weights are stored in.
      branches: passes of guidance that devices may share; None for the model's.
    """
    import jax

    from v2v.pipeline.pretrained import find_clip_axes
    from v2v.runtime.sharding import make_mesh

    devices = jax.local_devices()
    if len(devices) == 1 or devices[0].platform == "cpu":
        return None
    axes = find_clip_axes(model, len(devices), weights_dtype, branches)
    count = math.prod(axes.values())
    if count == 1:
        return None
    text = ",".join(f"{axis}={size}" for axis, size in axes.items() if size > 1)
    print(
        f"v2v: the clip is edited by {count} devices together (--mesh {text}; --mesh one for one)",
        file=sys.stderr,
    )
    return make_mesh(**axes, devices=devices[:count])


def _build_clip_mesh(axes: Mapping[str, int]) -> "Mesh | None":
    """Return a mesh of this process's devices that edit one clip together; None for the first device alone.

    Raises:
      InputError: the sizes don't multiply to the number of devices.
    """
    import jax

    from v2v.runtime.compilation_cache import use_compilation_cache
    from v2v.runtime.sharding import make_mesh

    use_compilation_cache()
    if set(axes.values()) == {1}:
        return None
    return make_mesh(**{"data": 1, **axes}, devices=jax.local_devices())


def _build_mesh() -> "Mesh | None":
    """Return a mesh of this process's devices for a batch of jobs; None to run jobs one after the other on a single one."""
    import jax

    from v2v.runtime.sharding import make_mesh

    devices = jax.local_devices()
    return None if len(devices) == 1 else make_mesh(devices=devices)
