"""`v2v eval vote STUDY`: serve a study to raters, and write what their votes say.

Imports nothing heavy before a request is run, because `v2v --help` calls `add_arguments`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2v.cli import serve
from v2v.errors import InputError
from v2v.evaluation.counts import format_count

MOST_RATERS = 1000


@dataclass(frozen=True)
class VoteRequest:
    """`v2v eval vote STUDY`.

    Attributes:
      study: its folder.
      is_served: whether to serve it; else its report is written.
      raters: names of raters to add.
      host: address to listen at.
      port: port to listen at.
      public: address at which raters reach the server; "" for that of host and port.
    """

    study: Path
    is_served: bool
    raters: Sequence[str] = ()
    host: str = "127.0.0.1"
    port: int = 8090
    public: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v eval vote`."""
    group = parser.add_argument_group("vote")
    group.add_argument("--serve", action="store_true", help="serve the study; prints a link for each rater")
    group.add_argument("--report", action="store_true", help="write report.html, votes.json and ratings.csv into the study's folder")  # fmt: skip
    group.add_argument("--raters", default="", metavar="NAMES", help="add raters: their names, with commas, or how many there should be; each gets a link of their own")  # fmt: skip
    group.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine alone; others need the links all the same)")  # fmt: skip
    group.add_argument("--port", type=int, default=8090, metavar="N", help="port to listen at (default: 8090)")  # fmt: skip
    group.add_argument("--public", default="", metavar="ADDRESS", help="address at which raters reach the server, such as https://votes.example.org, for the links")  # fmt: skip


def parse_request(args: argparse.Namespace) -> VoteRequest:
    """Return the request of a command line.

    Raises:
      InputError: words that make no request.
    """
    if len(args.what) != 2 or args.serve == args.report:
        raise InputError(
            "eval vote: expected the folder of a study, and --serve or --report: v2v eval vote STUDY --serve"
        )
    serve.check_port(args.port)
    if args.report and args.raters:
        raise InputError("--raters: expected with --serve; leave it out")
    if args.public and not args.public.startswith(("http://", "https://")):
        raise InputError(f"--public {args.public}: expected an address that begins with http:// or https://")
    return VoteRequest(
        Path(args.what[1]),
        args.serve,
        _parse_raters(args.raters),
        args.host,
        args.port,
        args.public.rstrip("/"),
    )


def _parse_raters(text: str) -> list[str]:
    if text.strip().isdigit():
        if not 1 <= int(text) <= MOST_RATERS:
            raise InputError(f"--raters {text}: expected 1 to {MOST_RATERS}, or names with commas")
        return [f"rater {n}" for n in range(1, int(text) + 1)]
    names = [name.strip() for name in text.split(",")] if text.strip() else []
    if not all(names):
        raise InputError(f"--raters {text}: expected names with commas between them, or a number")
    return names


def run(request: VoteRequest) -> dict[str, Any]:
    """Run a request and return what --json prints.

    Raises:
      InputError: no such study, no raters, or a port in use.
    """
    from v2v.evaluation.study import read_study
    from v2v.evaluation.vote_store import DATABASE_FILE, VoteStore

    study = read_study(request.study)
    if not request.is_served and not (study.folder / DATABASE_FILE).exists():
        raise InputError(f"{study.folder}: nobody has voted yet; let people do so with --serve")
    store = VoteStore(study)
    try:
        return _serve(request, study, store) if request.is_served else _report(study, store)
    finally:
        store.close()


def _serve(request: VoteRequest, study: Any, store: Any) -> dict[str, Any]:
    from v2v.app.vote_server import build_vote_server

    with serve.listen(request.host, request.port) as listener:
        for name in request.raters:
            store.add_rater(name)
        raters = store.list_raters()
        if not raters:
            raise InputError("--raters: expected the names of raters, or how many, as there are none yet")
        host = f"[{request.host}]" if ":" in request.host else request.host
        address = request.public or f"http://{host}:{listener.getsockname()[1]}"
        for rater in raters:
            print(f"{rater.name}: {address}/r/{rater.token}", file=sys.stderr)
        print(f"v2v: serving {format_count(len(study.pairs), 'pair')}; each link is for one person", file=sys.stderr, flush=True)  # fmt: skip
        app = build_vote_server(study, store)
        serve.serve_until_stopped(app, listener, None)
    return {"output": str(study.folder), "raters": len(raters), "votes": len(store.read_votes())}


def _report(study: Any, store: Any) -> dict[str, Any]:
    from v2v.evaluation import vote_results
    from v2v.evaluation.cache import write_text_atomically
    from v2v.evaluation.study import QUESTIONS

    result = vote_results.evaluate_votes(study, store.list_raters(), store.read_votes())
    if not result.votes:
        raise InputError(f"{study.folder}: expected at least one vote that counts, got none")
    document, folder = result.to_json(), study.folder
    write_text_atomically(folder / "votes.json", json.dumps(document, indent=1))
    write_text_atomically(folder / "report.html", vote_results.build_vote_report(result))
    write_text_atomically(folder / "ratings.csv", vote_results.format_ratings(result))
    for question, _ in QUESTIONS:
        ratings = vote_results.format_ratings(result, question)
        write_text_atomically(folder / f"ratings-{question}.csv", ratings)
    print(result.format(), file=sys.stderr)
    return {"output": str(folder / "report.html"), **document}
