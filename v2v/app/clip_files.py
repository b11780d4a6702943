"""Clips that lie on the server to be looked at, masked and edited: a folder for each, beside those of the jobs.

A clip has an owner, who alone can use it. A job that edits it has files of its own (hard links where the disk can), so either may be deleted.
"""

import json
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2v.app.clip_preview import ClipFacts

FACTS = "clip.json"
# What the mask of a job was painted like, in its folder.
PAINTED_FRAMES = "painted.json"
_ID = re.compile(r"clip_[0-9a-f]{32}")
_MASK_ID = re.compile(r"mask_[0-9a-f]{32}")


@dataclass(frozen=True)
class StoredClip:
    """A clip on the server.

    Attributes:
      id: "clip_" and 32 random hexadecimal digits.
      owner: name of the token it was sent with.
      folder: of its files.
      video: name of the clip's file there.
      facts: what a page must know, as JSON has it.
      notes: what was noted while it was read.
    """

    id: str
    owner: str
    folder: Path
    video: str
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()

    def find_mask(self, id: str) -> Path | None:
        """Return the file of a mask; None where there is none."""
        if not _MASK_ID.fullmatch(id):
            return None
        return next((path for s in (".png", ".mp4") if (path := self.folder / f"{id}{s}").is_file()), None)

    def painted_path(self, id: str) -> Path:
        """Return where the painted frames of a mask are stored, which exists for masks that were painted."""
        return self.folder / f"{id}.json"

    def describe(self) -> dict[str, Any]:
        """Return what the HTTP interface tells."""
        return {"id": self.id, "object": "clip", **self.facts, "notes": list(self.notes)}


class ClipFiles:
    """The folders of all clips.

    Attributes:
      root: the folder that holds them, that of the jobs.
    """

    def __init__(self, root: Path):
        """Take the folder, which exists."""
        self.root = root

    def new_folder(self) -> Path:
        """Create the folder of a clip; it is one once `add` has been called."""
        folder = self.root / f"clip_{secrets.token_hex(16)}"
        folder.mkdir(mode=0o700)
        return folder

    def add(
        self, folder: Path, owner: str, video: str, facts: ClipFacts, notes: tuple[str, ...]
    ) -> StoredClip:
        """Make a clip of a folder whose files are complete."""
        write_facts(folder, owner, video, facts, notes)
        return StoredClip(folder.name, owner, folder, video, facts.to_json(), notes)

    def find(self, id: str, owner: str) -> StoredClip | None:
        """Return a clip; None where there is none, or it is somebody else's."""
        if not _ID.fullmatch(id):
            return None
        folder = self.root / id
        content = read_facts(folder)
        if content is None or content["owner"] != owner:
            return None
        (folder / FACTS).touch()  # it is in use
        return StoredClip(id, owner, folder, content["video"], content["facts"], tuple(content["notes"]))

    def count(self, owner: str, since: float = 0.0) -> int:
        """Return how many clips of an owner were used since a time."""
        total = 0
        for path in self.root.glob(f"clip_*/{FACTS}"):
            try:
                if path.stat().st_mtime >= since and json.loads(path.read_text())["owner"] == owner:
                    total += 1
            except (OSError, ValueError):  # deleted meanwhile
                continue
        return total

    def delete(self, id: str) -> None:
        """Delete a clip."""
        if _ID.fullmatch(id):
            shutil.rmtree(self.root / id, ignore_errors=True)

    def delete_unused(self, deadline: float) -> None:
        """Delete clips that nobody has used since a time, and what is left of uploads that were broken off before."""
        for folder in self.root.glob("clip_*"):
            facts = folder / FACTS
            try:
                if (facts if facts.exists() else folder).stat().st_mtime < deadline:
                    self.delete(folder.name)
            except OSError:
                continue


def write_facts(folder: Path, owner: str, video: str, facts: ClipFacts, notes: tuple[str, ...]) -> None:
    """Write what is known of the clip in a folder, at once."""
    content = {"owner": owner, "video": video, "facts": facts.to_json(), "notes": notes}
    partial = folder / f".{FACTS}"
    partial.write_text(json.dumps(content))
    partial.replace(folder / FACTS)


def read_facts(folder: Path) -> dict[str, Any] | None:
    """Read what is known of the clip in a folder; None where nothing is."""
    try:
        return json.loads((folder / FACTS).read_text())
    except (OSError, ValueError):
        return None


def new_mask_id() -> str:
    """Return the id of a new mask."""
    return f"mask_{secrets.token_hex(16)}"
