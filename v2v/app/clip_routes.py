"""What a page needs beside the jobs: clips that lie on the server, previews, masks, and the files and the command of a job.

    POST   /v1/clips                          multipart: video (a file), or sample=true, or job=ID and part=source or result
    GET    /v1/clips/ID                       size, frame times; DELETE deletes it
    GET    /v1/clips/ID/preview               a small MP4 of key frames alone; /strip and /thumbnail are JPEGs
    POST   /v1/clips/ID/masks                 JSON (mask_tasks.read_order): begins a mask
    GET    /v1/clips/ID/masks/MASK            how far it is; /content is its file; POST .../cancel ends it
    POST   /v1/clips/ID/pointings             JSON (pointing.py): the mask of what a line over a frame points at
    GET    /v1/videos/ID/files/ROLE           what a job was made of: video, mask, reference, first_frame, preview, strip, thumbnail
    GET    /v1/videos/ID/clip                 size and frame times of the clip that it edits; /painted are the painted frames of its mask
    GET    /v1/videos/ID/command              the `v2v edit` line that makes the same clip
    GET    /v1/page                           the model and what it can do
    POST   /v1/instructions                   JSON {"prompt"}: what the model will be given, or why it can't do that
A job is made of a clip by POST /v1/videos with clip=ID in place of the video, and mask=MASK for a mask made here.
"""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse

from v2v.app.access import Limits
from v2v.app.admission import Admission, body_size
from v2v.app.api_error import ApiError
from v2v.app.clip_files import FACTS, PAINTED_FRAMES, ClipFiles, StoredClip, read_facts, write_facts
from v2v.app.clip_preview import PREVIEW, STRIP, THUMBNAIL, ClipFacts, PreviewWriter
from v2v.app.edit_command import format_command
from v2v.app.interface import (
    BINARY,
    Clip,
    Command,
    DeletedClip,
    JobClip,
    Line,
    Mask,
    NamedMask,
    PaintedMask,
    Plan,
    PointedArea,
    Sentence,
    answers,
    form,
    json_body,
)
from v2v.app.job import Job
from v2v.app.job_files import JobFiles
from v2v.app.mask_tasks import MOST_WAITING, MaskTask, MaskTasks, read_order
from v2v.app.page_info import PageInfo
from v2v.app.pointing import PointingService
from v2v.app.speech_routes import SpeechService
from v2v.app.uploads import check_clip, read_prompt
from v2v.assets import SAMPLE
from v2v.errors import InputError
from v2v.video.decoder import StreamInfo

# What there is to see of a clip: names of files and their media types.
_VIEWS = {
    "preview": (PREVIEW, "video/mp4"), "strip": (STRIP, "image/jpeg"), "thumbnail": (THUMBNAIL, "image/jpeg"),
}  # fmt: skip
# Fields of the form that a clip is sent in: one of the first three.
_CLIP_FORM = {
    "video": BINARY,
    "sample": {"type": "string", "description": "anything, for the clip that comes with v2v"},
    "job": {"type": "string", "description": "id of a job, for its clip"},
    "part": {
        "type": "string",
        "enum": ["source", "result"],
        "default": "result",
        "description": "of the job",
    },
}


