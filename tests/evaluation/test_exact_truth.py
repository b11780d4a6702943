"""The benchmark's flow with editors whose score is known: through files, at the clips' own sizes, to table, JSON
and sheet.
"""

import dataclasses
import json
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pytest

from data_synth import generate
from data_synth.operators.photometric import PHOTOMETRIC
from tests.fake_model import FakePretrained
from v2v.errors import InputError
from v2v.evaluation.benchmarks import exact_truth, exact_truth_summary
from v2v.evaluation.benchmarks.ceiling import CeilingEditor
from v2v.pipeline.editor import EasyV2VEditor
from v2v.video import contact_sheet
from v2v.video import video as codec


class Fake:
    """Knows the truth of what it is asked: an editor that does `change(pair, source)`, and what it was handed."""

    def __init__(self, pairs, change):
        self.pairs, self.change, self.calls = {p.instructions[0]: p for p in pairs}, change, []

    def edit_video(self, video, instruction, mask=None, reference=None, start=None, end=None):
        source = video if isinstance(video, codec.Video) else codec.read_video(video)
        pair = self.pairs[instruction]
        self.calls.append((pair, mask, reference, start, end))
        if not isinstance(video, codec.Video):
            assert np.array_equal(source.frames, pair.source)  # the lossless file is lossless
        return codec.Video.from_array(self.change(pair, source.frames), source.fps)


@pytest.fixture(scope="module")
def pairs():
    """One of every edit type; no sentence twice, as Fake finds the pair by it."""
    made = list(exact_truth.iterate_pairs(21, frames=7))
    assert len({p.instructions[0] for p in made}) == 21
    return made


def rows_of(editor, pairs):
    scored = [(pair, exact_truth.score_pair(editor, pair)[0]) for pair in pairs]
    return [
        exact_truth_summary.ScoredPair(p.edit, "{}x{}".format(*p.source.shape[1:3]), o) for p, o in scored
    ]


def test_pairs_are_even_unseen_and_reproducible():
    made = list(exact_truth.iterate_pairs(63, frames=3))
    assert set(Counter(p.edit for p in made).values()) == {3}
    assert set(Counter(p.source.shape[1:3] for p in made).values()) == {21}
    assert len({(p.edit, p.source.shape[1:3]) for p in made}) == 63  # every type meets every size
    assert all(p.seed >= generate.SCORE_SEED_BASE for p in made) and len({p.seed for p in made}) == 63
    again = list(exact_truth.iterate_pairs(5, frames=3))
    assert all(np.array_equal(a.target, b.target) for a, b in zip(made, again, strict=False))
    with pytest.raises(InputError, match="no training uses"):
        next(exact_truth.iterate_pairs(1, seed=12))


def test_doing_nothing_scores_0_and_the_truth_scores_1(pairs):
    nothing = exact_truth_summary.summarize(rows_of(Fake(pairs, lambda pair, source: source), pairs), [], {})
    truth = exact_truth_summary.summarize(
        rows_of(Fake(pairs, lambda pair, source: pair.target), pairs), [], {}
    )
    for key in ("success", "success_masked", "success_reference"):
        assert (nothing[key], truth[key]) == (0, 1), key
    assert (
        nothing["success_rms"] == 0 and truth["success_rms"] > 0.8
    )  # H.264 itself costs some of the stricter kind
    assert set(truth["by_type"]) == set(exact_truth.EDITS) and set(truth["by_type"].values()) == {1}
    assert truth["psnr_inside"] > 30 > nothing["psnr_inside"]  # what H.264 leaves of the truth
    assert truth["intervals"]["success"][0] > 0.8 and truth["mask_gain"] == 0


def test_half_an_edit_in_the_wrong_half_of_pairs(pairs):
    """Succeeds on what it edits, fails on the rest, and the mask helps where it is used."""

    def change(pair, source):
        mix = 0.9 if pair.edit in PHOTOMETRIC else 0.3
        return np.rint(mix * pair.target + (1 - mix) * pair.source).astype(np.uint8)

    found = exact_truth_summary.summarize(rows_of(Fake(pairs, change), pairs), [], {})
    assert found["success"] == pytest.approx(16 / 21)
    assert all(found["by_type"][name] == (name in PHOTOMETRIC) for name in exact_truth.EDITS)
    assert "success_rms" in found and found["success_rms"] <= found["success"]


def test_what_the_editor_is_handed(pairs):
    editor = Fake(pairs, lambda pair, source: pair.target)
    for pair in pairs:
        exact_truth.score_pair(editor, pair)
    for pair in pairs:
        calls = [c[1:] for c in editor.calls if c[0] is pair]
        sentence, masked, *rest = calls
        timed = pair.active != (0, 7)
        assert sentence[0] is None and (sentence[2:] == tuple(k / 25 for k in pair.active)) == timed
        assert np.array_equal(masked[0], pair.mask) and masked[2:] == (None, None)
        assert (sentence[1] is not None) == (masked[1] is not None) == (pair.edit == "palette")
        assert len(rest) == (pair.edit in ("recolour", "insert", "replace", "background"))
        assert all(np.array_equal(r[1], pair.reference) and r[0] is None for r in rest)
    assert any(p.active != (0, 7) for p in pairs) and any(p.active == (0, 7) for p in pairs)


