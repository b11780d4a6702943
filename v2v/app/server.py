"""The HTTP interface, in the manner of OpenAI's videos: create, poll, fetch, delete, and a webhook at the end.

    POST   /v1/videos                multipart: video, prompt, optionally mask, reference, first_frame, second_video (files), settings, webhook
    GET    /v1/videos                the sender's jobs, newest first: limit, after, order
    GET    /v1/videos/ID             one job
    GET    /v1/videos/ID/content     the edited clip, once the job is completed
    POST   /v1/videos/ID/cancel      ends it; DELETE /v1/videos/ID also deletes its files
    GET    /healthz                  {"status": "ok"}, without a token
    GET    /                         the page (page_routes.py), which also uses what clip_routes.py and speech_routes.py list
/openapi.json describes it. Errors are {"error": {"message", "type", "code"}}: 400 bad input, 401 no token, 403 another site's page, 404 no such
job of the sender's, 408 too slow, 409 not completed, 413 too large, 429 too many (with Retry-After), 503 the store doesn't answer (with
Retry-After), 507 no disk left.
"""

import asyncio
import contextlib
import errno
import logging
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import sqlalchemy.exc
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteError
from starlette.middleware.cors import CORSMiddleware

from v2v import __version__
from v2v.app.access import DEFAULT_LIMITS, Limits, Tokens
from v2v.app.admission import UNFINISHED, Admission, body_size, disk_full
from v2v.app.api_error import ApiError
from v2v.app.clip_files import ClipFiles
from v2v.app.clip_routes import ClipService, add_clip_routes, expire
from v2v.app.head_requests import HeadRequests
from v2v.app.interface import (
    DeletedJob,
    Health,
    JobList,
    VideoJob,
    answers,
    describe_interface,
    describe_job_form,
)
from v2v.app.job import Job, is_id, new_id
from v2v.app.job_files import ROLES, JobFiles
from v2v.app.job_store import JobStore
from v2v.app.mask_tasks import MaskTasks, MaskTracker
from v2v.app.page_info import PageInfo
from v2v.app.page_routes import add_page_routes
from v2v.app.pointing import ColorFinder, ObjectFinder, PointingService
from v2v.app.request_body import LimitedBody
from v2v.app.speech import Transcriber
from v2v.app.speech_routes import SpeechService, add_speech_routes
from v2v.app.uploads import LimitError, check_clip, read_prompt, read_settings
from v2v.errors import InputError
from v2v.video.decoder import estimate_size
from v2v.video.mask_tracking import track_mask

logger = logging.getLogger(__name__)

# Seconds between deletions of what has expired.
_CLEANUP = 60.0
_MOST_FIELDS = 40
_MOST_LISTED = 100
# Seconds after which a folder that belongs to no job was left behind by a process that has ended, at least.
_FORGOTTEN = 3600.0
# Uploads that are decoded at the same time; others wait, and quick requests are answered meanwhile.
_MOST_DECODED = 8


