"""Measure the pair engine: pairs a second, core-seconds a pair, memory, and the speed-up by a second worker.

    python tools/bench/synth.py
    --quick           a few pairs of each, for a first look
    --only NAME       planar, experts (control videos), physics, memory, workers, footage, scale or edits
                      footage alone is the speed-up by a second worker, in three to four minutes of an idle machine with two cores
    --scale N         pairs of the part scale (default: 100,000)
    --folder DIR      the part scale builds here, and goes on there when it was broken off; without it in a temporary folder
    --cutouts DIR     edits: objects for the cut-out recipes on --clip, at 33x240x416 and 81x480x832; with NAME.mask.png or .mp4 beside the
                      clip removal and grounding too
    --clip FILE       controls work on this clip, scaled to size; without it on a scene under white noise, the worst case of
                      footage: no codec can shorten it

Prints one line a bar. Core-seconds are CPU time of this process and its children (cutime), decoding of the footage, gates and
encoding of the record included; run it on an idle machine: cores shared with other work count their waits for memory too.
"""

import argparse
import contextlib
import dataclasses
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_synth import footage as footage_lib
from data_synth import generate, worker
from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest
from data_synth.operators.control import CONTROLS
from data_synth.recipes import physics
from data_synth.recipes.sources import NO_SOURCES, Sources
from data_synth.rejection import Rejected
from data_synth.scenes import textures
from v2v.data import pair as pair_lib
from v2v.video import video as codec

LARGE = {"T": 81, "H": 480, "W": 832}
BARS = {
    "planar": "at least 100 pairs/s a core",
    "experts": "at most 4 core-seconds",
    "physics": "at most 25 core-seconds",
}


def measure_pairs(
    edits: tuple[str, ...] | None, seeds: Iterable[int], sources: Sources = NO_SOURCES, **size
) -> tuple[float, int]:
    """Return core-seconds and number of pairs, made and encoded as `v2v synth` does it.

    Args:
      edits: Names of recipes; None is the default mix.
      seeds: Seeds, one pair each.
      sources: Clips that recipes may use.
      size: T, H, W and other fields of `PairOptions`.
    """
    start, pair_count = time.process_time(), 0
    for seed in seeds:
        footage_lib.decode_clip.cache_clear()  # every pair decodes its footage, as with a folder of many files
        pair = generate.make_pair(seed, generate.PairOptions(edits=edits, sources=sources, **size))
        if not isinstance(pair, Rejected):
            pair_lib.encode_pair(pair)
            pair_count += 1
    return time.process_time() - start, pair_count


def read_footage(clip: str | None) -> np.ndarray:
    """Return 96 frames of 480 x 832 of a file, or of a rendered scene under noise."""
    if clip:
        return footage_lib.fit_frames(np.asarray(codec.read_video(clip).frames)[:96], 480, 832)
    noise = np.random.default_rng(0).integers(0, 60, (96, 480, 832, 3), dtype=np.uint8)
    return footage_lib.render_clip(1, 96, 480, 832).video // 2 + noise


def measure_edits(clip: Path, cutouts: str, seeds: int) -> None:
    """Print core-seconds a pair of each family that edits footage.

    Args:
      clip: Video file; masks beside it are used.
      cutouts: Folder of cut-outs; "" without any.
      seeds: Number of seeds a family; those that give no pair cost too.
    """
    names = ["looks", "weather", "overlays", "look-on-clip", "camera", "time"]
    if cutouts:
        names += ["cutouts", "compound"]
    if any(clip.with_suffix(ending).is_file() for ending in (".mask.png", ".mask.mp4")):
        names += ["grounding", "look-on-object", "removal"]
    with tempfile.TemporaryDirectory() as folder:
        for file in clip.parent.glob(f"{clip.stem}.*"):
            (Path(folder) / file.name).symlink_to(file.resolve())
        for size in ({"T": 33, "H": 240, "W": 416}, LARGE):
            costs = {}
            for name in names:
                sources = Sources(clips=folder, cutouts=cutouts if name in ("cutouts", "compound") else "")
                seconds, pair_count = measure_pairs((name,), range(seeds), sources, transition=0.5, **size)
                costs[name] = f"{name} {seconds / pair_count:.2f}" if pair_count else f"{name} no pair"
            print(
                f"edits {'x'.join(map(str, size.values()))}, core-seconds a pair: {', '.join(costs.values())}",
                flush=True,
            )


