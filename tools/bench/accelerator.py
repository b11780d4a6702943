"""Measure the 5B model on one accelerator with random weights: sampling, VAE and LoRA step, beside diffusers on torch.

    python tools/bench/accelerator.py --out results/speed.json                every case at both sizes; finished cases are not repeated
    python tools/bench/accelerator.py --out speed.json --tiny --only full     the same code on a CPU with a model of a few thousand weights

Prints a table of seconds, TFLOP/s, their share of the matrix product's, and peak memory, and writes the rows to the JSON file.

Every case is a process of its own, so that its peak of memory is its own; matrix products measured in the same way in the same run tell
the machine's speed. Cases: `full`, one DiT pass over source and target tokens (81 frames: 16,380 tokens at 480x832, 36,960 at
704x1280); `cached`, one pass of the target's tokens beside cached conditions, and `prefill`, which computes the cache once; `encode` and
`decode`; `train`, a LoRA step of rank 256 on one clip. torch_*: diffusers' DiT on as many tokens in bfloat16, eager and compiled, and
its VAE. An edit with guidance is 2 x steps passes, an encode and a decode. Times are medians; TFLOP are counted, not measured.

Figures to beat: torch_compiled (aim 1.25), 330 TFLOP/s in sampling, 69.4 s for the paper's clip of 50 steps on an H100 (aim 30).
"""

import argparse
import dataclasses
import functools
import json
import math
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.bench import accelerator_torch, measurement

JAX_CASES = ("matmul", "full", "cached", "prefill", "encode", "decode", "train")
TORCH_CASES = ("torch_matmul", "torch_eager", "torch_compiled", "torch_encode", "torch_decode")
SIZES = ("480x832", "704x1280")
COLUMNS = ("seconds", "tflops", "of_matmul", "peak_gb")
# Exit code of --left while cases are left.
UNFINISHED = 75


def main(args: argparse.Namespace) -> None:
    """Measure the cases that the report lacks, and print the report."""
    report = {"tiny": args.tiny, "rows": []}
    if args.out.exists():
        report = json.loads(args.out.read_text())
    if args.left:
        tried_cases = {(row["case"], row["size"]) for row in report["rows"]}
        is_complete = tried_cases >= {(name, size) for name in args.only for size in args.sizes}
        sys.exit(0 if is_complete else UNFINISHED)
    if "date" not in report:
        report |= describe_run_in_child()
    measured_cases = {(row["case"], row["size"]) for row in report["rows"] if "seconds" in row}
    start = time.time()
    for size in args.sizes:
        for name in args.only:
            if (name, size) in measured_cases:
                continue
            if time.time() - start > args.slice:
                print("slice over: run again for the rest", flush=True)
                print_report(report)
                return
            row = {"case": name, "size": size} | run_case_in_child(name, size, args)
            report["rows"] = [r for r in report["rows"] if (r["case"], r["size"]) != (name, size)] + [row]
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(report, indent=1) + "\n")
    print_report(report)


def describe_run_in_child() -> dict:
    """Return `measurement.describe_run` by another process, so that this one holds none of the device's memory."""
    code = "import json; from tools.bench import measurement; print(json.dumps(measurement.describe_run()))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=measurement.ROOT, capture_output=True, text=True, check=True
    )
    command = " ".join(["python", "tools/bench/accelerator.py", *sys.argv[1:]])
    return json.loads(result.stdout.splitlines()[-1]) | {"command": command}


