"""One run of `ablate.py`: variant and seed → configuration → trained editor → scores of single pairs, in a JSON file."""

import argparse
import dataclasses
import importlib
import json
import shutil
import tempfile
from pathlib import Path

import tyro

from experiments import ablation, embedded_gpu, scene_data
from v2v.train.config import Experiment

# The paper's choice, with which every group is compared.
BEST = "base"
MIXES = {"image": ("image",), "image+affine": ("image", "lift"), "video": ("video",), BEST: ("image", "lift", "video")}  # fmt: skip
# By group: table of the paper, its column, and variant → its name in the table.
GROUPS = {
    "conditioning": ("easyv2v_architecture", "judge total at 20K", {
        BEST: "LoRA, sequence", "lora_add": "LoRA, added", "full_add": "full fine-tuning, added",
        "full_sequence": "full fine-tuning, sequence"}),
    "masks": ("easyv2v_masks", "judge total", {
        BEST: "VAE, mask + source", "mask_sequence": "VAE, sequence (source, target, mask)",
        "mask_target": "VAE, mask + target", "mask_pooled": "averaged mask + source"}),
    "rank": ("easyv2v_rank", "judge total", {
        BEST: "rank 256, with reference", "rank_half": "rank 128, with reference",
        "rank_quarter": "rank 64, with reference"}),
    "data": ("", "judge total", {f"data_{mix}": mix for mix in MIXES}),
}  # fmt: skip
# The paper's Table 4, judge total.
DATA = {"image": 5.52, "image+affine": 6.24, "video": 6.69, BEST: 6.86}


def run_variant(args: argparse.Namespace, name: str, seed: int) -> None:
    """Train and score a variant, and write OUT/ablation/NAME-SEED.json, unless it is there.

    Args:
      args: Command line of `ablate.py`.
      name: Variant, a key of a group in GROUPS.
      seed: Seed of the training.
    """
    out = args.out / "ablation" / f"{name}-{seed}.json"
    if out.exists():
        return
    from tools.bench.measurement import describe_run
    from v2v.evaluation.benchmarks import exact_truth, exact_truth_scoring
    from v2v.evaluation.cache import SweepCache
    from v2v.evaluation.sweep.methods import EditingMethod

    base = importlib.import_module(f"experiments.{args.experiment}").config()
    base = tyro.cli(Experiment, default=base, args=args.fields, prog="tools/ablation/ablate.py")
    shared = embedded_gpu.train_foundation(base, args.workdir)
    shared = dataclasses.replace(shared, cfg=configure_variant(shared.cfg, name, seed, args.steps))
    runs = args.workdir / "ablation"
    data = build_mix(shared, name.removeprefix("data_"), args.workdir) if name.startswith("data_") else None
    folder = embedded_gpu.train_variant(shared, runs, f"{name}-{seed}", data)
    benchmark = exact_truth.build_type_benchmark(args.workdir / "scored-pairs", args.scored)
    with tempfile.TemporaryDirectory() as work:
        cache = SweepCache(Path(work))
        method = EditingMethod(model=str(folder)).load(cache)
        pairs = exact_truth_scoring.score_settings(method, benchmark, cache)
    result = {kind: [int(p.outcomes[kind].success) for p in pairs] for kind in ("sentence", "masked")}
    result |= {
        "edits": [p.edit_type for p in pairs],
        "psnr_inside": [p.outcomes["sentence"].psnr_inside for p in pairs],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.write_text(
        json.dumps(describe_run() | {"variant": name, "seed": seed, "steps": args.steps} | result)
    )
    partial.rename(out)
    for weights in (folder, runs / f"edit-{name}-{seed}"):  # only the scores of ablations are of use
        shutil.rmtree(weights)


def configure_variant(cfg: Experiment, name: str, seed: int, steps: int) -> Experiment:
    """Return the base's configuration with the changes of a variant; experiments/ablation.py names most of them."""
    optim = dataclasses.replace(cfg.edit.optim, decay_steps=max(1, steps - cfg.edit.optim.warmup_steps))
    edit = dataclasses.replace(cfg.edit, steps=steps, optim=optim)
    cfg = dataclasses.replace(cfg, seed=seed, edit=edit)
    condition, lora = cfg.model.condition, cfg.model.lora
    if name in ablation.VARIANTS:
        variant = ablation.VARIANTS[name]
        cfg = dataclasses.replace(cfg, trains=variant.trains)
        if "condition" in variant.model:
            condition = dataclasses.replace(condition, layout=variant.model["condition"].layout)
    elif name == "mask_pooled":
        condition = dataclasses.replace(condition, mask_code="pooled")
    elif name.startswith("mask_"):
        condition = dataclasses.replace(condition, mask=name.removeprefix("mask_"))
    elif name.startswith("rank_"):
        lora = dataclasses.replace(lora, rank=lora.rank // {"rank_half": 2, "rank_quarter": 4}[name])
    return dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, condition=condition, lora=lora))


def build_mix(shared: embedded_gpu.Foundation, mix: str, workdir: Path):
    """Return batches of a data mix, each of one kind: stills, stills moved by a camera path, videos, in equal shares."""
    from data_synth.dataset.build import build_dataset
    from data_synth.dataset.request import SynthRequest
    from v2v.data import loader

    cfg = shared.cfg
    m, buckets = cfg.model, []
    data = dataclasses.replace(
        cfg.data, reference=0.0
    )  # not all kinds have references: none is shown, in any mix
    for kind in MIXES[mix]:
        latents = shared.latents
        if kind != "video":
            folder = workdir / f"data-{kind}"
            if not (folder / "pairs" / "part-0").exists():
                size = {"frames": 1 if kind == "image" else m.frames, "height": m.height, "width": m.width}
                build_dataset(SynthRequest(folder / "pairs" / "part-0", cfg.pairs // 3, workers=cfg.workers, edits=(kind,), transition=0.0, **size))  # fmt: skip
            latents = scene_data.encode_rendered(cfg, shared.vae, folder)
        buckets.append(latents.bucket(cfg.edit.batch))
    return loader.edit_batches(
        buckets, scene_data.build_tokenizer(cfg), cfg.seed, data, m.condition.mask_code
    )