def main() -> None:
    """Parse the command line and print a line a bar."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--clip")
    parser.add_argument("--scale", type=int, default=100_000)
    parser.add_argument("--folder")
    parser.add_argument("--cutouts", default="")
    args = parser.parse_args()
    if "edits" in args.only and not args.clip:
        parser.error("--only edits: expected --clip FILE")
    worker.reuse_memory()  # as v2v synth
    parts = args.only or ["planar", "experts", "physics", "memory", "workers", "footage"]
    if "planar" in parts:
        start = time.process_time()
        for kind in textures.KINDS:  # each is drawn once a process, at its first use
            for i in range(textures.TILES_PER_KIND):
                textures.texture_tile(kind, i, 128)
        tiles = time.process_time() - start
        seconds, pair_count = measure_pairs(None, range(1000, 1200 if args.quick else 2000))
        print(f"planar 9x64x64, default mix: {pair_count / seconds:.0f} pairs/s a core ({BARS['planar']}); before it "
              f"{tiles:.1f} s a process for all {textures.TILES_PER_KIND * len(textures.KINDS)} tiles of textures", flush=True)  # fmt: skip
    if "experts" in parts:
        with tempfile.TemporaryDirectory() as folder:
            codec.write_video(
                codec.Video.from_array(read_footage(args.clip), 16.0), Path(folder) / "clip.mp4"
            )
            sources, costs = Sources(clips=folder), {}
            names = [f"{direction}-{name}" for name in CONTROLS for direction in ("to", "from")]
            for name in names[:: 6 if args.quick else 1]:
                seconds, pair_count = measure_pairs((name,), (1,), sources, transition=0.5, **LARGE)
                if pair_count:
                    costs[name] = seconds
        above = [n for n in sorted(costs, key=costs.get) if costs[n] > 4]
        print(f"experts 81x480x832 on {Path(args.clip).name if args.clip else 'noise'}, {len(costs)} recipes, one each: mean {np.mean(list(costs.values())):.2f} core-seconds "
              f"({BARS['experts']}); above 4: {', '.join(f'{n} {costs[n]:.1f}' for n in above) or 'none'}", flush=True)  # fmt: skip
    if "physics" in parts:
        names = physics.EDITS[:: 6 if args.quick else 1]
        costs = {n: measure_pairs((n,), range(2), **LARGE) for n in names}
        means = {n: seconds / count for n, (seconds, count) in costs.items() if count}
        print(f"physics 81x480x832, {len(means)} edits: mean {np.mean(list(means.values())):.1f}, worst "
              f"{max(means, key=means.get)} {max(means.values()):.1f} core-seconds ({BARS['physics']})", flush=True)  # fmt: skip
    if "edits" in parts:
        measure_edits(Path(args.clip), args.cutouts, 2 if args.quick else 6)
    if "memory" in parts:
        peaks = []
        for block in range(5):
            measure_pairs(None, range(block * 2000, block * 2000 + (200 if args.quick else 2000)))
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(
            f"memory after each fifth of 10,000 planar pairs: {', '.join(f'{m:.0f}' for m in peaks)} MiB",
            flush=True,
        )
    if "workers" in parts:
        with tempfile.TemporaryDirectory() as folder:
            seconds, n = {}, 300 if args.quick else 6000  # a second and a half of start-up is not shared
            for workers in (1, 2):
                start = time.perf_counter()
                build_dataset(SynthRequest(Path(folder) / str(workers), n, workers=workers))
                seconds[workers] = time.perf_counter() - start
        print(
            f"{n} pairs: 1 worker {seconds[1]:.1f} s, 2 workers {seconds[2]:.1f} s, {seconds[1] / seconds[2]:.2f} x (at least 1.8)"
        )
    if "footage" in parts:
        measure_footage(args.clip, 8 if args.quick else 48)
    if "scale" in parts:
        with contextlib.ExitStack() as stack:
            folder = args.folder or stack.enter_context(tempfile.TemporaryDirectory())
            measure_scale(2000 if args.quick else args.scale, Path(folder))


@dataclasses.dataclass(frozen=True)
class BuildTimes:
    """How long a build took.

    Attributes:
      whole: Seconds from start to end.
      per_pair: Seconds a pair, once every worker has made its first.
      serial: Seconds of CPU time of the process that puts pairs together, start and page of the report included.
      serial_per_pair: Those a pair, between the first pair and the last.
    """

    whole: float
    per_pair: float
    serial: float
    serial_per_pair: float


def time_build(request: SynthRequest) -> BuildTimes:
    """Build a set and return how long it took."""
    marks: list[tuple[float, float]] = []
    start, cpu = time.perf_counter(), time.process_time()
    build_dataset(request, lambda _: marks.append((time.perf_counter(), time.process_time())))
    whole, serial = time.perf_counter() - start, time.process_time() - cpu
    first, count = marks[request.workers - 1], len(marks) - request.workers
    return BuildTimes(whole, (marks[-1][0] - first[0]) / count, serial, (marks[-1][1] - first[1]) / count)


def measure_footage(clip: str | None, n: int) -> None:
    """Print the speed-up by a second worker on footage, and the CPU time of the one process that puts pairs together."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "clips").mkdir()
        codec.write_video(
            codec.Video.from_array(read_footage(clip), 16.0), Path(folder) / "clips" / "clip.mp4"
        )
        how = {"frames": 33, "height": 480, "width": 832, "sources": Sources(clips=f"{folder}/clips")}
        times: dict[int, list[BuildTimes]] = {1: [], 2: []}
        load = os.getloadavg()[0]
        # Twice in turns, of which the quicker counts: other work on the machine only slows down.
        for turn in range(2):
            for workers in times:
                out = Path(folder) / f"{turn}-{workers}"
                edits = ("to-canny", "to-greyscale")
                times[workers].append(time_build(SynthRequest(out, n, workers=workers, edits=edits, **how)))
                shutil.rmtree(out)
    whole = {workers: min(run.whole for run in runs) for workers, runs in times.items()}
    per_pair = {workers: min(run.per_pair for run in runs) for workers, runs in times.items()}
    serial = min(times[2], key=lambda run: run.serial)
    print(f"footage 33x480x832, {n} pairs: 1 worker {whole[1]:.1f} s, 2 workers {whole[2]:.1f} s, {whole[1] / whole[2]:.2f} x; without start and end "
          f"{per_pair[1]:.2f} and {per_pair[2]:.2f} s a pair, {per_pair[1] / per_pair[2]:.2f} x (at least 1.9); serial {1000 * serial.serial_per_pair:.1f} ms "
          f"of CPU a pair, beside {serial.serial - n * serial.serial_per_pair:.2f} s for start and page of the report", flush=True)  # fmt: skip
    if load > 0.3:
        print(
            f"the load of the machine was {load:.1f} before, not idle: the speed-up says nothing", flush=True
        )


