"""Answers of the HTTP interface that are errors."""

from fastapi.responses import JSONResponse


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str, retry_after: int = 0):
        """Make one.

        Args:
          status: HTTP status.
          code: short name for programs.
          message: for people.
          retry_after: seconds after which it may go well; 0 for never.
        """
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    def answer(self) -> JSONResponse:
        """Return the answer."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else None
        body = {"error": {"message": self.message, "type": kind, "code": self.code}}
        return JSONResponse(body, self.status, headers)
