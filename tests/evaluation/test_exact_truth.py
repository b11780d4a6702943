"""The benchmark with editors whose score is known: through files, at the clips' own sizes, to table, JSON and sheet."""

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_synth import generate
from data_synth.operators.photometric import PHOTOMETRIC
from tests.fake_model import FakePretrained
from v2v.errors import InputError
from v2v.evaluation.benchmarks import exact_truth, exact_truth_scoring, exact_truth_summary, real_clips
from v2v.evaluation.benchmarks.ceiling import CeilingEditor
from v2v.evaluation.cache import SweepCache
from v2v.evaluation.metrics.success import Outcome
from v2v.evaluation.metrics.temporal import Flicker
from v2v.evaluation.sweep.methods import EditingMethod
from v2v.pipeline.editor import EasyV2VEditor
from v2v.video import contact_sheet
from v2v.video import video as codec


class Fake:
    """An editor that knows the truth of every item: it does `change(item, source, truth)`, and records what it is given."""

    def __init__(self, benchmark, change):
        self.items, self.change, self.calls = {i.instruction: i for i in benchmark.items}, change, []

    def edit_video(self, video, instruction, mask=None, reference=None, start=None, end=None):
        source = video if isinstance(video, codec.Video) else codec.read_video(video)
        item = self.items[instruction]
        self.calls.append((item, mask, reference, start, end))
        truth = codec.read_video(item.truth).frames
        return codec.Video.from_array(self.change(item, source.frames, truth), source.fps)


def method_of(editor) -> EditingMethod:
    return EditingMethod(editor=lambda: editor, revision="1")


def score(editor, benchmark, folder):
    return exact_truth_scoring.score_settings(method_of(editor), benchmark, SweepCache(folder))


def only(benchmark, *ids):
    return dataclasses.replace(benchmark, items=tuple(i for i in benchmark.items if i.id in ids))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pairs")


@pytest.fixture(scope="module")
def benchmark(folder):
    """One of every edit type; no sentence twice, as Fake finds the item by it."""
    benchmark = exact_truth.build_type_benchmark(folder, 21, frames=7)
    assert len({i.instruction for i in benchmark.items}) == 21
    return benchmark


def test_pairs_are_even_unseen_and_reproducible(tmp_path):
    sizes = ((32, 32), (32, 48), (48, 32))
    items = exact_truth.build_type_benchmark(tmp_path / "a", 63, frames=2, sizes=sizes).items
    frames = [codec.read_video(i.source).frames for i in items]
    assert set(Counter(i.kind for i in items).values()) == {3}
    assert set(Counter(f.shape[1:3] for f in frames).values()) == {21}
    # Every type meets every size.
    assert len({(i.kind, f.shape[1:3]) for i, f in zip(items, frames, strict=True)}) == 63
    seeds = [i.extra["seed"] for i in items]
    assert min(seeds) >= generate.SCORE_SEED_BASE and len(set(seeds)) == 63
    rebuilt = exact_truth.build_type_benchmark(tmp_path / "b", 5, frames=2, sizes=sizes).items
    for one, two in zip(items, rebuilt, strict=False):
        assert one.truth.read_bytes() == two.truth.read_bytes() and one.instruction == two.instruction
    with pytest.raises(InputError, match="no training uses"):
        exact_truth.build_type_benchmark(tmp_path, 1, seed=12)


def test_items_are_the_pairs_of_their_seeds(benchmark):
    for item in benchmark.items[:3]:
        pair = generate.make_pair(item.extra["seed"], generate.PairOptions(7, 128, 128, (item.kind,)))
        assert np.array_equal(codec.read_video(item.source).frames, pair.source)
        assert np.array_equal(codec.read_video(item.truth).frames, pair.target)
        assert np.array_equal(codec.read_video(item.mask).frames[..., 0], pair.mask)
        assert item.instruction == pair.instructions[0]


def test_doing_nothing_scores_0_and_the_truth_scores_1(benchmark, tmp_path):
    idle = score(Fake(benchmark, lambda item, source, truth: source), benchmark, tmp_path / "idle")
    right = score(Fake(benchmark, lambda item, source, truth: truth), benchmark, tmp_path / "right")
    nothing, truth = exact_truth_summary.summarize(idle), exact_truth_summary.summarize(right)
    for name in ("success", "success_masked", "success_reference"):
        assert (getattr(nothing, name).mean, getattr(truth, name).mean) == (0, 1), name
    # H.264 itself costs some of the stricter kind.
    assert nothing.success_rms.mean == 0 and truth.success_rms.mean > 0.8
    assert list(truth.by_type) == list(exact_truth.EDIT_TYPES)
    assert {t.success.mean for t in truth.by_type.values()} == {1}
    assert truth.psnr_inside > 30 > nothing.psnr_inside  # what H.264 leaves of the truth
    assert truth.success.low > 0.8 and truth.mask_gain.mean == 0


