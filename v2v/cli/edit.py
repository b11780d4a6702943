"""`v2v edit`: edits one clip or a manifest of clips, makes a clip from a text, lists looks, or compiles ahead of time."""

import argparse
import dataclasses
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any, cast

from v2v.cli.beam_arguments import read_beam
from v2v.cli.edit_ahead import compile_ahead, parse_buckets
from v2v.cli.edit_manifest import edit_manifest, make_absolute
from v2v.cli.edit_model import ModelOptions, read_model_options, require_adapter
from v2v.cli.edit_report import format_report, tell_memory
from v2v.errors import InputError, suggest
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
from v2v.video.output_format import STILLS, OutputFormat

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
        return compile_ahead(buckets, settings, read_model_options(args, progress).load_editor(), progress)
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
        read_model_options(args, progress),
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
        read_model_options(args, progress).load_editor(),
        args.video or "sample",
        args.output,
        quiet=args.quiet,
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
        read_model_options(args, progress),
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

    beam = read_beam(args, "edit")
    if beam is not None and args.distributed:
        raise InputError("edit: --beam and --distributed both share lines of a manifest; leave one out")
    if args.distributed:
        from v2v.runtime.sharding import join_processes

        join_processes()
    defaults = ManifestDefaults(
        args.mask, _references(args), _settings(args), args.lora_scale, _output_format(args)
    )
    model = read_model_options(args, progress)
    if beam is None:
        return edit_manifest(args.manifest, args.out, defaults, model, progress=progress, quiet=args.quiet)
    # Workers have working folders of their own.
    defaults, model = make_absolute(defaults, model)
    manifest_file = str(Path(args.manifest).absolute())
    return edit_manifest(manifest_file, args.out, defaults, model, quiet=args.quiet, beam=beam)


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
    require_adapter(args.lora_scale, bool(args.lora or args.lora_high or args.lora_low))


def _settings(args: argparse.Namespace) -> EditSettings:
    return EditSettings(**{f.name: getattr(args, f.name) for f in dataclasses.fields(EditSettings)})


def _output_format(args: argparse.Namespace) -> OutputFormat:
    return OutputFormat(args.codec, args.quality, args.crf, args.pix_fmt)
