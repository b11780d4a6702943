"""The packaged model at 17x128x128, for one GPU: embedded with a larger model, more steps, and physics twins among the pairs.

    v2v synth --out runs/physics --pairs 2000 --recipes physics --frames 17 --height 128 --width 128 --transition 0 --workers 2
    v2v train embedded_gpu --workdir runs/gpu --sets runs/physics       (every stage resumes by itself)
    v2v train embedded_gpu_one_way --workdir runs/gpu --sets runs/physics

The stages are those of embedded: pairs, vae, latents, text, base, edit, export. `full` and `one_way` are two edit stages over one base,
in edit-full and edit-one_way of the same workdir; their exports lie side by side. `--sets` adds folders of pairs made elsewhere (physics
needs OpenGL, planar pairs are rendered by `--workers`); without it there are planar pairs alone.

Sizes: 96 latent channels where embedded has 48, because a linear code of 48 ended at 26.0 dB and of 96 at 27.9; 320 tokens a stream,
width 288, 8 layers: 31 MB as exported, below 32. Sentences about rooms have words of their own and are longer, 32 tokens instead of 24.
Matmuls run in bfloat16 while training; the exported configuration says float32, for CPUs. `tools/on_accelerator.sh embedded` runs all of
it in slices. Scores: none yet.
"""

import dataclasses
from pathlib import Path

from v2v.checkpoints import native
from v2v.config import ModelConfig, VAEConfig
from v2v.config import embedded as small
from v2v.data.batch import EditExample
from v2v.data.loader import Stream
from v2v.runtime import sharding
from v2v.train import stages
from v2v.train.config import Experiment, Stage
from v2v.train.stage import check_experiment, to_host

from . import embedded, scene_data


def config() -> Experiment:
    """Return embedded's configuration with a larger model and more steps."""
    base = embedded.config()

    def lengthen(stage: Stage, steps: int, batch: int, ema: float) -> Stage:
        warmup = max(20, steps // 100)
        optim = dataclasses.replace(stage.optim, warmup_steps=warmup, decay_steps=steps - warmup, ema=ema)
        return dataclasses.replace(stage, steps=steps, batch=batch, optim=optim)

    return dataclasses.replace(
        base,
        name="embedded_gpu",
        model=model(),
        pairs=42_000,
        workers=16,
        words="rooms",
        cpu_devices=1,
        vae=lengthen(base.vae, 6_000, 16, ema=0.995),
        text=lengthen(base.text, 2_000, 512, ema=base.text.optim.ema),
        base=lengthen(base.base, 8_000, 128, ema=0.998),
        edit=lengthen(base.edit, 30_000, 64, ema=0.999),
        save_every=500,
    )


def model() -> ModelConfig:
    """Return the model of 17x128x128 with latents of 5x8x8x96."""
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


@dataclasses.dataclass(frozen=True)
class Foundation:
    """Results of the stages before the edit stage, which all variants of an editor share.

    Attributes:
      cfg: the experiment, with the statistics of the latents.
      vae: parameters of the autoencoder.
      base: {"dit", "text"}.
      latents: the cached pairs.
    """

    cfg: Experiment
    vae: dict
    base: dict
    latents: stages.LatentSet


def run(cfg: Experiment, workdir: Path) -> Path:
    """Run the stages that are not done yet; return the exported folder of this variant."""
    return train_variant(train_foundation(cfg, workdir), workdir, cfg.model.condition.attention)


def train_foundation(cfg: Experiment, workdir: Path) -> Foundation:
    """Run all stages before the edit stage."""
    sharding.request_cpu_devices(cfg.cpu_devices)
    check_foundation(cfg, workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    scene_data.render_pairs(cfg, workdir / "pairs")
    scene_data.link_sets(cfg, workdir / "pairs")
    vae = stages.train_autoencoder(cfg, scene_data.clips(cfg), workdir / "vae")
    # The folder of the autoencoder holds the whole ModelConfig of the run that trained it; variants share its autoencoder alone.
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, vae=vae.config.vae))
    tokenizer = scene_data.build_tokenizer(cfg)
    latents = scene_data.encode_rendered(cfg, vae.params, workdir)
    text = stages.train_text(cfg, tokenizer, latents.shards, workdir / "text")
    base = stages.train_base(cfg, tokenizer, text, latents.shards, workdir / "base")
    return Foundation(cfg, vae.params, base, latents)


def check_foundation(cfg: Experiment, workdir: Path) -> None:
    """Check a variant before any work; all variants of an attention may share a folder, since each has its own edit stage.

    Raises:
      InputError: a setting does not fit, or the folder holds the run of another configuration.
    """
    condition = dataclasses.replace(cfg.model.condition, attention="full")
    foundation = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, condition=condition))
    check_experiment(foundation, "vae", "text", "base", "edit", reads=("sets",), workdir=workdir)


def train_variant(
    shared: Foundation, workdir: Path, name: str, data: Stream[EditExample] | None = None
) -> Path:
    """Train an editor on the shared base, in workdir/edit-NAME.

    Args:
      shared: the foundation, its `cfg` changed to the variant's.
      workdir: folder of the run.
      name: name of the variant.
      data: batches other than those of `shared.latents`, for ablations.

    Returns:
      workdir/export-NAME, a folder for --model.
    """
    cfg, base = shared.cfg, shared.base
    tokenizer = scene_data.build_tokenizer(cfg)
    buckets = [shared.latents.bucket(cfg.edit.batch)]
    state = stages.fit_edit(cfg, tokenizer, base, buckets, workdir / f"edit-{name}", data=data)
    result = to_host(state.result)
    tuned = {"dit": result.get("dit", base["dit"]), "text": base["text"]}
    adapter = {"lora": result.get("lora", {}), "embed": result["embed"]}
    out = stages.export_model(cfg, tokenizer, shared.vae, tuned, adapter, workdir / f"export-{name}")
    portable = dataclasses.replace(cfg.model, dit=dataclasses.replace(cfg.model.dit, dtype="float32"))
    native.save_config(out / "config.json", portable)
    return out
