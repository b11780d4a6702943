"""`v2v doctor`: versions and devices here; what a model folder or an adapter holds, what is missing, what is wrong with it.

Nothing is loaded: names, shapes, types and file sizes are compared with what the configuration needs. `values` reads every number
too, which is the only way to find NaN.
"""

import importlib.metadata
import platform
from pathlib import Path

import jax
import numpy as np

from v2v import __version__, assets
from v2v.checkpoints import adapters, model_folder, name_mapping, parameter_store, wan
from v2v.checkpoints.adapters import Adapter
from v2v.config import ModelConfig
from v2v.errors import InputError
from v2v.pipeline import pretrained

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "safetensors", "tokenizers", "numpy", "av", "opencv-python-headless")  # fmt: skip


def doctor(model: str = "", lora: str = "", values: bool = False) -> dict:
    """What `v2v doctor` prints.

    Args:
      model: "embedded" or a folder; "" looks at the machine alone.
      lora: an adapter for that model.
      values: read every tensor.

    Returns:
      {"v2v", "python", "packages", "devices", "model", "problems", "output", "exit"}; output is the text for people, exit is 2 when
      something is wrong.

    Raises:
      InputError: `values` of nothing.
    """
    if values and not (model or lora):
        raise InputError(
            "doctor --values: reads the numbers of a model or an adapter; name one with --model or --lora"
        )
    report = {"v2v": __version__, "python": platform.python_version(), "packages": _find_versions(), "devices": _describe_devices()}  # fmt: skip
    problems: list[str] = []
    if lora and not model:
        model = "embedded"
    if model:
        report["model"] = _describe_model(model, lora, values, problems)
    report |= {"problems": problems, "exit": 2 if problems else 0}
    return report | {"output": _format_report(report)}


def _find_versions() -> dict[str, str | None]:
    out = {}
    for name in PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            out[name] = None
    return out


def _describe_devices() -> list[dict]:
    return [
        {"kind": d.device_kind, "platform": d.platform, "bytes": (d.memory_stats() or {}).get("bytes_limit")}
        for d in jax.local_devices()
    ]


def _describe_model(name: str, lora: str, values: bool, problems: list[str]) -> dict:
    """Facts about a model; whatever is wrong goes into `problems`."""
    out: dict = {"path": name}
    try:
        path = assets.EMBEDDED if name == "embedded" else Path(name)
        if pretrained.is_native_folder(path):
            opened = pretrained.load_pretrained(name)
            config, conditions = opened.config, opened.conditions
            out["kind"] = "converted (orbax)" if pretrained.is_converted_folder(path) else "v2v"
        else:
            config, conditions = _describe_published(path, values, out, problems)
            if config is None:
                return out
        if lora:
            conditions = _edit_conditions(config, adapters.load_adapter(lora, config))
    except InputError as err:
        problems.append(str(err))
        return out
    flow = config.flow
    held = parameter_store.part_bytes(config)
    return out | {
        "name": config.name,
        "size": [config.frames, config.height, config.width],
        "parameters": {
            p: sum(int(np.prod(s)) for s in wan.parameter_shapes(p, config).values())
            for p in name_mapping.PARTS
        },
        "held_bytes": held,
        "edits_by": list(conditions),
        "sampling": {f: getattr(flow, f) for f in ("solver", "schedule", "shift", "steps", "guidance")},
    }


