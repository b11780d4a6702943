"""Measure a LoRA step against diffusers + peft on the CPU, and the cost of low-rank path, data, saves and a long run.

    python tools/bench/train_step.py [--torch-python PYTHON] [--threads 2] [--rounds 5] [--long 2000]

Prints three lines of JSON: seconds and ratios of a step, shares of saves and data, memory over a long run. Model: width 384, 6 heads, 8 layers, FFN 1536, text 64 x 256, 960 joint tokens, rank 32 (width/12, as 256 is 3072/12), float32, as
many threads each, on as many cores. Both sides do: forward, backward into LoRA alone, AdamW. Rounds alternate, and each is told on stderr; the median round
counts. One thread is measured in processor time, which other programs on the machine disturb little, several by the wall's clock, for which
nothing else may run.

With nothing else running: the step of v2v 1.01x theirs on one thread and 1.15x on two, the low-rank path 1.20x and 1.16x what goes through the base
alone. On a shared machine: data waited for 0.5 % of the time, saves 0.1 %, memory 1,120 MB at first and 1,128 after 2,000 steps.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.bench import measurement

WIDTH, HEADS, LAYERS, FFN, RANK, TEXT, TEXT_LEN, GRID = 384, 6, 8, 1536, 32, 256, 64, (5, 12, 16)


def torch_side(threads: int) -> None:
    """Answer every line on stdin with the seconds of one step.

    Args:
      threads: Threads that compute; seconds are processor time with 1, as in `measurement.pin_threads`.
    """
    import torch
    from diffusers import WanTransformer3DModel
    from peft import LoraConfig

    torch.set_num_threads(threads)
    clock = measurement.pin_threads(threads)
    torch.manual_seed(0)
    model = WanTransformer3DModel(
        patch_size=(1, 1, 1), num_attention_heads=HEADS, attention_head_dim=WIDTH // HEADS, in_channels=16, out_channels=16,
        text_dim=TEXT, freq_dim=64, ffn_dim=FFN, num_layers=LAYERS, qk_norm="rms_norm_across_heads", cross_attn_norm=True,
    )  # fmt: skip
    model.requires_grad_(False)
    targets = r".*(attn1|attn2)\.(to_q|to_k|to_v|to_out\.0)|.*ffn\.net\.(0\.proj|2)"
    model.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets))
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=1e-4)
    x, text = torch.randn(1, 16, *GRID), torch.randn(1, TEXT_LEN, TEXT)
    velocity, tau = torch.randn(1, 16, *GRID), torch.tensor([500])
    print(json.dumps({"trained": sum(p.numel() for p in params)}), flush=True)
    for _ in sys.stdin:
        start = clock()
        out = model(x, tau, text, return_dict=False)[0]
        torch.nn.functional.mse_loss(out, velocity).backward()
        optimizer.step()
        optimizer.zero_grad()
        print(clock() - start, flush=True)


def build_step(jax):
    """Return model configuration, state, batch, frozen weights and step of the side of v2v."""
    import dataclasses

    import jax.numpy as jnp

    from v2v.config import DiTConfig, LoRAConfig, OptimConfig, debug
    from v2v.models import initialization
    from v2v.train import objectives, train_step
    from v2v.train import optimizer as optimizer_lib
    from v2v.train.state import TrainState

    t, y, x = GRID
    small = debug()
    cfg = dataclasses.replace(
        small, frames=4 * (t - 1) + 1, height=16 * y, width=16 * x,
        dit=DiTConfig(
            width=WIDTH, ffn_width=FFN, heads=HEADS, layers=LAYERS, in_channels=16, out_channels=16, patch=(1, 1, 1),
            text_width=TEXT, text_len=TEXT_LEN, freq_dim=64, dtype="float32",
        ),
        vae=dataclasses.replace(small.vae, z_dim=16, patch=4),
        text=dataclasses.replace(small.text, width=TEXT, text_len=TEXT_LEN),
        lora=LoRAConfig(rank=RANK),
    )  # fmt: skip
    base = {"dit": initialization.init_base(jax.random.key(0), cfg)["dit"]}
    base["dit"]["head"]["linear"]["kernel"] += 0.02
    optimizer = optimizer_lib.build_optimizer(OptimConfig(peak_lr=1e-4, warmup_steps=0, ema=0.0))
    state = TrainState.create(
        initialization.init_adapter(jax.random.key(1), cfg, base["dit"]), optimizer, ema=False
    )
    z = jax.random.normal(jax.random.key(2), (1, *GRID, 16))
    text = jax.random.normal(jax.random.key(3), (1, TEXT_LEN, TEXT))
    batch = {"target": z, "area": jnp.zeros((1, *GRID)), "text": text}  # as many tokens as the other side
    return cfg, state, batch, base, train_step.train_step(objectives.edit(cfg), optimizer, 0.0)


def compare_with_torch(jax, python: str, rounds: int, threads: int, clock: measurement.Clock) -> dict:
    """Return seconds a step of both sides, and of two gradients: with LoRA, and through the frozen base to its input alone.

    Args:
      jax: The module, imported after the environment is set.
      python: Interpreter with diffusers and peft.
      rounds: Number of rounds; the median counts.
      threads: Threads of each side.
      clock: Clock of this side.
    """
    from v2v.train import objectives

    cfg, state, batch, base, step = build_step(jax)
    objective = objectives.edit(cfg)
    zero_rank = {"lora": {}, "embed": state.trained["embed"]}

    @jax.jit
    def through_base(base, rows, shared):
        return jax.grad(lambda noise: objective.loss(zero_rank, base, rows | {"noise": noise}, shared)[0])(
            rows["noise"]
        )

    @jax.jit
    def with_lora(trained, base, rows, shared):
        return jax.grad(
            lambda t, noise: objective.loss(t, base, rows | {"noise": noise}, shared)[0], argnums=(0, 1)
        )(trained, rows["noise"])

    rows, shared = objective.draw(jax.random.key(0), batch)
    latest_state = state

    def run_step():
        nonlocal latest_state
        latest_state, metrics = step(latest_state, batch, base)
        jax.block_until_ready(metrics)

    trained = jax.tree.map(lambda x: x.copy(), state.trained)
    calls = {
        "ours": run_step,
        "through_base": lambda: jax.block_until_ready(through_base(base, rows, shared)),
        "with_lora": lambda: jax.block_until_ready(with_lora(trained, base, rows, shared)),
    }
    command = [python, __file__, "--torch-side", "--threads", str(threads)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    torch_parameters = json.loads(child.stdout.readline())["trained"]

    def run_torch_step() -> float:
        child.stdin.write("\n")
        child.stdin.flush()
        return float(child.stdout.readline())

    seconds = {name: [] for name in (*calls, "torch")}
    for call in calls.values():
        call()
    run_torch_step()
    for i in range(rounds):
        for name, call in calls.items():
            seconds[name].append(measurement.measure(call, clock))
        seconds["torch"].append(run_torch_step())
        last = ", ".join(f"{name} {values[-1]:.3f} s" for name, values in seconds.items())
        print(f"round {i + 1} of {rounds}: {last}", file=sys.stderr, flush=True)
    child.stdin.close()
    child.wait()
    median = {name: sorted(values)[len(values) // 2] for name, values in seconds.items()}
    lora = sum(x.size for x in jax.tree.leaves(state.trained["lora"]))
    return {
        "threads": threads, "seconds_ours": median["ours"], "seconds_with_lora": median["with_lora"], "seconds_torch": median["torch"], "speed": median["torch"] / median["ours"],
        "low_rank_cost": median["with_lora"] / median["through_base"],
        "parameters_ours": lora, "parameters_torch": torch_parameters,
    }  # fmt: skip


def measure_saves_and_data(folder: Path, jax, steps: int) -> dict:
    """Return shares of a run's time: saves at every 50 steps, and waiting for cached latents."""
    import dataclasses

    import numpy as np

    from tools.checks.resume import make_latents
    from v2v import config
    from v2v.data import buckets, loader
    from v2v.models.text_encoder import build_word_tokenizer
    from v2v.train import loop

    cfg, state, _, base, step = build_step(jax)
    make_latents(folder, cfg)
    words = build_word_tokenizer(["make", "it", "red"], TEXT_LEN, cfg.text.vocab)
    masks = np.load(folder / "masks.npy")
    data = dataclasses.replace(config.DataConfig(), reference=0.0)
    bucket = buckets.Bucket(1, masks, (buckets.CachedClips([str(folder / "latents.array_record")]),))
    rows = loader.edit_batches([bucket], words, 0, data)
    text = jax.numpy.zeros((1, TEXT_LEN, TEXT))

    def run_step(state, batch):
        return step(state, {"target": batch["target"], "area": batch["area"], "text": text}, base)

    schedule = loop.Schedule(steps, save_every=50, log=config.LogConfig(every=25))
    loop.fit(folder / "run", state, run_step, iter(rows), schedule)
    log = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()][2:]
    total = sum(row["seconds_per_step"] * 25 for row in log)
    return {
        "save_share": sum(row["seconds_save"] for row in log) / total,
        "data_wait": sum(row["seconds_data"] for row in log) / total,
    }


