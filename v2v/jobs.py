"""Many edits from one list: `v2v edit --manifest jobs.jsonl --out DIR`, or `for result in jobs.run(...)`. editor.py → **jobs**

A manifest is a text file with one JSON object a line:

    {"video": "a.mp4", "instruction": "make it night", "mask": "a.png", "seed": 3, "output": "night.mp4"}

`video` and `instruction` are needed; `mask`, `reference`, `output`, `lora` (a file, or a list of files and [file, weight] pairs)
and every field of `settings.Settings` may follow. Paths are relative to the manifest, but for the video "sample", the clip that
comes with the package; outputs lie in DIR (by default under the line's number and the clip's name). One editor serves all jobs,
so each shape is compiled once. Options of the command line are every line's that says nothing else.

A finished job leaves a record beside its output (`DIR/.jobs`), under a hash of the contents of all that went in: files, words,
settings, weights. The same job is skipped when the list runs again. A job that can't be read or edited is a failed result and the
others run. Over a mesh as many jobs run at a time as it has devices (`together.py`), each equal to the job alone. Under
`jax.distributed` each process takes every n-th job, over its own devices, and `gather` makes one list of all results.
"""

import codecs
import copy
import dataclasses
import hashlib
import json
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from v2v import __version__, together
from v2v.codec.inputs import MOMENT
from v2v.codec.mask import BOX
from v2v.codec.paths import CLIPS, STILLS, check_output, reason
from v2v.command import SAMPLE
from v2v.editor import AUTO, EasyV2VEditor, lora_context
from v2v.errors import InputError
from v2v.settings import Settings
from v2v.weights.adapters import embeds_path

RECORDS = ".jobs"
RESULTS = "results.jsonl"
SETTINGS = {f.name for f in dataclasses.fields(Settings)}
OTHERS = {"video", "instruction", "mask", "reference", "output", "lora"}
_NOTES: ContextVar[list[str] | None] = ContextVar("notes", default=None)  # of the job that runs here
PIECE = 1 << 20  # bytes read at a time; of weights, what is hashed at either end of each file


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


def read(manifest: str | Path, base: Job = Job(0), scale: float = 1.0) -> list[Job]:
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
            f"{path}: manifest can't be read ({reason(error)}); expected a file with one JSON object a line"
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


def check_used(settings: dict, mask, reference) -> None:
    """Refuses settings that do nothing without a mask or a reference.

    Raises:
      InputError: which, and what is missing.
    """
    invert, soft, guide = (settings.get(name) for name in ("invert_mask", "soft", "guide"))
    if mask is None and (invert or soft is not None):
        raise InputError(
            f"{'invert_mask' if invert else 'soft'}: expected a mask with it, got none; add one, or leave it out"
        )
    if invert and isinstance(mask, str) and (mask == AUTO or BOX.fullmatch(mask)):
        raise InputError(
            f"invert_mask: expected a picture or video as mask, got {mask}, which always marks where to edit; leave it out"
        )
    if guide == "prompt+reference" and reference is None:
        raise InputError(
            'guide: "prompt+reference" expected a reference with it, got none; add one, or leave it out'
        )


