"""`v2v edit`: edits one clip or a manifest of clips, or compiles ahead of time."""

import argparse
import dataclasses
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from v2v.assets import EMBEDDED, SAMPLE
from v2v.errors import InputError
from v2v.pipeline.settings import EditSettings
from v2v.video import file_checks

# Options without effect: for one clip, for a manifest, and with --warm, whose argument sets steps and windows.
UNUSED_FOR_ONE = ("out", "distributed")
UNUSED_FOR_MANIFEST = ("explain", "warm")
UNUSED_FOR_WARM = (
    "explain",
    "out",
    "distributed",
    "mask",
    "invert_mask",
    "soft",
    "reference",
    "start",
    "end",
    "steps",
    "window",
    "seed",
)


def run_edit(args: argparse.Namespace, model: Callable[[], object], progress: bool) -> dict:
    """Run the command.

    Args:
      args: the parsed command line.
      model: loads the model, or returns its name.
      progress: whether to show progress bars.

    Returns:
      The report that `--json` prints.

    Raises:
      InputError: bad input, or options that don't go together.
    """
    has_manifest = args.manifest is not None
    if has_manifest or args.warm is not None:
        if any(getattr(args, name) is not None for name in ("video", "instruction", "output")):
            raise InputError(
                "edit: with --manifest or --warm no clip, instruction or -o is expected; leave them out"
            )
        option, option_names = (
            ("--manifest", UNUSED_FOR_MANIFEST) if has_manifest else ("--warm", UNUSED_FOR_WARM)
        )
        _check_effect(args, f"with {option}", option_names)
        return edit_manifest(args, model, progress) if has_manifest else compile_ahead(args, model, progress)
    _check_effect(args, "without --manifest", UNUSED_FOR_ONE)
    missing = [name for name in ("video", "instruction", "output") if getattr(args, name) is None]
    if missing:
        raise InputError(
            f"edit: expected a clip, an instruction and -o OUT, got no {missing[0]}; see v2v edit --help"
        )
    if args.explain == "":
        raise InputError("edit: --explain expected a folder, got an empty name; name one, or leave it out")
    _check_scale(args)
    from v2v.pipeline.manifest import check_combination

    check_combination(_setting_values(args), args.mask, args.reference)
    if args.explain:
        file_checks.check_folder(args.explain, "--explain")  # before weights are read
    return edit_clip(args, model, progress)


def _check_effect(args: argparse.Namespace, mode: str, option_names: tuple[str, ...]) -> None:
    """Raise InputError if options are set that have no effect in this mode."""
    options = [
        "--" + name.replace("_", "-") for name in option_names if getattr(args, name) not in (None, False)
    ]
    if options:
        raise InputError(f"edit: {', '.join(options)} would do nothing {mode}; leave it out")


def edit_clip(args: argparse.Namespace, model: Callable[[], object], progress: bool) -> dict:
    """Edit one clip; return its report."""
    start = time.perf_counter()
    source = SAMPLE if args.video == "sample" and not Path("sample").exists() else Path(args.video)
    output = file_checks.check_output(args.output)
    file_checks.check_readable(source)
    editor = _editor(args, model)
    loaded = time.perf_counter()
    conditions = (args.mask, args.reference)
    if args.explain:
        from v2v.pipeline.attention_maps import write_attention_maps

        file_checks.check_not_input(output, input=source, mask=args.mask, reference=args.reference)
        edited, _ = write_attention_maps(
            editor,
            source,
            args.instruction,
            args.explain,
            *conditions,
            progress=progress,
            **_setting_values(args),
        )
        edited.save(output)
    else:
        edited = editor.edit_file(
            source, args.instruction, output, *conditions, progress=progress, **_setting_values(args)
        )
    end = time.perf_counter()
    skip_report = editor.model.skipping.report if args.skip else {}
    if not args.quiet:
        print(f"v2v: {format_report(edited.report | skip_report)}", file=sys.stderr)
    T, H, W = edited.frames.shape[:3]
    return {
        "output": str(output),
        "frames": T,
        "width": W,
        "height": H,
        "fps": edited.fps,
        "duration": edited.duration,
        "audio": edited.audio is not None,
        "instruction": args.instruction,
        **edited.report,
        **skip_report,
        "seconds": {"load": round(loaded - start, 3), "edit": round(end - loaded, 3)},
    }


