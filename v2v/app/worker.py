"""The worker: takes jobs from the store, edits, and stores how each ended.

Jobs of one shape may be taken together: each is edited in a thread of its own, and their calls of the model are computed in one batch
(`pipeline/batched_model.py`). A job that is canceled, or taken over by another worker since this one was silent for too long, is left at the next
step of the sampler or report of its progress; the others of its batch go on.
Decoding happens in a child process under limits (`v2v/video/decoding_process.py`), so a damaged upload can't end the worker.
"""

import contextlib
import dataclasses
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy.exc

from v2v.app.job import Job
from v2v.app.job_files import JobFiles
from v2v.app.job_store import JobStore
from v2v.app.model_choice import EditorShelf
from v2v.app.webhook import WebhookCaller
from v2v.errors import InputError, collect_notes
from v2v.pipeline import batched_model
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.model import EditingModel
from v2v.pipeline.pretrained_model import Pretrained
from v2v.pipeline.progress import EditCanceledError, EditProgress
from v2v.runtime import allocator
from v2v.runtime.compiled_programs import bound_programs

logger = logging.getLogger(__name__)

# Compiled programs that stay in memory: those of about fifteen sizes and lengths of clips.
MOST_PROGRAMS = 128
# Seconds between looks into an empty queue, and between reports of a job.
IDLE, REPORT = 0.5, 0.3
# Seconds that are left for webhooks when a worker stops.
WEBHOOK_SECONDS = 5.0
# Seconds after which a store that doesn't answer is tried again.
AWAY = 5.0
# Progress in percent at the beginning and the end of each stage.
_STAGE_RANGES = {"masks": (0.0, 10.0), "windows": (10.0, 80.0), "clips": (10.0, 80.0), "frames": (80.0, 99.0)}


class JobMonitor:
    """Stores how far a job is, and finds out whether it is to end.

    Attributes:
      is_lost: whether it is canceled, or another worker has it.
    """

    def __init__(self, job: Job, worker: str, store: JobStore, stop: threading.Event):
        """Watch a job of a worker, which ends once `stop` is set."""
        self._job, self._worker, self._store, self._stop = job, worker, store, stop
        self._percent, self._stage, self._last = 0.0, "", 0.0
        self.is_lost = False

    def report(self, progress: EditProgress) -> None:
        """Store the progress; as a progress function (progress.py).

        Raises:
          EditCanceledError: the job is to end.
        """
        low, high = _STAGE_RANGES.get(progress.stage, (0.0, 99.0))
        self._percent = low + (high - low) * progress.done / max(1, progress.total)
        self._stage = f"{progress.stage} {progress.done:g} of {progress.total}"
        if self.is_set():
            raise EditCanceledError

    def is_set(self) -> bool:
        """Return whether the job is to end; as `cancel` of the editor. Renews its lease."""
        if self._stop.is_set() or self.is_lost:
            return True
        # A few times a second at most: every report is a commit.
        if time.monotonic() - self._last >= REPORT:
            try:
                self.is_lost = not self._store.report(self._job.id, self._worker, self._percent, self._stage)
            except sqlalchemy.exc.SQLAlchemyError as error:
                # What was computed so far isn't thrown away; at the end the store must answer.
                logger.warning("%s: its progress can't be stored: %s", self._job.id, _first_line(error))
            self._last = time.monotonic()
        return self.is_lost


