"""`v2v doctor`: versions and devices of this machine; what a model folder or an adapter holds, lacks, and what is damaged.

No weights are loaded, nor fetched: names, shapes, types and file sizes are compared with what the configuration needs. `values` reads every number
too, which is the only way to find NaN; `effect` runs the model on a few frames and tells whether its inputs have an effect.
"""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from v2v import __version__, assets
from v2v.checkpoints import (
    adapters,
    hub,
    hub_client,
    hub_outline,
    model_folder,
    name_mapping,
    parameter_store,
    part_files,
    wan,
)
from v2v.checkpoints.adapters import Adapter
from v2v.checkpoints.hub import Examination
from v2v.checkpoints.orbax_tree import first_line
from v2v.checkpoints.presets import describe_sampling
from v2v.config import ModelConfig, SamplingConfig, TransformerName
from v2v.errors import InputError
from v2v.models.conditioning import build_conditioning
from v2v.pipeline import effect_check, memory_plan, pretrained, pretrained_model
from v2v.pipeline.effect_check import Verdict
from v2v.pipeline.memory_plan import ClipShape, MemoryPlan
from v2v.pipeline.sampling_choice import sampling_of
from v2v.runtime import compilation_cache, host_memory
from v2v.video import inputs

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "safetensors",
    "tokenizers",
    "huggingface_hub",
    "numpy",
    "av",
    "opencv-python-headless",
)