@dataclass(frozen=True)
class ClipService:
    """What the routes of clips are made of.

    Attributes:
      clips: the clips.
      masks: makes masks.
      files: the jobs' files.
      limits: of the server.
      info: the model.
      speech: writes down what is said.
      pointing: tells what a line points at.
      identify: returns who sends a request.
      admission: knows whether there is room.
      decoding: limits how many uploads are decoded at the same time.
      find_job: returns a job of an owner.
      lock: held while a job's preview is written.
    """

    clips: ClipFiles
    masks: MaskTasks
    files: JobFiles
    limits: Limits
    info: PageInfo
    speech: SpeechService
    pointing: PointingService
    identify: Callable[[Request], str]
    admission: Admission
    decoding: anyio.CapacityLimiter
    find_job: Callable[[str, str], Job]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def find_clip(self, id: str, owner: str) -> StoredClip:
        """Return a clip of an owner.

        Raises:
          ApiError: there is none.
        """
        clip = self.clips.find(id, owner)
        if clip is None:
            raise ApiError(404, "not_found", f"no clip {id[:80]}")
        return clip

    def find_mask(self, clip: StoredClip, id: str) -> MaskTask:
        """Return a mask of a clip.

        Raises:
          ApiError: there is none.
        """
        task = self.masks.find(id, clip.owner)
        if task is None or task.clip != clip.id:
            raise ApiError(404, "not_found", f"no mask {id[:80]}")
        return task

    def store(self, owner: str, write: Callable[[Path], Path]) -> StoredClip:
        """Store a clip, looked at from its beginning to its end.

        Args:
          owner: whose.
          write: writes the clip into a folder; returns its path.

        Raises:
          InputError: it can't be decoded, or is too long or too large.
        """
        folder = self.clips.new_folder()
        try:
            path = write(folder)
            facts, notes = self.look_at(path, folder)
            return self.clips.add(folder, owner, path.name, facts, tuple(notes))
        except BaseException:
            self.clips.delete(folder.name)
            raise

    def look_at(self, path: Path, folder: Path) -> tuple[ClipFacts, list[str]]:
        """Write the preview of a clip into a folder; return its facts and notes."""
        info, count = StreamInfo(), 0
        with PreviewWriter(folder) as writer:

            def append(frame: np.ndarray) -> None:
                nonlocal count
                writer.append(frame, info.times[count] - info.times[0])
                count += 1

            notes = check_clip(path, "video", self.limits, info, append)
            return writer.complete(info), notes

    def link_job(self, job: Job, is_source: bool, folder: Path) -> Path:
        """Give a folder the clip that a job edits, or its result; return its path.

        Raises:
          InputError: it isn't there.
        """
        source = self.files.folder(job.id) / job.files["video"] if is_source else self.files.output(job.id)
        if not source.is_file() or not (is_source or job.status == "completed"):
            raise InputError("job: expected one whose clip is there; it has not ended well, or was deleted")
        return link(source, folder / f"video{source.suffix}")

    def find_views(self, job: Job) -> dict[str, Any]:
        """Return what is known of the clip that a job edits; its preview is written where the job came without one.

        Raises:
          ApiError: the clip isn't there any more.
        """
        folder = self.files.folder(job.id)
        with self.lock:
            if read_facts(folder) is None:
                path = folder / job.files["video"]
                if not path.is_file():
                    raise ApiError(404, "expired", "the clip has been deleted")
                facts, _ = self.look_at(path, folder)
                write_facts(folder, job.owner, path.name, facts, ())
        return (read_facts(folder) or {})["facts"]

    def link_files(self, owner: str, texts: dict[str, str], folder: Path) -> dict[str, str]:
        """Give a job the files of a clip and of a mask that its form names, which are taken out of the form.

        Args:
          owner: of the job.
          texts: fields of the form.
          folder: of the job.

        Returns:
          Names of files by role.

        Raises:
          InputError: no such clip or mask of this owner.
        """
        id = texts.pop("clip", "")
        if not id:
            return {}
        clip = self.clips.find(id, owner)
        if clip is None:
            raise InputError(f"clip: no clip {id[:80]} is here (any more); send it again")
        names = {"video": clip.video}
        if texts.get("mask", "").startswith("mask_"):
            mask = texts.pop("mask")
            path = clip.find_mask(mask)
            if path is None:
                raise InputError("mask: no such mask of this clip; make it again")
            if clip.painted_path(mask).is_file():
                link(clip.painted_path(mask), folder / PAINTED_FRAMES)
            names["mask"] = f"mask{path.suffix}"
            link(path, folder / names["mask"])
        for name in (clip.video, PREVIEW, STRIP, THUMBNAIL, FACTS):
            link(clip.folder / name, folder / name)
        return names