def _describe_published(
    path: Path, values: bool, out: dict, problems: list[str]
) -> tuple[ModelConfig | None, tuple[str, ...]]:
    """Looks at every file of a published folder; returns its configuration, where it tells one, and what it can be shown."""
    parts = model_folder.open_parts(path, problems)
    damaged = " ".join(problems)
    lost = [
        part
        for part in name_mapping.PARTS
        if part not in parts and f"/{model_folder.SUBFOLDERS[part]}/" not in damaged
    ]
    if path.is_dir():
        lacking = [model_folder.format_missing_part(part) for part in lost] + (
            [] if model_folder.find_tokenizer(path) else [model_folder.MISSING_TOKENIZER]
        )
        problems += [f"{path}: missing {what}" for what in lacking]
    found = model_folder.read_model_folder(path, parts) if "dit" in parts or not path.is_dir() else None
    out["kind"], out["parts"] = "published", {}
    for part, files in parts.items():
        slots = files.slots.values()
        out["parts"][part] = {
            "file": str(files.path),
            "layout": wan.strip_prefix(part, files, found.config)[1] if found else None,
            "files": len({s.file for s in slots}),
            "tensors": len(slots),
            "types": sorted({s.dtype for s in slots}),
            "bytes": sum(s.size for s in slots),
        }
        if found:
            _collect_problem(problems, wan.match_tensors, part, files, found.config)
        if values:
            for name in files.slots:
                _collect_problem(problems, files.read, name)
    if found is None:
        return None, ()
    if found.tokenizer:
        out["tokenizer"] = str(found.tokenizer)
        _collect_problem(problems, pretrained.load_tokenizer, found, found.config)
    adapter = None
    if found.adapter:
        out["adapter"] = str(found.adapter)
        adapter = _collect_problem(problems, adapters.load_adapter, found.adapter, found.config)
    return found.config, _edit_conditions(found.config, adapter or Adapter({}))


def _edit_conditions(config: ModelConfig, adapter: Adapter) -> tuple[str, ...]:
    return pretrained.supported_conditions(config, adapter.embed or {})


def _collect_problem(problems: list[str], check, *args):
    try:
        return check(*args)
    except InputError as err:
        problems.append(str(err))


def _format_report(report: dict) -> str:
    known = ", ".join(f"{n} {v}" for n, v in report["packages"].items() if v)
    lines = [f"v2v {report['v2v']}, Python {report['python']}, {known}"]
    lost = [n for n, v in report["packages"].items() if not v]
    lines += [f"not installed: {', '.join(lost)}"] if lost else []
    for kind in dict.fromkeys((d["kind"], d["bytes"]) for d in report["devices"]):
        count = sum((d["kind"], d["bytes"]) == kind for d in report["devices"])
        lines.append(f"{count} x {kind[0]}" + (f", {_format_bytes(kind[1])} each" if kind[1] else ""))
    model = report.get("model", {})
    if "kind" in model:
        lines.append(f"model {model['path']}: {model['kind']}")
    for part, p in model.get("parts", {}).items():
        lines.append(
            f"  {part:5} {p['tensors']} tensors, {'/'.join(p['types'])}, {_format_bytes(p['bytes'])} in {p['files']} "
            f"file{'s' * (p['files'] > 1)}" + (f", {p['layout']} names" if p["layout"] else "")
        )
    for what in ("tokenizer", "adapter"):
        lines += [f"  {what}: {model[what]}"] if what in model else []
    if "parameters" in model:
        held = ", ".join(f"{part} {n:,} parameters ({_format_bytes(model['held_bytes'][part])} held)" for part, n in model["parameters"].items())  # fmt: skip
        t, h, w = model["size"]
        s = model["sampling"]
        lines += [
            f"  {held}",
            f"  edits {t} frames of {w}x{h} by: {', '.join(['instruction', *model['edits_by']])}" if model["edits_by"] else "  makes videos from text; to edit it needs an adapter with embeddings (--lora)",
            f"  samples with {s['solver']}, table {s['schedule']}, shift {s['shift']:g}, {s['steps']} steps, guidance {s['guidance']:g}",
        ]  # fmt: skip
    lines += [f"problem: {p}" for p in report["problems"]]
    if model and not report["problems"]:
        lines.append("nothing is missing")
    return "\n".join(lines)


def _format_bytes(n: int) -> str:
    return f"{n / 1e9:.2f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"
