"""Every experiment file is one, and the one on published weights runs: a folder, pairs and two steps, to an adapter that edits."""

import dataclasses
import importlib
import json
import logging
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest
from tests.checkpoints import small_models
from v2v.checkpoints import adapters, model_folder, native
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.cli import main
from v2v.config import LoRAConfig, MeshConfig
from v2v.errors import InputError
from v2v.pipeline import pretrained
from v2v.train import fine_tuning
from v2v.train.config import Experiment, Stage
from v2v.video.video import Video

FILES = sorted(Path(__file__).parents[1].glob("experiments/*.py"))
RUNS = [p.stem for p in FILES if not p.stem.startswith(("_", "sweep", "scene_data"))]


@pytest.mark.parametrize("name", RUNS)
def test_experiment_files_hold_a_configuration_and_how_to_run_it(name):
    module = importlib.import_module(f"experiments.{name}")
    assert isinstance(module.config(), Experiment) and callable(module.run)
    assert len(module.__doc__.split()) > 10


def test_the_papers_recipe():
    cfg = importlib.import_module("experiments.wan22_ti2v_5b").config()
    m = cfg.model
    assert (m.frames, m.height, m.width, m.lora.rank, m.lora.scale) == (81, 480, 832, 256, 1.0)
    assert (cfg.edit.batch, cfg.edit.optim.peak_lr, cfg.edit.optim.decay_steps) == (32, 1e-4, 0)
    assert (cfg.data.reference, cfg.data.transition, cfg.trains) == (0.5, 0.5, "lora")
    large = importlib.import_module("experiments.wan22_ti2v_5b_720p").config().model
    assert (large.height, large.width) == (704, 1280)


def test_ablations_differ_from_their_base_in_what_they_are_called_after():
    ablation = importlib.import_module("experiments.ablation")
    base = ablation.config()
    for name in ablation.VARIANTS:
        cfg = ablation.config(name)
        assert cfg.name == f"ablation_{name}"
        assert dataclasses.replace(cfg, name=base.name) != base


def test_editors_of_both_attentions_share_a_folder(tmp_path):
    """Each has an edit stage of its own beside one base; another base is refused."""
    full, one_way = (
        importlib.import_module(f"experiments.embedded_gpu{ending}") for ending in ("", "_one_way")
    )
    full.check_foundation(full.config(), tmp_path)
    full.check_foundation(one_way.config(), tmp_path)
    with pytest.raises(InputError, match=r"begun with another configuration \(pairs: was 42000, now 1\)"):
        full.check_foundation(dataclasses.replace(one_way.config(), pairs=1), tmp_path)