def add_clip_routes(app: FastAPI, service: ClipService) -> None:
    """Add the routes to an application."""
    identify, find_clip, find_mask = service.identify, service.find_clip, service.find_mask

    @app.get("/v1/page", responses=answers())
    def tell_page(request: Request) -> dict[str, Any]:
        """Tell what the model can do, and whether speech is written down here."""
        identify(request)
        return service.info.describe(service.limits) | {
            "speech": service.speech.describe(),
            "finder": service.pointing.finder.name,
        }

    @app.post(
        "/v1/instructions",
        response_model=Plan,
        responses=answers(400, 408, 413),
        openapi_extra=json_body(Sentence),
    )
    async def plan(request: Request) -> dict[str, Any]:
        """Tell what the model will be given for a sentence."""
        identify(request)
        content = await _read_json(request)
        prompt = read_prompt(content.get("prompt") if isinstance(content.get("prompt"), str) else None)
        mask = str(content.get("mask") or "")
        steps = service.info.plan(
            prompt, bool(mask), mask.startswith(("text", "subtitles")), bool(content.get("reference"))
        )
        return {"edits": steps}

    @app.post(
        "/v1/clips",
        response_model=Clip,
        responses=answers(400, 404, 408, 413, 429, 507),
        openapi_extra=form(_CLIP_FORM),
    )
    async def add(request: Request) -> dict[str, Any]:
        """Send a clip to be looked at."""
        owner = identify(request)
        with await anyio.to_thread.run_sync(service.admission.admit_clip, owner, body_size(request)):
            async with request.form(max_files=1, max_fields=2) as form:
                video, sample, job, part = (form.get(name) for name in ("video", "sample", "job", "part"))

                def write(folder: Path) -> Path:
                    if isinstance(job, str):
                        return service.link_job(service.find_job(job, owner), part == "source", folder)
                    if isinstance(sample, str):
                        return link(SAMPLE, folder / f"sample{SAMPLE.suffix}")
                    if video is None or isinstance(video, str):
                        raise InputError("video: expected the clip as a file, got none")
                    path = folder / f"video{service.files.suffix_of(video.filename or '')}"
                    with open(path, "xb") as target:
                        shutil.copyfileobj(video.file, target, 1 << 20)
                    return path

                clip = await anyio.to_thread.run_sync(service.store, owner, write, limiter=service.decoding)
        return clip.describe()

    @app.get("/v1/clips/{id}", response_model=Clip, responses=answers(404))
    def tell(id: str, request: Request) -> dict[str, Any]:
        """Tell a clip's size and times."""
        return find_clip(id, identify(request)).describe()

    @app.delete("/v1/clips/{id}", response_model=DeletedClip, responses=answers(404))
    def delete(id: str, request: Request) -> dict[str, Any]:
        """Delete a clip; jobs that edit it keep theirs."""
        find_clip(id, identify(request))
        service.clips.delete(id)
        return {"id": id, "object": "clip.deleted", "deleted": True}

    @app.get(
        "/v1/clips/{id}/{view}",
        response_class=FileResponse,
        responses=answers(404, file=("video/mp4", "image/jpeg")),
    )
    def show(id: str, view: str, request: Request) -> FileResponse:
        """Send the preview or the strip of thumbnails."""
        clip = find_clip(id, identify(request))
        if view not in _VIEWS:
            raise ApiError(404, "not_found", f"no {view[:80]} of a clip; there are {', '.join(_VIEWS)}")
        name, kind = _VIEWS[view]
        return FileResponse(clip.folder / name, media_type=kind)

    @app.post(
        "/v1/clips/{id}/masks",
        response_model=Mask,
        responses=answers(400, 404, 408, 413, 429, 507),
        openapi_extra=json_body(PaintedMask, NamedMask),
    )
    async def begin_mask(id: str, request: Request) -> dict[str, Any]:
        """Begin a mask."""
        owner = identify(request)
        clip = find_clip(id, owner)
        order = read_order(await _read_json(request), clip)
        if service.masks.count_waiting(owner) >= MOST_WAITING:
            raise ApiError(429, "too_many_masks", f"{MOST_WAITING} of your masks have not ended", 5)
        await anyio.to_thread.run_sync(service.admission.check_disk)
        return service.masks.start(clip, order).describe()

    @app.get("/v1/clips/{id}/masks/{mask}", response_model=Mask, responses=answers(404))
    def tell_mask(id: str, mask: str, request: Request) -> dict[str, Any]:
        """Tell how far a mask is."""
        return find_mask(find_clip(id, identify(request)), mask).describe()

    @app.post("/v1/clips/{id}/masks/{mask}/cancel", response_model=Mask, responses=answers(404))
    def cancel_mask(id: str, mask: str, request: Request) -> dict[str, Any]:
        """End a mask; one that has ended stays as it is."""
        task = find_mask(find_clip(id, identify(request)), mask)
        service.masks.cancel(task)
        return task.describe()

    @app.get(
        "/v1/clips/{id}/masks/{mask}/content",
        response_class=FileResponse,
        responses=answers(404, file=("image/png", "video/mp4")),
    )
    def show_mask(id: str, mask: str, request: Request) -> FileResponse:
        """Send the file of a mask, PNG or MP4."""
        clip = find_clip(id, identify(request))
        path = clip.find_mask(mask)
        if path is None:
            raise ApiError(404, "not_found", f"no mask {mask[:80]}")
        return FileResponse(path, media_type="image/png" if path.suffix == ".png" else "video/mp4")

    @app.post(
        "/v1/clips/{id}/pointings",
        response_model=PointedArea,
        responses=answers(400, 404, 408, 413, 429),
        openapi_extra=json_body(Line),
    )
    async def point(id: str, request: Request) -> dict[str, Any]:
        """Tell what a line over a frame points at."""
        clip, content = find_clip(id, identify(request)), await _read_json(request)
        return await anyio.to_thread.run_sync(service.pointing.point, clip, content)

    @app.get("/v1/videos/{id}/command", response_model=Command, responses=answers(404))
    def tell_command(id: str, request: Request) -> dict[str, Any]:
        """Tell the line that makes the same clip, and the files that it takes."""
        job = service.find_job(id, identify(request))
        output = f"edited{service.files.output(job.id).suffix}"
        return {"command": format_command(job, service.info, output), "files": job.files}

    @app.get(
        "/v1/videos/{id}/files/{role}",
        response_class=FileResponse,
        responses=answers(400, 404, 413, file=("application/octet-stream", "video/mp4", "image/jpeg")),
    )
    def show_file(id: str, role: str, request: Request) -> FileResponse:
        """Send a file that a job was made of."""
        job = service.find_job(id, identify(request))
        if role in _VIEWS:
            service.find_views(job)
            name, kind = _VIEWS[role]
        else:
            name, kind = job.files.get(role, "missing"), None
        path = service.files.folder(job.id) / name
        if not path.is_file():
            raise ApiError(404, "not_found", f"no {role[:80]} of this job")
        return FileResponse(path, media_type=kind, filename=name)

    @app.get("/v1/videos/{id}/clip", response_model=JobClip, responses=answers(400, 404, 413))
    def tell_clip(id: str, request: Request) -> dict[str, Any]:
        """Tell size and times of the clip that a job edits, and whether its mask was painted."""
        job = service.find_job(id, identify(request))
        painted = (service.files.folder(job.id) / PAINTED_FRAMES).is_file()
        return service.find_views(job) | {"painted": painted}

    @app.get(
        "/v1/videos/{id}/painted",
        response_class=FileResponse,
        responses=answers(404, file=("application/json",)),
    )
    def show_painted(id: str, request: Request) -> FileResponse:
        """Send the painted frames of a job's mask, as they were sent."""
        path = service.files.folder(service.find_job(id, identify(request)).id) / PAINTED_FRAMES
        if not path.is_file():
            raise ApiError(404, "not_found", "no painted mask of this job")
        return FileResponse(path, media_type="application/json")


def link(source: Path, target: Path) -> Path:
    """Give a file a second name; copy it where the disk can't."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
    return target


async def _read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request's body.

    Raises:
      InputError: anything else.
    """
    try:
        content = await request.json()
    except (ValueError, RecursionError):
        raise InputError("expected a JSON object as body") from None
    if not isinstance(content, dict):
        raise InputError("expected a JSON object as body")
    return content


def expire(service: ClipService) -> None:
    """Delete clips that nobody has used for long."""
    service.clips.delete_unused(time.time() - service.limits.keep_seconds)
