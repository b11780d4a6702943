"""The files of jobs: a folder for each, whose names are ours; nothing that a sender calls a file becomes a path."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from v2v.app.clip_files import read_facts
from v2v.app.job import NAMES, Job, is_id
from v2v.errors import InputError
from v2v.pipeline.settings import EditRequest, EditSettings

# Roles of uploads, and the most common forms of their suffixes; others are stored without one.
ROLES = ("video", "mask", "reference", "first_frame", "second_video")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")
# Names of the result in a job's folder.
OUTPUT, PICTURE = "output.mp4", "output.png"


class JobFiles:
    """The folder of all jobs.

    Attributes:
      root: the folder; workers on several machines share it.
    """

    def __init__(self, root: str | Path):
        """Create the folder, readable by nobody else.

        Raises:
          InputError: it can't be written.
        """
        self.root = Path(root)
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self.root / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"--files {root}: expected a folder that can be written, got: {error.strerror}; name another"
            ) from None

    def folder(self, id: str) -> Path:
        """Return the folder of a job.

        Raises:
          ValueError: no id of ours.
        """
        if not is_id(id):
            raise ValueError(f"no id of a job: {id!r}")
        return self.root / id

    def output(self, id: str) -> Path:
        """Return the path of a job's result: a clip, or a picture where a picture was looked at before it was edited."""
        facts = read_facts(self.folder(id))
        return self.folder(id) / (PICTURE if facts is not None and facts["facts"]["frames"] == 1 else OUTPUT)

    def upload_path(self, id: str, role: str, sent_name: str) -> Path:
        """Return where an upload is stored: ROLE with the suffix that it was sent with, if that is a plain one."""
        return self.folder(id) / (role + self.suffix_of(sent_name))

    def suffix_of(self, sent_name: str) -> str:
        """Return the ending of an upload's name, "" for one that isn't plain."""
        suffix = Path(sent_name).suffix.lower()
        return suffix if _SUFFIX.fullmatch(suffix) else ""

    def request(self, job: Job) -> EditRequest:
        """Return the edit of a job.

        Raises:
          InputError: a setting that no longer fits.
        """
        folder = self.folder(job.id)
        paths = {role: folder / name for role, name in job.files.items()}
        named_mask = job.settings.get("mask")
        settings = {name: value for name, value in job.settings.items() if name not in NAMES}
        return EditRequest(
            paths["video"],
            job.prompt,
            paths.get("mask", named_mask),
            paths.get("reference"),
            EditSettings.of(**settings),
            first_frame=paths.get("first_frame"),
            second_video=paths.get("second_video"),
        )

    def bytes_used(self) -> int:
        """Return the bytes of all jobs' files."""
        total = 0
        for path in self.root.rglob("*"):
            try:
                total += path.stat().st_size if path.is_file() else 0
            except OSError:  # deleted meanwhile
                continue
        return total

    def find_forgotten(self, deadline: float) -> Sequence[str]:
        """Return the ids of folders that nothing was added to or taken from since a time."""
        ids = []
        for path in self.root.glob("video_*"):
            try:
                if is_id(path.name) and path.stat().st_mtime < deadline:
                    ids.append(path.name)
            except OSError:  # deleted meanwhile
                continue
        return ids

    def delete(self, id: str) -> None:
        """Delete the files of a job."""
        shutil.rmtree(self.folder(id), ignore_errors=True)