@pytest.mark.parametrize("name", ["debug", "embedded_edit", "embedded_gpu"])
@pytest.mark.parametrize(
    "change, message",
    [
        ({"mesh": MeshConfig(data=97)}, "97"),
        ({"latents": "somewhere"}, "--latents would change nothing"),
        ({"edit": Stage(batch=15), "mesh": MeshConfig(data=-1)}, "batch: expected a multiple of the"),
    ],
)
def test_what_cannot_work_is_told_before_any_work(name, change, message, tmp_path):
    module = importlib.import_module(f"experiments.{name}")
    with pytest.raises(InputError, match=message):
        module.run(dataclasses.replace(module.config(), **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_packaged_model_goes_on_with_pairs_of_ones_own(tmp_path, monkeypatch):
    """They are encoded together with the rendered ones."""
    build_dataset(SynthRequest(tmp_path / "own", 2, frames=9, height=64, width=64, edits=("sepia",)))
    module, scenes = (
        importlib.import_module(f"experiments.{name}") for name in ("embedded_edit", "scene_data")
    )
    edits: list[str] = []

    def stop(cfg, count, read_pair, params, folder):
        edits.extend(read_pair(i).edit for i in range(count))
        raise InputError("seen")

    monkeypatch.setattr(scenes.stages, "encode_pairs", stop)
    cfg = dataclasses.replace(module.config(), pairs=3, workers=1, sets=(str(tmp_path / "own"),))
    with pytest.raises(InputError, match="seen"):
        module.run(cfg, tmp_path / "run")
    assert len(edits) == 5 and edits[3:] == ["sepia", "sepia"]


@pytest.mark.slow
def test_the_first_hour_with_own_clips(tmp_path, monkeypatch):
    """One command trains, the next edits; what is refused can be corrected in the same folder."""
    folder = small_models.write(tmp_path / "wan")
    for name, shade in {"before": 60, "after": 180}.items():
        frames = np.full((12, 32, 48, 3), shade, np.uint8)
        frames[:, ::2] += 30
        Video.from_array(frames, 12.0).save(tmp_path / f"{name}.mp4")
    rows = [f"before.mp4,after.mp4,make it brighter {i},{'held_out' if i == 4 else ''}" for i in range(5)]
    (tmp_path / "my.csv").write_text("source,target,prompt,split\n" + "\n".join(rows) + "\n")
    workdir = str(tmp_path / "run")
    command = [
        "train", "wan22_lora", "--model", str(folder), "--sets", str(tmp_path / "my.csv"), "--workdir", workdir, "--edit.steps", "4",
        "--model.frames", "5", "--log.held-out-every", "2", "--log.preview-every", "4", "--log.preview-steps", "1",
        "--edit.batch", "8", "--mesh.data", "4", "--mesh.fsdp", "2",
    ]  # fmt: skip
    assert main.main([*command, "--data.reference", "0.5"]) == 2
    assert main.main(command) == 0
    run = tmp_path / "run"
    assert len(list((run / "edit" / "previews").glob("0000004-*.mp4"))) == 3
    rows = [json.loads(line) for line in (run / "edit" / "log.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["held_out_loss"] for row in rows if "held_out_loss" in row}
    best = json.loads((run / "edit" / "best.json").read_text())
    assert set(losses) == {2, 4} and best["held_out_loss"] == losses[best["step"]] == min(losses.values())
    model = pretrained.load_pretrained(str(folder), frames=5, height=32, width=48)
    for name in ("lora.safetensors", "lora-best.safetensors"):
        assert model.with_lora(run / name).conditions == ("source", "mask", "reference")
    assert TensorFiles.open(run / "lora-best.safetensors").metadata["steps"] == str(best["step"])


@pytest.mark.slow
def test_a_run_on_published_weights(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("v2v"), "propagate", True)  # the command line turns it off
    caplog.set_level("INFO", logger="v2v")
    wan = importlib.import_module("experiments.wan22_ti2v_5b")
    folder = small_models.write(tmp_path / "wan")
    build_dataset(
        SynthRequest(tmp_path / "pairs", 32, frames=5, height=32, width=32, edits=("sepia", "palette"))
    )
    base = wan.config()
    cfg = dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, **small_models.SIZE, lora=LoRAConfig(rank=2, alpha=4)),
        data=dataclasses.replace(base.data, held_out=0.125),
        log=dataclasses.replace(base.log, held_out_every=1),
        mesh=MeshConfig(data=-1, fsdp=2),
        edit=dataclasses.replace(base.edit, steps=2, batch=8),
        weights=str(folder),
        weights_dtype="nf4",
        sets=(str(tmp_path / "pairs"),),
    )
    with pytest.raises(InputError, match="--model .* --sets"):
        wan.run(base, tmp_path / "none")
    with pytest.raises(
        InputError, match="expected clips of 9x32x32, none of its 32 .*32: fewer than 9 frames"
    ):
        longer = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, frames=9))
        wan.run(longer, tmp_path / "longer")
    out = wan.run(cfg, tmp_path / "run")
    assert "nf4 weights of dit: their rounding lies 2" in caplog.text
    model = pretrained.load_pretrained(str(folder), **small_models.SIZE).with_lora(out)
    assert model.conditions == ("source", "mask", "reference")
    assert model.config.condition == cfg.model.condition
    assert model.adapter().scale == 1 and adapters.load_adapter(out, model.config).scale == 2
    rows = [json.loads(line) for line in (tmp_path / "run" / "edit" / "log.jsonl").read_text().splitlines()]
    assert all("held_out_loss" in row for row in rows)
    with pytest.raises(InputError, match="begun with another configuration .seed: was 0, now 5"):
        wan.run(dataclasses.replace(cfg, seed=5), tmp_path / "run")
    # Continued with another alpha, step 0 is the same editor.
    again = dataclasses.replace(model.config, lora=LoRAConfig(rank=2, alpha=2))
    published = model_folder.read_model_folder(folder).require()
    start = fine_tuning._init_trained(
        dataclasses.replace(cfg, model=again, start=str(out)), model.parameters("dit"), published
    )
    np.testing.assert_allclose(
        start["lora"]["blocks"]["ffn"]["down"]["b"],
        2 * native.load_parameters(out)["lora"]["blocks"]["ffn"]["down"]["b"], rtol=1e-6,
    )  # fmt: skip
    for change, message in (
        (
            {"model": dataclasses.replace(cfg.model, lora=LoRAConfig(rank=2, targets="nothing"))},
            "--model.lora: LoRA: no layer",
        ),
        ({"log": base.log}, "--data.held-out 0.125 would withhold"),
    ):
        with pytest.raises(InputError, match=message):
            wan.run(dataclasses.replace(cfg, **change), tmp_path / "idle")
    assert not (tmp_path / "idle").exists()

    build_dataset(
        SynthRequest(tmp_path / "stills", 20, frames=1, height=32, width=32, edits=("image",), transition=0.0)
    )
    mixed = dataclasses.replace(
        cfg,
        weights_dtype=None,
        sets=(str(tmp_path / "pairs"), str(tmp_path / "stills")),
        data=dataclasses.replace(
            cfg.data, reference=0.0, sizes=((5, 32, 32), (1, 32, 32)), mixture=(0.5, 0.5)
        ),
        edit=dataclasses.replace(cfg.edit, steps=3),
    )
    assert wan.run(mixed, tmp_path / "mixed").is_file()
    log_text = caplog.text
    assert (
        "set stills: 20 pairs, 20 used, 0 left out; 20 of 20 frames used; 50.0% of the clips drawn"
        in log_text
    )
    assert "pairs of 1 frames (1x4x4 latents) without a reference: batches of 8, 50.0% of all" in log_text
    assert "compiled for 2 shapes of batch" in log_text
    with pytest.raises(InputError, match="one positive weight for each of the 2 sets"):
        uneven = dataclasses.replace(mixed.data, mixture=(1.0,))
        wan.run(dataclasses.replace(mixed, data=uneven), tmp_path / "uneven")

    # A table of people's own files, beside a set; half of its clips weigh three times as much as the others.
    shades = {"before": 60, "after": 180}
    for name, shade in shades.items():
        frames = np.full((12, 40, 40, 3), shade, np.uint8)
        frames[:, ::2] += 30
        Video.from_array(frames, 12.0).save(tmp_path / f"{name}.mp4")
    rows = [f"before.mp4,after.mp4,make it brighter {i},{1 if i % 2 else 3}" for i in range(16)]
    rows += ["before.mp4,gone.mp4,make it brighter,1"]
    (tmp_path / "my.csv").write_text("source,target,prompt,weight\n" + "\n".join(rows) + "\n")
    table = dataclasses.replace(
        mixed,
        sets=(str(tmp_path / "pairs"), str(tmp_path / "my.csv")),
        data=dataclasses.replace(mixed.data, held_out=0.0, sizes=((5, 32, 32),)),
        log=dataclasses.replace(mixed.log, held_out_every=0),
    )
    assert wan.run(table, tmp_path / "table").is_file()
    assert "set my.csv: 17 pairs, 16 used, 1 left out; 80 of 384 frames used; 50.0%" in caplog.text
    assert "16  resampled from 12 to 24 frames a second, so that frames are shown repeatedly" in caplog.text
    assert "left out: line 18: file missing: gone.mp4" in caplog.text
    assert sorted(p.name for p in (tmp_path / "table/latents/my.csv").iterdir() if p.is_dir()) == [
        "5x32x32",
        "5x32x32-weight-3",
    ]

    # The same sizes with another autoencoder, whose latents would differ.
    other = small_models.write(tmp_path / "other")
    _change_vae(other)
    with pytest.raises(InputError, match="latents were made by VAE"):
        wan.run(dataclasses.replace(cfg, weights=str(other)), tmp_path / "run")

    # A set made anew under the same name, with as many pairs.
    shutil.rmtree(tmp_path / "pairs")
    build_dataset(
        SynthRequest(
            tmp_path / "pairs", 32, seed=999, frames=5, height=32, width=32, edits=("night", "palette")
        )
    )
    with pytest.raises(InputError, match="pairs: latents were made from another set; remove the folder"):
        wan.run(cfg, tmp_path / "run")


