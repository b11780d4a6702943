"""Mutate every kind of file that v2v takes from people, and see that each ends in a result or in one line.

    python tools/checks/fuzz.py [--only KIND] [--count N] [--seed S] [--folder DIR]

Case s of a kind depends on the kind and s alone: `--only videos --seed 17 --count 1` repeats one. What is looked for: a process that dies, a
case that takes too long, an exception that is no InputError, an InputError of several lines, and files that are left behind. Cases run many
in one process, a chunk at a time; where a chunk dies, it is halved until one case dies alone. Prints a line for each finding on stderr
and one line of counts at the end; exit code 1 where anything was found. With --folder the files of findings are kept there.
"""

import argparse
import dataclasses
import functools
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from data_synth.experts import spec
from data_synth.language import caption_rewriting
from data_synth.recipes import captions, composition
from data_synth.recipes.published import PUBLISHED
from tools.checks import fuzz_files
from v2v import config as configs
from v2v.checkpoints import adapters
from v2v.cli import doctor
from v2v.data import pair_table
from v2v.errors import InputError, collect_notes
from v2v.evaluation.benchmarks import published
from v2v.pipeline import manifest
from v2v.video import video as codec
from v2v.video.mask import Mask

CHUNK = 50
MEMORY_BYTES = 6 << 30
# Reads the mutated file, and writes a result beside the path given, if there is any.
Use = Callable[[Path, Path], None]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of files.

    Attributes:
      name: of the kind; cases follow from it.
      count: number of cases by default.
      bases: writes the files that are mutated into a folder, each in a folder of its own where its place counts.
      mutate: returns the mutated content of a file.
      use: by the name of the base's folder, or of its ending, what reads it.
    """

    name: str
    count: int
    bases: Callable[[Path], None]
    mutate: Callable[[bytes, random.Random], bytes]
    use: dict[str, Use]


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that should not have happened.

    Attributes:
      kind: of the file.
      seeds: cases; more than one where they do harm only together.
      what: crash, hang, traceback, lines or leftover.
      detail: one line.
    """

    kind: str
    seeds: tuple[int, ...]
    what: str
    detail: str


# What reads the files


def use_video(path: Path, out: Path) -> None:
    """Read a clip and write it again, with its sound."""
    codec.write_video(codec.read_video(path), out.with_suffix(".mp4"))


def use_picture(path: Path, out: Path) -> None:
    """Read a picture and write it again."""
    clip = codec.read_video(path)
    codec.write_video(clip, out.with_suffix(".png" if len(clip.frames) == 1 else ".mp4"))


def use_mask(path: Path, out: Path) -> None:
    """Read a mask for the example clip."""
    Mask(path, codec.Video.from_array(fuzz_files.example_frames(), 12)).survey(24, 32, 0, fuzz_files.SIZE[0])


def use_tensors(path: Path, out: Path) -> None:
    """Load an adapter; let the doctor examine it, which must not fail whatever it is."""
    if path.stat().st_size % 8 == 0:
        doctor.diagnose("embedded", {None: str(path)})
    adapters.load_adapter(path, configs.debug())


def use_manifest(path: Path, out: Path) -> None:
    """Read a manifest; the errors of its lines are lines, too."""
    for job in manifest.read_manifest(path):
        if job.error and "\n" in job.error:
            raise InputError(job.error)


def use_set(read: Callable[[Path], Any], path: Path, out: Path) -> None:
    """Read a published set and make its first rows, whose files are not there; the reasons must fit into a report."""
    recipe = read(find_root(path))
    for seed in range(3):
        str(recipe(seed, 4, 24, 32)).encode()


def use_benchmark(read: Callable[[Path], Any], path: Path, out: Path) -> None:
    """Read a benchmark, whose texts must fit into a report."""
    for item in read(find_root(path)).items:
        f"{item.id} {item.instruction} {item.kind}".encode()


def use_pairs(path: Path, out: Path) -> None:
    """Read a table of pairs."""
    pair_table.read_table(path)


def use_events(path: Path, out: Path) -> None:
    """Read timed captions, whose reasons must fit into a report."""
    for event in captions.read_events(path):
        str(event.rejection).encode()


def use_toml(read: Callable[[Any], Any], path: Path, out: Path) -> None:
    """Read a description."""
    read(str(path))


def find_root(path: Path) -> Path:
    """Return the folder of a layout, which lies in the folder of the case."""
    return next(parent for parent in path.parents if parent.parent.name == "case")


