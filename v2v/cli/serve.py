"""The command `v2v serve`: edits over HTTP, from a queue that survives a crash.

Imports nothing heavy before it runs, as `v2v --help` reads `add_arguments`.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from v2v.cli.interruption import raised_signals
from v2v.cli.model_arguments import add_adapters, add_model, read_transformer_adapters
from v2v.cli.page_options import add_page_arguments, choose_tracker, find_mask_expert, find_speech
from v2v.errors import InputError
from v2v.runtime import allocator

if TYPE_CHECKING:
    from fastapi import FastAPI

    from v2v.app.page_info import PageInfo
    from v2v.app.worker import Worker, WorkerThread
    from v2v.config import TransformerName
    from v2v.pipeline.editor import EasyV2VEditor

logger = logging.getLogger(__name__)

# Seconds that open requests have to end when the server is stopped.
SHUTDOWN_SECONDS = 20

EXAMPLES = """\
examples:
  v2v serve --files jobs                                         for this machine, at http://127.0.0.1:8080
  curl -F video=@in.mp4 -F prompt="make it sepia" http://127.0.0.1:8080/v1/videos
  curl http://127.0.0.1:8080/v1/videos/ID                        until its status is "completed"
  curl -o out.mp4 http://127.0.0.1:8080/v1/videos/ID/content
  v2v serve --files jobs --host 0.0.0.0 --tokens tokens.txt      for others; send "Authorization: Bearer TOKEN"
  v2v serve --files /shared/jobs --store postgresql+psycopg://v2v@db/v2v --role worker      a further machine
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v serve`.

    Args:
      parser: of the command.
    """
    parser.add_argument("--files", required=True, metavar="DIR", help="folder of uploads and results")
    parser.add_argument(
        "--store",
        default="",
        metavar="ADDRESS",
        help="database of the queue, as SQLAlchemy writes it, or @FILE that holds it (default: sqlite in --files); machines that share it "
        "share the work",
    )
    parser.add_argument(
        "--role",
        choices=("all", "http", "worker"),
        default="all",
        help="answer requests, do edits, or both (default)",
    )
    add_model(parser)
    add_adapters(parser)
    parser.add_argument(
        "--batch",
        type=int,
        default=4,
        metavar="N",
        help="most jobs of equal size, length and steps that are edited in one batch, if the device's memory allows (default: 4)",
    )
    add_address(parser, port=8080)
    parser.add_argument(
        "--root-path", default="", metavar="/PATH", help="path that a reverse proxy takes off the address"
    )
    parser.add_argument(
        "--tokens",
        metavar="FILE",
        help="who may use it: NAME TOKEN on each line; each sees only their own jobs",
    )
    parser.add_argument(
        "--open", action="store_true", help="listen beyond this machine without tokens: anyone may use it"
    )
    parser.add_argument(
        "--cors",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="web page that may use it from a browser; may be repeated",
    )
    parser.add_argument(
        "--webhook-host",
        action="append",
        default=[],
        metavar="HOST",
        help="host that jobs may name as webhook; may be repeated",
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max-upload", type=int, default=512, metavar="MIB", help="of one request (default: 512)"
    )
    limits.add_argument(
        "--max-seconds", type=float, default=120.0, metavar="S", help="of a clip (default: 120)"
    )
    limits.add_argument(
        "--max-frames", type=int, default=10_000, metavar="N", help="of a clip (default: 10000)"
    )
    limits.add_argument(
        "--max-waiting", type=int, default=20, metavar="N", help="unfinished jobs of one token (default: 20)"
    )
    limits.add_argument(
        "--max-rate",
        type=int,
        default=60,
        metavar="N",
        help="new jobs of one token in a minute (default: 60)",
    )
    limits.add_argument(
        "--max-disk", type=float, default=50.0, metavar="GIB", help="of all jobs (default: 50)"
    )
    limits.add_argument(
        "--keep", type=float, default=24.0, metavar="HOURS", help="that ended jobs are kept (default: 24)"
    )
    add_page_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, str]:
    """Run the command until it is stopped; return what it prints.

    Raises:
      InputError: settings that don't fit, or a port in use.
    """
    _check(args)
    allocator.limit_arenas()
    from v2v.app import access
    from v2v.app.job_files import JobFiles
    from v2v.app.job_store import JobStore
    from v2v.app.server import build_server
    from v2v.app.worker import Worker, WorkerThread, fitting_batch
    from v2v.cli.edit_model import ModelOptions

    limits = access.Limits(
        upload_bytes=args.max_upload * 2**20,
        seconds=args.max_seconds,
        frames=args.max_frames,
        waiting=args.max_waiting,
        per_minute=args.max_rate,
        disk_bytes=int(args.max_disk * 2**30),
        keep_seconds=args.keep * 3600,
    )
    tokens = access.read_tokens(Path(args.tokens)) if args.tokens else access.Tokens()
    files = JobFiles(args.files)
    store = JobStore(_read_store(args.store) or f"sqlite:///{files.root.resolve() / 'jobs.db'}")
    worker, editor, finder = None, None, find_mask_expert(args)
    try:
        if args.role != "http":
            options = ModelOptions(
                args.model,
                adapters=((args.lora, 1.0),) if args.lora else (),
                pairs=_adapter_pair(args),
                progress=not args.quiet,
            )
            editor = options.load_editor(jobs=True)
            worker = Worker(editor, store, files, args.model, batch=fitting_batch(editor.model, args.batch))
            if args.role == "worker":
                logger.info("v2v: doing jobs of %s", args.files)
                _work_until_stopped(WorkerThread.start(worker))
                return {"output": args.files}
        app = build_server(
            store,
            files,
            model=args.model,
            tokens=tokens,
            limits=limits,
            webhook_hosts=args.webhook_host,
            origins=args.cors,
            info=describe_model(editor, args.model),
            transcriber=find_speech(args, editor),
            finder=finder,
            tracker=choose_tracker(finder),
        )
        with listen(args.host, args.port) as listener:
            logger.info("v2v: serving %s at http://%s:%d", args.model, args.host, listener.getsockname()[1])
            serve_until_stopped(app, listener, worker, root_path=args.root_path, is_verbose=args.verbose)
    finally:
        store.close()
        if finder is not None:
            finder.close()
    return {"output": args.files}


def _check(args: argparse.Namespace) -> None:
    """Check what can be known before anything is loaded.

    Raises:
      InputError: settings that don't fit.
    """
    check_port(args.port)
    for name in (
        "max_upload",
        "max_seconds",
        "max_frames",
        "max_waiting",
        "max_rate",
        "max_disk",
        "keep",
        "batch",
    ):
        if getattr(args, name) <= 0:
            raise InputError(f"--{name.replace('_', '-')}: expected more than 0, got {getattr(args, name):g}")
    if args.role != "worker" and not (args.tokens or args.open or is_local(args.host)):
        raise InputError(
            f"--host {args.host}: others could use this server; add --tokens FILE, or --open if anyone may"
        )


def describe_model(editor: EasyV2VEditor | None, name: str) -> PageInfo:
    """Return what the page is told of a model.

    Args:
      editor: with the model; None where it is loaded elsewhere, by workers.
      name: of the model.
    """
    from v2v.app.page_info import PageInfo

    if editor is None:
        return PageInfo(name)
    return PageInfo(name, editor.model.abilities, editor.model.config.flow.steps)


def serve_until_stopped(
    app: FastAPI,
    listener: socket.socket,
    worker: Worker | None,
    *,
    root_path: str = "",
    is_verbose: bool = False,
) -> None:
    """Answer requests, and do jobs beside it, until a signal comes; then its job goes back to the queue.

    Args:
      app: the application.
      listener: a socket that listens.
      worker: does jobs; None for none.
      root_path: path that a reverse proxy takes off the address.
      is_verbose: log debug messages.
    """
    import uvicorn

    from v2v.app.connections import LimitedConnection, most_connections

    class Connection(LimitedConnection):
        limit = most_connections()

    # Its own configuration of logging would close the handlers that are there.
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        root_path=root_path,
        log_level="debug" if is_verbose else "warning",
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    thread = None
    if worker is not None:  # else nothing needs JAX
        from v2v.app.worker import WorkerThread

        thread = WorkerThread.start(worker)
    try:
        with raised_signals():
            uvicorn.Server(config).run(sockets=[listener])
    except (
        SystemExit,
        KeyboardInterrupt,
    ):  # it has answered what was open, and sends itself the signal again
        pass
    finally:
        if thread is not None:
            thread.stop()


def _read_store(address: str) -> str:
    """Return the address of a store; of "@FILE" what the file holds, so that its password is in no list of processes.

    Raises:
      InputError: the file can't be read, or is empty.
    """
    if not address.startswith("@"):
        return address
    try:
        text = Path(address[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--store {address}: expected a text file with the address, got: {error}") from None
    if not text:
        raise InputError(f"--store {address}: expected the address in the file, it is empty")
    return text


def _adapter_pair(args: argparse.Namespace) -> tuple[tuple[str, float, TransformerName], ...]:
    """Return the adapters of two transformers, as `ModelOptions` takes them."""
    return tuple((file, 1.0, name) for name, file in read_transformer_adapters(args).items())


def _work_until_stopped(thread: WorkerThread) -> None:
    """Let a worker work until a signal comes; then its job goes back to the queue."""
    try:
        with raised_signals():
            # A signal in the middle of Thread.join would make the thread look as if it had ended.
            while thread.thread.is_alive():
                time.sleep(0.5)
    except (SystemExit, KeyboardInterrupt):
        thread.stop()


def add_address(parser: argparse.ArgumentParser, port: int) -> None:
    """Add --host and --port.

    Args:
      parser: of the command.
      port: where it listens by default; 0 for any that is free.
    """
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine alone)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=port,
        metavar="N",
        help=f"port to listen at (default: {port or 'any that is free'})",
    )


def check_port(port: int) -> None:
    """Raise InputError for a number that no port has."""
    if not 0 <= port <= 65535:
        raise InputError(f"--port: expected 0 to 65535, got {port}")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
      InputError: there is no such address here, or another server listens there.
    """
    from v2v.video.file_checks import error_reason

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise InputError(
            f"--port {port}: can't listen at {host}:{port} ({error_reason(error)}); choose another"
        ) from None


def is_local(host: str) -> bool:
    """Return whether an address is that of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
