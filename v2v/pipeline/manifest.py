"""Read a manifest of edits: JSON lines, checked before anything runs.

A manifest is a text file with one JSON object per line:

    {"video": "a.mp4", "instruction": "make it night", "mask": "a.png", "seed": 3, "output": "night.mp4"}

`video` and `instruction` are required; `mask`, `reference`, `first_frame`, `second_video`, `context`, `output`, `lora` (a file or ORG/NAME on the hub, or a list of them and of
[file, weight] pairs), `lora_high` and `lora_low` (the same, for the two transformers of models that have two) and every field of `EditSettings` and `OutputFormat` are optional. Paths are relative to the manifest, except the video "sample", the clip that comes
with the package, and names of mask sources such as "person". Outputs are plain file names (by default the line's number and the clip's name). Options of the command line are
the defaults of every line. A line that can't be read becomes a job with an error; the others run.
"""

import codecs
import dataclasses
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from v2v.assets import SAMPLE
from v2v.checkpoints import hub, hub_client
from v2v.config import TransformerName
from v2v.errors import InputError
from v2v.pipeline.settings import AUTO_MASK, EditRequest, EditSettings, check_combination
from v2v.video.file_checks import DEFAULT_FORMAT, error_reason
from v2v.video.mask import BOX
from v2v.video.output_format import CLIPS, STILLS, OutputFormat, choose_encoding
from v2v.video.segmentation.registry import is_mask_source

