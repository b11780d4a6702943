"""What goes wrong with a request to a service, as the failures of experts."""

from __future__ import annotations

import email.utils
import http.client
import time
import urllib.error

from data_synth.experts.base import ExpertError, FailureKind


def find_http_failure(error: urllib.error.HTTPError) -> ExpertError:
    """Return the failure that an HTTP status means."""
    if error.code in (429, 502, 503, 504):
        wait = parse_retry_after(error.headers.get("Retry-After"))
        return ExpertError(f"answered HTTP {error.code}", FailureKind.BUSY, wait)
    if error.code in (401, 403, 404, 405):
        return ExpertError(f"answered HTTP {error.code}", FailureKind.ACCESS)
    kind = FailureKind.CRASH if error.code // 100 == 5 else FailureKind.REQUEST
    return ExpertError(f"answered HTTP {error.code}", kind)


def find_url_failure(error: OSError | http.client.HTTPException, seconds: float) -> ExpertError:
    """Return the failure of a request that got no HTTP status.

    Args:
      error: What urllib raised.
      seconds: Time limit of the request.
    """
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return ExpertError(f"took more than {seconds:g} s", FailureKind.TIMEOUT)
    if isinstance(error, urllib.error.URLError) and not isinstance(
        cause, ConnectionResetError | BrokenPipeError
    ):
        return ExpertError("cannot be reached", FailureKind.UNREACHABLE)
    return ExpertError("hung up", FailureKind.CRASH)


def parse_retry_after(value: str | None) -> float:
    """Return the seconds that a Retry-After header states as a number or a date; 0 where it states none."""
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(str(value)).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0