SETS: dict[str, Use] = {name: functools.partial(use_set, read) for name, read in PUBLISHED.items()}
BENCHMARKS: dict[str, Use] = {
    name: functools.partial(use_benchmark, read)
    for name, read in (
        ("editverse", published.read_editverse_bench),
        ("openve-bench", published.read_openve_bench),
        ("ivebench", published.read_ivebench),
        ("imgedit", published.read_imgedit_bench),
    )
}
DESCRIPTIONS: dict[str, Use] = {
    name: functools.partial(use_toml, read)
    for name, read in (
        ("writer", caption_rewriting.load_endpoint_writer),
        ("expert", spec.load_spec),
        ("composition", composition.load_composition),
    )
}
_KINDS = (
    Kind("videos", 500, fuzz_files.write_videos, fuzz_files.mutate_bytes, {"": use_video}),
    Kind("pictures", 300, fuzz_files.write_pictures, fuzz_files.mutate_bytes, {"": use_picture}),
    Kind("masks", 100, fuzz_files.write_masks, fuzz_files.mutate_bytes, {"": use_mask}),
    Kind("safetensors", 200, fuzz_files.write_tensors, fuzz_files.mutate_tensors, {"": use_tensors}),
    Kind("manifests", 300, fuzz_files.write_manifests, fuzz_files.mutate_text, {"": use_manifest}),
    Kind(
        "listings",
        600,
        fuzz_files.write_listings,
        fuzz_files.mutate_text,
        {**SETS, **BENCHMARKS, "pairs": use_pairs},
    ),
    Kind(
        "captions",
        300,
        fuzz_files.write_captions,
        fuzz_files.mutate_text,
        {"events": use_events, **DESCRIPTIONS},
    ),
)
KINDS = {kind.name: kind for kind in _KINDS}


# Cases


