"""`v2v models`: the models that are known to work; the hub's cache: what is in it, and what is fetched into or removed from it."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from v2v.checkpoints.known_models import KNOWN_MODELS, UNSUPPORTED_MODELS
from v2v.checkpoints.presets import PRESETS, describe_sampling
from v2v.errors import InputError

EXAMPLES = """\
examples:
  v2v models                                              what is known to work
  v2v models --cached                                     what has been fetched
  v2v models --fetch Wan-AI/Wan2.2-TI2V-5B-Diffusers      fetch now, edit later; go on with an interrupted download
  v2v models --delete Wan-AI/Wan2.2-TI2V-5B-Diffusers     free the disk
  v2v models --push runs/mine/export ORG/NAME             share an adapter or a model; needs HF_TOKEN

Models are kept in the cache of the Hugging Face Hub, which other programs share: HF_HOME sets its folder, HF_TOKEN gives access to
gated and private models, HF_ENDPOINT names a mirror, HF_HUB_OFFLINE=1 uses the cache alone.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2v models`."""
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument("--cached", action="store_true", help="list the models in the hub's cache")
    actions.add_argument(
        "--fetch", metavar="ORG/NAME[@REVISION]", help="fetch what editing needs of a model into the cache"
    )
    actions.add_argument("--delete", metavar="ORG/NAME", help="remove a model from the cache")
    actions.add_argument(
        "--push",
        nargs=2,
        metavar=("FOLDER", "ORG/NAME"),
        help="upload a folder, such as the export of a training run",
    )
    parser.add_argument("--private", action="store_true", help="with --push: make the repository private")


def run(args: argparse.Namespace, progress: bool) -> dict[str, Any]:
    """Run the command; return what it prints.

    Args:
      args: the arguments of `add_arguments`.
      progress: show a bar while a model is fetched.

    Raises:
      InputError: a model that can't be fetched, or isn't in the cache.
    """
    if args.private and not args.push:
        raise InputError("--private goes with --push FOLDER ORG/NAME; leave it out")
    if args.push:
        return push_folder(*args.push, private=args.private, progress=progress)
    if args.fetch:
        return fetch_model(args.fetch, progress)
    if args.delete:
        return delete_model(args.delete)
    return list_cached() if args.cached else list_known()


def push_folder(folder: str, repository: str, *, private: bool, progress: bool) -> dict[str, Any]:
    """Upload a folder; return the repository's address."""
    from v2v.checkpoints import hub_upload

    address = hub_upload.push_folder(Path(folder), repository, private=private, progress=progress)
    return {"output": address, "repository": repository}


def list_known() -> dict[str, Any]:
    """Return the registry."""
    rows = [("model", "licence", "download", "memory", "clips", "status", "")]
    for model in KNOWN_MODELS:
        frames, height, width = model.frames
        takes = f"; takes {', '.join(model.takes)}" if model.takes else ""
        rows.append(
            (
                model.name,
                model.licence,
                f"{model.download_bytes / 1e9:.1f} GB" if model.download_bytes else "none",
                f"{model.memory_gib:g} GiB",
                f"{width}x{height}x{frames}",
                model.status,
                model.description + takes,
            )
        )
    lines = _align(rows)
    lines += [
        "",
        "status: real weights = edits were looked at; tiny models = equal to the published package on small random models,",
    ]
    lines += ["        not yet run with the real weights. memory: estimated peak on one device at that size of clips", ""]  # fmt: skip
    lines += [f"not supported yet: {model.title}: {model.reason}" for model in UNSUPPORTED_MODELS]
    lines += ["", "presets, v2v edit --preset NAME: how weights distilled to a few steps are sampled"]
    for preset in PRESETS:
        caution = f"; {preset.caution}" if preset.caution else ""
        lines += [
            f"{preset.name:<13}  {preset.title}{caution}",
            f"{'':15}{describe_sampling(preset.sampling)}",
        ]
    return {
        "output": "\n".join(lines),
        "models": [asdict(model) for model in KNOWN_MODELS],
        "presets": [asdict(preset) for preset in PRESETS],
        "unsupported": [asdict(model) for model in UNSUPPORTED_MODELS],
    }


def list_cached() -> dict[str, Any]:
    """Return what the cache holds."""
    from v2v.checkpoints import hub_cache, hub_client, known_models

    models, folder = hub_cache.list_cached(), hub_client.cache_folder()
    rows = []
    for model in models:
        state = "known to v2v" if known_models.find_known(model.name) else ""
        if model.unfinished:
            state = f"{model.unfinished} unfinished download{'s' * (model.unfinished > 1)}"
        rows.append((model.name, hub_client.format_bytes(model.bytes), ", ".join(model.revisions), state))
    total = f"{hub_client.format_bytes(sum(model.bytes for model in models))} in {folder}"
    return {
        "output": "\n".join([*_align(rows), total]),
        "folder": str(folder),
        "models": [asdict(model) for model in models],
    }


def fetch_model(name: str, progress: bool) -> dict[str, Any]:
    """Fetch a model; return its folder."""
    from v2v.checkpoints import hub, hub_client

    if hub_client.parse_hub_name(name) is None:
        raise InputError(
            f"models --fetch {name}: expected ORG/NAME[@REVISION] of a model on the hub; v2v models lists some"
        )
    return {"output": str(hub.resolve_model(name, progress=progress))}


def delete_model(name: str) -> dict[str, Any]:
    """Remove a model from the cache; return what that freed."""
    from v2v.checkpoints import hub_cache, hub_client

    model = hub_cache.delete_cached(name)
    return {"output": f"{model.name}: {hub_client.format_bytes(model.bytes)} freed", **asdict(model)}


def _align(rows: list[tuple[str, ...]]) -> list[str]:
    """Return a line a row, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
