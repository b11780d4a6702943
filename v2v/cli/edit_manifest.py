"""`v2v edit --manifest`: many clips, on the devices of this process, of a job of several, or by Apache Beam."""

import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from v2v.cli.beam_arguments import BeamOptions
from v2v.cli.edit_model import ModelOptions, build_clip_mesh, build_mesh, require_adapter
from v2v.cli.edit_report import format_skips, tell_memory
from v2v.pipeline.settings import check_combination
from v2v.video.inputs import FRAME_REFERENCE

if TYPE_CHECKING:  # heavy imports wait until the input is checked
    from v2v.pipeline.manifest import ManifestDefaults


def make_absolute(
    defaults: "ManifestDefaults", model: ModelOptions
) -> tuple["ManifestDefaults", ModelOptions]:
    """Return both with absolute paths, for workers that have working folders of their own."""
    reference = defaults.reference
    if reference is not None:
        reference = tuple(map(_absolute, reference)) if isinstance(reference, tuple) else _absolute(reference)
    defaults = dataclasses.replace(
        defaults, mask=defaults.mask and _absolute(defaults.mask), reference=reference
    )
    adapters = tuple((_absolute(file), weight) for file, weight in model.adapters)
    pairs = tuple((_absolute(file), *others) for file, *others in model.pairs)
    return defaults, dataclasses.replace(model, path=_absolute(model.path), adapters=adapters, pairs=pairs)


def _absolute(name: str) -> str:
    """Return the absolute path of an existing file or folder, or of a frame of one; other names as they are."""
    match = FRAME_REFERENCE.fullmatch(name)
    exists = Path(name).exists() or (match is not None and Path(match[1]).exists())
    return str(Path(name).absolute()) if exists and name not in ("embedded", "sample") else name


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
        require_adapter(
            defaults.lora_scale,
            bool(model.adapters or model.pairs) or any(job.lora or job.pairs for job in jobs),
        )
    parallel_jobs = model.mesh.get("data", 1) * model.mesh.get("fsdp", 1)
    worker_options = model
    if beam is not None:
        mesh, model = None, dataclasses.replace(model, mesh={})
    elif model.mesh and parallel_jobs > 1:  # several devices a job, several jobs at a time
        mesh, model = build_clip_mesh(model.mesh), dataclasses.replace(model, mesh={})
    else:
        mesh = None if model.skip or model.mesh else build_mesh()
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
