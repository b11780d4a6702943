"""Serves a study to raters: each has a link of their own, votes are on the disk before they are acknowledged, and a reload goes on where one was.

GET  /r/TOKEN                     the page
GET  /r/TOKEN/trials              what the rater sees and has answered, JSON; which method is which isn't in it
GET  /r/TOKEN/clips/TRIAL/ROLE    source, left or right of a trial, MP4
POST /r/TOKEN/votes               {"trial", "question", "choice", "seconds"}
GET  /healthz                     {"status": "ok"}
"""

import json
from typing import Any, get_args

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from v2v import __version__
from v2v.errors import InputError
from v2v.evaluation.html_page import fill_page
from v2v.evaluation.study import QUESTIONS, Role, Study
from v2v.evaluation.vote_store import CHOICES, Rater, VoteStore

# Of one vote.
MOST_BYTES = 4096
SCRIPTS = ("player.js", "vote.js")
# The link is a secret: other sites, and whoever looks at a cache, don't get it.
HEADERS = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Frame-Options": "DENY"}


def build_vote_server(study: Study, store: VoteStore) -> FastAPI:
    """Return the application.

    Args:
      study: what is shown.
      store: raters and votes.
    """
    app = FastAPI(title="v2v vote", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    page = fill_page("vote", "Which edit is better?", {"choices": CHOICES}, {}, SCRIPTS)

    @app.exception_handler(InputError)
    async def answer_bad_input(request: Request, error: InputError) -> JSONResponse:
        return _error(400, " ".join(str(error).split()))

    @app.exception_handler(HTTPException)
    async def answer_http_error(request: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail))

    def find_rater(token: str) -> Rater:
        rater = store.find_rater(token)
        if rater is None:
            raise HTTPException(404, "no such link; ask whoever sent it to you")
        return rater

    @app.get("/healthz")
    def tell_health() -> dict[str, str]:
        """Tell that the server answers."""
        return {"status": "ok"}

    @app.get("/r/{token}")
    def show_page(token: str) -> HTMLResponse:
        """Send the page."""
        find_rater(token)
        return HTMLResponse(page, headers=HEADERS)

    @app.get("/r/{token}/trials")
    def tell_trials(token: str) -> JSONResponse:
        """Tell what the rater sees and has answered."""
        rater = find_rater(token)
        choices: dict[int, dict[str, str]] = {}
        for vote in store.read_votes(token):
            choices.setdefault(vote.number, {})[vote.question] = vote.choice
        questions = [{"id": id, "text": text} for id, text in QUESTIONS]
        trials = [_describe_trial(study, rater, number) for number in range(len(rater.trials))]
        body = {"rater": rater.name, "questions": questions, "trials": trials, "answers": choices}
        return JSONResponse(body, headers=HEADERS)

    @app.get("/r/{token}/clips/{number}/{role}")
    def send_clip(token: str, number: int, role: Role) -> FileResponse:
        """Send a clip."""
        rater = find_rater(token)
        if not 0 <= number < len(rater.trials):
            raise HTTPException(404, "no such trial")
        file = study.clip_file(rater.trials[number], role)
        return FileResponse(
            file, media_type="video/mp4", headers={**HEADERS, "Cache-Control": "private, max-age=3600"}
        )

    @app.post("/r/{token}/votes")
    async def accept_vote(token: str, request: Request) -> dict[str, bool]:
        """Store a vote."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                raise HTTPException(413, f"expected at most {MOST_BYTES} bytes")
        vote = _parse_vote(body)
        await anyio.to_thread.run_sync(lambda: store.add_vote(find_rater(token), *vote))
        return {"stored": True}

    return app


def _parse_vote(body: bytes) -> tuple[int, str, Any, float]:
    """Return trial, question, choice and seconds; the store checks their values.

    Raises:
      InputError: no JSON, a missing field, or one of another type.
    """
    try:
        vote = json.loads(body)
        number, question, choice, seconds = (vote[n] for n in ("trial", "question", "choice", "seconds"))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InputError('expected {"trial", "question", "choice", "seconds"} as JSON') from None
    is_right = isinstance(number, int) and not isinstance(number, bool) and isinstance(seconds, int | float)
    if not is_right or not isinstance(question, str) or not isinstance(choice, str):
        raise InputError("expected a number as trial and seconds, and texts as question and choice")
    return number, question, choice, float(seconds)


def _describe_trial(study: Study, rater: Rater, number: int) -> dict[str, Any]:
    trial = rater.trials[number]
    pair = study.pair(trial.pair)
    media = {}
    for role in get_args(Role):
        clip = pair.clips["source" if role == "source" else trial.side(role)]
        media[role] = {"frames": clip.frames, "width": clip.width, "height": clip.height}
    return {"instruction": pair.instruction, "fps": pair.fps, "media": media}


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message}}, status, HEADERS)