def run(
    editor: EasyV2VEditor,
    jobs: Iterable[Job],
    out: str | Path,
    *,
    weights: str = "",
    progress: bool = False,
    mesh: Mesh | None = None,
) -> Iterator[dict]:
    """Runs this process's share of the jobs and yields a result as each ends.

    Args:
      out: the folder of outputs; made if missing.
      weights: what tells the editor's model from others (`fingerprint`).
      progress: show each job's bars; only where jobs run one after the other.
      mesh: devices of this process over which as many jobs are spread at a time (together.py); None for one after the
        other, as all jobs go whose model skips steps: which ones is found on each clip.

    Yields:
      {"line", "output", "status": "done" | "skipped" | "failed", "error", "seconds", "report", "notes"}; "report" as of
        `Video.report`, "notes" what would have been shown as warnings.

    Raises:
      InputError: a folder that can't be made.
    """
    out = Path(out)
    try:
        (out / RECORDS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: can't be made ({reason(error)}); choose another with --out") from None
    part, parts = share()
    mine = _apart(jobs)[part::parts]

    def task(job: Job) -> Callable[[together.Seat], dict]:
        def seated(seat: together.Seat) -> dict:
            alone = copy.copy(editor)
            alone.model = alone._loaded = seat
            return _result(alone, job, out, weights, False)

        return seated

    lone = mesh is None or mesh.size == 1 or getattr(editor.model, "skipping", None) is not None
    with _noted():
        if lone:
            yield from (_result(editor, job, out, weights, progress) for job in mine)
            return
        yield from together.run(editor.model, mesh, map(task, mine))


def gather(results: list[dict]) -> list[dict]:
    """All processes' results, ordered by line, in every process. Every process must call it."""
    _, parts = share()
    if parts > 1:
        from jax.experimental import multihost_utils

        mine = np.frombuffer(json.dumps(results).encode(), np.uint8)
        sizes = np.atleast_1d(multihost_utils.process_allgather(np.array(len(mine)))).reshape(-1)
        padded = np.zeros(int(sizes.max()), np.uint8)
        padded[: len(mine)] = mine
        every = multihost_utils.process_allgather(padded).reshape(parts, -1)
        results = [r for row, size in zip(every, sizes, strict=True) for r in json.loads(bytes(row[:size]))]
    return sorted(results, key=lambda result: result["line"])


def share() -> tuple[int, int]:
    """(this process's number, how many there are) of a `jax.distributed` job."""
    import jax

    return jax.process_index(), jax.process_count()


def fingerprint(*weights: str | Path) -> str:
    """Tells weights apart by names, sizes, and the ends of their files: large folders aren't read whole."""
    digest = hashlib.sha256(__version__.encode())
    for root in map(Path, weights):
        for number, path in enumerate(_parts(root)):
            name = path.relative_to(root) if root.is_dir() else number
            digest.update(f"{name} {path.stat().st_size}".encode())
            with path.open("rb") as file:
                digest.update(file.read(PIECE))
                file.seek(max(0, path.stat().st_size - PIECE))
                digest.update(file.read(PIECE))
    return digest.hexdigest()


def _parts(adapter: str | Path) -> list[Path]:
    """Files of weights: all in a folder, or a file and the embeddings beside it; the path itself where there are none."""
    path = Path(adapter)
    found = sorted(path.rglob("*")) if path.is_dir() else [path, embeds_path(path)]
    return [part for part in found if part.is_file()] or [path]


def _apart(jobs: Iterable[Job]) -> list[Job]:
    """The jobs; one whose output is an earlier one's fails, so that it doesn't overwrite it."""
    out, taken = [], {}
    for job in jobs:
        if not job.error and taken.setdefault(job.output, job) is not job:
            first = taken[job.output].line
            error = f"line {job.line}: output {job.output} is line {first}'s too; name another"
            job = dataclasses.replace(job, error=error)
        out.append(job)
    return out


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
    unknown = sorted(found.keys() - SETTINGS - OTHERS)
    if unknown:
        raise InputError(f"unknown {', '.join(unknown)}; known are {', '.join(sorted(SETTINGS | OTHERS))}")
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
    if mask is not None and mask != AUTO and not BOX.fullmatch(mask):
        mask = place(mask)
    reference = reference and place(reference) if "reference" in found else base.reference
    mask = mask if "mask" in found else base.mask
    own = {name: found[name] for name in SETTINGS & found.keys()}
    Settings(**own)
    idle = {"invert_mask", "soft"} if mask is None else set()
    idle |= {"guide"} if reference is None else set()  # of those for all lines, what this one has no use for
    settings = {name: value for name, value in base.settings.items() if name not in idle} | own
    check_used(settings, mask, reference)
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


@contextmanager
def _noted() -> Iterator[None]:
    """While it lasts, notes (UserWarning) go to the job that made them, also those that an earlier job made word for word."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        shown = warnings.showwarning

        def note(message, category, *where, **more) -> None:
            notes = _NOTES.get()
            if notes is None or not issubclass(category, UserWarning):
                shown(message, category, *where, **more)
            else:
                notes.append(" ".join(str(message).split()))

        warnings.showwarning = note
        yield


def _result(editor: EasyV2VEditor, job: Job, out: Path, weights: str, progress: bool) -> dict:
    """Runs one job, whatever becomes of it."""
    began = time.perf_counter()
    output, notes = str(out / job.output), []
    result = {"line": job.line, "output": output, "status": "failed", "error": job.error, "report": {}}
    result["notes"], before = notes, _NOTES.set(notes)
    if not job.error:
        try:
            result |= _run(editor, job, out, weights, progress)
        except InputError as error:
            result["error"] = f"line {job.line}: " + " ".join(str(error).split())
        except Exception as error:  # a job that fails in a way nobody foresaw must not cost the others
            words = " ".join(str(error).split())
            result["error"] = f"line {job.line}: {job.video}: {type(error).__name__}: {words}"
    _NOTES.reset(before)
    return result | {"seconds": round(time.perf_counter() - began, 3)}


def _run(editor: EasyV2VEditor, job: Job, out: Path, weights: str, progress: bool) -> dict:
    output = check_output(out / job.output)
    skipping = getattr(editor.model, "skipping", None)
    key = _key(job, f"{weights} {skipping.tolerance if skipping else 0:g}")
    record = out / RECORDS / f"{job.output}.json"
    try:
        before = json.loads(record.read_text())
        if before["key"] == key and before["bytes"] == output.stat().st_size:
            return {"status": "skipped", "report": before["report"], "notes": before["notes"]}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never run, or not to the end
    record.unlink(missing_ok=True)
    with _with(editor, job.lora):
        made = editor.edit_file(
            job.video,
            job.instruction,
            output,
            job.mask,
            job.reference,
            progress=progress,
            sampled=getattr(editor.model, "leave", lambda: None),
            **job.settings,
        )
    report = made.report | (skipping.report if skipping else {})
    partial = record.with_suffix(".partial")
    kept = {"key": key, "bytes": output.stat().st_size, "report": report, "notes": _NOTES.get()}
    partial.write_text(json.dumps(kept))
    os.replace(partial, record)
    return {"status": "done", "report": report}


def _with(editor: EasyV2VEditor, adapters: tuple[tuple[str, float], ...]):
    """The editor with all adapters while a `with` lasts."""
    from contextlib import ExitStack

    stack = ExitStack()
    try:
        for file, weight in adapters:
            stack.enter_context(lora_context(editor, file, weight))
    except BaseException:
        stack.close()
        raise
    return stack


def _key(job: Job, weights: str) -> str:
    """A hash of all that decides the output's bytes."""
    reference, moment = job.reference, None
    if reference is not None and not Path(reference).exists() and (found := MOMENT.fullmatch(reference)):
        reference, moment = found.groups()
    files = [job.video, job.mask, reference, *(part for file, _ in job.lora for part in _parts(file))]
    digest = hashlib.sha256(f"{__version__} {weights} {moment}".encode())
    for file in files:
        digest.update(b"|")
        if file is not None and Path(file).is_file():
            with open(file, "rb") as opened:
                while piece := opened.read(PIECE):
                    digest.update(piece)
        else:
            digest.update(str(file).encode())
    settings = dataclasses.asdict(Settings(**job.settings))  # to say a default makes no other job
    rest = [job.instruction, job.output, settings, [weight for _, weight in job.lora]]
    digest.update(json.dumps(rest, sort_keys=True, default=float).encode())
    return digest.hexdigest()