def edit_manifest(args: argparse.Namespace, model: Callable[[], object], progress: bool) -> dict:
    """Edit the clips of a manifest, shared among all processes of a job; the exit code is 1 if any failed.

    Settings, mask, reference and adapter scale are defaults of the lines; adapters of --lora are added on every line.
    """
    if not args.out:
        raise InputError("edit: --manifest needs a folder for its outputs; add --out DIR")
    from v2v.pipeline import batch, manifest
    from v2v.pipeline.manifest import check_combination

    if args.distributed:
        from v2v.runtime.sharding import join_processes

        join_processes()
    EditSettings(**_setting_values(args))
    jobs = manifest.read_manifest(
        args.manifest,
        manifest.Job(0, mask=args.mask, reference=args.reference, settings=_setting_values(args)),
        args.lora_scale,
    )
    if not any(job.error for job in jobs):  # a default must have an effect on at least one line
        is_used = [any(getattr(job, name) for job in jobs) or None for name in ("mask", "reference", "lora")]
        check_combination(_setting_values(args), *is_used[:2])
        _check_scale(args, is_used[2])
    editor, results = _editor(args, model), []
    model_files = args.model if args.model != "embedded" else EMBEDDED
    adapters = _parse_adapters(args)
    weights = batch.fingerprint_weights(model_files, *(file for file, _ in adapters)) + repr(
        ([weight for _, weight in adapters], args.size, args.solver, args.schedule)
    )
    options = {"weights": weights, "progress": progress, "mesh": _build_mesh(args)}
    for result in batch.run_jobs(editor, jobs, args.out, **options):
        results.append(result)
        for note in result["notes"] if result["status"] != "skipped" else ():
            print(f"v2v: note: line {result['line']}: {note}", file=sys.stderr)
        if not args.quiet:
            status = f"line {result['line']}: {result['status']}: {result['output']}"
            status = result["error"] or ", ".join([status, *_format_skips([result["report"]])])
            print(f"v2v: {'error: ' if result['error'] else ''}{status}", file=sys.stderr)
    results = batch.gather_results(results)
    target = Path(args.out) / batch.RESULTS_FILE
    if batch.process_share()[0] == 0:
        partial = target.with_suffix(".partial")
        partial.write_text("".join(json.dumps(result) + "\n" for result in results))
        partial.replace(target)
    counts = Counter(result["status"] for result in results)
    if not args.quiet:
        summary = f"{counts['done']} done, {counts['skipped']} done before, {counts['failed']} failed"
        skips = _format_skips([result["report"] for result in results])
        print(f"v2v: {'; '.join([summary, *skips])}", file=sys.stderr)
    return {
        "output": str(target),
        **{status: counts[status] for status in ("done", "skipped", "failed")},
        "failures": [result["error"] for result in results if result["status"] == "failed"],
        "exit": 1 if counts["failed"] else 0,
    }


def compile_ahead(args: argparse.Namespace, model: Callable[[], object], progress: bool) -> dict:
    """Compile the programs of each bucket, with and without a reference, into the compilation cache."""
    import numpy as np

    from v2v.runtime import compilation_cache
    from v2v.runtime.environment import cache_folder

    _check_scale(args)
    editor = _editor(args, model)
    config = editor.model.config
    frame = np.full((1, config.height, config.width, 3), 128, np.uint8)
    references = (None, frame[0]) if "reference" in editor.model.conditions else (None,)
    with compilation_cache.count_compilations() as compiles:
        for steps, window in parse_buckets(args.warm):
            for reference in references:
                settings = {
                    **_setting_values(args),
                    "steps": steps,
                    "window": window,
                    "start": None,
                    "end": None,
                }
                editor.edit_video(
                    frame,
                    _find_known_instruction(editor.model),
                    None,
                    reference,
                    progress=progress,
                    **settings,
                )
    return {
        "output": str(cache_folder("jax")),
        "compiled": compiles.made,
        "found": compiles.found,
    }


