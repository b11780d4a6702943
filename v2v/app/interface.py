"""What /openapi.json says of the HTTP interface: the shapes of its answers, its errors, and the bodies that it takes.

Routes name what they answer: `responses=answers(...)` for errors and files, a model as `response_model` for JSON, `openapi_extra=form(...)` or `json_body(...)`
for bodies that they read themselves. `describe_interface` adds tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter

from v2v.app.job import Status
from v2v.pipeline.settings import EditSettings

BINARY = {"type": "string", "format": "binary"}
# What each status means, wherever it is answered.
_MEANINGS = {
    400: "bad input; the message says what was expected", 401: "no token of this server, `Authorization: Bearer TOKEN`",
    403: "a web page of another origin", 404: "no such thing, or somebody else's", 408: "the body came too slowly",
    409: "the job is not completed; Retry-After where it may be", 413: "too large, long or many frames", 416: "no such part of the file",
    429: "too many or too fast; Retry-After says when to come again", 500: "a fault of the server; its log says where",
    501: "nothing here writes down speech", 502: "the service that writes down speech doesn't answer",
    503: "the store or the disk doesn't answer; Retry-After says when to come again", 507: "the disk is full",
}  # fmt: skip
# Statuses that every route with a token may answer.
_COMMON = (401, 403, 500, 503)
_DESCRIPTION = (
    "Edits of video clips by instructions, in the manner of OpenAI's videos: create a job, ask for it until it is completed, fetch its clip. Jobs and clips are "
    "deleted some time after their end. HEAD is answered wherever GET is."
)


class ErrorDetails(BaseModel):
    """What went wrong."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    code: str


class ErrorAnswer(BaseModel):
    """An error."""

    error: ErrorDetails


class Health(BaseModel):
    """A server that is well."""

    status: Literal["ok"]
    model: str
    waiting: int
    in_progress: int


class EndError(BaseModel):
    """Why a job or a mask failed."""

    code: str
    message: str


class VideoJob(BaseModel):
    """A job."""

    id: str
    object: Literal["video"]
    model: str
    status: Status
    progress: int
    stage: str
    prompt: str
    settings: dict[str, Any]
    created_at: int
    completed_at: int | None
    error: EndError | None
    notes: list[str]
    report: dict[str, Any] | None
    batch: int


class JobList(BaseModel):
    """A page of the list of jobs."""

    object: Literal["list"]
    data: list[VideoJob]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedJob(BaseModel):
    """A job that is gone."""

    id: str
    object: Literal["video.deleted"]
    deleted: Literal[True]


class ClipDetails(BaseModel):
    """Size and times of a clip."""

    width: int
    height: int
    fps: float
    frames: int
    duration: float
    begin: float
    times: list[float]
    thumbnails: int


class Clip(ClipDetails):
    """A clip that lies on the server."""

    id: str
    object: Literal["clip"]
    notes: list[str]


class JobClip(ClipDetails):
    """The clip that a job edits."""

    painted: bool


class DeletedClip(BaseModel):
    """A clip that is gone."""

    id: str
    object: Literal["clip.deleted"]
    deleted: Literal[True]


class Mask(BaseModel):
    """A mask, or how far it is."""

    id: str
    object: Literal["mask"]
    clip: str
    status: Status
    progress: int
    error: EndError | None
    moves: bool
    area: float
    notes: list[str]


class Keyframe(BaseModel):
    """A painted frame; `bits` are those of the rows from the upper left corner, eight a byte with the first highest, in base64."""

    frame: int
    width: int
    height: int
    bits: str


class PointedArea(Keyframe):
    """The mask of what a line points at."""

    kind: str
    area: float


class PaintedMask(BaseModel):
    """Painted frames; `follow` carries them through the clip."""

    keyframes: list[Keyframe]
    follow: bool = True


class NamedMask(BaseModel):
    """A place by its name, such as "person"."""

    source: str


class Line(BaseModel):
    """A line over a frame; points are shares of its width and height."""

    frame: int
    points: list[tuple[float, float]]