def build_server(
    store: JobStore,
    files: JobFiles,
    *,
    model: str,
    tokens: Tokens,
    limits: Limits = DEFAULT_LIMITS,
    webhook_hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    info: PageInfo | None = None,
    tracker: MaskTracker = track_mask,
    transcriber: Transcriber | None = None,
    finder: ObjectFinder | None = None,
) -> FastAPI:
    """Return the application.

    Args:
      store: the queue.
      files: the jobs' files.
      model: name of the model that workers use.
      tokens: who may use it.
      limits: how much.
      webhook_hosts: hosts that may be told of ends; none by default, since a webhook is a request from inside.
      origins: web pages of other origins that may use it from a browser.
      info: what the page is told of the model; None for its name alone.
      tracker: carries painted masks through a clip.
      transcriber: writes down what is said; None for nothing.
      finder: finds the object at a place that is pointed at; None for one that goes by colors.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_delete_expired(store, service, limits))
        yield
        task.cancel()
        masks.close()

    app = FastAPI(title="v2v", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(LimitedBody, limit=limits.upload_bytes)
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["Authorization"]
        )
    app.add_middleware(HeadRequests)

    @app.exception_handler(ApiError)
    async def answer_error(request: Request, error: ApiError) -> JSONResponse:
        return error.answer()

    @app.exception_handler(InputError)
    async def answer_bad_input(request: Request, error: InputError) -> JSONResponse:
        status, code = (413, "too_large") if isinstance(error, LimitError) else (400, "bad_input")
        return ApiError(status, code, " ".join(str(error).split())).answer()

    @app.exception_handler(RequestValidationError)
    async def answer_bad_query(request: Request, error: RequestValidationError) -> JSONResponse:
        fault = error.errors()[0]
        return ApiError(400, "bad_input", f"{fault['loc'][-1]}: {fault['msg']}"[:300]).answer()

    @app.exception_handler(StarletteError)
    async def answer_http_error(request: Request, error: StarletteError) -> JSONResponse:
        return ApiError(error.status_code, "bad_request", str(error.detail)).answer()

    @app.exception_handler(sqlalchemy.exc.SQLAlchemyError)
    async def answer_lost_store(request: Request, error: sqlalchemy.exc.SQLAlchemyError) -> JSONResponse:
        logger.warning("%s %s: %s", request.method, request.url.path, " ".join(str(error).split())[:500])
        return ApiError(503, "store_away", "the server's store doesn't answer; come again", 10).answer()

    @app.exception_handler(OSError)
    async def answer_lost_disk(request: Request, error: OSError) -> JSONResponse:
        logger.warning("%s %s: %s", request.method, request.url.path, error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return disk_full().answer()
        return ApiError(503, "disk_away", "the server can't use its files; come again", 60).answer()

    @app.exception_handler(Exception)
    async def answer_fault(request: Request, error: Exception) -> JSONResponse:
        # It is logged by whoever called the application.
        text = f"{type(error).__name__}: the request failed; the server's log says where"
        return ApiError(500, "internal", text).answer()

    def identify(request: Request) -> str:
        """Return who sends a request."""
        origin = request.headers.get("origin")
        if origin and origin not in origins and _host_of(origin) != request.headers.get("host"):
            raise ApiError(
                403, "wrong_origin", f"pages of {origin[:200]} may not use this server; see --cors"
            )
        owner = tokens.find_owner(request.headers.get("authorization"))
        if owner is None:
            raise ApiError(401, "no_token", 'expected the header "Authorization: Bearer TOKEN"')
        return owner

    def find_job(id: str, owner: str) -> Job:
        job = store.find(id, owner) if is_id(id) else None
        if job is None:
            raise ApiError(404, "not_found", f"no job {id[:80]}")
        return job

    @app.get("/healthz", response_model=Health, responses=answers(is_open=True))
    def tell_health() -> dict[str, Any]:
        """Tell whether the store answers."""
        waiting, running = store.count(("queued",)), store.count(("in_progress",))
        return {"status": "ok", "model": model, "waiting": waiting, "in_progress": running}

    @app.post(
        "/v1/videos",
        response_model=VideoJob,
        responses=answers(400, 408, 413, 429, 507),
        openapi_extra=describe_job_form(),
    )
    async def create(request: Request) -> dict[str, Any]:
        """Send a clip to be edited."""
        owner = identify(request)
        with await anyio.to_thread.run_sync(admission.admit_job, owner, body_size(request)):
            async with request.form(max_files=len(ROLES), max_fields=_MOST_FIELDS) as form:
                texts, uploads = _split_form(form.multi_items())
                job = await anyio.to_thread.run_sync(accept, owner, texts, uploads, limiter=decoding)
        return job.describe(model)

    def accept(owner: str, texts: dict[str, str], uploads: dict[str, UploadFile]) -> Job:
        prompt, webhook = read_prompt(texts.pop("prompt", None)), texts.pop("webhook", "")
        choice = service.info.take_choice(texts)
        if webhook and not _is_webhook(webhook, webhook_hosts):
            raise InputError("webhook: this server tells no such address; see --webhook-host")
        id = new_id()
        try:
            files.folder(id).mkdir(mode=0o700)
            names, notes = service.link_files(owner, texts, files.folder(id)), []
            settings = read_settings(texts) | choice
            if ("video" in uploads) == ("video" in names):
                raise InputError(
                    "video: expected the clip as a file, or the id of one as clip, got none or both"
                )
            if "mask" in uploads and ("mask" in settings or "mask" in names):
                raise InputError("mask: expected a file or a name, got both")
            for role, upload in uploads.items():
                path = files.upload_path(id, role, upload.filename or "")
                with open(path, "xb") as target:
                    shutil.copyfileobj(upload.file, target, 1 << 20)
                notes += check_clip(path, role, limits)
                names[role] = path.name
            shape = "x".join(map(str, estimate_size(files.folder(id) / names["video"])))
            job = Job(id, owner, prompt, settings, names, notes=tuple(notes), webhook=webhook, shape=shape)
            return store.add(job)
        except BaseException:
            files.delete(id)
            raise

    @app.get("/v1/videos", response_model=JobList, responses=answers(400))
    def list_jobs(
        request: Request,
        limit: int = 20,
        cursor: Annotated[str, Query(alias="after")] = "",
        order: str = "desc",
    ) -> dict[str, Any]:
        """List the sender's jobs."""
        owner = identify(request)
        if not 1 <= limit <= _MOST_LISTED or order not in ("asc", "desc"):
            raise InputError(f"expected limit=1..{_MOST_LISTED} and order=asc or desc")
        jobs = store.list(owner, limit + 1, cursor, order == "desc")
        entries = [job.describe(model) for job in jobs[:limit]]
        return {
            "object": "list",
            "data": entries,
            "has_more": len(jobs) > limit,
            "first_id": entries[0]["id"] if entries else None,
            "last_id": entries[-1]["id"] if entries else None,
        }

    @app.get("/v1/videos/{id}", response_model=VideoJob, responses=answers(404))
    def tell(id: str, request: Request) -> dict[str, Any]:
        """Tell how far a job is."""
        return find_job(id, identify(request)).describe(model)

    @app.get(
        "/v1/videos/{id}/content",
        response_class=FileResponse,
        responses=answers(404, 409, file=("video/mp4", "image/png")),
    )
    def fetch(id: str, request: Request) -> FileResponse:
        """Send the edited clip."""
        job = find_job(id, identify(request))
        if job.status != "completed":
            raise ApiError(
                409, "not_completed", f"the job is {job.status}", 5 if job.status in UNFINISHED else 0
            )
        path = files.output(id)
        if not path.is_file():
            raise ApiError(404, "expired", "the clip has been deleted")
        kind = "image/png" if path.suffix == ".png" else "video/mp4"
        return FileResponse(path, media_type=kind, filename=f"{id}{path.suffix}")

    @app.post("/v1/videos/{id}/cancel", response_model=VideoJob, responses=answers(404))
    def cancel(id: str, request: Request) -> dict[str, Any]:
        """Cancel a job; one that has ended stays as it is."""
        owner = identify(request)
        find_job(id, owner)
        store.cancel(id)
        return find_job(id, owner).describe(model)

    @app.delete("/v1/videos/{id}", response_model=DeletedJob, responses=answers(404))
    def delete(id: str, request: Request) -> dict[str, Any]:
        """Cancel a job and delete all of it."""
        find_job(id, identify(request))
        store.cancel(id)
        store.delete(id)
        files.delete(id)
        return {"id": id, "object": "video.deleted", "deleted": True}

    masks, clips, speech = MaskTasks(tracker), ClipFiles(files.root), SpeechService(transcriber)
    admission = Admission(store, files, clips, limits)
    decoding = anyio.CapacityLimiter(_MOST_DECODED)
    service = ClipService(
        clips, masks, files, limits, info or PageInfo(model), speech, PointingService(finder or ColorFinder()), identify, admission, decoding,
        find_job,
    )  # fmt: skip
    add_clip_routes(app, service)
    add_speech_routes(app, speech, identify)
    add_page_routes(app)
    describe_interface(app, bool(tokens.names))
    return app


