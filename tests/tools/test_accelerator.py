"""What is prepared for an accelerator, without one: sizes, ablations' differences, tables, and the script's slices with stand-in programs."""

import argparse
import dataclasses
import json
import os
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_synth import generate
from data_synth.language import rooms
from data_synth.physics import draw
from experiments import embedded, embedded_gpu, embedded_gpu_one_way, scene_data
from tools.ablation import ablate, runs
from tools.bench import accelerator
from tools.cards import readme_figures
from v2v.models import initialization
from v2v.models.autoencoder import VAE

ROOT = Path(__file__).parents[2]
STAMP = {"date": "2030-01-02", "device": "Some GPU", "command": "python tools/some.py"}


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_larger_model_stays_below_32_mb_as_exported():
    m = embedded_gpu.config().model
    base = jax.eval_shape(lambda k: initialization.init_base(k, m), jax.random.key(0))
    adapter = jax.eval_shape(lambda k: initialization.init_adapter(k, m, base["dit"]), jax.random.key(0))
    vae = jax.eval_shape(VAE(m.vae).init, jax.random.key(0), jnp.zeros((1, m.frames, m.height, m.width, 3)))
    assert 25e6 < 2 * count(base) + 2 * count(adapter) + count(vae) < 32e6


def test_its_vocabulary_has_every_word_about_rooms_and_room_for_whole_sentences():
    tokenizer = scene_data.build_tokenizer(embedded_gpu.config())
    small = scene_data.build_tokenizer(embedded.config())
    for seed in range(400):
        room = draw.sample_room(np.random.default_rng(seed), draw.KINDS[seed % len(draw.KINDS)], 1.0)
        line = f"{rooms.format_caption(room)}, the camera moving closer"
        assert not tokenizer.unknown_words(line) and not tokenizer.truncated_end(line)
    assert small.unknown_words(line)
    pair = generate.make_pair(3, generate.PairOptions(2, 16, 16))
    for line in (*pair.instructions, pair.target_caption):
        assert not tokenizer.unknown_words(line) and not tokenizer.truncated_end(line)
    assert tokenizer.truncated_end("make it sepia " * 12) == "it sepia make it sepia"
    assert tokenizer.encode(["make it sepia " * 12])[1] == [32]


def test_one_way_differs_in_attention_alone():
    full, other = embedded_gpu.config(), embedded_gpu_one_way.config()
    condition = dataclasses.replace(other.model.condition, attention="full")
    model = dataclasses.replace(other.model, condition=condition)
    assert dataclasses.replace(other, name=full.name, model=model) == full


def test_every_ablation_is_another_configuration_or_another_mix():
    base = embedded_gpu.config()
    variants = {}
    for group, (_, _, names) in runs.GROUPS.items():
        for name in names:
            cfg = runs.configure_variant(base, name, 3, 500)
            assert (cfg.seed, cfg.edit.steps) == (3, 500)
            variants[name] = (cfg, runs.MIXES.get(name.removeprefix("data_")) if group == "data" else None)
    assert len({repr(value) for value in variants.values()}) == len(variants) == 13
    assert (
        variants["full_add"][0].trains == "full" and variants["full_add"][0].model.condition.layout == "add"
    )
    assert variants["rank_quarter"][0].model.lora.rank * 4 == base.model.lora.rank


def test_ablation_table_compares_orders_and_says_what_is_missing(tmp_path):
    assert "not measured yet" in "\n".join(ablate.format_group("rank", tmp_path, [0]))
    for wins, name in zip((9, 6, 3), ("base", "rank_half", "rank_quarter"), strict=True):
        for seed in (0, 1):
            result = {"sentence": [1] * wins + [0] * (12 - wins), "masked": [0] * 12}
            (tmp_path / f"{name}-{seed}.json").write_text(json.dumps(STAMP | result))
    lines = ablate.format_group("rank", tmp_path, [0, 1])
    assert lines[2].startswith("| rank 256, with reference | 75.0 [") and lines[2].endswith(
        "| 75, 75 | 7.22 |"
    )
    assert "| -25.0 [" in lines[3] and lines[-2].endswith("order holds (by our means).")
    for seed in (0, 1):
        (tmp_path / f"rank_quarter-{seed}.json").write_text(
            json.dumps({"sentence": [1] * 12, "masked": [0] * 12})
        )
    assert "does not hold" in "\n".join(ablate.format_group("rank", tmp_path, [0, 1]))


def speed(tiny=False) -> dict:
    rows = [
        ("matmul", 1e-3, 800.0),
        ("full", 0.5, 400.0),
        ("torch_compiled", 0.6, 350.0),
        ("encode", 1.0, None),
        ("decode", 2.0, None),
    ]
    rows = [{"case": n, "size": "480x832", "seconds": s, "tflops": f, "peak_gb": 20.0} for n, s, f in rows]
    return STAMP | {
        "tiny": tiny,
        "rows": [*rows, {"case": "train", "size": "480x832", "error": "out of memory"}],
    }


