"""Read a manifest of edits: JSON lines, checked before anything runs.

A manifest is a text file with one JSON object per line:

    {"video": "a.mp4", "instruction": "make it night", "mask": "a.png", "seed": 3, "output": "night.mp4"}

`video` and `instruction` are required; `mask`, `reference`, `output`, `lora` (a file, or a list of files and [file, weight] pairs)
and every field of `EditSettings` are optional. Paths are relative to the manifest, except the video "sample", the clip that comes
with the package. Outputs are plain file names (by default the line's number and the clip's name). Options of the command line are
the defaults of every line. A line that can't be read becomes a job with an error; the others run.
"""

import codecs
import dataclasses
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from v2v.assets import SAMPLE
from v2v.errors import InputError
from v2v.pipeline.editor import AUTO_MASK
from v2v.pipeline.settings import EditSettings
from v2v.video.file_checks import CLIPS, STILLS, error_reason
from v2v.video.mask import BOX

SETTING_KEYS = {f.name for f in dataclasses.fields(EditSettings)}
INPUT_KEYS = {"video", "instruction", "mask", "reference", "output", "lora"}


@dataclass(frozen=True)
class Job:
    """One line of a manifest; `error` is the reason why it can't run, or ""."""

    line: int
    video: str = ""
    instruction: str = ""
    output: str = ""
    mask: str | None = None
    reference: str | None = None
    lora: tuple[tuple[str, float], ...] = ()
    settings: dict = field(default_factory=dict)
    error: str = ""


def read_manifest(manifest: str | Path, base: Job = Job(0), scale: float = 1.0) -> list[Job]:
    """Read the jobs of a manifest, one per non-empty line; an invalid line becomes a job with an error.

    Args:
      manifest: path of the file.
      base: mask, reference and settings that lines default to; null in a line removes the default.
      scale: default weight of a line's adapters.

    Raises:
      InputError: the file doesn't exist or is empty.
    """
    path = Path(manifest)
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    except OSError as error:
        raise InputError(
            f"{path}: manifest can't be read ({error_reason(error)}); expected a file with one JSON object a line"
        ) from None
    jobs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            job = _job(number, line, path, base, scale)
        except InputError as error:
            job = Job(number, error=f"{path} line {number}: {error}")
        jobs.append(job)
    if not jobs:
        raise InputError(f"{path}: manifest expected at least one line with a JSON object, got none")
    return jobs


def check_combination(settings: dict, mask, reference) -> None:
    """Check that settings that need a mask or a reference have one.

    Raises:
      InputError: a setting without effect.
    """
    invert, soft, guide = (settings.get(name) for name in ("invert_mask", "soft", "guide"))
    if mask is None and (invert or soft is not None):
        raise InputError(
            f"{'invert_mask' if invert else 'soft'}: expected a mask with it, got none; add one, or leave it out"
        )
    if invert and isinstance(mask, str) and (mask == AUTO_MASK or BOX.fullmatch(mask)):
        raise InputError(
            f"invert_mask: expected a picture or video as mask, got {mask}, which always marks where to edit; leave it out"
        )
    if guide == "prompt+reference" and reference is None:
        raise InputError(
            'guide: "prompt+reference" expected a reference with it, got none; add one, or leave it out'
        )


def _job(number: int, line: bytes, manifest: Path, base: Job = Job(0), scale: float = 1.0) -> Job:
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
    unknown = sorted(fields.keys() - SETTING_KEYS - INPUT_KEYS)
    if unknown:
        raise InputError(
            f"unknown {', '.join(unknown)}; known are {', '.join(sorted(SETTING_KEYS | INPUT_KEYS))}"
        )
    for name, value in fields.items():
        if isinstance(value, int | float) and not _finite(value) and name != "seed":
            raise InputError(f"{name}: expected a finite number, got {value!r:.40}")

    def place(name: str) -> str:
        return str(manifest.parent / name)

    video, instruction = (_text(fields, name, is_required=True) for name in ("video", "instruction"))
    mask = fields.get("mask")
    if isinstance(mask, list) and [type(n) for n in mask] == [int] * 4:
        fields["mask"] = ",".join(map(str, mask))
    mask, reference, output = (_text(fields, name) for name in ("mask", "reference", "output"))
    if mask is not None and mask != AUTO_MASK and not BOX.fullmatch(mask):
        mask = place(mask)
    reference = reference and place(reference) if "reference" in fields else base.reference
    mask = mask if "mask" in fields else base.mask
    line_settings = {name: fields[name] for name in SETTING_KEYS & fields.keys()}
    EditSettings(**line_settings)
    idle = {"invert_mask", "soft"} if mask is None else set()
    idle |= {"guide"} if reference is None else set()  # defaults without effect on this line
    settings = {name: value for name, value in base.settings.items() if name not in idle} | line_settings
    check_combination(settings, mask, reference)
    still = Path(video).suffix.lower() in STILLS
    output = output or f"{number:05d}-{Path(video).stem}{'.png' if still else '.mp4'}"
    if Path(output).name != output or Path(output).suffix.lower() not in CLIPS + STILLS:
        raise InputError(
            f'output expected a plain file name ending in {", ".join(CLIPS + STILLS)}, got "{output}"'
        )
    sample = video == "sample" and not Path(place(video)).exists()
    return Job(
        number,
        str(SAMPLE) if sample else place(video),
        instruction,
        output,
        mask,
        reference,
        tuple((place(file), weight) for file, weight in _adapters(fields.get("lora"), scale)),
        settings,
    )


def _build_unique(pairs: list[tuple[str, object]]) -> dict:
    """Build a JSON object; raise InputError for repeated keys, of which json would keep only the last."""
    twice = sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    if twice:
        raise InputError(f"{', '.join(twice)}: expected once, got more; leave one")
    return dict(pairs)


def _finite(number: int | float) -> bool:
    """Return whether a float can hold the number; JSON numbers may be NaN or of any length."""
    return abs(number) <= sys.float_info.max


def _text(fields: dict, name: str, is_required: bool = False) -> str | None:
    """Return a text field of a line; None if it is optional and absent or null."""
    value = fields.get(name)
    if value is None and not is_required:
        return None
    if not isinstance(value, str) or not value.strip():
        box = ' such as "m.png" or "x,y,w,h"' if name == "mask" else ""
        raise InputError(f'expected "{name}", a text{box}, got {value!r}')
    return value


def _adapters(lora, scale: float) -> list[tuple[str, float]]:
    pairs = [
        [one, scale] if isinstance(one, str) else one
        for one in (lora if isinstance(lora, list) else [] if lora is None else [lora])
    ]
    if not all(isinstance(p, list) and [type(x) for x in p] in ([str, int], [str, float]) for p in pairs):
        raise InputError(f"lora expected a file, or a list of files and [file, weight] pairs, got {lora!r}")
    for file, weight in pairs:
        if not file.strip() or not _finite(weight):
            raise InputError(f'lora expected a file\'s name and a finite weight, got "{file}" and {weight!r}')
    return [(file, float(weight)) for file, weight in pairs]
