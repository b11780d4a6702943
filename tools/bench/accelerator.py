"""Speed at 5B on one accelerator, random weights: sampling steps, VAE, LoRA training step, beside diffusers on torch in the same run.

    python tools/bench/accelerator.py --out results/speed.json                every case at both sizes; done cases aren't repeated
    python tools/bench/accelerator.py --out speed.json --tiny --only full     the same code on a CPU with a model of a few thousand weights

Every case is a process of its own, so that its peak of memory is its own; matrix products measured in the same way in the same run say
what the machine gives. Cases: `full`, one DiT pass over source and target tokens (81 frames: 16,380 tokens at 480x832, 36,960 at
704x1280); `cached`, one pass of the target's tokens beside kept conditions, and `prefill`, what keeping them costs once; `encode` and
`decode`; `train`, a LoRA step of rank 256 on one clip. torch_*: diffusers' DiT on as many tokens in bfloat16, eager and compiled, and
its VAE. An edit with guidance is 2 x steps passes, an encode and a decode. Times are medians; TFLOP are counted, not measured.

Lines to beat: torch_compiled (aim 1.25), 330 TFLOP/s in sampling, 69.4 s for the paper's clip of 50 steps on an H100 (aim 30).
"""

import argparse
import dataclasses
import datetime
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

OURS = ("matmul", "full", "cached", "prefill", "encode", "decode", "train")
THEIRS = ("torch_matmul", "torch_eager", "torch_compiled", "torch_encode", "torch_decode")
SIZES = ("480x832", "704x1280")
COLUMNS = ("seconds", "tflops", "of_matmul", "peak_gb")


def main(args) -> None:
    report = {"tiny": args.tiny, "rows": []}
    if args.out.exists():
        report = json.loads(args.out.read_text())
    if args.left:
        tried = {(row["case"], row["size"]) for row in report["rows"]}
        sys.exit(0 if tried >= {(name, size) for name in args.only for size in args.sizes} else 75)
    if "date" not in report:
        report |= stamp_apart()
    done = {(row["case"], row["size"]) for row in report["rows"] if "seconds" in row}
    began = time.time()
    for size in args.sizes:
        for name in args.only:
            if (name, size) in done:
                continue
            if time.time() - began > args.slice:
                print("slice over: run again for the rest", flush=True)
                return show(report)
            row = {"case": name, "size": size} | child(name, size, args)
            report["rows"] = [r for r in report["rows"] if (r["case"], r["size"]) != (name, size)] + [row]
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(report, indent=1) + "\n")
    show(report)


def stamp_apart() -> dict:
    """`stamp` by another process, so that this one holds none of the device's memory."""
    code = "import json; from tools.bench.accelerator import stamp; print(json.dumps(stamp()))"
    root = Path(__file__).parents[2]
    made = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    command = " ".join(["python", "tools/bench/accelerator.py", *sys.argv[1:]])
    return json.loads(made.stdout.splitlines()[-1]) | {"command": command}