def run_chunk(kind: Kind, seeds: Sequence[int], folder: Path) -> None:
    """Run cases in this process; write the begin and the outcome of each to folder/progress.jsonl."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    os.dup2(os.open(folder / "stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    with open(folder / "progress.jsonl", "a", buffering=1) as progress:
        for seed in seeds:
            progress.write(json.dumps([seed]) + "\n")
            progress.write(json.dumps([seed, *run_case(kind, seed, folder)]) + "\n")


def run_case(kind: Kind, seed: int, folder: Path) -> tuple[str, str]:
    """Run one case; return "result", "refused", or what was found, and a line about it."""
    path = write_case(kind, seed, folder)
    case, out = folder / "case", folder / "out" / "out"
    out.parent.mkdir(exist_ok=True)
    use = kind.use.get(path.relative_to(case).parts[0]) or kind.use[""]
    inputs = _list_files(case)
    try:
        with collect_notes():
            use(path, out)
        outcome, detail = "result", ""
    except InputError as error:
        outcome, detail = "refused", str(error)
        if "\n" in detail:
            return "lines", detail.replace("\n", "\\n")[:200]
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())[:120]
        return "traceback", f"{type(error).__name__}: {text} ({place.filename}:{place.lineno})"
    leftovers = _list_files(case) - inputs | _list_files(folder / "tmp")
    leftovers |= {
        file for file in _list_files(folder / "out") if outcome == "refused" or file.name.startswith(".")
    }
    shutil.rmtree(out.parent)
    if leftovers:
        return "leftover", ", ".join(sorted(file.name for file in leftovers))
    return outcome, detail


def write_case(kind: Kind, seed: int, folder: Path) -> Path:
    """Copy one of the base files, mutated, to folder/case, and return its path there."""
    rng = random.Random(f"{kind.name} {seed}")
    bases = folder / "bases"
    if not bases.is_dir():
        bases.mkdir()
        kind.bases(bases)
    base = rng.choice(sorted(_list_files(bases)))
    shutil.rmtree(folder / "case", ignore_errors=True)
    path = folder / "case" / base.relative_to(bases)
    path.parent.mkdir(parents=True)
    path.write_bytes(kind.mutate(base.read_bytes(), rng))
    return path


def _list_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@dataclasses.dataclass
class ChunkRun:
    """What became of a chunk.

    Attributes:
      outcomes: outcome and detail by seed.
      last: the case that was begun last.
      death: exit code of a process that died; None where it ended well or was killed for taking too long.
      is_hung: whether the last case took too long.
    """

    outcomes: dict[int, tuple[str, str]]
    last: int | None = None
    death: int | None = None
    is_hung: bool = False


def run_in_child(kind: Kind, seeds: Sequence[int], folder: Path, seconds: float) -> ChunkRun:
    """Run cases in a child process, which is killed where one takes too long."""
    progress = folder / "progress.jsonl"
    progress.unlink(missing_ok=True)
    child = multiprocessing.get_context("spawn").Process(target=run_chunk, args=(kind, seeds, folder))
    child.start()
    run, size, since = ChunkRun({}), -1, time.monotonic()
    while child.is_alive():
        child.join(0.2)
        new_size = progress.stat().st_size if progress.exists() else -1
        if new_size != size:
            size, since = new_size, time.monotonic()
        # The first case also waits for the imports and the bases.
        if time.monotonic() - since > seconds + 60 * (size < 0):
            run.is_hung = True
            child.kill()
            child.join()
    for line in progress.read_text().splitlines() if progress.exists() else ():
        run.last, *outcome = json.loads(line)
        if outcome:
            run.outcomes[run.last] = (outcome[0], outcome[1])
    run.death = child.exitcode if child.exitcode and not run.is_hung else None
    return run


def run_cases(
    kind: Kind, seeds: Sequence[int], folder: Path, seconds: float
) -> Iterator[tuple[Sequence[int], str, str]]:
    """Yield (seeds, outcome, detail) of every case, in processes of their own where one dies."""
    if not seeds:
        return
    run = run_in_child(kind, seeds, folder, seconds)
    if run.is_hung:
        for seed, (outcome, detail) in run.outcomes.items():
            yield (seed,), outcome, detail
        last = seeds[0] if run.last is None else run.last
        yield (last,), "hang", f"more than {seconds:g} s"
        yield from run_cases(kind, seeds[seeds.index(last) + 1 :], folder, seconds)
    elif run.death is None:
        yield from (((seed,), *outcome) for seed, outcome in run.outcomes.items())
    elif run.last is None:
        yield seeds, "crash", f"exit code {run.death}, before the first case"
    elif len(seeds) == 1:
        yield seeds, "crash", f"exit code {run.death}"
    else:
        halves = seeds[: len(seeds) // 2], seeds[len(seeds) // 2 :]
        results = [result for half in halves for result in run_cases(kind, half, folder, seconds)]
        yield from results
        if not any(outcome == "crash" for _, outcome, _ in results):
            yield seeds, "crash", f"exit code {run.death}, of these cases together only"


def run_kind(
    kind: Kind, first: int, count: int, folder: Path, seconds: float
) -> tuple[Counter[str], list[Finding]]:
    """Run the cases of a kind; return the number of each outcome, and the findings."""
    counts: Counter[str] = Counter()
    findings = []
    for start in range(first, first + count, CHUNK):
        chunk = range(start, min(start + CHUNK, first + count))
        for seeds, outcome, detail in run_cases(kind, chunk, folder, seconds):
            counts[outcome] += 1
            if outcome not in ("result", "refused"):
                findings.append(Finding(kind.name, tuple(seeds), outcome, detail))
                print(
                    f"{kind.name} --seed {seeds[0]} --count {len(seeds)}: {outcome}: {detail}",
                    file=sys.stderr,
                    flush=True,
                )
    return counts, findings


def keep_file(finding: Finding, folder: Path, target: Path) -> None:
    """Write the file of a finding's first case to `target`/KIND-SEED-NAME."""
    path = write_case(KINDS[finding.kind], finding.seeds[0], folder)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target / f"{finding.kind}-{finding.seeds[0]}-{path.name}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", choices=KINDS, help="a kind to run (default: all); may be repeated"
    )
    counts = ", ".join(f"{kind.count} {kind.name}" for kind in KINDS.values())
    parser.add_argument("--count", type=int, help=f"cases of each kind (default: {counts})")
    parser.add_argument("--seed", type=int, default=0, help="the first case")
    parser.add_argument("--seconds", type=float, default=60, help="time limit of a case")
    parser.add_argument("--folder", type=Path, help="where to keep the files of findings")
    args = parser.parse_args(argv)
    parts, total = [], 0
    for name in args.only or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            kind = KINDS[name]
            counts, findings = run_kind(kind, args.seed, args.count or kind.count, Path(folder), args.seconds)
            for finding in findings if args.folder else ():
                keep_file(finding, Path(folder), args.folder)
        total += len(findings)
        outcomes = ", ".join(
            f"{n} {outcome}" for outcome, n in counts.items() if outcome not in ("result", "refused")
        )
        parts.append(
            f"{name} {counts['result']} results, {counts['refused']} refused, found {outcomes or 'nothing'}"
        )
    print("; ".join(parts))
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