def parse_buckets(text: str) -> list[tuple[int | None, int | None]]:
    """Parse a list of buckets such as "4,8,8x5".

    Returns:
      (steps, frames of a window) of each bucket; None stands for the model's default, as for an empty list.

    Raises:
      InputError: `text` is no such list.
    """
    try:
        parts = [[int(n) for n in part.split("x")] for part in text.split(",") if part.strip()]
        if any(len(numbers) > 2 for numbers in parts):
            raise ValueError
        return [(numbers[0], numbers[1] if len(numbers) > 1 else None) for numbers in parts] or [(None, None)]
    except ValueError:
        raise InputError(
            f'--warm: expected steps, or steps x frames, such as "4,8,8x5", got "{text}"'
        ) from None


def format_report(report: dict) -> str:
    """Format the report of an edit as one line."""
    parts = [f'"{report["prompt"]}"']
    if report["strength"] < 1:
        parts.append(f"strength {report['strength']:g}")
    area = f"{report['mask_area']:.1%} of the frame" if report["mask_area"] < 1 else "the whole frame"
    parts.append(
        f"{area} for {report['edited_seconds']:.2f} s ({report['edited_from']:.2f} to {report['edited_to']:.2f})"
    )
    if "leak" in report:
        unrestored = f"; {report['leak_model']:.2f} before restoring" if report.get("leak_model") else ""
        state = "unchanged" if report["leak"] == 0 else "changed"
        parts.append(f"outside the mask: {state} (mean difference {report['leak']:.2f} of 255{unrestored})")
    return ", ".join([*parts, *_format_skips([report])])


def _format_skips(reports: list[dict]) -> list[str]:
    """Format the share of skipped steps and the error they cost, as a list of one phrase; empty if none were skipped."""
    reports = [report for report in reports if "skipped" in report]
    if not reports:
        return []
    share, snr = sum(r["skipped"] for r in reports) / len(reports), [r["skip_snr"] for r in reports]
    error = f"{min(snr)}" if min(snr) == max(snr) else f"{min(snr)} to {max(snr)}"
    return [f"{share:.0%} of steps skipped after the first windows, error {error} dB below the edit"]


def _check_scale(args: argparse.Namespace, lora: bool | None = None) -> None:
    """Raise InputError for --lora-scale without an adapter; `lora` is true if a line of the manifest has one."""
    if args.lora_scale != 1 and not (args.lora or lora):
        raise InputError(
            "edit: --lora-scale expected an adapter with it, got none; add --lora, or leave it out"
        )


def _setting_values(args: argparse.Namespace) -> dict:
    return {f.name: getattr(args, f.name) for f in dataclasses.fields(EditSettings)}


def _editor(args: argparse.Namespace, model: Callable[[], object]):
    from v2v.pipeline.editor import EasyV2VEditor

    editor = EasyV2VEditor(model())
    for file, weight in _parse_adapters(args):
        editor.load_lora_weights(file, weight)
    if args.skip:
        editor.model = editor.model.with_skip(args.skip)
    return editor


def _build_mesh(args: argparse.Namespace):
    """Return a mesh of this process's devices for a batch of jobs; None to run jobs one after the other.

    Jobs run one after the other on a single device, and when steps are skipped, since each clip chooses its own steps.
    """
    import jax

    from v2v.runtime.sharding import make_mesh

    devices = jax.local_devices()
    return None if len(devices) == 1 or args.skip else make_mesh(devices=devices)


def _parse_adapters(args: argparse.Namespace) -> list[tuple[str, float]]:
    """Parse the files of --lora and their weights.

    Raises:
      InputError: a weight that is not a finite number.
    """
    adapters = []
    for argument in args.lora:
        file, equals, weight = argument.rpartition("=")
        if not equals or Path(argument).exists():
            file, weight = argument, args.lora_scale
        try:
            adapters.append((file, float(weight)))
        except ValueError:
            raise InputError(f"--lora {argument}: expected a number after =, such as {file}=0.5") from None
        if not math.isfinite(adapters[-1][1]):
            raise InputError(f"--lora {argument}: expected a finite weight, got {weight}")
    return adapters


def _find_known_instruction(model) -> str:
    """Return an instruction with a word in the model's vocabulary; compiled programs don't depend on which."""
    return "make it sepia" if len(model.embed_text(["make it sepia"]).unknown) < 3 else "a"