def child(name: str, size: str, args) -> dict:
    """One case in its own process: its figures, or {"error"}."""
    command = [sys.executable, __file__, "--case", name, "--sizes", size, *(["--tiny"] if args.tiny else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.limit)
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {args.limit} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    return json.loads(done.stdout.splitlines()[-1])


def show(report: dict) -> None:
    """The table, a row a case; `of_matmul` against the product measured by the same library."""
    print(f"{report['date']}, {report['device']}" + (", tiny: of no meaning" if report["tiny"] else ""))
    print(f"{'case':16s}{'size':>10s}" + "".join(f"{c:>12s}" for c in COLUMNS))
    for row in with_share(report["rows"]):
        cells = "".join(f"{row[c]:12.3g}" if row.get(c) is not None else f"{'-':>12s}" for c in COLUMNS)
        print(
            f"{row['case']:16s}{row['size']:>10s}" + cells + ("  " + row["error"] if "error" in row else "")
        )


def with_share(rows: list[dict]) -> list[dict]:
    """Rows with their rate as a fraction of the matrix product's of the same library and size."""
    rate = {(r["case"], r["size"]): r.get("tflops") for r in rows}
    return [
        r | {"of_matmul": r["tflops"] / product}
        if r.get("tflops")
        and (product := rate.get(("torch_" * r["case"].startswith("torch") + "matmul", r["size"])))
        else r
        for r in rows
    ]


def stamp() -> dict:
    """Date, device and command of a measurement."""
    import jax

    command = " ".join(["python", *sys.argv]).replace(str(Path(__file__).parents[2]) + "/", "")
    return {
        "date": datetime.date.today().isoformat(),
        "device": jax.devices()[0].device_kind,
        "command": command,
    }


def case(name: str, size: str, tiny: bool) -> dict:
    """Figures of one case: seconds, TFLOP/s where counted, peak memory in GB."""
    height, width = map(int, size.split("x"))
    if name.startswith("torch_"):
        from tools.bench import accelerator_torch

        return accelerator_torch.case(name.removeprefix("torch_"), height, width, tiny)
    import jax

    cfg = config(height, width, tiny)
    run, flops = {"matmul": matmul, "train": train, "encode": vae, "decode": vae}.get(name, sample)(
        name, cfg, tiny
    )
    seconds = timed(lambda: jax.block_until_ready(run()))
    stats = jax.devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return {"seconds": seconds, "tflops": flops / seconds / 1e12, "peak_gb": peak and peak / 1e9}


def timed(run, rounds: int = 7, longest: float = 60.0) -> float:
    """Median seconds of calls after two that compile and warm; fewer rounds when they take long."""
    run(), run()
    took = []
    while len(took) < rounds and (len(took) < 3 or sum(took) < longest):
        began = time.perf_counter()
        run()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def config(height: int, width: int, tiny: bool):
    from v2v import config as c

    if tiny:
        return c.debug()
    return dataclasses.replace(c.wan22_ti2v_5b(), height=height, width=width)


def weights(part: str, cfg):
    """Random weights in the types they are held in, made on the device."""
    import flax
    import jax
    import jax.numpy as jnp

    from v2v.checkpoints import wan

    shapes = wan.parameter_shapes(part, cfg)
    key, made = jax.random.key(0), {}
    for i, (path, shape) in enumerate(sorted(shapes.items())):
        taken = max(1, shape[-2] if part == "dit" and len(shape) > 1 else -(-_size(shape) // shape[-1]))
        gain = 1.0 if path.endswith(("scale", "gamma")) else 0.0
        dtype = wan.parameter_dtype(part, path, cfg)
        draw = jax.jit(
            lambda k, s=shape, t=taken, g=gain, d=dtype: (
                g + jax.random.normal(k, s, jnp.bfloat16) / t**0.5
            ).astype(d)
        )
        made[path] = draw(jax.random.fold_in(key, i))
    return flax.traverse_util.unflatten_dict(made, sep="/")


def inputs(cfg, seed: int = 1) -> dict:
    import jax
    import jax.numpy as jnp

    shape = (1, *cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width))
    drawn = {
        "target": shape,
        "source": shape,
        "mask": shape,
        "text": (1, cfg.dit.text_len, cfg.dit.text_width),
    }
    keys = jax.random.split(jax.random.key(seed), len(drawn))
    out = {n: jax.random.normal(k, s, jnp.float16) for k, (n, s) in zip(keys, drawn.items(), strict=True)}
    return out | {"area": jnp.ones(shape[:-1])}


def matmul(name: str, cfg, tiny: bool):
    import jax
    import jax.numpy as jnp

    n = 256 if tiny else 8192
    x, w = (jax.random.normal(jax.random.key(i), (n, n), jnp.bfloat16) for i in range(2))
    product = jax.jit(lambda x, w: x @ w)
    return (lambda: product(x, w)), 2 * n**3


def sample(name: str, cfg, tiny: bool):
    """One DiT pass: full, cached, or the prefill of the cache."""
    import functools

    import jax

    from v2v.config import ConditionConfig
    from v2v.models import initialization, kv_cache
    from v2v.models.transformer import DiT
    from v2v.planning.passes import count_pass_flops

    kind = ConditionConfig(attention="full" if name == "full" else "one_way", rope=cfg.condition.rope)
    cfg = dataclasses.replace(cfg, condition=kind)
    dit, x = DiT(cfg.dit, kind), inputs(cfg)
    variables = {"params": weights("dit", cfg), "embed": initialization.init_embed(jax.random.key(0), cfg)}
    z, text, shown = x["target"].astype("float32"), x["text"], {n: x[n] for n in ("source", "mask")}
    flops = count_pass_flops(cfg)[name]
    fill = jax.jit(functools.partial(kv_cache.prefill, dit))
    if name == "prefill":
        return (lambda: fill(variables, z, text, shown)), flops
    if name == "full":
        one = jax.jit(lambda v, z, text, shown: dit.apply(v, z, z[:, 0, 0, 0, 0] * 0 + 0.5, text, **shown))
        return (lambda: one(variables, z, text, shown)), flops
    kept = fill(variables, z, text, shown)
    one = jax.jit(
        lambda v, kept, z, text, shown: kv_cache.build_cached_velocity(dit, v, kept, text, shown)(z, 0.5)
    )
    return (lambda: one(variables, kept, z, text, shown)), flops


def vae(name: str, cfg, tiny: bool):
    import jax
    import jax.numpy as jnp

    from v2v.models import autoencoder_streaming
    from v2v.models.autoencoder import VAE
    from v2v.runtime.flops import count_flops

    params, call = (
        weights("vae", cfg),
        {"encode": autoencoder_streaming.encode_in_chunks, "decode": autoencoder_streaming.decode_in_chunks}[
            name
        ],
    )
    x = inputs(cfg)["target"].astype(jnp.float32)
    if name == "encode":
        x = jnp.tanh(jax.random.normal(jax.random.key(1), (1, cfg.frames, cfg.height, cfg.width, 3)))

    def walk(params, x):
        return call(VAE(cfg.vae), params, x)

    run = jax.jit(walk)
    return (lambda: run(params, x)), count_flops(jax.make_jaxpr(walk)(params, x))


def train(name: str, cfg, tiny: bool):
    """A LoRA step; only what attention and FFN put out is kept for the backward pass, the rest is computed again."""
    import jax

    from v2v.config import OptimConfig
    from v2v.models import initialization
    from v2v.models.conditioning import count_tokens
    from v2v.runtime import flops
    from v2v.train import objectives, train_step
    from v2v.train import optimizer as optimizer_lib
    from v2v.train.state import TrainState

    backend = "cudnn" if jax.default_backend() == "gpu" else "auto"
    cfg = dataclasses.replace(cfg, dit=dataclasses.replace(cfg.dit, remat="outputs", backend=backend))
    optimizer, base = optimizer_lib.build_optimizer(OptimConfig()), weights("dit", cfg)
    adapter = initialization.init_adapter(jax.random.key(0), cfg, base)
    held = [TrainState.create(adapter, optimizer, ema=False)]
    one, batch = train_step.train_step(objectives.edit(cfg), optimizer, 0.0), inputs(cfg)

    def run():
        held[0], metrics = one(held[0], batch, {"dit": base})
        return metrics

    return run, flops.step_flops(cfg, 1, count_tokens(cfg))


def _size(shape) -> int:
    out = 1
    for n in shape:
        out *= n
    return out


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("speed.json"))
    parser.add_argument("--only", nargs="+", default=[*OURS, *THEIRS], choices=[*OURS, *THEIRS])
    parser.add_argument("--sizes", nargs="+", default=[*SIZES])
    parser.add_argument(
        "--tiny", action="store_true", help="a model of a few thousand weights: shows that it runs"
    )
    parser.add_argument(
        "--slice", type=float, default=1e9, help="seconds after which no further case is begun"
    )
    parser.add_argument("--limit", type=float, default=420, help="seconds one case may take")
    parser.add_argument(
        "--left", action="store_true", help="only tell by the exit code: 75 while cases are left"
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case:
        print(json.dumps(case(chosen.case, chosen.sizes[0], chosen.tiny)))
    else:
        main(chosen)