@dataclass(frozen=True)
class Diagnosis:
    """The state of this machine and, if requested, of a model.

    Attributes:
      v2v: version of this package.
      python: version of Python.
      packages: versions by name; None for packages that are not installed.
      devices: kind, platform and memory of each device.
      problems: one line each; empty when nothing is wrong.
      model: JSON values that describe the model; None without a model.
      effects: what a trial of the model found; None where it wasn't tried.
    """

    v2v: str
    python: str
    packages: dict[str, str | None]
    devices: list[dict[str, Any]]
    problems: list[str]
    model: dict[str, Any] | None = None
    effects: list[Verdict] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values."""
        machine = {"v2v": self.v2v, "python": self.python, "packages": self.packages, "devices": self.devices}
        model = {} if self.model is None else {"model": self.model}
        effects = {} if self.effects is None else {"effects": [dataclasses.asdict(v) for v in self.effects]}
        return machine | model | effects | {"problems": self.problems}


def run_doctor(
    model: str = "",
    adapter_files: Mapping[TransformerName | None, str] | None = None,
    values: bool = False,
    effect: bool = False,
) -> dict[str, Any]:
    """Diagnose, with the arguments of `diagnose`, and return what the command prints; "exit" is its exit code."""
    diagnosis = diagnose(model, adapter_files, values, effect)
    report = diagnosis.to_json()
    has_failure = any(not verdict.passed for verdict in diagnosis.effects or ())
    return report | {"exit": 2 if diagnosis.problems else int(has_failure), "output": _format_report(report)}


def diagnose(
    model: str = "",
    adapter_files: Mapping[TransformerName | None, str] | None = None,
    values: bool = False,
    effect: bool = False,
) -> Diagnosis:
    """Examine this machine, a model and an adapter.

    Args:
      model: "embedded", a folder, or ORG/NAME[@REVISION] on the hub, of which headers alone are read where the cache lacks it; ""
        examines the machine alone.
      adapter_files: adapters for that model by transformer; None stands for that of a model of one, or for a file for both.
      values: read every tensor.
      effect: load the model, which is fetched where it must be, and try it, unless something is wrong already.

    Raises:
      InputError: `values` or `effect` without a model or an adapter.
    """
    if (values or effect) and not (model or adapter_files):
        raise InputError(
            f"doctor {'--values' if values else '--effect'}: reads a model or an adapter; name one with --model or --lora"
        )
    problems: list[str] = []
    if adapter_files and not model:
        model = "embedded"
    description = _describe_model(model, adapter_files or {}, values, problems) if model else None
    effects = try_model(model, adapter_files) if effect and not problems else None
    return Diagnosis(
        __version__,
        platform.python_version(),
        _find_versions(),
        _describe_devices(),
        problems,
        description,
        effects,
    )


def try_model(name: str, adapter_files: Mapping[TransformerName | None, str] | None = None) -> list[Verdict]:
    """Load a model, at the size of a small clip where its own is large, and check that what it is given has an effect.

    Args:
      name: the model.
      adapter_files: adapters for it, as `diagnose` takes them.

    Raises:
      InputError: a model or adapter that can't be used.
    """
    compilation_cache.use_compilation_cache()
    model = pretrained.load_pretrained(name)
    if smaller := effect_check.small_settings(model.config):
        model = pretrained.load_pretrained(name, **smaller)
    files, base = adapter_files or {}, model
    model = _add_adapters(base, files)
    without = {
        "adapter" if name is None else f"{name}-noise adapter": _add_adapters(base, files, (name,))
        for name in files
    }
    config = model.config
    frames: list[np.ndarray] = []
    inputs.open_clip(
        assets.SAMPLE,
        25.0,
        lambda frame: frames.append(inputs.resize_frame(frame, config.height, config.width)),
    )
    rows = np.minimum(np.arange(config.frames), len(frames) - 1)
    return effect_check.check_effects(model, np.stack([frames[row] for row in rows]), without)


def _add_adapters(
    model: pretrained_model.Pretrained,
    files: Mapping[TransformerName | None, str],
    silent: tuple[TransformerName | None, ...] = (),
) -> pretrained_model.Pretrained:
    """Return a model with adapters, those of some transformers at weight 0."""
    for transformer, file in files.items():
        model = model.with_lora(file, 0.0 if transformer in silent else 1.0, transformer)
    return model


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


def _describe_model(
    name: str, adapter_files: Mapping[TransformerName | None, str], values: bool, problems: list[str]
) -> dict:
    """Describe a model as JSON values; what is wrong is added to `problems`."""
    out: dict = {"path": name}
    try:
        with hub.open_for_examination(assets.EMBEDDED if name == "embedded" else name) as examined:
            first_problem = len(problems)
            out = _describe_files(examined, out, adapter_files, values, problems)
            if examined.is_outline:  # of which nothing is left
                problems[first_problem:] = [
                    p.replace(str(examined.folder), name) for p in problems[first_problem:]
                ]
                out = json.loads(json.dumps(out).replace(str(examined.folder), name))
    except InputError as err:
        problems.append(str(err))
    return out


def _describe_files(
    examined: Examination,
    out: dict,
    adapter_files: Mapping[TransformerName | None, str],
    values: bool,
    problems: list[str],
) -> dict:
    """Describe the files of a model, whole or outlined."""
    path, name = examined.folder, str(out["path"])
    if examined.repository is not None:
        out["hub"] = _describe_repository(examined)
    if values and examined.is_outline:
        raise InputError(
            f"doctor --values: reads every number of {name}, which isn't in the cache; fetch it with v2v models --fetch {name}"
        )
    try:
        if pretrained.is_native_folder(path):
            opened = pretrained.load_pretrained(str(path))
            config, conditions, sizes = opened.config, opened.conditions, opened.part_sizes
            out["kind"] = "converted (orbax)" if pretrained.is_converted_folder(path) else "v2v"
        else:
            config, conditions = _describe_published(path, values, out, problems)
            if config is None:
                return out
            sizes = parameter_store.part_bytes(config)
        sampling = sampling_of(config.flow)
        by_part: dict[str, Adapter] = {}
        for transformer, file in adapter_files.items():
            by_part |= adapters.load_for_transformers(file, config, transformer)
        if by_part:
            conditions = _edit_conditions(config, by_part)
            sampling = next((one.sampling for one in by_part.values() if one.sampling), sampling)
    except InputError as err:
        problems.append(str(err))
        return out
    # What is damaged in a way that nobody foresaw is a finding too: it must not hide the others.
    except Exception as err:
        problems.append(
            f"{name}: can't be examined ({type(err).__name__}: {first_line(err)}); report this as a fault of v2v"
        )
        return out
    return out | {
        "name": config.name,
        "size": [config.frames, config.height, config.width],
        "parameters": {
            p: sum(int(np.prod(s)) for s in wan.parameter_shapes(p, config).values()) for p in config.parts
        },
        "held_bytes": sizes,
        "memory": _plan_memory(config, conditions, sizes).to_json(),
        "edits_by": list(conditions),
        "sampling": dataclasses.asdict(sampling),
        **({"pair": _describe_pair(config)} if config.flow.boundary else {}),
    }


def _describe_pair(config: ModelConfig) -> dict:
    """Describe where the two transformers of a model predict, as JSON values."""
    return {"boundary": config.flow.boundary, "low_guidance": config.flow.low_guidance}


def _plan_memory(config: ModelConfig, conditions: tuple[str, ...], sizes: dict[str, int]) -> MemoryPlan:
    """Return the plan of memory of an edit on this machine's first device."""
    shape = ClipShape.of(config, conditions)
    return memory_plan.plan_edit(config, shape, sizes, host_memory.local_memory())