def _change_vae(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    file = next((folder / "vae").glob("*.safetensors"))
    tensors = load_file(file)
    name = next(name for name, x in tensors.items() if x.ndim == 1)
    save_file(tensors | {name: tensors[name] + np.asarray(1, tensors[name].dtype)}, file)
    assert jax.process_count() == 1


def test_experiments_are_found_by_name(capsys, tmp_path, monkeypatch):
    from v2v.cli import main, train

    assert main.main(["train", "--list"]) == 0
    output = capsys.readouterr().out
    assert "embedded_edit " in output and "ablation:rank64" in output and "scene_data" not in output
    loaded = train.load_experiment("ablation:rank64", ["--edit.steps", "7"], "train").config
    assert (loaded.name, loaded.model.lora.rank, loaded.edit.steps) == ("ablation_rank64", 64, 7)
    names = [name for name, _ in train.list_experiments()]
    assert {train.load_experiment(name, [], "plan").config.name for name in names} >= {
        "embedded",
        "ablation_no_mask",
    }
    for words, message in (
        (["nothing"], "nothing: no such experiment; expected a Python file or one of ablation, "),
        (["ablation:rank3"], "expected one of the variants full_add, "),
        (["debug:rank64"], "expected an experiment with variants, debug has none"),
    ):
        assert main.main(["train", *words, "--workdir", str(tmp_path / "run")]) == 2
        assert message in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    (tmp_path / "debug").write_text("def config(): pass\ndef run(config, workdir): pass\n")
    (tmp_path / "debug").rename("debug.py")
    with pytest.raises(InputError, match="expected config\\(\\) to return an Experiment, got NoneType"):
        train.load_experiment("debug.py", [], "train")
    (tmp_path / "half.py").write_text("def config(): pass\n")
    with pytest.raises(InputError, match="half.py: not an experiment; expected config\\(\\) and run"):
        train.load_experiment("half.py", [], "train")


def test_a_users_file_replaces_no_module(tmp_path):
    import sys

    from v2v.cli.user_module import load_module

    (tmp_path / "json.py").write_text("from . import beside\nVALUE = beside.VALUE\n")
    (tmp_path / "beside.py").write_text("VALUE = 3\n")
    assert load_module(tmp_path / "json.py", "sweep", "x.py").VALUE == 3
    assert sys.modules["json"] is json and json.dumps([1]) == "[1]"


def test_which_of_two_transformers_is_trained():
    a14b, small = (
        importlib.import_module(f"experiments.{name}").config() for name in ("wan22_a14b", "wan21_t2v_1_3b")
    )
    for cfg, transformer, words in (
        (a14b, "", "expected the transformer to train, wan22_a14b has two; add --transformer high or low"),
        (small, "low", "wan21_t2v_1_3b has a single transformer, got --transformer low; leave it out"),
    ):
        with pytest.raises(InputError, match=words):
            fine_tuning.choose_transformer(dataclasses.replace(cfg, transformer=transformer), cfg.model)
    assert fine_tuning.choose_transformer(small, small.model) is None and small.data.fps == 16
    low = fine_tuning.with_published_sizes(small.model, a14b.model, "low")
    assert (
        low.flow.tau_range == (0.0, 0.875)
        and low.dit.width == 5120
        and low.flow.shift == small.model.flow.shift
    )


@pytest.mark.slow
def test_a_run_on_one_of_two_transformers(tmp_path):
    experiment = importlib.import_module("experiments.wan22_a14b")
    folder = small_models.write(tmp_path / "wan", cfg=small_models.two_transformers())
    build_dataset(SynthRequest(tmp_path / "pairs", 8, frames=5, height=32, width=32, edits=("sepia",)))
    base = experiment.config()
    cfg = dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, **small_models.SIZE, lora=LoRAConfig(rank=2)),
        data=dataclasses.replace(base.data, reference=0.0),
        mesh=MeshConfig(data=-1),
        edit=dataclasses.replace(base.edit, steps=2, batch=8),
        weights=str(folder),
        transformer="low",
        sets=(str(tmp_path / "pairs"),),
    )
    out = experiment.run(cfg, tmp_path / "run")
    model = pretrained.load_pretrained(str(folder), **small_models.SIZE)
    with pytest.raises(InputError, match="low-noise transformer by its header"):
        model.with_lora(out, transformer="high")
    adapted = model.with_lora(out, transformer="low")
    assert adapted.adapter("dit") is None and adapted.adapter("dit_low") is not None
