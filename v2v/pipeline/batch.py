"""Run many edits: `v2v edit --manifest jobs.jsonl --out DIR`, or `for result in run_jobs(...)`.

One editor serves all jobs, so that each shape is compiled once. A finished job leaves a record beside its output (`DIR/.jobs`)
under a hash of all its inputs: file contents, instruction, settings, weights. The same job is skipped when the list runs again.
A job that can't be read or fails is a failed result, and the others run. On a mesh as many jobs run at a time as it has devices
(`batched_model.py`), with the same results. Under `jax.distributed` each process runs every n-th job on its own devices, and
`gather_results` collects all results.
"""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
from jax.sharding import Mesh

from v2v import __version__
from v2v.checkpoints.adapters import embeddings_path
from v2v.errors import InputError, collect_notes
from v2v.pipeline import batched_model
from v2v.pipeline.editor import EasyV2VEditor, lora_context
from v2v.pipeline.manifest import Job
from v2v.pipeline.pretrained_model import Pretrained
from v2v.pipeline.settings import EditReport, EditRequest, add_skips
from v2v.video.file_checks import DEFAULT_FORMAT, check_output, error_reason
from v2v.video.inputs import FRAME_REFERENCE


class JobResult(TypedDict):
    """What became of a job: one line of `results.jsonl`."""

    line: int
    output: str
    status: Literal["done", "skipped", "failed"]
    # The reason of a failure, or "".
    error: str
    # Empty where the job failed.
    report: EditReport | dict[str, Any]
    notes: list[str]
    seconds: float


RECORDS_FOLDER = ".jobs"
RESULTS_FILE = "results.jsonl"
# Settings that the records of every version tell; a later one counts only where it isn't its default.
FIRST_SETTINGS = frozenset({
    "start", "end", "steps", "guidance", "guide", "strength", "seed", "preserve", "detail", "invert_mask", "soft", "window",
})  # fmt: skip
# Bytes read at a time; of weights, what is hashed at either end of each file.
BLOCK_BYTES = 1 << 20


def run_jobs(
    editor: EasyV2VEditor,
    jobs: Iterable[Job],
    out: str | Path,
    *,
    weights: str = "",
    progress: bool = False,
    mesh: Mesh | None = None,
) -> Iterator[JobResult]:
    """Run this process's share of the jobs; yield each result when the job ends.

    Args:
      editor: the editor of all jobs.
      jobs: the jobs of all processes.
      out: output folder; created if missing.
      weights: fingerprint of the editor's model (`fingerprint_weights`).
      progress: show progress bars of each job; only if jobs run one after the other.
      mesh: devices of this process, each of which runs a job at a time (batched_model.py); None to run jobs one after the
        other, as jobs with step skipping always run, since each clip chooses its own steps.

    Yields:
      what became of each job.

    Raises:
      InputError: the output folder can't be created.
    """
    out = Path(out)
    make_records_folder(out)
    part, parts = process_share()
    mine = mark_duplicates(jobs)[part::parts]

    def task(job: Job) -> Callable[[batched_model.BatchedModel], JobResult]:
        def run(model: batched_model.BatchedModel) -> JobResult:
            return run_job(editor.with_model(model), job, out, weights)

        return run

    embed_instructions(editor, mine, out)
    if mesh is None or mesh.size == 1 or editor.model.skipping is not None:
        yield from (run_job(editor, job, out, weights, progress) for job in mine)
        return
    yield from batched_model.run_tasks(editor.model, mesh, map(task, mine))


