"""Send SIGTERM to a training job of several processes, and measure how many steps and seconds later it has stopped.

    python tools/checks/stop_processes.py --processes 4 [--phase steps|first|call] [--seconds 0.5] [--only-one]

The job has the loop, saves and signal handling of `v2v train --distributed`, with steps that sleep, and goes on from a step of an earlier one. In the phase
`first` the signal comes in the first step, which compiles; in the phase `call` while every process is in a long call such as the encoding of clips. Prints a line of JSON: exit codes, steps begun after the signal, seconds from
it to the end of the last process, and whether the last step was saved; exit code 1 where a code is not 0, more than three steps followed, or nothing was saved.
"""

import argparse
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

MOST_STEPS = 3
# Steps of the job, the step that it goes on from, and how many it has begun when the signal comes, by phase.
STEPS, START, BEGUN = 60, 7, {"steps": 4, "first": 1, "call": 1}
# Seconds of a first step.
COMPILING = 4.0


class EqualBatches:
    """Batches that all processes share."""

    def __init__(self):
        self.position = 0

    def __iter__(self):
        return self

    def __next__(self):
        import numpy as np

        self.position += 1
        return {"x": np.ones(1, np.float32)}

    def get_state(self) -> dict:
        """Return the position."""
        return {"next_index": self.position}

    def set_state(self, state: dict) -> None:
        """Go on at a position."""
        self.position = state["next_index"]


def run_worker(folder: Path, phase: str, process: int, processes: int, seconds: float) -> None:
    """Be one process of the job; tell its steps in a file of its own."""
    import jax

    from v2v.runtime import interruptible, sharding

    sharding.join_processes()
    import jax.numpy as jnp

    from v2v.cli.interruption import raised_signals
    from v2v.config import LogConfig
    from v2v.train import loop
    from v2v.train.state import TrainState

    replicated = sharding.replicated_sharding(sharding.make_mesh())
    start = jax.make_array_from_callback((), replicated, lambda index: jnp.full((), START, jnp.int32))
    state = TrainState(step=start, trained={"x": start}, ema=None, opt_state=())
    progress = folder / f"steps-{process}.txt"

    @jax.jit
    def advance(step):
        return step + 1, jnp.float32(1) + 0 * step

    def step_fn(state, batch):
        step, loss = advance(state.step)
        with progress.open("a") as file:
            file.write(f"{time.time()}\n")
        time.sleep(seconds if int(progress.stat().st_size) > 30 else COMPILING)
        return dataclasses.replace(state, step=step), {"loss": loss}

    try:
        with raised_signals():
            if phase == "call":
                progress.write_text(f"{time.time()}\n")
                interruptible.run_interruptible(lambda: time.sleep(120))
            loop.fit(
                folder / "run",
                state,
                step_fn,
                EqualBatches(),
                loop.Schedule(STEPS, 1000, LogConfig(every=10)),
            )
    except SystemExit as stop:
        code = 0 if stop.code == 128 + signal.SIGTERM else int(stop.code or 0)
        interruptible.leave(code)
        # Neither waits for the others, as an interpreter that ends does.
        sys.stderr.flush()
        os._exit(code)


def measure(phase: str, processes: int, seconds: float, only_one: bool) -> dict:
    """Run a job, send it SIGTERM, and return what is printed."""
    with tempfile.TemporaryDirectory() as temporary, socket.socket() as free:
        folder = Path(temporary)
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
        free.close()
        jobs = []
        for process in range(processes):
            env = os.environ | {
                "JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": str(processes),
                "JAX_PROCESS_ID": str(process), "PYTHONPATH": str(Path(__file__).parents[2]),
            }  # fmt: skip
            command = [
                sys.executable,
                __file__,
                "--worker",
                str(folder),
                "--phase",
                phase,
                "--processes",
                str(processes),
            ]
            jobs.append(
                subprocess.Popen([*command, "--process", str(process), "--seconds", str(seconds)], env=env)
            )

        def count_steps() -> list[int]:
            files = [folder / f"steps-{process}.txt" for process in range(processes)]
            return [len(file.read_text().splitlines()) if file.exists() else 0 for file in files]

        while min(count_steps()) < BEGUN[phase] and all(job.poll() is None for job in jobs):
            time.sleep(0.02)
        time.sleep(1)  # the phase `call` is under way, and a step may be
        steps, start = count_steps(), time.time()
        for job in jobs[-1:] if only_one else jobs:
            job.send_signal(signal.SIGTERM)
        codes = [job.wait(timeout=300) for job in jobs]
        seconds_taken, followed = (
            time.time() - start,
            [b - a for a, b in zip(steps, count_steps(), strict=True)],
        )
        saves = [int(p.name) for p in (folder / "run" / "checkpoints").glob("*") if p.name.isdigit()]
        return {
            "phase": phase, "processes": processes, "only_one": only_one, "step_seconds": seconds, "codes": codes, "steps_after": max(followed),
            "seconds": round(seconds_taken, 1), "saved": bool(saves) and max(saves) == START + max(count_steps()),
        }  # fmt: skip


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--phase", choices=tuple(BEGUN), default="steps")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a step")
    parser.add_argument(
        "--only-one", action="store_true", help="one process gets the signal, the others hear of it"
    )
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--process", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        run_worker(args.worker, args.phase, args.process, args.processes, args.seconds)
        return
    report = measure(args.phase, args.processes, args.seconds, args.only_one)
    print(json.dumps(report))
    is_saved = report["saved"] or args.phase == "call"
    sys.exit(0 if not any(report["codes"]) and report["steps_after"] <= MOST_STEPS and is_saved else 1)


if __name__ == "__main__":
    main()
