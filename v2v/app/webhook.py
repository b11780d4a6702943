"""Webhooks: addresses that are told once a job has ended.

That an end has not been told is stored with the job, so that another worker tells it where the first was killed (`JobStore.claim_untold`). One that was
killed between the answer and that note is told a second time.
An address may be dead, slow, or answer one byte a minute, so each try has a time that covers all of it, and a few threads do the telling: no number
of bad addresses holds up a worker, or makes the process grow.
"""

import contextlib
import http.client
import json
import logging
import queue
import socket
import threading
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy.exc

from v2v.app.job import Job
from v2v.app.job_store import JobStore

logger = logging.getLogger(__name__)

# Seconds that an address has to answer, and how often it is tried.
TIMEOUT, TRIES = 10.0, 3
# Threads that tell, and ends that may wait for one; those beyond are told later.
_THREADS, _MOST_WAITING = 4, 1000


class WebhookCaller:
    """Tells addresses of ends, in threads that are started when the first has to be told."""

    def __init__(self, model: str, store: JobStore, worker: str):
        """Make one.

        Args:
          model: name of the server's model.
          store: knows which ends have been told.
          worker: name of the worker whose jobs these are.
        """
        self._model, self._store, self._worker = model, store, worker
        self._jobs: queue.Queue[Job] = queue.Queue(_MOST_WAITING)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        # Ids of the jobs that wait here.
        self._waiting: set[str] = set()

    def tell(self, job: Job) -> None:
        """Tell the address of a job that has ended, as soon as a thread is free."""
        with self._lock:
            if job.id in self._waiting:
                return
            try:
                self._jobs.put_nowait(job)
            except queue.Full:
                logger.warning("webhook of %s: told later, %d others wait", job.id, _MOST_WAITING)
                return
            self._waiting.add(job.id)
            if len(self._threads) < _THREADS:
                thread = threading.Thread(target=self._run, name="v2v webhook", daemon=True)
                self._threads.append(thread)
                thread.start()

    def take_over(self) -> None:
        """Tell the addresses that nobody tells: the worker that was to do it has ended, or had too many."""
        room = _MOST_WAITING - self._jobs.qsize()
        for job in self._store.claim_untold(self._worker, max(0, room)):
            self.tell(job)

    def wait(self, seconds: float) -> None:
        """Wait until all have been told, at most so long."""
        end = time.monotonic() + seconds
        while self._jobs.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.05)
        if self._jobs.unfinished_tasks:
            logger.warning("webhooks of %d jobs are left to the next worker", self._jobs.unfinished_tasks)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                if self._store.begin_telling(job.id, self._worker):
                    call_webhook(job, self._model)
                    self._store.end_telling(job.id, self._worker)
            except sqlalchemy.exc.SQLAlchemyError as error:
                logger.warning("webhook of %s: the store doesn't answer: %s", job.id, error)
            except Exception:  # the next is told all the same
                logger.exception("webhook of %s", job.id)
            finally:
                with self._lock:
                    self._waiting.discard(job.id)
                self._jobs.task_done()


def call_webhook(job: Job, model: str, timeout: float = TIMEOUT) -> bool:
    """Tell an address that a job has ended, as JSON; return whether it took it: an answer of 200 to 299.

    A redirect is no such answer: it could lead anywhere.

    Args:
      job: the job.
      model: name of the server's model.
      timeout: seconds of a try.
    """
    data: dict[str, Any] = {"type": f"video.{job.status}", "data": job.describe(model)}
    body = json.dumps(data).encode()
    for attempt in range(TRIES):
        try:
            status = _post(job.webhook, body, timeout)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = f"{type(error).__name__} {error}".strip()
        else:
            if 200 <= status < 300:
                return True
            reason = f"it answered {status}"
        logger.warning("webhook of %s, try %d of %d: %s", job.id, attempt + 1, TRIES, reason)
        if attempt + 1 < TRIES:
            time.sleep(2**attempt)
    return False


def _post(address: str, body: bytes, timeout: float) -> int:
    """Send a body to an address; return the status of the answer, which is not read further.

    Raises:
      OSError: nobody answers in time.
      HTTPException: what answers doesn't speak HTTP, or the address is malformed.
    """
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    is_late = threading.Event()

    def give_up() -> None:
        is_late.set()
        # The timeout of a socket is one of each call, of which there may be any number.
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout, give_up)
    timer.daemon = True
    timer.start()
    try:
        path = urllib.request.Request(address).selector or "/"
        connection.request("POST", path, body, {"Content-Type": "application/json", "User-Agent": "v2v"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        if is_late.is_set():
            raise TimeoutError(f"no answer within {timeout:g} s") from None
        raise
    finally:
        timer.cancel()
        connection.close()