@pytest.mark.slow
def test_half_an_edit_in_the_wrong_half_of_pairs(benchmark, tmp_path):
    """Succeeds on what it edits, fails on the rest."""

    def change(item, source, truth):
        mix = 0.9 if item.kind in PHOTOMETRIC else 0.3
        return np.rint(mix * truth + (1 - mix) * source).astype(np.uint8)

    summary = exact_truth_summary.summarize(score(Fake(benchmark, change), benchmark, tmp_path))
    assert summary.success.mean == pytest.approx(16 / 21)
    assert all(t.success.mean == (name in PHOTOMETRIC) for name, t in summary.by_type.items())
    assert summary.success_rms.mean <= summary.success.mean


def test_what_the_editor_is_given(benchmark, tmp_path):
    editor = Fake(benchmark, lambda item, source, truth: truth)
    score(editor, benchmark, tmp_path)
    for item in benchmark.items:
        sentence, masked, *references = [c[1:] for c in editor.calls if c[0] is item]
        assert sentence[0] is None and sentence[2:] == (item.start, item.end)
        assert masked[0] == item.mask and masked[2:] == (None, None)
        assert (sentence[1] is not None) == (masked[1] is not None) == (item.kind == "palette")
        assert len(references) == (item.kind in ("recolour", "insert", "replace", "background"))
        assert all(r[1] == item.reference and r[0] is None for r in references)
    assert {item.start is None for item in benchmark.items} == {True, False}


def test_scores_are_those_of_the_definition(benchmark, tmp_path):
    """Every number of a scored item equals `score_edit` of the clips as arrays."""
    from v2v.evaluation.metrics.success import score_edit

    def change(item, source, truth):
        return np.rint(0.6 * truth + 0.4 * source).astype(np.uint8)

    selection = only(benchmark, "recolour-00", "winter-00")
    for item, pair in zip(selection.items, score(Fake(selection, change), selection, tmp_path), strict=True):
        source, truth = (codec.read_video(p).frames for p in (item.source, item.truth))
        mask = codec.read_video(item.mask).frames[..., 0]
        for setting, outcome in pair.outcomes.items():
            output = codec.read_video(pair.outputs[setting]).frames
            assert str(outcome) == str(score_edit(output, source, truth, mask))


def test_a_failed_edit_is_an_error_and_not_a_score(benchmark, tmp_path):
    def refuse(item, source, truth):
        raise RuntimeError("out of luck")

    with pytest.raises(InputError, match="scores failed.*out of luck"):
        score(Fake(benchmark, refuse), only(benchmark, "recolour-00"), tmp_path)


@pytest.mark.slow
def test_the_editor_itself(tmp_path):
    """`EasyV2VEditor` around a model that makes exact greys: no seam, codec or resize takes the success away."""
    editor = EasyV2VEditor(FakePretrained())
    for transition in (0.0, 1.0):
        one = exact_truth.build_type_benchmark(
            tmp_path, 1, frames=9, edit_types=("greyscale",), transition=transition
        )
        for sentence, success in (("make it grey", True), ("make it negative", False)):
            items = tuple(dataclasses.replace(i, instruction=sentence) for i in one.items)
            (pair,) = score(editor, dataclasses.replace(one, items=items), tmp_path / "cache")
            assert {k: o.success for k, o in pair.outcomes.items()} == {
                "sentence": success,
                "masked": success,
            }
    still = exact_truth.build_type_benchmark(tmp_path, 1, frames=9, edit_types=("greyscale",), transition=0.0)
    items = tuple(dataclasses.replace(i, instruction="make it grey") for i in still.items)
    (flicker,) = exact_truth_scoring.compare_flicker(
        method_of(editor), dataclasses.replace(still, items=items), SweepCache(tmp_path / "cache")
    )
    assert flicker.clip.departure < 4 and flicker.frames.departure < 4


@pytest.mark.slow
def test_the_ceiling_is_what_the_model_cannot_lose(tmp_path):
    """Latents that hold everything reach it whatever is asked; those of three tones do not."""

    class Coarse(FakePretrained):
        def encode(self, video):
            return np.rint(super().encode(video) / 128) * 128

    one = exact_truth.build_type_benchmark(tmp_path, 1, frames=9, edit_types=("insert",), transition=1.0)
    for model, expected in ((FakePretrained(), True), (Coarse(), False)):
        (pair,) = score(CeilingEditor(model, one), one, tmp_path / str(expected))
        assert {o.success for o in pair.outcomes.values()} == {expected}, pair.outcomes
    with pytest.raises(InputError, match="source of an item"):
        CeilingEditor(FakePretrained(), one).edit_video(one.items[0].truth, "insert")