def _describe_repository(examined: Examination) -> dict:
    """Describe as JSON values what the hub says of a model."""
    repository = examined.repository
    assert repository is not None
    files = hub_outline.model_files(repository)
    missing = hub_client.missing_files(repository, files)
    return {
        "commit": repository.commit,
        "licence": repository.licence,
        "gated": repository.is_gated,
        "files": len(files),
        "bytes": sum(file.size for file in files),
        "missing_bytes": sum(file.size for file in missing),
    }


def _describe_published(
    path: Path, values: bool, out: dict, problems: list[str]
) -> tuple[ModelConfig | None, tuple[str, ...]]:
    """Check every file of a published folder; return its configuration, if any, and the conditions that it takes."""
    parts = part_files.open_parts(path, problems)
    damaged = " ".join(problems)
    expected = [*name_mapping.PARTS, *(["dit_low"] if part_files.has_two_transformers(path, parts) else [])]
    missing = [
        part for part in expected if part not in parts and f"/{part_files.SUBFOLDERS[part]}/" not in damaged
    ]
    folder, failure = None, None
    if "dit" in parts or not path.exists():
        try:
            folder = model_folder.read_model_folder(path, parts)
        except InputError as err:  # what is missing is told before it
            failure = err
    # What takes the place of sentences is made by another network.
    reads_text = folder is None or folder.config.condition.context == "text"
    if path.is_file() and "dit" not in parts:
        problems += (
            []
            if problems
            else [f"{path}: expected a model's folder, or the file of its transformer, got another file"]
        )
    elif path.exists():
        has_tokenizer = not reads_text or part_files.find_tokenizer(path, parts)
        missing_files = [
            model_folder.format_missing_part(part) for part in missing if reads_text or part != "text"
        ] + ([] if has_tokenizer else [model_folder.MISSING_TOKENIZER])
        problems += [f"{path}: missing {what}" for what in missing_files]
    if failure is not None:
        raise failure
    out["kind"], out["parts"] = "published", {}
    for part, files in parts.items():
        slots = files.slots.values()
        out["parts"][part] = {
            "file": str(files.path),
            "layout": wan.strip_prefix(part, files, folder.config)[1] if folder else None,
            "files": len({s.file for s in slots}),
            "tensors": len(slots),
            "types": sorted({s.dtype for s in slots}),
            "bytes": sum(s.size for s in slots),
        }
        if folder:
            _collect_problem(problems, wan.match_tensors, part, files, folder.config)
        if values:
            for name in files.slots:
                _collect_problem(problems, files.read, name)
    if folder is None:
        return None, ()
    if folder.tokenizer:
        out["tokenizer"] = str(folder.tokenizer)
        _collect_problem(problems, pretrained.load_tokenizer, folder, folder.config)
    adapter = None
    if folder.adapter:
        out["adapter"] = str(folder.adapter)
        adapter = _collect_problem(problems, adapters.load_adapter, folder.adapter, folder.config)
    embed = dict.fromkeys(folder.embedders, {}) if folder.embedders else None
    adapter = adapter or Adapter({}, embed=embed)
    return folder.config, _edit_conditions(folder.config, {"dit": adapter})


def _edit_conditions(config: ModelConfig, by_part: Mapping[str, Adapter]) -> tuple[str, ...]:
    """Return the conditions that all transformers of a model take with adapters, by part."""
    conditioning = build_conditioning(config.dit, config.condition)
    conditions = [
        conditioning.usable_conditions(by_part[part].embed or {} if part in by_part else {})
        for part in config.transformers
    ]
    return tuple(name for name in conditions[0] if all(name in names for names in conditions))


def _collect_problem(problems: list[str], check, *args):
    try:
        return check(*args)
    except InputError as err:
        problems.append(str(err))


