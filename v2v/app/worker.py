"""The worker: takes jobs from the store one after the other, edits, and stores how each ended.

A job that is canceled, or taken over by another worker since this one was silent for too long, is left at the next report of its progress.
Decoding happens in a child process under limits (`v2v/video/decoding_process.py`), so a damaged upload can't end the worker.
"""

import contextlib
import dataclasses
import json
import logging
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from v2v.app.job import Job
from v2v.app.job_files import JobFiles
from v2v.app.job_store import JobStore
from v2v.app.model_choice import EditorShelf
from v2v.errors import InputError, collect_notes
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.progress import EditCanceledError, EditProgress

logger = logging.getLogger(__name__)

# Seconds between looks into an empty queue.
IDLE = 0.5
# Progress in percent at the beginning and the end of each stage.
_STAGE_RANGES = {"masks": (0.0, 10.0), "windows": (10.0, 80.0), "clips": (10.0, 80.0), "frames": (80.0, 99.0)}
# Seconds that an address of a webhook has to answer, and how often it is tried.
_WEBHOOK_TIMEOUT, _WEBHOOK_TRIES = 10.0, 3


class JobLostError(Exception):
    """The job is canceled, or another worker has it."""


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
    ):
        """Make a worker.

        Args:
          editor: does the edits.
          store: the queue.
          files: the jobs' files.
          model: name of the model, for webhooks.
          shelf: editors of other models and of adapters, which jobs may choose; None for none.
        """
        self.name = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
        self._editor, self._store, self._files, self._model = editor, store, files, model
        self._shelf = shelf
        self._stop = threading.Event()

    def stop(self) -> None:
        """Stop after the current frame; its job goes back to the queue."""
        self._stop.set()

    def run(self) -> None:
        """Do jobs until `stop` is called."""
        while not self._stop.is_set():
            job = self._store.claim(self.name)
            if job is None:
                self._stop.wait(IDLE)
            else:
                self.do(job)

    def do(self, job: Job) -> None:
        """Do one job that this worker has claimed."""
        notes: list[str] = []
        try:
            with self._renewed_lease(job), collect_notes() as notes:
                result = self._find_editor(job).write(
                    self._files.request(job), self._files.output(job.id), progress=self._reporter(job)
                )
            ended = self._store.end(job, self.name, notes=notes, report=dict(result.report))
        except JobLostError:
            logger.info("%s is left: canceled, or done by another worker", job.id)
            return
        except EditCanceledError:
            self._store.release(job.id, self.name)
            return
        except InputError as error:
            ended = self._store.end(job, self.name, error=self._hide_paths(str(error)), notes=notes)
        except Exception as error:  # whatever an edit raises, the worker goes on with the next
            logger.exception("%s failed", job.id)
            text = f"{type(error).__name__}: the edit failed; the server's log says where"
            ended = self._store.end(job, self.name, error=text, notes=notes)
        if ended is not None and ended.webhook:
            threading.Thread(target=call_webhook, args=(ended, self._model), daemon=True).start()

    def _find_editor(self, job: Job) -> EasyV2VEditor:
        """Return the editor of a job.

        Raises:
          InputError: the model or adapter that it chooses can't be loaded.
        """
        return self._editor if self._shelf is None else self._shelf.find_editor(job.settings)

    def _reporter(self, job: Job) -> Callable[[EditProgress], None]:
        last = [0.0]

        def report(progress: EditProgress) -> None:
            if self._stop.is_set():
                raise EditCanceledError
            # A few times a second at most: every report is a commit.
            if time.monotonic() - last[0] < 0.3:
                return
            last[0] = time.monotonic()
            low, high = _STAGE_RANGES.get(progress.stage, (0.0, 99.0))
            percent = low + (high - low) * progress.done / max(1, progress.total)
            stage = f"{progress.stage} {progress.done:g} of {progress.total}"
            if not self._store.report(job.id, self.name, percent, stage):
                raise JobLostError

        return report

    @contextlib.contextmanager
    def _renewed_lease(self, job: Job):
        """Renew the lease during a block, also while a program is compiled and nothing is reported."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(self._store.lease / 4):
                self._store.renew(job.id, self.name)

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _hide_paths(self, text: str) -> str:
        """Return a message without the server's folders."""
        return " ".join(text.replace(f"{self._files.root}{os.sep}", "").split())


def call_webhook(job: Job, model: str) -> bool:
    """Tell an address that a job has ended, as JSON; return whether it answered."""
    data: dict[str, Any] = {"type": f"video.{job.status}", "data": job.describe(model)}
    request = urllib.request.Request(
        job.webhook, json.dumps(data).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    # Redirects could lead anywhere.
    opener = urllib.request.build_opener(_NoRedirects)
    for attempt in range(_WEBHOOK_TRIES):
        try:
            with opener.open(request, timeout=_WEBHOOK_TIMEOUT):
                return True
        except OSError as error:
            logger.warning("webhook of %s: %s", job.id, error)
            time.sleep(2**attempt)
    return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


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
        """Stop it, and wait for that."""
        self.worker.stop()
        self.thread.join(timeout)