def test_flicker_tells_a_clip_from_its_frames(tmp_path):
    still = exact_truth.build_type_benchmark(tmp_path, 2, frames=5, transition=0.0)
    sources = {i.id: codec.read_video(i.source).frames for i in still.items}
    rng = np.random.default_rng(0)

    def change(item, source, truth):
        """One offset a call: constant over a clip, different for every frame edited by itself."""
        k = next(i for i, f in enumerate(sources[item.id]) if np.array_equal(f, source[0]))
        return np.clip(truth[k : k + len(source)].astype(int) + rng.integers(-30, 31, 3), 0, 255).astype(
            np.uint8
        )

    editor = Fake(still, change)
    flickers = exact_truth_scoring.compare_flicker(method_of(editor), still, SweepCache(tmp_path / "cache"))
    assert all(f.clip.departure < 0.5 * f.frames.departure for f in flickers)
    assert len(editor.calls) == 2 * (1 + 5)


def test_real_clip_against_the_formula(tmp_path):
    clip = np.stack(
        [cv2.GaussianBlur(np.random.default_rng(k).uniform(0, 255, (50, 62, 3)), (0, 0), 4) for k in range(4)]
    )
    clip = codec.Video.from_array(cv2.normalize(clip, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8))
    path = clip.save(tmp_path / "clip.mp4")

    class Photometric:
        def edit_video(self, video, instruction, mask=None, reference=None):
            assert len(video.frames) == 3
            name = "sepia" if "sepia" in instruction else "negative"
            return codec.Video.from_array(PHOTOMETRIC[name](video.frames, None), video.fps)

    edits = real_clips.real_clip_benchmark(path, ("sepia", "palette", "winter"))
    cache = SweepCache(tmp_path / "cache")
    scores = real_clips.score_real_clip(method_of(Photometric()), edits, cache, frames=3)
    psnr = {s.item.id: s.psnr for s in scores}
    assert list(psnr) == ["sepia", "winter"] and psnr["sepia"] > 30 and psnr["winter"] < 20
    band = real_clips.build_real_clip_band(scores[0])
    assert band.title.startswith("sepia, ") and [len(rows) for _, rows in band.rows] == [3, 3, 3]


def test_table_json_and_sheet(tmp_path, benchmark):
    selection = only(benchmark, "recolour-00")
    pairs = score(Fake(selection, lambda item, source, truth: truth), selection, tmp_path)
    flicker = exact_truth_summary.FlickerComparison(Flicker(2.0, 1.0, 1.5), Flicker(4.0, 1.0, 3.0))
    summary = exact_truth_summary.summarize(
        pairs, [flicker, flicker], {"a.mp4": {"sepia": 30.0, "blur": 25.0}}
    )
    text = summary.format_table()
    assert "recolour" in text and "100 [" in text and "least 25.0 (blur)" in text and "nan" not in text
    values = exact_truth_summary.summarize(pairs).to_json()
    assert values["flicker"] == {} and "flicker_ratio" not in values
    values = summary.to_json()
    assert values["success"] == 1 and values["by_type"] == {"recolour": 1}
    assert values["real_psnr"]["a.mp4"]["blur"] == 25 and values["flicker_ratio"] == 0.5
    assert values["by_size"] == {"128x128": 1} and list(values["detail"]["recolour"])[0] == "pairs"
    json.dumps(values["intervals"], allow_nan=True)
    band = exact_truth_scoring.build_pair_band(selection.items[0], pairs[0])
    assert band.title.startswith(selection.items[0].instruction) and "masked ok 0.0" in band.title
    path = contact_sheet.write_contact_sheet(tmp_path / "new" / "recolour.png", [band] * 2)
    picture = cv2.imread(str(path))
    assert picture.shape[0] > 2 * 5 * 96 and picture.std() > 20


def test_the_keys_of_the_summary_stay():
    """The model card and results that people have saved are read by these keys."""
    outcome = Outcome(True, False, 0.2, 30.0, float("nan"))
    pair = exact_truth_summary.ScoredPair(
        "sepia", "8x8", dict.fromkeys(("sentence", "masked", "reference"), outcome)
    )
    values = exact_truth_summary.summarize([pair, pair]).to_json()
    assert list(values) == [
        "pairs", "success", "success_masked", "success_reference", "success_rms", "mask_gain", "by_type", "by_type_masked",
        "by_size", "psnr_inside", "psnr_outside", "flicker", "real_psnr", "intervals", "detail",
    ]  # fmt: skip
    assert set(values["intervals"]) == {
        "success", "success_masked", "success_reference", "success_rms", "mask_gain", "by_type", "by_type_masked",
    }  # fmt: skip


def test_importing_evaluation_leaves_opencv_its_threads():
    code = (
        "import cv2; cv2.setNumThreads(3)\n"
        "import v2v.evaluation.benchmarks.exact_truth as benchmark\n"
        "from data_synth.generate import PairOptions, make_pair\n"
        "make_pair(1, PairOptions(2, 16, 16))\nassert cv2.getNumThreads() == 3"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