def measure_memory(folder: Path, jax, steps: int) -> dict:
    """Return the resident memory of a long run of the debug model, with a save every 250 steps."""
    import resource

    import numpy as np

    from tools.checks import resume
    from v2v.config import OptimConfig, debug
    from v2v.data import buckets, loader
    from v2v.models import initialization
    from v2v.models.text_encoder import build_word_tokenizer
    from v2v.train import loop, objectives
    from v2v.train import optimizer as optimizer_lib
    from v2v.train import train_step as training
    from v2v.train.state import TrainState

    cfg = debug()
    resume.make_latents(folder)
    words = build_word_tokenizer(["make", "it", "red"], cfg.text.text_len, cfg.text.vocab)
    cached = buckets.CachedClips([str(folder / "latents.array_record")])
    rows = loader.edit_batches([buckets.Bucket(2, np.load(folder / "masks.npy"), (cached,))], words)
    base, optimizer = (
        initialization.init_base(jax.random.key(0), cfg),
        optimizer_lib.build_optimizer(OptimConfig()),
    )
    state = TrainState.create(initialization.init_adapter(jax.random.key(1), cfg, base["dit"]), optimizer)
    step = training.train_step(objectives.edit(cfg), optimizer, 0.9)
    page_mb, resident_mb = resource.getpagesize() / 1e6, []

    class ResidentMemory:
        every = steps // 20

        def __call__(self, state, step, writer):
            resident_mb.append(int(Path("/proc/self/statm").read_text().split()[1]) * page_mb)
            return {"resident_mb": resident_mb[-1]}

    schedule = loop.Schedule(steps, save_every=250, hooks=[ResidentMemory()])
    loop.fit(folder / "run", state, lambda s, b: step(s, b, base), iter(rows), schedule)
    half = len(resident_mb) // 2
    return {
        "steps": steps,
        "resident_mb": [round(mb) for mb in resident_mb],
        "growth_second_half": resident_mb[-1] / resident_mb[half],
    }


def main() -> None:
    """Parse the command line and print a line of JSON a part."""
    import tempfile

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch-python", default=sys.executable, help="a Python with diffusers and peft")
    parser.add_argument("--torch-side", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help="threads and cores of each side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, default=150, help="of the run with saves and cached latents; 0: none"
    )
    parser.add_argument(
        "--long", type=int, default=2000, help="steps of the run whose memory is looked at; 0: none"
    )
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    if not 1 <= args.threads <= cores:
        parser.error(f"--threads: expected 1 to {cores}, the cores of this machine, got {args.threads}")
    if args.torch_side:
        torch_side(args.threads)
        return
    clock = measurement.pin_threads(args.threads)
    import jax

    report = compare_with_torch(jax, args.torch_python, args.rounds, args.threads, clock)
    print(json.dumps(report), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if args.steps:
            print(json.dumps(measure_saves_and_data(Path(folder) / "saves", jax, args.steps)), flush=True)
        if args.long:
            print(json.dumps(measure_memory(Path(folder) / "long", jax, args.long)), flush=True)


if __name__ == "__main__":
    main()
