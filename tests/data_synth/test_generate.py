"""The engine: determinism, words, transitions, gates and counts."""

import dataclasses
import re
from collections import Counter

import numpy as np
import pytest

from data_synth import generate, quality
from data_synth.dataset.preview import write_preview
from data_synth.generate import PairOptions
from data_synth.language import grammar, templates, visible_words
from data_synth.operators import transition
from data_synth.operators.photometric import PHOTOMETRIC
from data_synth.recipes import registry
from data_synth.rejection import Rejected
from v2v.data import pair as pr
from v2v.errors import InputError

SMALL = {"T": 5, "H": 32, "W": 40}
DEFAULT_EDITS = (*registry.FAMILIES["local"], *registry.FAMILIES["photometric"])


def make(seed=0, **options):
    return generate.find_pair(seed, PairOptions(**{**SMALL, **options}))[0]


def same(a, b) -> bool:
    return pr.encode_pair(a) == pr.encode_pair(b)


def test_a_pair_is_a_function_of_its_seed():
    for seed in (0, 1, generate.SCORE_SEED_BASE + 5):
        assert same(make(seed), make(seed))
    assert not same(make(1), make(2))


def test_workers_change_nothing():
    one, two = (list(generate.iterate_pairs(12, PairOptions(**SMALL), seed=40, workers=w)) for w in (1, 2))
    assert len(one) == 12 and all(same(a, b) for a, b in zip(one, two, strict=True))


def test_default_mix_and_every_edit():
    counts = Counter(p.edit for p in generate.iterate_pairs(250, PairOptions(**SMALL)))
    local = sum(counts[e] for e in registry.FAMILIES["local"])
    assert registry.DEFAULT_MIX == ("local", "photometric")
    assert 95 < local < 155 and len(counts) >= len(DEFAULT_EDITS) - 1
    for edit in DEFAULT_EDITS:
        assert make(edits=(edit,)).edit == edit
    with pytest.raises(InputError, match="--recipes explode: no such recipe; expected names among local"):
        generate.make_pair(0, PairOptions(edits=("explode",)))


@pytest.mark.parametrize("seeds", [range(200), pytest.param(range(200, 2000), marks=pytest.mark.slow)])
def test_every_word_is_in_the_vocabulary(seeds):
    vocabulary = set(grammar.vocabulary())
    assert len(vocabulary) < 350
    longest = 0
    for seed in seeds:
        edit = DEFAULT_EDITS[seed % len(DEFAULT_EDITS)]
        pair = generate.make_pair(seed, PairOptions(2, 16, 16, (edit,)))
        if isinstance(pair, Rejected):
            continue
        assert 2 <= len(pair.instructions) <= 8 and len(set(pair.instructions)) == len(pair.instructions)
        for text in (*pair.instructions, pair.source_caption, pair.target_caption):
            assert text == text.lower()
            assert set(grammar.split_words(text)) <= vocabulary, (
                text,
                set(grammar.split_words(text)) - vocabulary,
            )
        longest = max(longest, *(len(i.split()) for i in pair.instructions))
    assert longest <= 22
    for seed in range(200):
        _, caption = generate.make_clip(seed, T=1, H=16, W=16)
        assert set(grammar.split_words(caption)) <= vocabulary, caption


def test_clips_of_any_size():
    for size in ({"T": 1, "H": 31, "W": 17}, {"T": 6, "H": 20, "W": 50}):
        video, caption = generate.make_clip(3, **size)
        assert video.shape == (size["T"], size["H"], size["W"], 3) and video.dtype == np.uint8 and caption


@pytest.mark.parametrize("start, end, blend", [(2, 5, 0), (0, 3, 0), (1, 5, 2)])
def test_splice(start, end, blend):
    pair = make(transition=0.0, edits=("negative",))
    out = transition.splice(pair, start, end, blend)
    for k in range(5):
        on = start <= k < end
        assert out.active == (start, end) and (out.mask[k].max() > 0) == on
        if not on:
            np.testing.assert_array_equal(out.target[k], pair.source[k])
        elif k >= start + blend:
            np.testing.assert_array_equal(out.target[k], pair.target[k])
        else:
            weight = (k - start + 1) / (blend + 1)
            mix = (1 - weight) * pair.source[k].astype(float) + weight * pair.target[k]
            np.testing.assert_allclose(out.target[k], mix, atol=0.51)


