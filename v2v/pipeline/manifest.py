"""What is to be edited, from a list: lines of JSON → jobs, checked before anything runs. command.py → **manifest** → jobs.py

A manifest is a text file with one JSON object a line:

    {"video": "a.mp4", "instruction": "make it night", "mask": "a.png", "seed": 3, "output": "night.mp4"}

`video` and `instruction` are needed; `mask`, `reference`, `output`, `lora` (a file, or a list of files and [file, weight] pairs)
and every field of `settings.Settings` may follow. Paths are relative to the manifest, but for the video "sample", the clip that
comes with the package; outputs have plain names (by default the line's number and the clip's name). Options of the command line
are every line's that says nothing else. A line that can't be read is a job with an error; the others run.
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
    """One line of a manifest; `error` says why it can't be run, or is ""."""

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
    """Jobs of a manifest, one for each line that isn't empty; a bad line becomes a job with its error.

    Args:
      base: its mask, reference and settings are every line's that doesn't say another (null says none).
      scale: weight of a line's adapters that have none of their own.

    Raises:
      InputError: no such file, or nothing in it.
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
    """Refuses settings that do nothing without a mask or a reference.

    Raises:
      InputError: which, and what is missing.
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
        found = json.loads(line.decode(), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise InputError(f"expected UTF-8, got other bytes ({error}); save the manifest as UTF-8") from None
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected a JSON object, got what doesn't parse ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"expected a JSON object, got {type(found).__name__}")
    unknown = sorted(found.keys() - SETTING_KEYS - INPUT_KEYS)
    if unknown:
        raise InputError(
            f"unknown {', '.join(unknown)}; known are {', '.join(sorted(SETTING_KEYS | INPUT_KEYS))}"
        )
    for name, value in found.items():
        if isinstance(value, int | float) and not _finite(value) and name != "seed":
            raise InputError(f"{name}: expected a finite number, got {value!r:.40}")

    def place(name: str) -> str:
        return str(manifest.parent / name)

    video, instruction = (_text(found, name, needed=True) for name in ("video", "instruction"))
    mask = found.get("mask")
    if isinstance(mask, list) and [type(n) for n in mask] == [int] * 4:
        found["mask"] = ",".join(map(str, mask))
    mask, reference, output = (_text(found, name) for name in ("mask", "reference", "output"))
    if mask is not None and mask != AUTO_MASK and not BOX.fullmatch(mask):
        mask = place(mask)
    reference = reference and place(reference) if "reference" in found else base.reference
    mask = mask if "mask" in found else base.mask
    own = {name: found[name] for name in SETTING_KEYS & found.keys()}
    EditSettings(**own)
    idle = {"invert_mask", "soft"} if mask is None else set()
    idle |= {"guide"} if reference is None else set()  # of those for all lines, what this one has no use for
    settings = {name: value for name, value in base.settings.items() if name not in idle} | own
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
        tuple((place(file), weight) for file, weight in _adapters(found.get("lora"), scale)),
        settings,
    )


def _once(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object in which nothing is said twice: json would keep the last and drop the others."""
    twice = sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    if twice:
        raise InputError(f"{', '.join(twice)}: expected once, got more; leave one")
    return dict(pairs)


def _finite(number: int | float) -> bool:
    """Whether it is a number that a float can hold; JSON's may be NaN, or of any length."""
    return abs(number) <= sys.float_info.max


def _text(found: dict, name: str, needed: bool = False) -> str | None:
    """A line's text; None for one that may be absent (or null) and is."""
    value = found.get(name)
    if value is None and not needed:
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