def run_case_in_child(name: str, size: str, args: argparse.Namespace) -> dict:
    """Run one case in its own process and return its figures, or {"error"}."""
    command = [sys.executable, __file__, "--case", name, "--sizes", size, *(["--tiny"] if args.tiny else [])]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=args.limit)
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {args.limit} s"}
    if result.returncode:
        return {"error": (result.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    return json.loads(result.stdout.splitlines()[-1])


def print_report(report: dict) -> None:
    """Print the table, a row a case."""
    print(f"{report['date']}, {report['device']}" + (", tiny: of no meaning" if report["tiny"] else ""))
    print(f"{'case':16s}{'size':>10s}" + "".join(f"{c:>12s}" for c in COLUMNS))
    for row in add_matmul_share(report["rows"]):
        cells = "".join(f"{row[c]:12.3g}" if row.get(c) is not None else f"{'-':>12s}" for c in COLUMNS)
        print(
            f"{row['case']:16s}{row['size']:>10s}" + cells + ("  " + row["error"] if "error" in row else "")
        )


def add_matmul_share(rows: list[dict]) -> list[dict]:
    """Return the rows with `of_matmul`, their rate over the matrix product's of the same library and size."""
    rates = {(r["case"], r["size"]): r.get("tflops") for r in rows}
    return [
        r | {"of_matmul": r["tflops"] / product}
        if r.get("tflops")
        and (product := rates.get(("torch_" * r["case"].startswith("torch") + "matmul", r["size"])))
        else r
        for r in rows
    ]


def run_case(name: str, size: str, tiny: bool) -> dict:
    """Return the figures of one case: seconds, TFLOP/s where counted, peak memory in GB."""
    height, width = map(int, size.split("x"))
    cfg = build_config(height, width, tiny)
    if name.startswith("torch_"):
        return accelerator_torch.run_case(name.removeprefix("torch_"), cfg, tiny)
    import jax

    builders = {"matmul": build_matmul, "train": build_training, "encode": build_vae, "decode": build_vae}
    run, flops = builders.get(name, build_pass)(name, cfg, tiny)
    seconds = measurement.median_seconds(lambda: jax.block_until_ready(run()))
    stats = jax.devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return {"seconds": seconds, "tflops": flops / seconds / 1e12, "peak_gb": peak and peak / 1e9}


def build_config(height: int, width: int, tiny: bool):
    """Return the configuration of the 5B model at a size, or of the debug model."""
    from v2v import config

    if tiny:
        return config.debug()
    return dataclasses.replace(config.wan22_ti2v_5b(), height=height, width=width)


def random_weights(part: str, cfg):
    """Return random weights of "dit" or "vae" in the types in which they are stored, drawn on the device."""
    import flax
    import jax
    import jax.numpy as jnp

    from v2v.checkpoints import wan

    key, arrays = jax.random.key(0), {}
    for i, (path, shape) in enumerate(sorted(wan.parameter_shapes(part, cfg).items())):
        fan_in = max(1, shape[-2] if part == "dit" and len(shape) > 1 else -(-math.prod(shape) // shape[-1]))
        gain = 1.0 if path.endswith(("scale", "gamma")) else 0.0
        dtype = wan.parameter_dtype(part, path, cfg)
        draw = jax.jit(
            lambda k, s=shape, f=fan_in, g=gain, d=dtype: (
                g + jax.random.normal(k, s, jnp.bfloat16) / f**0.5
            ).astype(d)
        )
        arrays[path] = draw(jax.random.fold_in(key, i))
    return flax.traverse_util.unflatten_dict(arrays, sep="/")


def random_batch(cfg, seed: int = 1) -> dict:
    """Return random latents and text of one clip."""
    import jax
    import jax.numpy as jnp

    shape = (1, *cfg.vae.latent_shape(cfg.frames, cfg.height, cfg.width))
    text_shape = (1, cfg.dit.text_len, cfg.dit.text_width)
    shapes = {"target": shape, "source": shape, "mask": shape, "text": text_shape}
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    arrays = {n: jax.random.normal(k, s, jnp.float16) for k, (n, s) in zip(keys, shapes.items(), strict=True)}
    return arrays | {"area": jnp.ones(shape[:-1])}


def build_matmul(name: str, cfg, tiny: bool):
    """Return (call, FLOPs) of a matrix product in bfloat16."""
    import jax
    import jax.numpy as jnp

    n = 256 if tiny else 8192
    x, w = (jax.random.normal(jax.random.key(i), (n, n), jnp.bfloat16) for i in range(2))
    product = jax.jit(lambda x, w: x @ w)
    return (lambda: product(x, w)), 2 * n**3


def build_pass(name: str, cfg, tiny: bool):
    """Return (call, FLOPs) of one DiT pass: full, cached, or the prefill of the cache."""
    import jax

    from v2v.config import ConditionConfig
    from v2v.models import initialization, kv_cache
    from v2v.models.transformer import DiT
    from v2v.planning.passes import count_pass_flops

    condition = ConditionConfig(attention="full" if name == "full" else "one_way", rope=cfg.condition.rope)
    cfg = dataclasses.replace(cfg, condition=condition)
    dit, batch = DiT(cfg.dit, condition), random_batch(cfg)
    variables = {
        "params": random_weights("dit", cfg),
        "embed": initialization.init_embed(jax.random.key(0), cfg),
    }
    z, text = batch["target"].astype("float32"), batch["text"]
    conditions = {n: batch[n] for n in ("source", "mask")}
    flops = count_pass_flops(cfg)[name]
    prefill = jax.jit(functools.partial(kv_cache.prefill, dit))
    if name == "prefill":
        return (lambda: prefill(variables, z, text, conditions)), flops
    if name == "full":
        velocity = jax.jit(
            lambda v, z, text, conditions: dit.apply(v, z, z[:, 0, 0, 0, 0] * 0 + 0.5, text, **conditions)
        )
        return (lambda: velocity(variables, z, text, conditions)), flops
    cache = prefill(variables, z, text, conditions)
    velocity = jax.jit(
        lambda v, cache, z, text, conditions: kv_cache.build_cached_velocity(dit, v, cache, text, conditions)(
            z, 0.5
        )
    )
    return (lambda: velocity(variables, cache, z, text, conditions)), flops


def build_vae(name: str, cfg, tiny: bool):
    """Return (call, FLOPs) of encoding or decoding a clip in chunks."""
    import jax
    import jax.numpy as jnp

    from v2v.models import autoencoder_streaming
    from v2v.models.autoencoder import VAE
    from v2v.runtime.flops import count_flops

    params, x = random_weights("vae", cfg), random_batch(cfg)["target"].astype(jnp.float32)
    code = autoencoder_streaming.decode_in_chunks
    if name == "encode":
        code = autoencoder_streaming.encode_in_chunks
        x = jnp.tanh(jax.random.normal(jax.random.key(1), (1, cfg.frames, cfg.height, cfg.width, 3)))

    def code_clip(params, x):
        return code(VAE(cfg.vae), params, x)

    run = jax.jit(code_clip)
    return (lambda: run(params, x)), count_flops(jax.make_jaxpr(code_clip)(params, x))


def build_training(name: str, cfg, tiny: bool):
    """Return (call, FLOPs) of a LoRA step; only outputs of attention and FFN are stored for the backward pass."""
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
    optimizer, base = optimizer_lib.build_optimizer(OptimConfig()), random_weights("dit", cfg)
    adapter = initialization.init_adapter(jax.random.key(0), cfg, base)
    state = TrainState.create(adapter, optimizer, ema=False)
    step, batch = train_step.train_step(objectives.edit(cfg), optimizer, 0.0), random_batch(cfg)

    def run():
        nonlocal state
        state, metrics = step(state, batch, {"dit": base})
        return metrics

    return run, flops.step_flops(cfg, 1, count_tokens(cfg))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cases = [*JAX_CASES, *TORCH_CASES]
    parser.add_argument("--out", type=Path, default=Path("speed.json"))
    parser.add_argument("--only", nargs="+", default=cases, choices=cases)
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
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run_case(options.case, options.sizes[0], options.tiny)))
    else:
        main(options)