SETTING_KEYS = {f.name for f in dataclasses.fields(EditSettings)}
FORMAT_KEYS = {f.name for f in dataclasses.fields(OutputFormat)}
# How texts begin that aren't UTF-8, but may be saved so.
UTF16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
# By the transformers that they are for.
PAIR_KEYS: dict[TransformerName, str] = {"high": "lora_high", "low": "lora_low"}
INPUT_KEYS = {
    "video", "instruction", "mask", "reference", "first_frame", "context", "second_video", "output", "lora",
    *PAIR_KEYS.values(),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One line of a manifest.

    Attributes:
      line: its number, from 1.
      request: the edit; None where the line can't be read.
      output: name of the output file.
      lora: adapters and their weights.
      output_format: codec, quality and pixel format of the output.
      error: the reason why it can't run, or "".
      pairs: adapters of the transformers of a model of two, with their weights and the names of their transformers.
    """

    line: int
    request: EditRequest | None
    output: str = ""
    lora: tuple[tuple[str, float], ...] = ()
    error: str = ""
    output_format: OutputFormat = DEFAULT_FORMAT
    pairs: tuple[tuple[str, float, TransformerName], ...] = ()


@dataclass(frozen=True)
class ManifestDefaults:
    """What lines default to; null in a line removes the default.

    Attributes:
      mask: path, box, name of a mask source or "auto".
      reference: path, or several.
      settings: defaults of the settings; those without effect on a line, for want of a mask or a reference, don't count there.
      lora_scale: weight of a line's adapters.
      output_format: codec, quality and pixel format of the outputs.
    """

    mask: str | None = None
    reference: str | tuple[str, ...] | None = None
    settings: EditSettings = EditSettings()
    lora_scale: float = 1.0
    output_format: OutputFormat = DEFAULT_FORMAT


def read_manifest(manifest: str | Path, defaults: ManifestDefaults = ManifestDefaults()) -> list[Job]:
    """Read the jobs of a manifest, one per non-empty line; an invalid line becomes a job with an error.

    Args:
      manifest: path of the file.
      defaults: what lines default to.

    Raises:
      InputError: the file doesn't exist, is empty, or no text.
    """
    path = Path(manifest)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: manifest can't be read ({error_reason(error)}); expected a file with one JSON object a line"
        ) from None
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
    first = next((line.lstrip() for line in lines if line.strip()), b"")
    if b"\0" in content and not first.startswith((b"{", *UTF16)):
        raise InputError(f"{path}: manifest expected to be text with one JSON object a line, got binary data")
    jobs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            job = parse_job(number, line, path, defaults)
        except InputError as error:
            job = Job(number, None, error=f"{path} line {number}: {error}")
        jobs.append(job)
    if not jobs:
        raise InputError(f"{path}: manifest expected at least one line with a JSON object, got none")
    return jobs


def parse_job(
    number: int, line: bytes, manifest: Path, defaults: ManifestDefaults = ManifestDefaults()
) -> Job:
    """Parse one line.

    Args:
      number: of the line.
      line: its bytes.
      manifest: path of the file, to which paths are relative.
      defaults: what lines default to.

    Raises:
      InputError: the line can't be read.
    """
    try:
        fields = json.loads(line.decode(), object_pairs_hook=_build_unique)
    except UnicodeDecodeError as error:
        raise InputError(f"expected UTF-8, got other bytes ({error}); save the manifest as UTF-8") from None
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected a JSON object, got what doesn't parse ({error})") from None
    if not isinstance(fields, dict):
        raise InputError(f"expected a JSON object, got {type(fields).__name__}")
    unknown = sorted(fields.keys() - SETTING_KEYS - FORMAT_KEYS - INPUT_KEYS)
    if unknown:
        raise InputError(
            f"unknown {', '.join(unknown)}; known are {', '.join(sorted(SETTING_KEYS | FORMAT_KEYS | INPUT_KEYS))}"
        )
    for name, value in fields.items():
        if isinstance(value, int | float) and not _finite(value) and name != "seed":
            raise InputError(f"{name}: expected a finite number, got {value!r:.40}")

    def place(name: str) -> str:
        return str(manifest.parent / name)

    video, instruction = (_required_text(fields, name) for name in ("video", "instruction"))
    mask = fields.get("mask")
    if isinstance(mask, list) and [type(n) for n in mask] == [int] * 4:
        fields["mask"] = ",".join(map(str, mask))
    mask, first_frame, context, second_video, output = (
        _text(fields, name) for name in ("mask", "first_frame", "context", "second_video", "output")
    )
    references = _texts(fields, "reference")
    if mask is not None and mask != AUTO_MASK and not BOX.fullmatch(mask):
        is_source = is_mask_source(mask) and not Path(place(mask)).exists()
        mask = mask if is_source else place(mask)
    reference_paths = tuple(place(reference) for reference in references)
    line_reference = (
        reference_paths if len(reference_paths) > 1 else reference_paths[0] if reference_paths else None
    )
    reference = line_reference if "reference" in fields else defaults.reference
    mask = mask if "mask" in fields else defaults.mask
    line_settings = {name: fields[name] for name in SETTING_KEYS & fields.keys()}
    EditSettings(**line_settings)
    # Defaults without effect on this line.
    idle = {"invert_mask", "soft"} if mask is None else set()
    idle |= {"guide"} if reference is None else set()
    own_defaults = {f.name: f.default for f in dataclasses.fields(EditSettings) if f.name in idle}
    settings = dataclasses.replace(defaults.settings, **{**own_defaults, **line_settings})
    check_combination(settings, mask, reference)
    output_format = _line_format(fields, defaults.output_format)
    still = Path(video).suffix.lower() in STILLS and output_format == DEFAULT_FORMAT
    output = output or f"{number:05d}-{Path(video).stem}{'.png' if still else output_format.suffix}"
    is_known = Path(output).suffix.lower() in CLIPS + STILLS or output_format.codec == "png"
    if Path(output).name != output or not is_known:
        raise InputError(
            f'output expected a plain file name ending in {", ".join(CLIPS + STILLS)}, got "{output}"'
        )
    choose_encoding(Path(output), output_format)
    is_sample = video == "sample" and not Path(place(video)).exists()
    is_url = "://" in video  # EditRequest refuses it
    request = EditRequest(
        str(SAMPLE) if is_sample else video if is_url else place(video),
        instruction,
        mask,
        reference,
        settings,
        first_frame=first_frame and place(first_frame),
        context=context and place(context),
        second_video=second_video and place(second_video),
    )
    lora = _line_adapters(fields, "lora", manifest, defaults.lora_scale)
    pairs: tuple[tuple[str, float, TransformerName], ...] = tuple(
        (file, weight, transformer)
        for transformer, key in PAIR_KEYS.items()
        for file, weight in _line_adapters(fields, key, manifest, defaults.lora_scale)
    )
    return Job(number, request, output, lora, output_format=output_format, pairs=pairs)


def _line_adapters(fields: dict, key: str, manifest: Path, scale: float) -> tuple[tuple[str, float], ...]:
    """Return the adapters of a field of a line; paths are absolute, so that none is taken for a name."""

    def resolve(file: str) -> str:
        is_name = _is_hub_name(file, manifest)
        return str(hub.resolve_adapter(file) if is_name else manifest.parent.absolute() / file)

    return tuple((resolve(file), weight) for file, weight in _adapters(fields.get(key), scale, key))


def _line_format(fields: dict, default: OutputFormat) -> OutputFormat:
    """Return the format of a line's output: its own fields, else those of the command line."""
    values = {name: fields[name] for name in FORMAT_KEYS & fields.keys()}
    OutputFormat(**values)
    # Either replaces the other.
    if values.keys() & {"crf", "quality"}:
        default = dataclasses.replace(default, crf=None, quality=None)
    return dataclasses.replace(default, **values)


def _is_hub_name(file: str, manifest: Path) -> bool:
    """Return whether an adapter is named by its repository; a file beside the manifest goes before a name."""
    return not (manifest.parent / file).exists() and hub_client.parse_hub_name(file) is not None


def _build_unique(pairs: list[tuple[str, object]]) -> dict:
    """Build a JSON object; raise InputError for repeated keys, of which json would keep only the last."""
    twice = sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    if twice:
        raise InputError(f"{', '.join(twice)}: expected once, got more; leave one")
    return dict(pairs)


def _finite(number: int | float) -> bool:
    """Return whether a float can hold the number; JSON numbers may be NaN or of any length."""
    return abs(number) <= sys.float_info.max


def _text(fields: dict, name: str) -> str | None:
    """Return an optional text field of a line; None if it is absent or null."""
    return None if fields.get(name) is None else _required_text(fields, name)


def _texts(fields: dict, name: str) -> list[str]:
    """Return an optional field of a line that is a text or a list of them; empty if it is absent or null."""
    value = fields.get(name)
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [_required_text({name: one}, name) for one in values]


def _required_text(fields: dict, name: str) -> str:
    """Return a text field of a line."""
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        box = ' such as "m.png" or "x,y,w,h"' if name == "mask" else ""
        raise InputError(f'expected "{name}", a text{box}, got {value!r}')
    return value


def _adapters(lora, scale: float, key: str) -> list[tuple[str, float]]:
    pairs = [
        [one, scale] if isinstance(one, str) else one
        for one in (lora if isinstance(lora, list) else [] if lora is None else [lora])
    ]
    if not all(isinstance(p, list) and [type(x) for x in p] in ([str, int], [str, float]) for p in pairs):
        raise InputError(f"{key} expected a file, or a list of files and [file, weight] pairs, got {lora!r}")
    for file, weight in pairs:
        if not file.strip() or not _finite(weight):
            raise InputError(
                f'{key} expected a file\'s name and a finite weight, got "{file}" and {weight!r}'
            )
    return [(file, float(weight)) for file, weight in pairs]
