"""`v2v edit`: what was typed -> one edit, a list of them, or programs compiled ahead. cli.py → **command** → editor.py, or manifest.py → jobs.py"""

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

# Options that would do nothing: for one clip, for a manifest, and when compiling ahead (which names steps and windows itself).
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
    """Runs the command; returns what is printed. `model` loads the model asked for, or names it."""
    manifested, warmed = args.manifest is not None, args.warm is not None
    if manifested or warmed:
        if any(getattr(args, name) is not None for name in ("video", "instruction", "output")):
            raise InputError(
                "edit: with --manifest or --warm no clip, instruction or -o is expected; leave them out"
            )
        way, idle = ("--manifest", UNUSED_FOR_MANIFEST) if manifested else ("--warm", UNUSED_FOR_WARM)
        _refuse(args, f"with {way}", idle)
        return edit_manifest(args, model, progress) if manifested else compile_ahead(args, model, progress)
    _refuse(args, "without --manifest", UNUSED_FOR_ONE)
    missing = [name for name in ("video", "instruction", "output") if getattr(args, name) is None]
    if missing:
        raise InputError(
            f"edit: expected a clip, an instruction and -o OUT, got no {missing[0]}; see v2v edit --help"
        )
    if args.explain == "":
        raise InputError("edit: --explain expected a folder, got an empty name; name one, or leave it out")
    _check_scale(args)
    from v2v.pipeline.manifest import check_combination

    check_combination(_settings(args), args.mask, args.reference)
    if args.explain:
        file_checks.check_folder(args.explain, "--explain")  # before the weights are read, too
    return edit_clip(args, model, progress)


def _refuse(args: argparse.Namespace, way: str, idle: tuple[str, ...]) -> None:
    """Raises InputError for options that would do nothing."""
    found = ["--" + name.replace("_", "-") for name in idle if getattr(args, name) not in (None, False)]
    if found:
        raise InputError(f"edit: {', '.join(found)} would do nothing {way}; leave it out")


def edit_clip(args: argparse.Namespace, model: Callable[[], object], progress: bool) -> dict:
    """One clip."""
    began = time.perf_counter()
    source = SAMPLE if args.video == "sample" and not Path("sample").exists() else Path(args.video)
    output = file_checks.check_output(args.output)
    file_checks.check_readable(source)
    editor = _editor(args, model)
    loaded = time.perf_counter()
    what = (source, args.instruction, args.mask, args.reference)
    if args.explain:
        from v2v.pipeline.attention_maps import write_attention_maps

        file_checks.check_apart(output, input=source, mask=args.mask, reference=args.reference)
        made, _ = write_attention_maps(
            editor, *what[:2], args.explain, *what[2:], progress=progress, **_settings(args)
        )
        made.save(output)
    else:
        made = editor.edit_file(*what[:2], output, *what[2:], progress=progress, **_settings(args))
    done = time.perf_counter()
    cost = editor.model.skipping.report if args.skip else {}
    if not args.quiet:
        print(f"v2v: {format_report(made.report | cost)}", file=sys.stderr)
    T, H, W = made.frames.shape[:3]
    return {
        "output": str(output),
        "frames": T,
        "width": W,
        "height": H,
        "fps": made.fps,
        "duration": made.duration,
        "audio": made.audio is not None,
        "instruction": args.instruction,
        **made.report,
        **cost,
        "seconds": {"load": round(loaded - began, 3), "edit": round(done - loaded, 3)},
    }


def edit_manifest(args: argparse.Namespace, model: Callable[[], object], progress: bool) -> dict:
    """A list of clips, shared by all processes of a job; see `manifest.py` and `jobs.py`. Exit code 1 when any failed.

    Settings, mask, reference and the scale of adapters are every line's that says no other; adapters of --lora are every line's too.
    """
    if not args.out:
        raise InputError("edit: --manifest needs a folder for its outputs; add --out DIR")
    from v2v.pipeline import batch, manifest
    from v2v.pipeline.manifest import check_combination

    if args.distributed:
        from v2v.runtime.sharding import join_processes

        join_processes()
    EditSettings(**_settings(args))
    listed = manifest.read_manifest(
        args.manifest,
        manifest.Job(0, mask=args.mask, reference=args.reference, settings=_settings(args)),
        args.lora_scale,
    )
    if not any(job.error for job in listed):  # what is said for all must be of use to one
        some = [any(getattr(job, name) for job in listed) or None for name in ("mask", "reference", "lora")]
        check_combination(_settings(args), *some[:2])
        _check_scale(args, some[2])
    editor, results = _editor(args, model), []
    known = args.model if args.model != "embedded" else EMBEDDED
    adapters = _adapters(args)
    weights = batch.fingerprint_weights(known, *(file for file, _ in adapters)) + repr(
        ([weight for _, weight in adapters], args.size, args.solver, args.schedule)
    )
    how = {"weights": weights, "progress": progress, "mesh": _mesh(args)}
    for result in batch.run_jobs(editor, listed, args.out, **how):
        results.append(result)
        for note in result["notes"] if result["status"] != "skipped" else ():
            print(f"v2v: note: line {result['line']}: {note}", file=sys.stderr)
        if not args.quiet:
            said = f"line {result['line']}: {result['status']}: {result['output']}"
            said = result["error"] or ", ".join([said, *_skips([result["report"]])])
            print(f"v2v: {'error: ' if result['error'] else ''}{said}", file=sys.stderr)
    results = batch.gather_results(results)
    target = Path(args.out) / batch.RESULTS_FILE
    if batch.process_share()[0] == 0:
        partial = target.with_suffix(".partial")
        partial.write_text("".join(json.dumps(result) + "\n" for result in results))
        partial.replace(target)
    counts = Counter(result["status"] for result in results)
    if not args.quiet:
        said = f"{counts['done']} done, {counts['skipped']} done before, {counts['failed']} failed"
        skips = _skips([result["report"] for result in results])
        print(f"v2v: {'; '.join([said, *skips])}", file=sys.stderr)
    return {
        "output": str(target),
        **{status: counts[status] for status in ("done", "skipped", "failed")},
        "failures": [result["error"] for result in results if result["status"] == "failed"],
        "exit": 1 if counts["failed"] else 0,
    }


