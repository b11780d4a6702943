"""Kill -9 a training run at random moments, resume it, and compare its weights with an uninterrupted run's, bit for bit.

    python tools/checks/resume.py --kills 20 [--folder DIR]

Prints a line of JSON with the moments of the kills and whether the weights are equal; exit code 1 where they are not. The run is a tiny edit stage that saves every 8 steps. Half of the kills come at any moment after a new step, one in four waits until
a save is being written, one in four comes at any moment at all, the start included. The log and the saves tell the moment of each.
"""

import argparse
import io
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PAIRS = 24
# Steps between saves; each step takes about a tenth of the time of a save.
SAVE_EVERY = 8
# Moments of a kill; the last: starting, or with every logged step saved.
MOMENTS = ("in_a_save", "between_saves", "before_a_step")


def worker(
    folder: Path,
    name: str,
    steps: int,
    devices: int,
    process: int,
    processes: int,
    port: int,
    save_every: int = 1,
) -> None:
    """Train to `steps` in folder/name with a row in the log at every step; process 0 writes final.npz."""
    from v2v.runtime import sharding

    sharding.request_cpu_devices(devices)
    import jax

    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", processes, process)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which JAX drops from here on, before the loop listens
    from v2v.config import LogConfig, OptimConfig, debug
    from v2v.data import buckets, loader
    from v2v.models import initialization
    from v2v.models.text_encoder import build_word_tokenizer
    from v2v.train import objectives
    from v2v.train.config import Experiment, Stage
    from v2v.train.stage import TrainingTask, fit_stage, to_host

    model, optim = debug(), OptimConfig(peak_lr=1e-2, warmup_steps=1)
    tokenizer = build_word_tokenizer(["make", "it", "red"], model.text.text_len, model.text.vocab)
    stage = Stage(steps=steps, batch=4, optim=optim)
    cfg = Experiment(name=name, model=model, edit=stage, save_every=save_every, log=LogConfig(every=1))
    masks = np.load(folder / "masks.npy")
    cached = buckets.CachedClips([str(folder / "latents.array_record")])
    data = loader.edit_batches([buckets.Bucket(4, masks, (cached,))], tokenizer, 7)
    base = initialization.init_base(jax.random.key(0), model)
    head = base["dit"]["head"]["linear"]
    head["kernel"] = jax.random.normal(
        jax.random.key(9), head["kernel"].shape
    )  # zero would stop all gradients
    trained = initialization.init_adapter(jax.random.key(1), model, base["dit"])
    task = TrainingTask(objectives.edit(model, 3.0), trained, data, base)
    state = fit_stage(cfg, stage, folder / name, task)
    leaves = jax.tree.leaves(to_host(state))
    if process == 0:
        np.savez(folder / name / "final.npz", *leaves)


def make_latents(folder: Path, cfg=None) -> None:
    """Write random latents in the format of the latent cache, for the debug model or another configuration."""
    from array_record.python.array_record_module import ArrayRecordWriter

    from v2v.config import debug

    cfg, rng = cfg or debug(), np.random.default_rng(0)
    shape = cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width)
    folder.mkdir(parents=True, exist_ok=True)
    writer = ArrayRecordWriter(str(folder / "latents.array_record"), "group_size:1")
    for i in range(PAIRS):
        z = {k: rng.standard_normal(shape).astype(np.float16) for k in ("source", "target", "mask")}
        text = json.dumps({"instructions": ["make it red", "red"][: 1 + i % 2], "edit": "recolour"})
        buffer = io.BytesIO()
        np.savez(
            buffer, **z, reference=z["source"][:1], area=rng.random(shape[:3]).astype(np.float16),
            active=np.asarray((0, cfg.frames), np.int16), text=np.asarray(text),
        )  # fmt: skip
        writer.write(buffer.getvalue())
    writer.close()
    np.save(folder / "masks.npy", np.zeros((cfg.frames + 1, cfg.frames + 1, *shape), np.float16))


def start(
    folder: Path,
    name: str,
    steps: int,
    devices: int = 1,
    process: int = 0,
    processes: int = 1,
    port: int = 0,
) -> subprocess.Popen:
    """Start the worker as a process of its own."""
    root = Path(__file__).parents[2]
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    env = os.environ | {
        "XLA_FLAGS": flags,
        "PYTHONPATH": str(root),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
    }
    env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    args = ("--worker", folder, name, steps, devices, process, processes, port)
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, args)], env=env, stderr=subprocess.PIPE, text=True
    )