def test_transition_draws_are_valid_and_as_frequent_as_asked():
    pair = make(transition=0.0, edits=("negative",))
    pairs = [transition.add_transition(pair, np.random.default_rng(s), 0.5).active for s in range(400)]
    limited = [a for a in pairs if a != (0, 5)]
    assert 150 < len(limited) < 250
    assert any(end < 5 for _, end in limited) and all(end - start >= 2 for start, end in limited)


@pytest.mark.parametrize("operator", ["dissolve", "wipe"])
def test_dissolve_and_wipe_bring_the_edit_in_pixel_by_pixel(operator):
    pair = make(transition=0.0, edits=("negative",))
    H, W = pair.source.shape[1:3]
    field = transition.arrival_field(operator, np.random.default_rng(3), H, W)
    assert field.min() == 0 and field.max() == pytest.approx(1)
    out = transition.splice(pair, 1, 5, 3, operator, field)
    np.testing.assert_array_equal(out.target[0], pair.source[0])
    np.testing.assert_array_equal(out.target[4], pair.target[4])
    shares = []
    for k in (1, 2, 3):
        edited = (out.target[k] == pair.target[k]).all(-1)
        unedited = (out.target[k] == pair.source[k]).all(-1)
        assert edited[field < k / 4 - 0.13].all() and unedited[field > k / 4 + 0.13].all()
        shares.append(edited.mean())
    assert shares[0] < shares[1] < shares[2] and 0.3 < shares[1] < 0.6
    assert (out.mask[0] == 0).all() and (out.mask[1:] == 255).all()
    assert out.provenance["transition"]["operator"] == operator


def test_operators_are_drawn_as_asked_and_leave_the_default_alone():
    pair = make(transition=0.0, edits=("negative",))
    pairs = [
        transition.add_transition(pair, np.random.default_rng(s), 1.0, ("dissolve", "wipe"))
        for s in range(40)
    ]
    assert {p.provenance["transition"]["operator"] for p in pairs} == {"dissolve", "wipe"}
    for p in pairs:
        outside = p.mask == 0
        np.testing.assert_array_equal(p.target[outside], p.source[outside])
    assert not any("operator" in make(s, transition=1.0).provenance["transition"] for s in range(5))


def test_gates_name_their_reason():
    good = make(transition=0.0, edits=("negative",))
    assert quality.find_rejection(good) is None
    none, zero = np.zeros_like(good.mask), np.zeros_like(good.source)
    bad = {
        "too dark": {"source": zero},
        "too bright": {"source": zero + 255},
        "nothing to see": {"source": zero + 100},
        "nothing moves": {"source": np.repeat(good.source[:1], 5, 0)},
        "instruction too short or long": {"instructions": ("go",)},
        "instruction names nothing visible": {"instructions": ("invert it", "make this video better")},
        "mask too small": {"mask": none},
        "change outside the mask": {"mask": np.concatenate([good.mask[:4], none[4:]])},
        "change too small": {"target": good.source},
    }
    for reason, change in bad.items():
        assert quality.find_rejection(dataclasses.replace(good, **change)) == Rejected(reason)


def test_every_sentence_of_ours_names_something():
    from data_synth.language import control, rooms

    tables = [
        templates.PHOTOMETRIC_TEMPLATES,
        templates.LOCAL_TEMPLATES,
        rooms.TEMPLATES,
        rooms._RELIGHT_TEMPLATES,
        rooms._CAMERA_TEMPLATES,
    ]
    tables += [control._TO, control._FROM]
    for row in (row for table in tables for row in table.values()):
        for template in row:
            filled = re.sub(r"\{it\}", "the video", re.sub(r"\{(?!it)\w+\}", "red", template))
            assert set(grammar.split_words(filled)) - visible_words.INVISIBLE_WORDS, template


def test_near_duplicates_look_alike_and_others_do_not():
    pairs = [make(seed, transition=0.0, edits=("negative",)) for seed in (0, 40, 80, 120)]
    looks = [quality.fingerprint_pair(p) for p in pairs]
    assert len(set(looks)) == len({p.seed for p in pairs})
    grainy = dataclasses.replace(
        pairs[0], source=np.clip(pairs[0].source.astype(int) + 1, 0, 255).astype(np.uint8)
    )
    same = sum(
        a == b for a, b in zip(quality.fingerprint_pair(grainy).split()[1], looks[0].split()[1], strict=True)
    )
    assert same >= 15 and quality.fingerprint_pair(dataclasses.replace(pairs[0], edit="other")) != looks[0]


