"""Webhooks: addresses that are told once a job has ended.

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

from v2v.app.job import Job

logger = logging.getLogger(__name__)

# Seconds that an address has to answer, and how often it is tried.
TIMEOUT, TRIES = 10.0, 3
# Threads that tell, and ends that may wait for one; those beyond are not told.
_THREADS, _MOST_WAITING = 4, 1000


class WebhookCaller:
    """Tells addresses of ends, in threads that are started when the first has to be told."""

    def __init__(self, model: str):
        """Make one.

        Args:
          model: name of the server's model.
        """
        self._model = model
        self._jobs: queue.Queue[Job] = queue.Queue(_MOST_WAITING)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def tell(self, job: Job) -> None:
        """Tell the address of a job that has ended, as soon as a thread is free."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            logger.warning("webhook of %s: not told, %d others wait", job.id, _MOST_WAITING)
            return
        with self._lock:
            if len(self._threads) < _THREADS:
                thread = threading.Thread(target=self._run, name="v2v webhook", daemon=True)
                self._threads.append(thread)
                thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until all have been told, at most so long."""
        end = time.monotonic() + seconds
        while self._jobs.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.05)
        if self._jobs.unfinished_tasks:
            logger.warning("webhooks of %d jobs were not told", self._jobs.unfinished_tasks)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                call_webhook(job, self._model)
            except Exception:  # the next is told all the same
                logger.exception("webhook of %s", job.id)
            finally:
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
