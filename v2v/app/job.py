"""One edit that somebody asked the server for: its state, and what the HTTP interface tells of it.

    queued -> in_progress -> completed | failed          queued, in_progress -> canceled
A job whose worker ends goes back from in_progress to queued (`JobStore.claim`).
"""

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any, Literal, get_args

Status = Literal["queued", "in_progress", "completed", "failed", "canceled"]
STATUSES: tuple[Status, ...] = get_args(Status)
# Settings that are no fields of `EditSettings`: names of a mask source or a box, of a model, and of an adapter.
NAMES = ("mask", "model", "lora")
FINAL: tuple[Status, ...] = ("completed", "failed", "canceled")
_ID = re.compile(r"video_[0-9a-f]{32}")
# Settings in which jobs of one batch may differ: none of them changes what the sampler computes, or how often.
_FREE_SETTINGS = frozenset({"seed", "mask", "amount", "soft", "invert_mask", "preserve", "anyway"})


@dataclass(frozen=True)
class Job:
    """One edit.

    Attributes:
      id: "video_" and 32 random hexadecimal digits; nobody guesses another's.
      owner: name of the token it was sent with.
      prompt: the instruction.
      settings: fields of `EditSettings`.
      files: names in the job's folder by role: "video", "mask", "reference", "first_frame", "second_video".
      status: where it is.
      progress: 0 to 100.
      stage: what the worker does, such as "windows 3 of 7"; "" before and after, "webhook" while that has not been told.
      error: why it failed.
      notes: what the edit noted.
      report: settings and measurements of the finished edit.
      webhook: address that is told once the job has ended; "" for none.
      attempts: how often a worker has begun it.
      created: seconds since 1970.
      ended: seconds since 1970; 0 while it has not.
      shape: frames, height and width of the clip, as in "9x64x64", by its header; "" where nobody looked.
      batch: number of jobs that were begun together with it, itself included; 0 before.
    """

    id: str
    owner: str
    prompt: str
    settings: dict[str, Any]
    files: dict[str, str]
    status: Status = "queued"
    progress: float = 0.0
    stage: str = ""
    error: str = ""
    notes: tuple[str, ...] = ()
    report: dict[str, Any] | None = None
    webhook: str = ""
    attempts: int = 0
    created: float = 0.0
    ended: float = 0.0
    shape: str = ""
    batch: int = 0

    def batch_key(self) -> str:
        """Return a text that is equal for jobs whose calls of the model can be computed in one batch."""
        settings = {name: value for name, value in self.settings.items() if name not in _FREE_SETTINGS}
        # Of a text to lead away from it matters that there is one.
        settings["negative"] = bool(settings.get("negative"))
        has_mask = "mask" in self.files or "mask" in self.settings
        return json.dumps([self.shape, settings, sorted({*self.files} - {"mask"}), has_mask], sort_keys=True)

    def describe(self, model: str) -> dict[str, Any]:
        """Return what the HTTP interface tells, in the field names of OpenAI's videos."""
        return {
            "id": self.id,
            "object": "video",
            "model": self.settings.get("model", model),
            "status": self.status,
            "progress": round(self.progress),
            "stage": self.stage,
            "prompt": self.prompt,
            "settings": self.settings,
            "created_at": int(self.created),
            "completed_at": int(self.ended) or None,
            "error": {"code": self.status, "message": self.error} if self.error else None,
            "notes": list(self.notes),
            "report": self.report,
            "batch": self.batch,
        }


def new_id() -> str:
    """Return the id of a new job."""
    return f"video_{secrets.token_hex(16)}"


def is_id(text: str) -> bool:
    """Return whether a text is the id of a job."""
    return _ID.fullmatch(text) is not None