def make_records_folder(out: Path) -> None:
    """Make an output folder and that of its records.

    Raises:
      InputError: it can't be made.
    """
    try:
        (out / RECORDS_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: can't be made ({error_reason(error)}); choose another with --out") from None


def gather_results(results: list[JobResult]) -> list[JobResult]:
    """Return the results of all processes, ordered by line, in every process; every process must call it."""
    _, parts = process_share()
    if parts > 1:
        from jax.experimental import multihost_utils

        mine = np.frombuffer(json.dumps(results).encode(), np.uint8)
        sizes = np.atleast_1d(multihost_utils.process_allgather(np.array(len(mine)))).reshape(-1)
        padded = np.zeros(int(sizes.max()), np.uint8)
        padded[: len(mine)] = mine
        every = multihost_utils.process_allgather(padded).reshape(parts, -1)
        results = [r for row, size in zip(every, sizes, strict=True) for r in json.loads(bytes(row[:size]))]
    return sorted(results, key=lambda result: result["line"])


def process_share() -> tuple[int, int]:
    """Return this process's index and the number of processes of a `jax.distributed` job."""
    import jax

    return jax.process_index(), jax.process_count()


def fingerprint_weights(*weights: str | Path) -> str:
    """Hash weights by names, sizes and both ends of their files, so that large files aren't read completely."""
    digest = hashlib.sha256(__version__.encode())
    for root in map(Path, weights):
        for number, path in enumerate(_parts(root)):
            name = path.relative_to(root) if root.is_dir() else number
            digest.update(f"{name} {path.stat().st_size}".encode())
            with path.open("rb") as file:
                digest.update(file.read(BLOCK_BYTES))
                file.seek(max(0, path.stat().st_size - BLOCK_BYTES))
                digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()


def embed_instructions(editor: EasyV2VEditor, jobs: Sequence[Job], out: Path) -> None:
    """Embed the instructions of all jobs that have no record yet, so that a large text encoder is loaded once."""
    waiting = [job for job in jobs if not (out / RECORDS_FOLDER / f"{job.output}.json").exists()]
    texts = [job.request.instruction for job in waiting if job.request is not None and not job.error]
    model = editor.model
    # A model that brings its abilities is small, and asked in sentences of its own.
    if texts and isinstance(model, Pretrained) and model.conditions and model.abilities is None:
        model.embed_ahead(" ".join(text.split()) for text in texts)


def _parts(adapter: str | Path) -> list[Path]:
    """Return all files of a folder, or a file and the embeddings beside it; the path itself if none exist."""
    path = Path(adapter)
    paths = sorted(path.rglob("*")) if path.is_dir() else [path, embeddings_path(path)]
    return [part for part in paths if part.is_file()] or [path]


def mark_duplicates(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs; a job with the output of an earlier one gets an error, so that it can't overwrite it."""
    out, jobs_by_output = [], {}
    for job in jobs:
        if not job.error and jobs_by_output.setdefault(job.output, job) is not job:
            first = jobs_by_output[job.output].line
            error = f"line {job.line}: output {job.output} is line {first}'s too; name another"
            job = dataclasses.replace(job, error=error)
        out.append(job)
    return out


def run_job(editor: EasyV2VEditor, job: Job, out: Path, weights: str, progress: bool = False) -> JobResult:
    """Run one job, or find that it is done; errors become part of the result.

    Args:
      editor: the editor.
      job: the job.
      out: folder of the outputs.
      weights: fingerprint of the editor's model.
      progress: show progress bars.
    """
    start = time.perf_counter()
    with collect_notes() as notes:
        result = JobResult(
            line=job.line, output=str(out / job.output), status="failed", error=job.error, report={}, notes=notes, seconds=0.0
        )  # fmt: skip
        if job.request is not None and not job.error:
            try:
                _run(editor, job, job.request, out, weights, progress, result)
            except InputError as error:
                result["error"] = f"line {job.line}: " + " ".join(str(error).split())
            except Exception as error:  # an unexpected error must not stop the other jobs
                words = " ".join(str(error).split())
                result["error"] = f"line {job.line}: {job.request.video}: {type(error).__name__}: {words}"
    result["seconds"] = round(time.perf_counter() - start, 3)
    return result


def _run(
    editor: EasyV2VEditor,
    job: Job,
    request: EditRequest,
    out: Path,
    weights: str,
    progress: bool,
    result: JobResult,
) -> None:
    """Run one job, or find that it is done; fill in status, report and notes of its result."""
    output = check_output(out / job.output, job.output_format)
    skipping = editor.model.skipping
    key = _key(job, f"{weights} {skipping.tolerance if skipping else 0:g}")
    record = out / RECORDS_FOLDER / f"{job.output}.json"
    try:
        previous = json.loads(record.read_text())
        if previous["key"] == key and previous["bytes"] == _count_bytes(output):
            result["report"], result["notes"] = previous["report"], previous["notes"]
            result["status"] = "skipped"
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass  # the job never ran, or didn't finish
    record.unlink(missing_ok=True)
    with _added_adapters(editor, job):
        edited = editor.write(
            request,
            output,
            output_format=job.output_format,
            progress=progress,
            sampled=editor.model.release,
        )
    report = add_skips(edited.report, skipping)
    partial = record.with_suffix(".partial")
    record_content = {
        "key": key, "bytes": _count_bytes(output), "report": report, "notes": result["notes"],
    }  # fmt: skip
    partial.write_text(json.dumps(record_content))
    os.replace(partial, record)
    result["status"], result["report"] = "done", report


def _count_bytes(output: Path) -> int:
    """Return the size of an output, a file or a folder of frames."""
    return sum(path.stat().st_size for path in output.iterdir()) if output.is_dir() else output.stat().st_size


def _added_adapters(editor: EasyV2VEditor, job: Job):
    """Return a context manager that adds all adapters of a job to the editor."""
    stack = ExitStack()
    try:
        for file, weight in job.lora:
            stack.enter_context(lora_context(editor, file, weight))
        for file, weight, transformer in job.pairs:
            stack.enter_context(lora_context(editor, file, weight, transformer))
    except BaseException:
        stack.close()
        raise
    return stack


def _key(job: Job, weights: str) -> str:
    """Return a hash of everything that determines the output's bytes."""
    request = job.request
    assert request is not None, "a job that can't be read has no output"
    references: list[object] = list(request.references) or [None]
    moments = []
    for i, reference in enumerate(references):
        is_frame = isinstance(reference, str) and not Path(reference).exists()
        match = FRAME_REFERENCE.fullmatch(str(reference)) if is_frame else None
        references[i], moment = match.groups() if match else (reference, None)
        moments.append(moment)
    # One reference gives the keys that it gave in earlier versions.
    moment = moments[0] if len(moments) == 1 else moments
    files = [
        request.video,
        request.mask,
        *references,
        *(part for file, _ in job.lora for part in _parts(file)),
    ]
    if request.context is not None:
        files.append(request.context)
    files += [part for file, _, _ in job.pairs for part in _parts(file)]
    digest = hashlib.sha256(f"{__version__} {weights} {moment}".encode())
    for file in files:
        digest.update(b"|")
        if isinstance(file, str | Path) and Path(file).is_file():
            with open(file, "rb") as opened:
                while piece := opened.read(BLOCK_BYTES):
                    digest.update(piece)
        else:
            digest.update(str(file).encode())
    # Unknown to earlier versions.
    for name, value in (("first frame", request.first_frame), ("second video", request.second_video)):
        if value is None:
            continue
        digest.update(f"|{name}|".encode())
        if isinstance(value, str | Path) and Path(value).is_file():
            digest.update(Path(value).read_bytes())
        else:
            digest.update(str(value).encode())
    settings = {
        field.name: value
        for field in dataclasses.fields(request.settings)
        if (value := getattr(request.settings, field.name)) != field.default or field.name in FIRST_SETTINGS
    }
    if settings["detail"] == "auto":  # the default had this name in records of earlier versions
        settings["detail"] = "guided"
    other_inputs = [request.instruction, job.output, settings, [weight for _, weight in job.lora]]
    if job.pairs:
        other_inputs.append([other for _, *other in job.pairs])
    digest.update(json.dumps(other_inputs, sort_keys=True, default=float).encode())
    if job.output_format != DEFAULT_FORMAT:
        digest.update(repr(job.output_format).encode())
    return digest.hexdigest()
