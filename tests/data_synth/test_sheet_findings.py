"""What people saw on contact sheets and no gate did: cuts between dark shots, seasons without plants, edits that a second one hides."""

import dataclasses

import numpy as np
import pytest

from data_synth import footage, generate, quality
from data_synth.generate import PairOptions
from data_synth.recipes import clip_looks, compound
from data_synth.recipes.sources import Sources
from tests.data_synth.outcomes import reason_of
from v2v.video import video as codec


def drift(level, T=6, H=32, W=48):
    """A clip of that brightness in which a bright stripe moves."""
    clip = np.full((T, H, W, 3), level, np.uint8)
    for t in range(T):
        clip[t, :, t : t + 6] = min(255, level + 60)
    return clip


def test_a_cut_between_dark_shots_is_a_cut():
    pair = generate.make_pair(3, PairOptions(edits=("to-noise",), T=12, H=32, W=48, transition=0.0))
    dark = np.concatenate([drift(20), drift(50)])
    assert quality._find_cut(dataclasses.replace(pair, source=dark, target=dark)) == "cut inside"
    steady = drift(20, 12)
    assert quality._find_cut(dataclasses.replace(pair, source=steady, target=steady)) == ""


def test_seasons_need_plants(tmp_path):
    for name, color in (("meadow", (60, 160, 40)), ("office", (150, 140, 130))):
        folder = tmp_path / name
        folder.mkdir()
        clip = np.full((6, 32, 48, 3), color, np.uint8)
        for t in range(6):
            clip[t, 8:20, 5 * t : 5 * t + 9] = (200, 40, 40)
        codec.write_video(codec.Video.from_array(clip, 10), folder / "a.mp4")
        options = PairOptions(
            edits=("look-on-clip",), T=5, H=32, W=48, transition=0.0, sources=Sources(clips=str(folder))
        )
        outcomes = [generate.make_pair(seed, options) for seed in range(60)]
        reasons = {reason_of(outcome) for outcome in outcomes}
        seasons = {o.provenance["look"] for o in outcomes if not reason_of(o)} & set(clip_looks._SEASONS)
        assert ("look-on-clip: no plants whose season could change" in reasons) == (name == "office")
        assert bool(seasons) == (name == "meadow")


@pytest.mark.parametrize("flip", [False, True])
def test_a_second_edit_may_not_hide_the_first(flip):
    """Also where it mirrors the frame, so that the first edit's place is another one."""
    source, target = drift(60), drift(60)
    target[:, 10:20, 2:12] = (200, 30, 30)
    mask = np.zeros(source.shape[:3], np.uint8)
    mask[:, 10:20, 2:12] = 255
    view = (lambda clip: clip[:, :, ::-1]) if flip else (lambda clip: clip)
    fog = lambda clip: (0.02 * clip + 0.98 * 220).astype(np.uint8)  # noqa: E731
    assert compound._measure_trace(view(source).copy(), view(target).copy(), mask) > compound._MIN_TRACE
    assert compound._measure_trace(fog(source), fog(target), mask) < compound._MIN_TRACE


def test_the_rate_of_footage_is_recorded(tmp_path):
    codec.write_video(codec.Video.from_array(drift(60, 10), 12), tmp_path / "a.mp4")
    clip = footage.read_clip_folder(tmp_path)(0, 5, 32, 48)
    assert clip.origin["fps"] == clip.fps == 12
