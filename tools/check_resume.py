"""Kill -9 a training run at random moments, resume it, and compare its weights with an uninterrupted run's, bit for bit.

    python tools/check_resume.py --kills 20 [--folder DIR]

The run is a tiny edit stage that saves after every step; every other kill waits until a save is being written.
"""

import argparse
import io
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

PAIRS = 24


def worker(
    folder: Path, name: str, steps: int, devices: int, process: int, processes: int, port: int
) -> None:
    """Train to `steps` in folder/name; process 0 leaves final.npz."""
    from v2v import sharding

    sharding.cpu_devices(devices)
    import jax

    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", processes, process)
    from v2v.codec.text import word_tokenizer
    from v2v.config import debug
    from v2v.data import loader
    from v2v.run_config import LogConfig, OptimConfig
    from v2v.train import step
    from v2v.train.experiment import Experiment, Stage
    from v2v.train.run import fit_stage, on_host

    model, optim = debug(), OptimConfig(peak_lr=1e-2, warmup_steps=1)
    tokenizer = word_tokenizer(["make", "it", "red"], model.text.text_len, model.text.vocab)
    stage = Stage(steps=steps, batch=4, optim=optim)
    cfg = Experiment(name=name, model=model, edit=stage, save_every=1, log=LogConfig(every=4))
    masks = np.load(folder / "masks.npy")
    cached = loader.Cached([str(folder / "latents.array_record")])
    data = loader.edit_batches([loader.Bucket(4, masks, (cached,))], tokenizer, 7)
    base = step.init_base(jax.random.key(0), model)
    head = base["dit"]["head"]["linear"]
    head["kernel"] = jax.random.normal(
        jax.random.key(9), head["kernel"].shape
    )  # zero would stop all gradients
    trained = step.init_adapter(jax.random.key(1), model, base["dit"])
    state = fit_stage(cfg, stage, folder / name, trained, data, step.edit(model, 3.0), base)
    leaves = jax.tree.leaves(on_host(state))
    if process == 0:
        np.savez(folder / name / "final.npz", *leaves)


def make_latents(folder: Path, cfg=None) -> None:
    """Random latents in the cache's format, of the debug model or another."""
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


def start(folder: Path, name: str, steps: int, devices: int = 1, process: int = 0, processes: int = 1, port: int = 0):  # fmt: skip
    """The worker as a process of its own."""
    root = Path(__file__).parent.parent
    clean = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    env = clean | {
        "PYTHONPATH": str(root),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
    }
    env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    args = ("--worker", folder, name, steps, devices, process, processes, port)
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, args)], env=env, stderr=subprocess.PIPE, text=True
    )


def final(folder: Path, name: str) -> list[np.ndarray]:
    with np.load(folder / name / "final.npz") as f:
        return [f[key] for key in f.files]


def finish(run: subprocess.Popen) -> str:
    """Wait; raise with its last lines when it failed."""
    err = run.communicate()[1]
    if run.returncode:
        raise SystemExit(f"worker failed ({run.returncode}): {err[-2000:]}")
    return err


def check(folder: Path, kills: int, seed: int = 0) -> dict:
    """`kills` times: start, kill; then finish, and compare. One kill in five falls into the start, the others a random while after
    the first new step; every second of those then waits until a save is being written."""
    make_latents(folder)
    environment = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(folder / "jax")}
    os.environ.update(environment, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
    server = multiprocessing.get_context("forkserver")  # imports once, not at each of many starts
    server.set_forkserver_preload(["v2v.train.run", "v2v.data.loader", "v2v.codec.text"])
    rng, steps, done, cut, progressed = random.Random(seed), 2 * kills + 10, 0, 0, 0

    def begin(name: str, steps: int):
        run = server.Process(target=worker, args=(folder, name, steps, 1, 0, 1, 0))
        run.start()
        return run

    def finish(name: str, steps: int) -> float:
        began = time.time()
        run = begin(name, steps)
        run.join()
        if run.exitcode:
            raise SystemExit(f"the run {name} failed")
        return time.time() - began

    finish("warm", 1)
    startup, saves = finish("warm", 2), folder / "killed" / "checkpoints"
    while done < kills:
        before, run = _newest(saves), begin("killed", steps)
        if rng.random() < 0.2:
            time.sleep(rng.uniform(0, startup))
        else:
            _until(lambda before=before: _newest(saves) > before, run)
            time.sleep(rng.uniform(0, 0.1 * startup))
            if done % 2:
                _until(lambda: any(saves.glob("*tmp*")), run)
        if not run.is_alive():
            break
        run.kill()
        run.join()
        moved = _newest(saves) > before
        done, progressed, cut = done + 1, progressed + moved, cut + (moved and any(saves.glob("*tmp*")))
        print(f"kill {done}: at step {_newest(saves)}, {cut} in a save", file=sys.stderr, flush=True)
    finish("killed", steps)
    finish("straight", steps)
    same = all(map(np.array_equal, final(folder, "straight"), final(folder, "killed")))
    return {"kills": done, "after_new_steps": progressed, "in_a_save": cut, "steps": steps, "equal": same}


def _newest(saves: Path) -> int:
    return max((int(p.name) for p in saves.glob("*") if p.name.isdigit()), default=0)


def _until(found, run) -> None:
    while not found() and run.is_alive():
        time.sleep(0.001)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--kills", type=int, default=20)
        parser.add_argument("--folder", type=Path, default=Path("runs/check_resume"))
        parser.add_argument("--seed", type=int, default=0)
        args = parser.parse_args()
        report = check(args.folder, args.kills, args.seed)
        print(json.dumps(report))
        sys.exit(0 if report["equal"] else 1)