def _format_report(report: dict) -> str:
    versions = ", ".join(f"{n} {v}" for n, v in report["packages"].items() if v)
    lines = [f"v2v {report['v2v']}, Python {report['python']}, {versions}"]
    missing = [n for n, v in report["packages"].items() if not v]
    lines += [f"not installed: {', '.join(missing)}"] if missing else []
    for kind in dict.fromkeys((d["kind"], d["bytes"]) for d in report["devices"]):
        count = sum((d["kind"], d["bytes"]) == kind for d in report["devices"])
        lines.append(f"{count} x {kind[0]}" + (f", {_format_bytes(kind[1])} each" if kind[1] else ""))
    model = report.get("model", {})
    if "hub" in model:
        lines.append(_format_repository(model["path"], model["hub"]))
    if "kind" in model:
        lines.append(f"model {model['path']}: {model['kind']}")
    for part, p in model.get("parts", {}).items():
        lines.append(
            f"  {part:7} {p['tensors']} tensors, {'/'.join(p['types'])}, {_format_bytes(p['bytes'])} in {p['files']} "
            f"file{'s' * (p['files'] > 1)}" + (f", {p['layout']} names" if p["layout"] else "")
        )
    for what in ("tokenizer", "adapter"):
        lines += [f"  {what}: {model[what]}"] if what in model else []
    if "parameters" in model:
        sizes = ", ".join(f"{part} {n:,} parameters ({_format_bytes(model['held_bytes'][part])} held)" for part, n in model["parameters"].items())  # fmt: skip
        t, h, w = model["size"]
        lines += [
            f"  {sizes}",
            f"  edits {t} frames of {w}x{h} by: {', '.join(['instruction', *model['edits_by']])}" if model["edits_by"] else "  makes videos from text; to edit it needs an adapter with embeddings (--lora)",
            f"  samples with {describe_sampling(SamplingConfig(**model['sampling']))}{_format_pair(model)}",
        ]  # fmt: skip
    if "memory" in model:
        lines.append(_format_memory(model["memory"]))
    for verdict in report.get("effects", ()):
        lines.append(f"  {'passed' if verdict['passed'] else 'FAILED'}  {verdict['name']}: {verdict['text']}")
    lines += [f"problem: {p}" for p in report["problems"]]
    if model and not report["problems"]:
        lines.append("nothing is missing")
    return "\n".join(lines)


def _format_pair(model: dict) -> str:
    """Return which of two transformers predicts where, "" for a model of one."""
    if "pair" not in model:
        return ""
    boundary, low = model["pair"]["boundary"], model["pair"]["low_guidance"]
    guidance = "" if low is None else f" with guidance {low:g}"
    return f"; high-noise transformer from flow time {boundary:g} on, below it the low-noise one{guidance}"


def _format_memory(plan: dict) -> str:
    """Return the plan of memory as a line for each phase."""
    lines = [
        f"  memory of an edit on a device here: about {plan['peak_gib']:g} of {plan['device_gib']:g} GiB"
        + ("" if plan["fits"] else "; THIS IS TOO MUCH: choose a smaller --size")
    ]
    for name, phase in plan["phases"].items():
        beside = "".join(f" + {part}" for part in phase["beside"])
        tiles = (
            " in {}x{} tiles".format(*plan["tiles"]) if name == "decode" and plan["tiles"] != [1, 1] else ""
        )
        lines.append(
            f"    {name:10} {phase['part']}{beside}, {phase['working_gib']:g} GiB of working memory{tiles}: {phase['peak_gib']:g} GiB"
        )
    return "\n".join(lines)


def _format_repository(name: str, repository: dict) -> str:
    """Return what the hub says of a model as one line."""
    cache_state = "all of it in the cache"
    if repository["missing_bytes"]:
        cache_state = f"{_format_bytes(repository['missing_bytes'])} to fetch; names, shapes and sizes are read from headers"
    licence = f", licence {repository['licence']}" if repository["licence"] else ""
    gated = ", gated" if repository["gated"] else ""
    size = f"{repository['files']} files of {_format_bytes(repository['bytes'])}"
    return f"{name}: on the hub, {size}{licence}{gated}, {cache_state}"


def _format_bytes(n: int) -> str:
    return f"{n / 1e9:.2f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"