def test_drops_are_counted():
    drop_counts, options = Counter(), PairOptions(edits=("blur",), **SMALL)
    pair_count = sum(1 for _ in generate.iterate_pairs(60, options, drop_counts=drop_counts))
    seeds = 0
    reasons = Counter()
    while pair_count:
        outcome = generate.make_pair(seeds, options)
        seeds += 1
        if isinstance(outcome, Rejected):
            reasons[outcome.reason] += 1
        else:
            pair_count -= 1
    assert drop_counts == reasons and drop_counts["blur: change too small"] > 0


def test_a_hopeless_request_ends(monkeypatch):
    monkeypatch.setattr(quality, "find_rejection", lambda *pairs: Rejected("never"))
    with pytest.raises(InputError, match="expected most seeds to give one, got 0 of 501.*never"):
        list(generate.iterate_pairs(1, PairOptions(1, 16, 16, ("negative",))))


def test_preview_writes_a_sheet(tmp_path):
    path = write_preview([make(0), make(1)], tmp_path / "sheets" / "a.png")
    assert path.stat().st_size > 1000 and [p.name for p in path.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize("seed", range(6))
def test_halves_are_photometric_edits_of_one_half(seed):
    pair = make(100 * seed, edits=("halves",), transition=0.0)
    changed = pair.mask > 0
    assert changed.sum() == changed.size // 2 and f"half-{pair.edit}" in registry.FAMILIES["halves"]
    assert any(f"{side} half" in pair.instructions[0] for side in ("left", "right", "top", "bottom"))
    np.testing.assert_array_equal(pair.target[~changed], pair.source[~changed])
    np.testing.assert_array_equal(pair.target[changed], PHOTOMETRIC[pair.edit](pair.source, None)[changed])


def test_what_others_made_may_be_nothing():
    pair = dataclasses.replace(make(1, T=6, edits=("negative",), transition=0.0), recipe="expert")
    moving = np.random.default_rng(0).integers(0, 256, pair.source.shape, np.uint8)
    good = dataclasses.replace(pair, source=moving, target=255 - moving)
    assert quality._find_broken_target(good) == ""
    assert (
        quality._find_broken_target(dataclasses.replace(good, target=np.zeros_like(moving)))
        == "target shows nothing"
    )
    frozen = np.repeat(255 - moving[:1], len(moving), 0)
    assert quality._find_broken_target(dataclasses.replace(good, target=frozen)) == "target stands still"
    assert quality._find_broken_target(dataclasses.replace(good, target=frozen, recipe="photometric")) == ""
    black = dataclasses.replace(good, target=np.zeros_like(moving))
    lifted = dataclasses.replace(black, recipe="lift", provenance={"set": "x"})
    assert quality._find_broken_target(lifted) == "target shows nothing"
    half = np.full_like(good.mask, 255)
    half[:, :, ::2] = 0  # an object taken out of a static shot
    assert quality._find_broken_target(dataclasses.replace(good, target=frozen, mask=half)) == ""


@pytest.mark.parametrize("start, end", [(2, 6), (0, 4)])
def test_a_transition_hides_nothing_and_is_no_fault(start, end):
    pair = dataclasses.replace(make(1, T=6, edits=("negative",), transition=0.0), recipe="expert")
    moving = np.random.default_rng(0).integers(0, 256, pair.source.shape, np.uint8)
    pair = dataclasses.replace(pair, source=moving, mask=np.full_like(pair.mask, 255))
    for target, reason in (
        (np.zeros_like(moving), "target shows nothing"),
        (np.repeat(255 - moving[:1], len(moving), 0), "target stands still"),
    ):
        untimed_pair = dataclasses.replace(pair, target=target)
        assert quality.find_rejection(transition.splice(untimed_pair, start, end), untimed_pair) == Rejected(
            reason
        )
    footage = make(1, T=6, edits=("from-blur",), transition=0.0)
    still = dataclasses.replace(footage, target=np.repeat(footage.target[:1], 6, 0))
    assert quality.find_rejection(transition.splice(still, start, end), still) == Rejected("nothing moves")
    edges = dataclasses.replace(footage, source=np.zeros_like(footage.source))
    assert quality.find_rejection(transition.splice(edges, start, end), edges) != Rejected("cut inside")


def test_instructions_in_scripts_without_spaces_have_words_too():
    pair = dataclasses.replace(make(1, edits=("negative",)), recipe="imported")
    for sentence, reason in (
        ("把天空变成紫色", ""),
        ("make it red", ""),
        ("紫", "instruction too short or long"),
        ("red", "instruction too short or long"),
    ):
        assert quality._find_bad_length(dataclasses.replace(pair, instructions=(sentence,))) == reason