def measure_scale(n: int, folder: Path, large: int = 8_000_000) -> None:
    """Build n tiny pairs with two workers; print what they took, and what that means for many more.

    Args:
      n: Number of pairs.
      folder: Gets the set; where an earlier run was broken off, its shards are taken and not counted in the cost of making pairs.
      large: Number of pairs that costs are scaled to.
    """
    marks: list[tuple[int, float, float]] = []
    done = 0
    # Lines of a shard that are no seeds: the first and the last.
    finished = sum(len(file.read_bytes().splitlines()) - 2 for file in folder.glob(".set.*/shards/*/*.jsonl"))

    def count(step: int) -> None:
        nonlocal done
        done += step
        if done % max(1, n // 10) == 0:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            marks.append((done, time.process_time() - cpu, memory))

    cpu, children = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    report = build_dataset(SynthRequest(folder / "set", n, workers=2), count)
    serial = time.process_time() - cpu
    if not marks:
        raise SystemExit(f"{folder / 'set'}: finished already; name another folder")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    working = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    per_new_pair = working / max(1, n - finished)
    files = list((folder / "set").iterdir())
    size = sum(file.stat().st_size for file in files)
    selecting = (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])
    per_pair = (serial - marks[0][1]) / (n - marks[0][0])
    print(f"{report['pairs']} pairs 9x64x64, {finished} seeds of them done before: {1000 * per_new_pair:.1f} ms of workers' CPU a pair; serial {1000 * per_pair:.2f} ms a pair "
          f"(at most 5), {1000 * selecting:.3f} ms of it to select; memory of the serial process after each tenth {', '.join(f'{m:.0f}' for _, _, m in marks)} MiB; "
          f"{size / 1e9:.2f} GB in {len(files)} files")  # fmt: skip
    print(f"at {large:,} pairs: {large * (per_new_pair + per_pair) / 3600:,.0f} core-hours, of these {large * per_pair / 3600:.1f} serial; "
          f"{large / n * size / 1e12:.2f} TB in {large / n * len(files):,.0f} files", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