def compile_ahead(args: argparse.Namespace, model: Callable[[], object], progress: bool) -> dict:
    """Compiles what edits of each bucket need, with and without a reference, and keeps it for later processes."""
    import numpy as np

    from v2v.runtime import compilation_cache
    from v2v.runtime.environment import cache_folder

    _check_scale(args)
    editor = _editor(args, model)
    config = editor.model.config
    frame = np.full((1, config.height, config.width, 3), 128, np.uint8)
    shown = ("reference",) if "reference" in getattr(editor.model, "conditions", ("reference",)) else ()
    with compilation_cache.counted() as compiles:
        for steps, window in parse_buckets(args.warm):
            for reference in (None, frame[0])[: 1 + len(shown)]:
                settings = {**_settings(args), "steps": steps, "window": window, "start": None, "end": None}
                editor.edit_video(frame, _words(editor.model), None, reference, progress=progress, **settings)
    return {
        "output": str(cache_folder("jax")),
        "compiled": compiles.made,
        "found": compiles.found,
    }


def parse_buckets(text: str) -> list[tuple[int | None, int | None]]:
    """(steps, frames of a window) of each bucket in a list such as "4,8,8x5"; None stands for the model's own, as for "".

    Raises:
      InputError: what isn't such a list.
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
    """A report in one line for people."""
    parts = [f'"{report["prompt"]}"']
    if report["strength"] < 1:
        parts.append(f"strength {report['strength']:g}")
    area = f"{report['mask_area']:.1%} of the picture" if report["mask_area"] < 1 else "the whole picture"
    parts.append(
        f"{area} for {report['edited_seconds']:.2f} s ({report['edited_from']:.2f} to {report['edited_to']:.2f})"
    )
    if "leak" in report:
        own = f" (the model's own picture: {report['leak_model']:.2f})" if report.get("leak_model") else ""
        parts.append(f"leak outside {report['leak']:.2f} levels{own}")
    return ", ".join([*parts, *_skips([report])])


def _skips(reports: list[dict]) -> list[str]:
    """What skipping steps saved and cost in these edits, a phrase; none where no steps were skipped."""
    reports = [report for report in reports if "skipped" in report]
    if not reports:
        return []
    share, snr = sum(r["skipped"] for r in reports) / len(reports), [r["skip_snr"] for r in reports]
    error = f"{min(snr)}" if min(snr) == max(snr) else f"{min(snr)} to {max(snr)}"
    return [f"{share:.0%} of steps skipped after the first windows, error {error} dB below the edit"]


def _check_scale(args: argparse.Namespace, lora: bool | None = None) -> None:
    """Refuses a weight for adapters where there are none; `lora`: whether any line of a manifest has one."""
    if args.lora_scale != 1 and not (args.lora or lora):
        raise InputError(
            "edit: --lora-scale expected an adapter with it, got none; add --lora, or leave it out"
        )


def _settings(args: argparse.Namespace) -> dict:
    return {f.name: getattr(args, f.name) for f in dataclasses.fields(EditSettings)}


def _editor(args: argparse.Namespace, model: Callable[[], object]):
    from v2v.pipeline.editor import EasyV2VEditor

    editor = EasyV2VEditor(model())
    for file, weight in _adapters(args):
        editor.load_lora_weights(file, weight)
    if args.skip:
        editor.model = editor.model.with_skip(args.skip)
    return editor


def _mesh(args: argparse.Namespace):
    """This process's devices, over which jobs are spread; None for one job at a time: one device, or steps skipped, which are chosen
    by what the first windows of a job did."""
    import jax

    from v2v.runtime.sharding import make_mesh

    devices = jax.local_devices()
    return None if len(devices) == 1 or args.skip else make_mesh(devices=devices)


def _adapters(args: argparse.Namespace) -> list[tuple[str, float]]:
    """Files of --lora and their weights. Raises InputError for a weight that is no finite number."""
    out = []
    for given in args.lora:
        file, equals, weight = given.rpartition("=")
        if not equals or Path(given).exists():
            file, weight = given, args.lora_scale
        try:
            out.append((file, float(weight)))
        except ValueError:
            raise InputError(f"--lora {given}: expected a number after =, such as {file}=0.5") from None
        if not math.isfinite(out[-1][1]):
            raise InputError(f"--lora {given}: expected a finite weight, got {weight}")
    return out


def _words(model) -> str:
    """A sentence the model knows a word of; which one is nothing to a compiler."""
    return "make it sepia" if len(model.embed_text(["make it sepia"])[1]) < 3 else "a"