def test_the_editor_itself():
    """`EasyV2VEditor` around a model that makes exact greys: no seam, codec or resize takes the success away."""
    editor = EasyV2VEditor(FakePretrained())
    for transition in (0.0, 1.0):
        pair = next(exact_truth.iterate_pairs(1, frames=9, edits=("greyscale",), transition=transition))
        for sentence, success in (("make it grey", True), ("make it negative", False)):
            asked = dataclasses.replace(pair, instructions=(sentence,))
            outcomes, _ = exact_truth.score_pair(editor, asked)
            assert {k: o.success for k, o in outcomes.items()} == {"sentence": success, "masked": success}
    whole, single = exact_truth.compare_flicker(
        editor, dataclasses.replace(pair, instructions=("make it grey",))
    )
    assert whole.departure < 4 and single.departure < 4


def test_the_ceiling_is_what_the_model_cannot_lose():
    """Latents that hold everything reach it whatever is asked; those of three tones do not."""

    class Coarse(FakePretrained):
        def encode(self, video):
            return np.rint(super().encode(video) / 128) * 128

    pair = next(exact_truth.iterate_pairs(1, frames=9, edits=("insert",), transition=1.0))
    for model, expected in ((FakePretrained(), True), (Coarse(), False)):
        editor = CeilingEditor(model)
        editor.truth = pair.target
        outcomes, _ = exact_truth.score_pair(editor, pair)
        assert {o.success for o in outcomes.values()} == {expected}, outcomes


def test_flicker_tells_a_clip_from_its_frames():
    still = list(exact_truth.iterate_pairs(2, frames=5, transition=0.0))
    rng = np.random.default_rng(0)

    def change(
        pair, source
    ):  # one offset a call: constant over a clip, different for every frame edited by itself
        k = next((i for i, f in enumerate(pair.source) if np.array_equal(f, source[0])))
        truth = pair.target[k : k + len(source)].astype(int)
        return np.clip(truth + rng.integers(-30, 31, 3), 0, 255).astype(np.uint8)

    found = [exact_truth.compare_flicker(Fake(still, change), pair) for pair in still]
    assert all(whole.departure < 0.5 * single.departure for whole, single in found)


def test_real_clip_against_the_formula(tmp_path):
    clip = np.stack(
        [cv2.GaussianBlur(np.random.default_rng(k).uniform(0, 255, (50, 62, 3)), (0, 0), 4) for k in range(4)]
    )
    clip = codec.Video.from_array(cv2.normalize(clip, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8))
    path = clip.save(tmp_path / "clip.mp4")

    class Photometric:
        def edit_video(self, video, instruction):
            name = "sepia" if "sepia" in instruction else "negative"
            return codec.Video.from_array(PHOTOMETRIC[name](video.frames, None), video.fps)

    scores = {
        name: psnr
        for name, psnr, _ in exact_truth.score_photometric(
            Photometric(), path, ("sepia", "palette", "winter"), frames=3
        )
    }
    assert list(scores) == ["sepia", "winter"] and scores["sepia"] > 30 and scores["winter"] < 20


def test_table_json_and_sheet(tmp_path, pairs):
    editor = Fake(pairs, lambda pair, source: pair.target)
    outcomes, outputs = exact_truth.score_pair(editor, pairs[0])
    rows = [exact_truth_summary.ScoredPair(pairs[0].edit, "96x96", outcomes)]
    flick = exact_truth.compare_flicker(Fake(pairs, lambda p, s: s), pairs[1])
    result = exact_truth_summary.summarize(rows, [flick, flick], {"a.mp4": {"sepia": 30.0, "blur": 25.0}})
    text = exact_truth_summary.format_table(result)
    assert "recolour" in text and "100 [" in text and "least 25.0 (blur)" in text and "nan" not in text
    line = json.loads(json.dumps(exact_truth_summary.to_json_values(result), allow_nan=False))
    assert (
        line["success"] == 1
        and line["by_type"] == {"recolour": 1}
        and line["real_psnr"]["a.mp4"]["blur"] == 25
    )
    band = exact_truth.pair_band(pairs[0], outputs, outcomes)
    assert band.title.startswith(pairs[0].instructions[0]) and "masked ok 0.0" in band.title
    path = contact_sheet.write_contact_sheet(tmp_path / "new" / "recolour.png", [band] * 2)
    picture = cv2.imread(str(path))
    assert picture.shape[0] > 2 * 5 * 96 and picture.std() > 20


def test_importing_evaluation_leaves_opencv_its_threads():
    code = (
        "import cv2; cv2.setNumThreads(3)\n"
        "import v2v.evaluation.benchmarks.exact_truth as benchmark\n"
        "from data_synth.generate import PairOptions, make_pair\n"
        "make_pair(1, PairOptions(2, 16, 16))\nassert cv2.getNumThreads() == 3"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
