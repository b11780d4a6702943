"""People's own pairs as a recipe: exact masks, times, pictures, mixtures, and rows that fail alone."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_synth import generate
from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest, fingerprint_sources
from data_synth.generate import PairOptions
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from tests.data_synth.outcomes import pairs_of, reasons_of
from tests.example_clips import picture, write
from tests.notes import expect_note
from v2v.data import datasets, pair
from v2v.errors import InputError
from v2v.video import video as codec

T, H, W = 4, 24, 32


@pytest.fixture
def clips(tmp_path):
    """Write a clip, a bright copy, one whose square is inverted, and its mask."""
    before = picture(12)
    bright = np.clip(before.astype(int) + 60, 0, 255).astype(np.uint8)
    local = before.copy()
    local[:, 8:40, 8:40] = 255 - local[:, 8:40, 8:40]
    mask = np.zeros((48, 64), np.uint8)
    mask[8:40, 8:40] = 255
    for name, frames in (("a", before), ("bright", bright), ("local", local)):
        write(tmp_path / f"{name}.mp4", frames)
    late = np.concatenate([before[:6], bright[6:]])
    write(tmp_path / "late.mp4", late)
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    cv2.imwrite(str(tmp_path / "p.png"), before[0])
    cv2.imwrite(str(tmp_path / "q.png"), local[0])
    return tmp_path


def sources_of(folder, *items, license="unknown"):
    path = folder / "my.jsonl"
    path.write_text("\n".join(json.dumps({"source": "a.mp4", **item}) for item in items))
    return Sources(license=license, sets=(("pairs", str(path)),))


def outcomes_of(sources, n, transition=0.0):
    assert generate.count_rows(("pairs",), sources) == n
    return generate.make_block(range(n), PairOptions(T, H, W, ("pairs",), transition, sources=sources))


def is_exact(example):
    return np.array_equal(example.source[example.mask == 0], example.target[example.mask == 0])


def test_rows_become_pairs_with_exact_masks(clips):
    sources = sources_of(
        clips,
        {"target": "bright.mp4", "prompt": ["make it bright", "add light"], "license": "CC0"},
        {"target": "local.mp4", "prompt": "invert the square", "mask": "m.png", "reference": "q.png"},
        {"target": "late.mp4", "prompt": "make it bright", "start": 0.24},
        {"source": "p.png", "target": "q.png", "prompt": "invert the square", "mask": "m.png"},
        license="MIT",
    )
    whole, local, late, still = pairs_of(outcomes_of(sources, 4, transition=1.0))
    assert whole.instructions == ("make it bright", "add light") and whole.provenance["fps"] == 25
    assert [p.provenance["license"] for p in (whole, local, late)] == ["CC0", "MIT", "MIT"]
    assert local.reference is not None and local.reference.shape == (48, 64, 3)
    assert 0 < late.active[0] and late.active[1] == T
    assert late.mask[late.active[0] :].all() and not late.mask[: late.active[0]].any()
    assert 0 < np.count_nonzero(still.mask) < still.mask.size and len(still.source) == T
    for example in (whole, local, late, still):
        assert example.recipe == "pairs" and is_exact(example)
    assert np.count_nonzero(local.mask[local.active[0]]) < 0.6 * H * W


def test_rows_fail_alone(clips):
    write(clips / "short.mp4", picture(3))
    sources = sources_of(
        clips,
        {"target": "bright.mp4", "prompt": "make it bright"},
        {"target": "gone.mp4", "prompt": "make it bright"},
        {"source": "short.mp4", "target": "late.mp4", "prompt": "make it bright"},
        {"target": "bright.mp4", "prompt": "make it bright", "mask": "m.png"},
        {"target": "late.mp4", "prompt": "make it bright", "split": "val"},
        {"target": "late.mp4"},
    )
    assert reasons_of(outcomes_of(sources, 6)) == [
        "",
        "pairs: file missing",
        "pairs: another length",
        "pairs: drift outside the mask",
        "pairs: held out",
        "pairs: no instruction",
    ]
    with pytest.raises(
        InputError, match="my.jsonl: expected a usable row among 1, got none; line 1: no target"
    ):
        outcomes_of(sources_of(clips, {"prompt": "x y", "video": ""}), 1)


def test_a_table_and_a_recipe_give_a_set_that_training_reads(clips):
    item = {"target": "local.mp4", "prompt": "invert the square", "mask": "m.png"}
    sources = sources_of(clips, item)
    request = SynthRequest(
        clips / "set", 4, edits=("pairs", "sepia"), frames=T, height=H, width=W, sources=sources
    )
    report = build_dataset(request)
    assert report["recipes"] == {"pairs": 1, "photometric": 3}
    records = datasets.open_dataset(clips / "set")
    examples = [pair.decode_pair(records[i]) for i in range(len(records))]
    assert all(map(is_exact, examples)) and {e.recipe for e in examples} == {"pairs", "photometric"}
    with pytest.raises(
        InputError, match="got a table or a folder of clips; make one of it: v2v synth --import pairs="
    ):
        datasets.open_dataset(clips / "my.jsonl")
    alone = SynthRequest(clips / "alone", 9, frames=T, height=H, width=W, sources=sources)
    with expect_note("^pairs: 1 of 9, no further row is left$"):
        assert alone.recipes == ("pairs",) and build_dataset(alone)["pairs"] == 1
    # Other words make another pair, another name of the same file does not.
    shutil.copy(clips / "a.mp4", clips / "copy.mp4")
    words = [item, item | {"prompt": "turn the square's colors round"}, item | {"source": "copy.mp4"}]
    request = SynthRequest(
        clips / "words", 9, frames=12, height=H, width=W, transition=0.0, sources=sources_of(clips, *words)
    )
    report = build_dataset(request)
    assert report["pairs"] == 2 and report["dropped"] == {"edit: near-duplicate": 1}


def test_clips_that_change_are_another_request(clips):
    sources = sources_of(clips, {"target": "bright.mp4", "prompt": "make it bright"})
    first = fingerprint_sources(sources)
    assert fingerprint_sources(sources) == first
    write(clips / "bright.mp4", picture(12, seed=3))
    assert fingerprint_sources(sources) != first


def test_a_seed_past_the_last_row_gives_nothing(clips):
    sources = sources_of(clips, {"target": "bright.mp4", "prompt": "make it bright"})
    options = PairOptions(T, H, W, ("pairs",), 0.0, sources=sources)
    assert generate.make_pair(1, options) == Rejected("pairs: past the last row")


def test_each_row_has_the_size_it_fits(tmp_path):
    """Landscape and portrait clips and a square picture in one set, each at its own shape."""
    lines, rng = [], np.random.default_rng(0)
    for name, (height, width), frames in (
        ("wide", (32, 48), 8),
        ("tall", (48, 32), 8),
        ("still", (60, 60), 1),
    ):
        clip = rng.integers(40, 200, (frames, height, width, 3), np.uint8)
        for part, side in (("a", clip), ("b", 255 - clip)):
            suffix = "png" if frames == 1 else "mp4"
            codec.write_video(codec.Video.from_array(side, 10), tmp_path / f"{name}_{part}.{suffix}")
        lines.append(
            {
                "source": f"{name}_a.{suffix}",
                "target": f"{name}_b.{suffix}",
                "prompt": "turn the colors round",
            }
        )
    (tmp_path / "my.jsonl").write_text("\n".join(map(json.dumps, lines)))
    sources = Sources(sets=(("pairs", str(tmp_path / "my.jsonl")),))
    sizes = ((6, 32, 48), (6, 48, 32), (6, 40, 40))
    build_dataset(SynthRequest(tmp_path / "set", 9, sizes=sizes, transition=0.0, sources=sources))
    pairs = [pair.decode_pair(record) for record in datasets.open_dataset(tmp_path / "set")]
    assert {Path(p.provenance["source"]).stem: p.source.shape[1:3] for p in pairs} == {
        "wide_a": (32, 48),
        "tall_a": (48, 32),
        "still_a": (40, 40),
    }