class Worker:
    """Does jobs until it is stopped.

    Attributes:
      name: its name in the store.
    """

    def __init__(
        self,
        editor: EasyV2VEditor,
        store: JobStore,
        files: JobFiles,
        model: str,
        shelf: EditorShelf | None = None,
        batch: int = 1,
    ):
        """Make a worker.

        Args:
          editor: does the edits.
          store: the queue.
          files: the jobs' files.
          model: name of the model, for webhooks.
          shelf: editors of other models and of adapters, which jobs may choose; None for none.
          batch: most jobs of one shape that are done together, as far as they fit into memory.
        """
        # In a container the process that is started after a crash has the name and the number of the one before.
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._editor, self._store, self._files = editor, store, files
        self._shelf = shelf
        self._batch = batch
        self._stop = threading.Event()
        self._jobs: Sequence[Job] = ()
        self._webhooks = WebhookCaller(model, store, self.name)

    def stop(self) -> None:
        """Stop after the current frame; its job goes back to the queue."""
        self._stop.set()

    def give_back(self) -> None:
        """Give the jobs back to the queue that are still being done, such as those for which a program is compiled."""
        for job in self._jobs:
            with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
                self._store.release(job.id, self.name)

    def run(self) -> None:
        """Do jobs until `stop` is called."""
        next_look = time.monotonic()
        while not self._stop.is_set():
            try:
                if time.monotonic() >= next_look:
                    self._webhooks.take_over()
                    next_look = time.monotonic() + self._store.lease / 2
                self._jobs = self._store.claim_batch(self.name, self._batch)
                if self._jobs:
                    self.do_together(self._jobs)
                    self._jobs = ()
                    self._tidy()
                else:
                    self._stop.wait(IDLE)
            except sqlalchemy.exc.SQLAlchemyError as error:
                logger.warning("the store doesn't answer, trying again in %g s: %s", AWAY, _first_line(error))
                self._stop.wait(AWAY)
            except Exception:  # the jobs are taken again once their leases have run out
                logger.exception("%d jobs are left", len(self._jobs))
                self._stop.wait(AWAY)
        self._webhooks.wait(WEBHOOK_SECONDS)

    def _tidy(self) -> None:
        """Keep memory from growing with the number of jobs and of their shapes."""
        bound_programs(MOST_PROGRAMS)
        # A compilation leaves hundreds of megabytes that were freed; milliseconds beside a batch.
        allocator.return_free_memory()

    def do_together(self, jobs: Sequence[Job]) -> None:
        """Do jobs that this worker has claimed, their calls of the model in one batch where they are equal."""
        if len(jobs) == 1:
            self.do(jobs[0])
            return

        def task(job: Job) -> Callable[[EditingModel], None]:
            return lambda model: self.do(job, model)

        with contextlib.ExitStack() as stack:
            for job in jobs:  # also while a model is loaded
                stack.enter_context(self._renewed_lease(job))
            try:
                model = self._find_editor(jobs[0]).model
            except Exception:  # each job tells it
                model = None
            # Step skipping adapts to each clip.
            if model is None or model.skipping is not None:
                for job in jobs:
                    self.do(job)
                return
            for _ in batched_model.run_tasks(model, None, map(task, jobs), fitting_batch(model, self._batch)):
                pass

    def do(self, job: Job, model: EditingModel | None = None) -> None:
        """Do one job that this worker has claimed.

        Args:
          job: the job.
          model: what it is edited with; None for what it chooses.
        """
        try:
            self._edit(job, model)
        except sqlalchemy.exc.SQLAlchemyError as error:
            logger.warning("%s is left, its store doesn't answer: %s", job.id, _first_line(error))

    def _edit(self, job: Job, model: EditingModel | None) -> None:
        """Edit, and store how it ended.

        Raises:
          SQLAlchemyError: the store doesn't answer; the job is taken again once its lease has run out.
        """
        monitor = JobMonitor(job, self.name, self._store, self._stop)
        notes: list[str] = []
        error_text, report = "", None
        try:
            with self._renewed_lease(job), collect_notes() as notes:
                editor = self._find_editor(job) if model is None else self._editor.with_model(model)
                result = editor.write(
                    self._files.request(job),
                    self._files.output(job.id),
                    progress=monitor.report,
                    cancel=monitor if _has_cheap_steps(editor.model) else None,
                    sampled=editor.model.release,
                )
            report = dict(result.report)
        except EditCanceledError:
            if monitor.is_lost:
                logger.info("%s is left: canceled, or done by another worker", job.id)
                self._discard(job)
            else:
                self._store.release(job.id, self.name)
            return
        except InputError as error:
            error_text = self._hide_paths(str(error), job)
        except Exception as error:  # whatever an edit raises, the worker goes on with the next
            logger.exception("%s failed", job.id)
            error_text = f"{type(error).__name__}: the edit failed; the server's log says where"
        ended = self._end(job, error_text, [self._hide_paths(note, job) for note in notes], report)
        if ended is None:
            self._discard(job)
        elif ended.webhook:
            self._webhooks.tell(ended)

    def _end(self, job: Job, error: str, notes: Sequence[str], report: dict[str, Any] | None) -> Job | None:
        """Store how a job ended, also where the store is away for less than its lease; as `JobStore.end`."""
        deadline = time.monotonic() + self._store.lease
        while True:
            try:
                return self._store.end(job, self.name, error=error, notes=notes, report=report)
            except sqlalchemy.exc.SQLAlchemyError as failure:
                if time.monotonic() + AWAY > deadline or self._stop.is_set():
                    raise
                logger.warning("the end of %s can't be stored yet: %s", job.id, _first_line(failure))
                self._stop.wait(AWAY)

    def _discard(self, job: Job) -> None:
        """Delete the result of a job that was canceled too late for it to stop, and all files of one that was deleted meanwhile."""
        stored = self._store.find(job.id)
        if stored is None:
            self._files.delete(job.id)
        elif stored.status == "canceled":
            self._files.output(job.id).unlink(missing_ok=True)

    def _find_editor(self, job: Job) -> EasyV2VEditor:
        """Return the editor of a job.

        Raises:
          InputError: the model or adapter that it chooses can't be loaded.
        """
        return self._editor if self._shelf is None else self._shelf.find_editor(job.settings)

    @contextlib.contextmanager
    def _renewed_lease(self, job: Job):
        """Renew the lease during a block, also while a program is compiled and nothing is reported."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(self._store.lease / 4):
                with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
                    self._store.renew(job.id, self.name)

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _hide_paths(self, text: str, job: Job) -> str:
        """Return a message or note without the server's folders."""
        for folder in (self._files.folder(job.id), self._files.root):
            text = text.replace(f"{folder}{os.sep}", "")
        return " ".join(text.split())


def _first_line(error: Exception) -> str:
    """Return what a database says, without the statement."""
    return str(error).partition("\n")[0][:300]


def _has_cheap_steps(model: EditingModel) -> bool:
    """Return whether sampling step by step costs little: not where keys and values of the conditions would be computed in each."""
    return model.config.condition.attention == "full"


def fitting_batch(model: EditingModel, limit: int) -> int:
    """Return how many jobs fit into the device's memory together, at most `limit`; 1 for a model that doesn't fit as it is."""
    if not isinstance(model, Pretrained):
        return limit
    rows = model.config.batch
    while limit > 1 and not model.plan_memory(limit * rows).fits:
        limit -= 1
    return limit


@dataclasses.dataclass
class WorkerThread:
    """A worker in a thread of this process.

    Attributes:
      worker: it.
      thread: runs it.
    """

    worker: Worker
    thread: threading.Thread

    @classmethod
    def start(cls, worker: Worker) -> "WorkerThread":
        """Start a worker."""
        thread = threading.Thread(target=worker.run, name="v2v worker", daemon=True)
        thread.start()
        return cls(worker, thread)

    def stop(self, timeout: float = 60.0) -> None:
        """Stop it, and wait for that, at most so many seconds; what it still does then goes back to the queue."""
        self.worker.stop()
        self.thread.join(timeout)
        if self.thread.is_alive():
            self.worker.give_back()
