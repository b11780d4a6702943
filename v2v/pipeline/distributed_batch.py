"""Edits of a manifest under Apache Beam: the jobs of batch.py, spread by a runner over processes or machines.

job numbers → `distributed_jobs.run_jobs` → **edit, write output, record and result** → results in the order of lines

A worker loads the model at its first job and keeps it; it runs one job at a time, on all its devices. Each job is that of `batch.run_job`, with its record
beside its output, so a manifest that was begun on one machine goes on under Beam and the other way round, and a job that a runner calls
again after a worker was killed is not edited twice. Workers see the folder of `--out` and all inputs under the same paths, as on a network
file system. What becomes of a job is a file in a folder of this run until the run ends: runners pass on exceptions' texts alone.
"""

import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from v2v.errors import InputError
from v2v.pipeline import batch
from v2v.pipeline.batch import JobResult
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.manifest import Job
from v2v.runtime import distributed_jobs

# Editors of this process by run: a worker of a runner runs jobs in several threads, which share the devices.
_EDITORS: dict[str, EasyV2VEditor] = {}
_DEVICES = threading.Lock()


@dataclass(frozen=True)
class _JobRunner:
    """Runs jobs by number; picklable when `load_editor` is.

    Attributes:
      jobs: the jobs.
      out: folder of the outputs, absolute.
      run: name of this run's folder in that of the records.
      weights: fingerprint of the model.
      load_editor: loads the model.
    """

    jobs: tuple[Job, ...]
    out: Path
    run: str
    weights: str
    load_editor: Callable[[], EasyV2VEditor]

    @property
    def folder(self) -> Path:
        """Return the folder of the results of this run."""
        return self.out / batch.RECORDS_FOLDER / self.run

    def result_file(self, number: int) -> Path:
        """Return the file of a job's result."""
        return self.folder / f"{number}.json"

    def __call__(self, number: int) -> None:
        """Run a job and write what became of it, unless an earlier call did."""
        with _DEVICES:
            if self.result_file(number).exists():
                return
            result = batch.run_job(self._editor(), self.jobs[number], self.out, self.weights)
            partial = self.folder / f"{number}.{uuid.uuid4().hex}.partial"
            partial.write_text(json.dumps(result))
            os.replace(partial, self.result_file(number))

    def _editor(self) -> EasyV2VEditor:
        """Return this process's editor."""
        if self.run not in _EDITORS:
            _EDITORS.clear()
            editor = self.load_editor()
            batch.embed_instructions(editor, self.jobs, self.out)
            _EDITORS[self.run] = editor
        return _EDITORS[self.run]


def run_jobs(
    load_editor: Callable[[], EasyV2VEditor],
    jobs: Sequence[Job],
    out: str | Path,
    *,
    weights: str = "",
    workers: int = 1,
    options: Sequence[str] = (),
) -> Iterator[JobResult]:
    """Run jobs under Beam, and yield the result of each when all have ended.

    Args:
      load_editor: loads the model, once in each worker; picklable.
      jobs: the jobs; paths in them are those that workers see.
      out: output folder, which all workers see; created if missing.
      weights: fingerprint of the model (`batch.fingerprint_weights`).
      workers: number of local processes.
      options: options of Beam, as on its command line.

    Yields:
      what became of each job, in order.

    Raises:
      InputError: the output folder can't be created, Beam is not installed or does not know an option, or the runner failed, or left jobs without a result;
        what it finished is kept.
    """
    batch.make_records_folder(Path(out))
    runner = _JobRunner(
        tuple(batch.mark_duplicates(jobs)),
        Path(out).absolute(),
        f"run-{uuid.uuid4().hex}",
        weights,
        load_editor,
    )
    runner.folder.mkdir()
    failure = None
    try:
        try:
            distributed_jobs.run_jobs(runner, [range(len(runner.jobs))], workers, options)
        except distributed_jobs.RunnerFailedError as error:
            failure = error
        missing = sum(not runner.result_file(number).exists() for number in range(len(runner.jobs)))
        if missing:
            reason = str(failure) if failure else "--beam: the runner finished"
            raise InputError(
                f"{reason}; {missing} of {len(runner.jobs)} jobs left no result in {out}; expected a folder that all workers share with this "
                "machine; run the same command again, it does what is missing"
            )
        for number, job in enumerate(runner.jobs):
            result: JobResult = json.loads(runner.result_file(number).read_text())
            result["output"] = str(Path(out) / job.output)
            yield result
    finally:
        _EDITORS.pop(runner.run, None)
        shutil.rmtree(runner.folder, ignore_errors=True)
