"""Kill a training run again and again while its number of devices and processes changes; compare it with an uninterrupted run.

    python tools/checks/kill_soak.py --kills 50 [--folder DIR] [--seed 0]

Every leg runs on another layout, of 1, 2 or 4 devices in 1, 2 or 4 processes, until it is killed at a random moment, by SIGKILL, by SIGTERM
(which has to save and end with code 0) or, one time in five, with its newest checkpoint damaged afterwards. Other layouts add up gradients in another
order, so the weights are compared with a tolerance; resume.py compares bit for bit on one device. Prints a line of JSON: kills by kind, the largest
relative difference of a loss, and whether the log holds every step once; exit code 1 where something is wrong, also where a leg that has logged a step does not obey SIGTERM within three steps and with code 0. A soak that was
interrupted goes on when it is run again: DIR/kills.jsonl tells of every kill.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).parents[2]))

from tools.checks import resume

# (devices of a process, processes).
LAYOUTS = ((1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (1, 4))
# Largest relative difference of a loss that another order of sums explains, over the whole run.
TOLERANCE = 1e-4
# Rows that may follow SIGTERM: of the step in work when the log was read, of the three that the signal may take, and of one that ends before it is sent.
OBEYED_WITHIN = 5
# Seconds that a leg may take before it counts as hanging.
TIME_LIMIT = 900.0

Kind = Literal["SIGKILL", "SIGTERM", "damage"]
# Exit codes by kind. Before its first step a process has no handler of SIGTERM, and another may miss it (SIGABRT, by JAX).
ENDINGS: dict[Kind, tuple[int, ...]] = {
    "SIGKILL": (0, -signal.SIGKILL),
    "SIGTERM": (0, -signal.SIGTERM, -signal.SIGABRT),
    "damage": (0, -signal.SIGKILL),
}


def start_leg(folder: Path, name: str, steps: int, layout: tuple[int, int]) -> list[subprocess.Popen]:
    """Start all processes of a leg."""
    devices, processes = layout
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [resume.start(folder, name, steps, devices, p, processes, port) for p in range(processes)]


def end_leg(legs: list[subprocess.Popen]) -> tuple[list[int], str]:
    """Wait for all processes; return their exit codes and what they wrote on stderr."""
    texts = []
    for process in legs:
        try:
            texts.append(process.communicate(timeout=TIME_LIMIT)[1] or "")
        except subprocess.TimeoutExpired:
            for other in legs:
                other.kill()
            raise SystemExit("a leg hangs") from None
    return [process.returncode for process in legs], "\n".join(texts)


def damage_newest(checkpoints: Path, rng: random.Random) -> bool:
    """Cut a file of the newest of several checkpoints in half, or change its bytes; return whether there was one to spare."""
    steps = sorted((int(p.name), p) for p in checkpoints.glob("*") if p.name.isdigit())
    if len(steps) < 2:
        return False
    path = max((p for p in steps[-1][1].rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        data = data[: len(data) // 2]
    else:
        middle = len(data) // 2
        data[middle : middle + 64] = bytes(255 - x for x in data[middle : middle + 64])
    path.write_bytes(bytes(data))
    return True


def read_rows(log: Path) -> list[dict]:
    """Return the complete rows of a log."""
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]


def soak(folder: Path, kills: int, steps: int, seed: int) -> dict:
    """Kill a run `kills` times, finish it, and compare it with an uninterrupted one.

    Args:
      folder: folder of the runs.
      kills: number of kills.
      steps: updates of the run; at most this many legs make progress.
      seed: of layouts, kinds and moments.
    """
    history = folder / "kills.jsonl"
    if not history.exists():
        resume.make_latents(folder)
    log, checkpoints = folder / "killed" / "log.jsonl", folder / "killed" / "checkpoints"
    end_leg(start_leg(folder, "straight", steps, (1, 1)))
    for number in range(len(read_rows(history)), kills):
        rng, faults = random.Random(f"{seed} {number}"), []
        layout = rng.choice(LAYOUTS)
        kind: Kind = rng.choices(("SIGKILL", "SIGTERM", "damage"), (2, 2, 1))[0]
        before, start = len(read_rows(log)), time.monotonic()
        target = 0 if rng.random() < 0.15 else rng.randint(1, 3)  # new rows to wait for; 0: at any moment
        wait = rng.uniform(0, 8)
        legs = start_leg(folder, "killed", steps, layout)
        while all(leg.poll() is None for leg in legs) and time.monotonic() - start < TIME_LIMIT:
            done = time.monotonic() - start > wait if target == 0 else len(read_rows(log)) >= before + target
            if done:
                break
            time.sleep(0.01)
        begun = len(read_rows(log))
        number_of_signal = signal.SIGTERM if kind == "SIGTERM" else signal.SIGKILL
        for leg in legs:
            if leg.poll() is None:
                os.kill(leg.pid, number_of_signal)
        codes, errors = end_leg(legs)
        ended = all(code == 0 for code in codes) and "stopped by signal" not in errors
        # A leg that has logged a step has installed its handler; one of all steps has removed it again.
        is_handled = kind == "SIGTERM" and before < begun and len(read_rows(log)) < steps
        if is_handled and any(codes):
            faults.append(f"kill {number + 1}: SIGTERM ended with {codes}: {errors[-300:]}")
        if any(code not in ENDINGS[kind] for code in codes):
            faults.append(f"kill {number + 1}: codes {codes}: {errors[-300:]}")
        if kind == "damage" and not damage_newest(checkpoints, rng):
            kind = "SIGKILL"
        rows = read_rows(log)
        if kind == "SIGTERM" and len(rows) - begun > OBEYED_WITHIN:
            faults.append(f"kill {number + 1}: {len(rows) - begun} steps followed SIGTERM")
        with history.open("a") as file:
            line = {"kind": kind, "layout": f"{layout[0]}x{layout[1]}", "faults": faults}
            file.write(json.dumps(line) + "\n")
        print(
            f"kill {number + 1}: {kind} on {layout[0]} devices x {layout[1]} processes, step {rows[-1]['step'] if rows else 0}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        if ended and rows and rows[-1]["step"] == steps:
            break
    codes, errors = end_leg(start_leg(folder, "killed", steps, (1, 1)))
    lines = read_rows(history)
    counts = Counter(line["kind"] for line in lines)
    layouts = Counter(line["layout"] for line in lines)
    faults = [fault for line in lines for fault in line["faults"]]
    if len(lines) < kills:
        faults.append(f"the run was over after {len(lines)} of {kills} kills")
    if any(codes):
        faults.append(f"the last leg ended with {codes}: {errors[-300:]}")
    straight, killed = read_rows(folder / "straight" / "log.jsonl"), read_rows(log)
    once = [row["step"] for row in killed] == list(range(1, steps + 1))
    expected = {row["step"]: row["loss"] for row in straight}
    differences = [abs(row["loss"] - expected[row["step"]]) / abs(expected[row["step"]]) for row in killed]
    largest = max(differences, default=float("inf"))
    return {
        "kills": sum(counts.values()), **counts, "layouts": dict(layouts), "steps": steps, "largest_difference": largest,
        "every_step_once": once, "faults": faults, "right": once and largest <= TOLERANCE and not faults,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=0, help="0: four for each kill")
    parser.add_argument("--folder", type=Path, default=Path("runs/kill_soak"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report = soak(args.folder, args.kills, args.steps or 4 * args.kills, args.seed)
    print(json.dumps(report))
    sys.exit(0 if report["right"] else 1)