def read_final(folder: Path, name: str) -> list[np.ndarray]:
    """Read the final state of a run."""
    with np.load(folder / name / "final.npz") as f:
        return [f[key] for key in f.files]


def wait_for(process: subprocess.Popen) -> str:
    """Wait for a worker and return its standard error.

    Raises:
      SystemExit: The worker failed.
    """
    errors = process.communicate()[1]
    if process.returncode:
        raise SystemExit(f"worker failed ({process.returncode}): {errors[-2000:]}")
    return errors


def check(folder: Path, kills: int, seed: int = 0) -> dict:
    """Start and kill a run several times, finish it, and compare it with an uninterrupted run.

    Args:
      folder: Folder of the runs.
      kills: Number of kills.
      seed: Seed of their moments.

    Returns:
      Number of kills by moment, steps, and whether the weights are equal.
    """
    make_latents(folder)
    environment = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(folder / "jax")}
    os.environ.update(environment, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
    server = multiprocessing.get_context("forkserver")  # imports once, not at each of many starts
    server.set_forkserver_preload(["v2v.train.stage", "v2v.data.loader", "v2v.models.text_encoder"])
    rng, steps, moment_counts = random.Random(seed), 3 * SAVE_EVERY * kills + 10, dict.fromkeys(MOMENTS, 0)
    saves, log = folder / "killed" / "checkpoints", folder / "killed" / "log.jsonl"

    def start_run(name: str, steps: int):
        run = server.Process(target=worker, args=(folder, name, steps, 1, 0, 1, 0, SAVE_EVERY))
        run.start()
        return run

    def complete_run(name: str, steps: int) -> float:
        start_time = time.time()
        run = start_run(name, steps)
        run.join()
        if run.exitcode:
            raise SystemExit(f"the run {name} failed")
        return time.time() - start_time

    complete_run("warm", 1)
    startup = complete_run("warm", 2)
    complete_run("warm", 2 + 3 * SAVE_EVERY)
    rows = [json.loads(row) for row in (folder / "warm" / "log.jsonl").read_text().splitlines()[2:]]
    interval = sum(row["seconds_per_step"] for row in rows) / 3  # from save to save
    for kill in range(kills):
        rows, old = _size(log), set(saves.glob("*tmp*"))
        run = start_run("killed", steps)
        if kill % 4 == 3:
            time.sleep(rng.uniform(0, startup + interval))
        else:
            _wait_until(lambda rows=rows: _size(log) > rows, run)
            time.sleep(rng.uniform(0, 2 * interval))
        if kill % 4 == 1:
            _wait_until(lambda old=old: set(saves.glob("*tmp*")) - old, run)
        if not run.is_alive():
            raise SystemExit(
                f"the run ended before kill {kill + 1} of {kills}; the machine is too busy to time it"
            )
        run.kill()
        run.join()
        step, saved = _last_step(log) if _size(log) > rows else 0, _newest(saves)
        moment = (
            "in_a_save"
            if set(saves.glob("*tmp*")) - old
            else "between_saves"
            if step > saved
            else "before_a_step"
        )
        moment_counts[moment] += 1
        print(f"kill {kill + 1}: {moment}, step {step}, saved {saved}", file=sys.stderr, flush=True)
    complete_run("killed", steps)
    complete_run("straight", steps)
    is_equal = all(map(np.array_equal, read_final(folder, "straight"), read_final(folder, "killed")))
    return {"kills": sum(moment_counts.values()), **moment_counts, "steps": steps, "equal": is_equal}


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _last_step(log: Path) -> int:
    """Return the step of the last complete row: a killed run may leave a part of one."""
    return json.loads(log.read_text().rpartition("\n")[0].rpartition("\n")[2])["step"]


def _newest(saves: Path) -> int:
    return max((int(p.name) for p in saves.glob("*") if p.name.isdigit()), default=0)


def _wait_until(is_done: Callable[[], object], run) -> None:
    """Wait until a condition holds or the run has ended."""
    while not is_done() and run.is_alive():
        time.sleep(0.001)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
    else:
        parser = argparse.ArgumentParser(
            description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--kills", type=int, default=20)
        parser.add_argument("--folder", type=Path, default=Path("runs/check_resume"))
        parser.add_argument("--seed", type=int, default=0)
        args = parser.parse_args()
        report = check(args.folder, args.kills, args.seed)
        print(json.dumps(report))
        sys.exit(0 if report["equal"] else 1)