def test_readme_is_filled_between_its_markers_and_nowhere_else(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{readme_figures.BEGIN}\nold\n{readme_figures.END}\nafter\n")
    results = tmp_path / "results"
    results.mkdir()

    def fill():
        readme_figures.main(argparse.Namespace(results=results, readme=readme, show=False))
        return readme.read_text()

    empty = fill()
    assert empty.startswith("before\n") and empty.endswith("\nafter\n") and "old" not in empty
    assert empty.count(readme_figures.MISSING) == 4 and not any(c in empty for c in ("0 %", "nan"))
    (results / "speed.json").write_text(json.dumps(speed()))
    filled = fill()
    assert "| sampling pass, source and target tokens | 480x832 | 500 | 400 | 50% | 20 |" in filled
    assert (
        "×1.20" in filled
        and "failed: out of memory" in filled
        and "2030-01-02 on Some GPU: `python tools/some.py`" in filled
    )
    assert "54,000" in filled  # 100 passes, source and mask encoded, one decoded
    assert fill() == filled
    (results / "speed.json").write_text(json.dumps(speed(tiny=True)))
    assert fill() == empty


def test_shares_are_of_the_same_librarys_matmul():
    rows = [
        {"case": c, "size": "a", "tflops": f}
        for c, f in (("matmul", 8.0), ("full", 4.0), ("torch_matmul", 10.0), ("torch_eager", 4.0))
    ]
    shares = {r["case"]: r.get("of_matmul") for r in accelerator.add_matmul_share(rows)}
    assert shares["full"] == 0.5 and shares["torch_eager"] == 0.4


@pytest.fixture
def script(tmp_path):
    """on_accelerator.sh with a stand-in for Python, whose calls are noted: training needs two slices."""
    fake = tmp_path / "python"
    fake.write_text(
        f"""#!/bin/bash
echo "$@" >> {tmp_path}/calls
case "$*" in
  *"v2v train"*) mkdir -p {tmp_path}/run/export-full
    [ -e {tmp_path}/begun ] || {{ touch {tmp_path}/begun; sleep 30; }}
    head -c 20000000 /dev/urandom > {tmp_path}/run/export-full/base.safetensors
    echo done > {tmp_path}/run/export-full/lora.safetensors ;;
esac
"""
    )
    fake.chmod(0o755)

    def call(slice_s, *words, **more):
        env = (
            os.environ
            | more
            | {
                "PYTHON": str(fake),
                "SLICE": str(slice_s),
                "MARGIN": "1",
                **{
                    name: str(tmp_path / folder)
                    for name, folder in (("WORK", "run"), ("CARRY", "carry"), ("OUT", "out"))
                },
            }
        )
        return subprocess.run(
            ["bash", "tools/on_accelerator.sh", *(words or ("embedded", "--edit.steps", "5"))],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
        )

    return call


def test_a_stage_goes_on_in_the_next_slice_and_travels_in_small_shards(script, tmp_path):
    first = script(3)
    assert first.returncode == 75 and "run again" in first.stdout, first.stderr
    second = script(100)
    assert second.returncode == 0 and second.stdout.endswith("all done\n"), second.stderr
    assert "--edit.steps 5" in (tmp_path / "calls").read_text()
    shards = sorted((tmp_path / "out").glob("state.*"))
    assert len(shards) == 2 and max(s.stat().st_size for s in shards) <= 16 * 2**20
    # A fresh machine: what travelled is put in place, and the finished stage isn't begun again.
    weights = (tmp_path / "run/export-full/base.safetensors").read_bytes()
    subprocess.run(
        "rm -r run calls && mkdir carry && mv out/state.* carry/", shell=True, cwd=tmp_path, check=True
    )
    third = script(100)
    assert (
        third.returncode == 0 and (tmp_path / "run/export-full/base.safetensors").read_bytes() == weights
    ), third.stderr
    assert "v2v train" not in (tmp_path / "calls").read_text()


def test_small_gives_every_stage_the_least_there_is(script, tmp_path):
    (tmp_path / "begun").touch()
    result = script(100, "all", SMALL="1")
    assert result.returncode == 0 and result.stdout.endswith("stage ablate: done\nall done\n"), result.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    for program, option in (
        ("bench/accelerator", "--tiny"), ("v2v train", "--vae.steps 2 --vae.batch 2"), ("checks/score_embedded", "--pairs 2"),
        ("ablate", "--scored 2 --pairs 64"),
    ):  # fmt: skip
        assert any(program in call and option in call for call in calls), (program, calls)