def _split_form(
    items: Sequence[tuple[str, UploadFile | str]],
) -> tuple[dict[str, str], dict[str, UploadFile]]:
    """Return the texts and the files of a form.

    Raises:
      InputError: a field given twice, a file of an unknown role, or a text where a file is needed.
    """
    texts: dict[str, str] = {}
    uploads: dict[str, UploadFile] = {}
    for name, value in items:
        if name in texts or name in uploads:
            raise InputError(f"{name[:80]}: expected once, got it twice")
        if isinstance(value, str):
            if name in ROLES and name != "mask":
                raise InputError(f"{name}: expected a file, got a text")
            texts[name] = value
        elif name in ROLES:
            uploads[name] = value
        else:
            raise InputError(f"{name[:80]}: no such file; known are {', '.join(ROLES)}")
    return texts, uploads


async def _delete_expired(store: JobStore, service: ClipService, limits: Limits) -> None:
    """Delete jobs that ended long ago, and clips that nobody uses, now and then."""

    def delete() -> None:
        for id in store.find_expired(time.time() - limits.keep_seconds):
            store.delete(id)
            service.files.delete(id)
        for id in service.files.find_forgotten(time.time() - max(_FORGOTTEN, limits.keep_seconds)):
            if store.find(id) is None:
                service.files.delete(id)
        expire(service)

    while True:
        try:
            await anyio.to_thread.run_sync(delete)
        except (sqlalchemy.exc.SQLAlchemyError, OSError) as error:  # next time, perhaps
            logger.warning("what has expired can't be deleted: %s", " ".join(str(error).split())[:500])
        await asyncio.sleep(_CLEANUP)


def _host_of(origin: str) -> str | None:
    """Return the host and port of an Origin header; None for what is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_webhook(address: str, hosts: Sequence[str]) -> bool:
    """Return whether an address is one of HTTP on one of some hosts."""
    try:
        parts = urlsplit(address)
        return (
            parts.scheme in ("http", "https")
            and parts.hostname in hosts
            and parts.port != 0
            and address.isascii()
            and address.isprintable()
            and " " not in address
        )
    except ValueError:
        return False