class Sentence(BaseModel):
    """An instruction, and what else the edit will be given."""

    prompt: str
    mask: str = ""
    reference: bool = False


class Plan(BaseModel):
    """What the model will be given, one text an edit; empty for the sentence as typed."""

    edits: list[str]


class Command(BaseModel):
    """The `v2v edit` line of a job, and the names of the files that it takes, by role."""

    command: str
    files: dict[str, str]


class Transcription(BaseModel):
    """What was said."""

    text: str


def answers(
    *statuses: int, file: Sequence[str] = (), is_open: bool = False
) -> dict[int | str, dict[str, Any]]:
    """Return what a route answers beside its JSON, as FastAPI takes it.

    Args:
      statuses: of its errors, beside those that every route with a token has.
      file: media types of a file that it sends.
      is_open: it needs no token.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    if file:
        content = {kind: {"schema": BINARY} for kind in file}
        responses[200] = {"description": "the file", "content": content}
        responses[206] = {"description": "the part of it that Range names", "content": content}
        statuses = (*statuses, 416)
    common = (500, 503) if is_open else _COMMON
    for status in sorted({*statuses, *common}):
        responses[status] = {"description": _MEANINGS[status], "model": ErrorAnswer}
        if status in (409, 429, 503, 507):
            responses[status]["headers"] = {
                "Retry-After": {"description": "seconds", "schema": {"type": "integer"}}
            }
    if 416 in responses:
        responses[416] = {
            "description": _MEANINGS[416],
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    return responses


def form(
    properties: Mapping[str, Any], required: Sequence[str] = (), description: str = ""
) -> dict[str, Any]:
    """Return the description of a multipart form, by the JSON schemas of its fields."""
    schema: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    if required:
        schema["required"] = list(required)
    if description:
        schema["description"] = description
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def json_body(*models: type[BaseModel]) -> dict[str, Any]:
    """Return the description of a JSON body, of one of some shapes."""
    references = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in models]
    schema = references[0] if len(models) == 1 else {"anyOf": references}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe_job_form() -> dict[str, Any]:
    """Return the description of the form that a job is made of."""
    settings = TypeAdapter(EditSettings).json_schema()
    text = {"type": "string"}
    fields = {
        "video": {**BINARY, "description": "the clip; or clip names one that is here"},
        "prompt": {**text, "description": "the edit, as a sentence"},
        "mask": {
            "anyOf": [BINARY, text],
            "description": "a picture or clip, white where to edit; or a box x,y,w,h, a place such as person, or the id of a mask of the clip",
        },
        "reference": {**BINARY, "description": "a picture of how it should look"},
        "first_frame": {**BINARY, "description": "the first frame, edited"},
        "second_video": {**BINARY, "description": "a further clip, for models that take two"},
        "clip": {**text, "description": "id of a clip that is here, in place of video"},
        "model": {**text, "description": "one of the models that /v1/page lists"},
        "lora": {**text, "description": "one of the adapters that /v1/page lists, NAME or NAME=WEIGHT"},
        "webhook": {**text, "format": "uri", "description": "address that is told of the end by POST of {type, data}"},
    }  # fmt: skip
    return form(fields | settings["properties"], ["prompt"], settings["description"])


def describe_interface(app: FastAPI, has_tokens: bool) -> None:
    """Let an application describe its tokens, and leave out what it never answers.

    Args:
      app: the application, with all routes.
      has_tokens: it asks for tokens.
    """
    build = app.openapi
    app.description = _DESCRIPTION

    def describe() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = build()
        schemas = document["components"]["schemas"]
        for model in (Keyframe, PaintedMask, NamedMask, Line, Sentence):
            schemas.setdefault(
                model.__name__, model.model_json_schema(ref_template="#/components/schemas/{model}")
            )
            schemas[model.__name__].pop("$defs", None)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                if path != "/healthz":
                    operation["security"] = [{"token": []}] if has_tokens else [{}, {"token": []}]
        return document

    app.openapi = describe
