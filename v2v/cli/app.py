"""The command `v2v app`: the page to click, in a browser; the server of `v2v serve` for one person on this machine.

Imports nothing heavy before it runs, as `v2v --help` reads `add_arguments`.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import re
import secrets
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from v2v.cli.model_arguments import DEFAULT_MODEL_HELP, LORA_HELP, add_adapters
from v2v.cli.page_options import add_page_arguments, choose_tracker, find_mask_expert, find_speech
from v2v.cli.serve import add_address, check_port, describe_model, is_local, listen, serve_until_stopped
from v2v.errors import InputError
from v2v.runtime import allocator, environment

if TYPE_CHECKING:
    from v2v.app.model_choice import Adapters
    from v2v.config import TransformerName
    from v2v.pipeline.editor import EasyV2VEditor

logger = logging.getLogger(__name__)

# Seconds that open requests have to end when the server is stopped.
SHUTDOWN_SECONDS = 20

EXAMPLES = """\
examples:
  v2v app                                        opens the page in a browser
  v2v app --model Wan-AI/Wan2.2-TI2V-5B-Diffusers --lora mine.safetensors --lora soft=other.safetensors
  v2v app --no-browser --port 8090               prints the address; over ssh: ssh -L 8090:127.0.0.1:8090 HOST
"""

# Nobody else uses it, so nothing is refused for coming too often; results stay for a month.
KEEP_DAYS = 30
# What tells the files of an adapter's two transformers apart.
_NOISE = re.compile(r"(?:^|[-_. ]+)(?:high|low)(?:[-_ ]?noise)?(?![a-z])", re.IGNORECASE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v app`.

    Args:
      parser: of the command.
    """
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="MODEL",
        help=f"{DEFAULT_MODEL_HELP}; repeat it for more to choose from, the first is loaded at once",
    )
    add_adapters(
        parser,
        f"adapter to choose from: {LORA_HELP}; may be repeated",
        "the same for the {name}-noise transformer of models that have two; with the other of its name it is one adapter",
        metavar="[NAME=]LORA",
        repeats=True,
    )
    parser.add_argument(
        "--files",
        metavar="DIR",
        help=f"folder of clips and results, which are kept for {KEEP_DAYS} days (default: app/ in the cache folder)",
    )
    add_address(parser, port=0)
    parser.add_argument(
        "--no-browser", action="store_true", help="print the page's address, and open no browser"
    )
    parser.add_argument(
        "--max-upload", type=int, default=4096, metavar="MIB", help="of one clip (default: 4096)"
    )
    parser.add_argument(
        "--max-seconds", type=float, default=3600.0, metavar="S", help="of a clip (default: 3600)"
    )
    add_page_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, str]:
    """Run the command until it is stopped; return what it prints.

    Raises:
      InputError: settings that don't fit, or a port in use.
    """
    check_port(args.port)
    for name in ("max_upload", "max_seconds"):
        if getattr(args, name) <= 0:
            raise InputError(f"--{name.replace('_', '-')}: expected more than 0, got {getattr(args, name):g}")
    model, *others = args.model or [environment.MODEL.get()]
    adapters = name_adapters(args.lora, args.lora_high, args.lora_low)
    finder = find_mask_expert(args)
    allocator.limit_arenas()
    from v2v.app import access
    from v2v.app.job_files import JobFiles
    from v2v.app.job_store import JobStore
    from v2v.app.model_choice import EditorShelf
    from v2v.app.server import build_server
    from v2v.app.worker import Worker
    from v2v.cli.edit_model import ModelOptions

    files = JobFiles(args.files or environment.cache_folder("app"))
    limits = access.Limits(
        upload_bytes=args.max_upload * 2**20,
        seconds=args.max_seconds,
        frames=round(args.max_seconds * 60),
        keep_seconds=KEEP_DAYS * 86400.0,
    )
    # Other programs of this machine could reach the port as well; the history stays that of "me".
    token = secrets.token_urlsafe(24)
    store = JobStore(f"sqlite:///{Path(files.root).resolve() / 'jobs.db'}")
    try:
        with listen(args.host, args.port) as listener:

            def load(name: str) -> EasyV2VEditor:
                return ModelOptions(name, progress=not args.quiet).load_editor(jobs=True)

            editor = load(model)
            info = dataclasses.replace(describe_model(editor, model), others=tuple(others), adapters=adapters)
            shelf = EditorShelf(editor, model, load, adapters)
            server = build_server(
                store,
                files,
                model=model,
                tokens=access.Tokens({token: "me"}),
                limits=limits,
                info=info,
                transcriber=find_speech(args, editor),
                finder=finder,
                tracker=choose_tracker(finder),
            )
            host = args.host if is_local(args.host) or ":" not in args.host else f"[{args.host}]"
            address = f"http://{host}:{listener.getsockname()[1]}/#token={token}"
            # Not logged: --quiet must not hide it, and its token belongs into no log.
            print(f"v2v: the page is at {address}", file=sys.stderr, flush=True)
            if not args.no_browser and not webbrowser.open(address):
                logger.info("v2v: no browser could be opened; open that address yourself")
            serve_until_stopped(
                server, listener, Worker(editor, store, files, model, shelf), is_verbose=args.verbose
            )
    finally:
        store.close()
        if finder is not None:
            finder.close()
    return {"output": str(files.root)}


def name_adapters(arguments: Sequence[str], high: Sequence[str] = (), low: Sequence[str] = ()) -> Adapters:
    """Return the adapters by the names that the page shows, which are those of their files where none is given.

    Args:
      arguments: of --lora, NAME=FILE or FILE.
      high: of --lora-high; those of one name with --lora-low are one adapter, which files called STYLE_high_noise and STYLE_low_noise have.
      low: of --lora-low.

    Raises:
      InputError: two of one name.
    """
    from v2v.app.model_choice import AdapterFile

    adapters: dict[str, tuple[AdapterFile, ...]] = {}
    choices: tuple[tuple[str, TransformerName | None, Sequence[str]], ...] = (
        ("--lora", None, arguments),
        ("--lora-high", "high", high),
        ("--lora-low", "low", low),
    )
    for option, transformer, texts in choices:
        for text in texts:
            name, equals, file = text.partition("=")
            if not equals or Path(text).exists():
                name, file = Path(text).stem, text
                if transformer is not None:
                    name = _NOISE.sub("", name) or name
            parts = adapters.get(name, ())
            others = {part.transformer for part in parts}
            if not name or not file or (parts and (transformer is None or others & {None, transformer})):
                raise InputError(f"{option} {text}: expected NAME=FILE, each name once")
            adapters[name] = (*parts, AdapterFile(file, transformer))
    return adapters
