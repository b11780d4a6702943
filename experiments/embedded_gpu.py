"""The packaged model at 17x128x128, for one GPU: experiments/embedded.py with more of everything, and physics twins among the pairs.

    v2v synth --out runs/physics --pairs 2000 --recipes physics --frames 17 --height 128 --width 128 --transition 0 --workers 2
    v2v train experiments/embedded_gpu.py --workdir runs/gpu --sets runs/physics       (every stage resumes by itself)
    v2v train experiments/embedded_gpu_one_way.py --workdir runs/gpu --sets runs/physics

Same stages: pairs → vae → latents → text → base → edit → export. `full` and `one_way` are two edit stages over one base, in edit-full
and edit-one_way of the same workdir; their exports stand side by side. `--sets` adds folders of pairs made elsewhere (physics needs
OpenGL, planar pairs are rendered on the spot by `--workers`); without it there are planar pairs alone.

Sizes: 96 latent channels where experiments/embedded.py has 48, because a linear code of its 48 ended at 26.0 dB and of 96 at 27.9; 320
tokens a stream, width 288, 8 layers: 31 MB as exported, below 32. Sentences about rooms have words of their own and are longer, 32
tokens instead of 24. Matmuls run in bfloat16 while training; the exported configuration says float32, for CPUs.
`tools/on_accelerator.sh embedded` runs all of it in slices. Scores: none yet, no accelerator was at hand.
"""

import dataclasses
from pathlib import Path

from experiments import embedded
from v2v.config import ModelConfig, OptimConfig, VAEConfig
from v2v.config import embedded as small
from v2v.train.config import Experiment

OWN_PARTS = 900  # number of the first folder of pairs that was brought along, above those rendered here


def config() -> Experiment:
    base = embedded.config()

    def longer(stage, steps: int, batch: int, **optim):
        schedule = {"warmup_steps": max(20, steps // 100), "decay_steps": steps - max(20, steps // 100)}
        optim = OptimConfig(**dataclasses.asdict(stage.optim) | schedule | optim)
        return dataclasses.replace(stage, steps=steps, batch=batch, optim=optim)

    return dataclasses.replace(
        base,
        name="embedded_gpu",
        model=model(),
        pairs=42_000,
        workers=16,
        words="rooms",
        cpu_devices=1,
        vae=longer(base.vae, 6_000, 16, ema=0.995),
        text=longer(base.text, 2_000, 512),
        base=longer(base.base, 8_000, 128, ema=0.998),
        edit=longer(base.edit, 30_000, 64, ema=0.999),
        save_every=500,
    )


def model() -> ModelConfig:
    """17x128x128, latents 5x8x8x96."""
    m = small()
    return dataclasses.replace(
        m,
        name="embedded",
        frames=17,
        height=128,
        width=128,
        dit=dataclasses.replace(
            m.dit, width=288, ffn_width=960, heads=9, layers=8, in_channels=96, out_channels=96, text_len=32, dtype="bfloat16"
        ),
        text=dataclasses.replace(m.text, text_len=32),
        vae=VAEConfig(
            base_dim=56, decoder_base_dim=56, z_dim=96, dim_mult=(1, 2, 2), num_res_blocks=0,
            temporal_downsample=(True, True), patch=4,
        ),
    )  # fmt: skip


def run(cfg: Experiment, workdir: Path) -> Path:
    """Do what is left to do; returns the exported folder of this variant."""
    cfg, vae, base, shards, masks = foundation(cfg, workdir)
    return variant(cfg, vae, base, shards, masks, workdir, cfg.model.condition.attention)


def foundation(cfg: Experiment, workdir: Path):
    """All that variants of an editor share: (cfg with the latents' statistics, vae, base, latents' shards, time masks)."""
    from v2v.runtime import sharding
    from v2v.train.stage import check

    sharding.cpu_devices(cfg.cpu_devices)
    check(cfg, "vae", "text", "base", "edit", reads=("sets",))
    workdir.mkdir(parents=True, exist_ok=True)
    embedded.render_pairs(cfg, workdir / "pairs")
    bring(cfg, workdir / "pairs")
    vae, made = embedded.train_vae(cfg, workdir / "vae")
    # The folder of the VAE keeps the whole ModelConfig of the run that made it; of that only the VAE is shared.
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, vae=made.vae))
    shards, masks = embedded.cache_latents(cfg, vae, workdir)
    text = embedded.train_text(cfg, shards, workdir / "text")
    return cfg, vae, embedded.train_base(cfg, text, shards, workdir / "base"), shards, masks


def variant(
    cfg: Experiment, vae: dict, base: dict, shards, masks, workdir: Path, name: str, data=None
) -> Path:
    """Train the editor `cfg` on a base, in workdir/edit-NAME; returns workdir/export-NAME, a folder for --model.

    `data`: a loader.Stream other than that of `shards`, for ablations.
    """
    import jax

    from v2v.checkpoints import native as files
    from v2v.data import buckets as buckets_lib
    from v2v.data import loader
    from v2v.models import initialization
    from v2v.train import objectives
    from v2v.train.stage import fit_stage, on_host

    words = embedded._tokenizer(cfg)
    buckets = [buckets_lib.Bucket(cfg.edit.batch, masks, (buckets_lib.Cached(shards),))]
    if data is None:
        data = loader.edit_batches(buckets, words, cfg.seed, cfg.data, cfg.model.condition.mask_code)
    held = []
    if cfg.log.held_out_every:
        held = loader.held_out_batches(buckets, words, cfg.data, mask_code=cfg.model.condition.mask_code)
    key = jax.random.key(cfg.seed + 1)
    if cfg.trains == "full":  # the paper's "full fine-tuning"; only the text encoder stays as it is
        trained = {"dit": base["dit"], "embed": initialization.init_embed(key, cfg.model)}
        frozen = {"text": base["text"]}
    else:
        trained, frozen = initialization.init_adapter(key, cfg.model, base["dit"]), base
    objective = objectives.edit(cfg.model, cfg.region, data.recipes)
    folder = workdir / f"edit-{name}"
    state = fit_stage(cfg, cfg.edit, folder, trained, data, objective, frozen, held=held, work=True)
    made = on_host(state.result)
    tuned = {"dit": made.get("dit", base["dit"]), "text": base["text"]}
    adapter = {"lora": made.get("lora", {}), "embed": made["embed"]}
    out = embedded.export(cfg, vae, tuned, adapter, workdir / f"export-{name}")
    portable = dataclasses.replace(cfg.model, dit=dataclasses.replace(cfg.model.dit, dtype="float32"))
    files.save_config(out / "config.json", portable)
    return out


def bring(cfg: Experiment, pairs: Path) -> None:
    """Link the folders of `cfg.sets` among the rendered ones, so that both are encoded together."""
    for i, folder in enumerate(cfg.sets):
        link = pairs / f"part-{OWN_PARTS + i}"
        if not link.exists():
            link.symlink_to(Path(folder).resolve(), target_is_directory=True)
