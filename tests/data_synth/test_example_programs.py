"""The example experts that call image programs: their descriptions, and their clips where the program is installed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import data_synth.experts
from data_synth import footage, generate
from data_synth.experts import protocol
from data_synth.experts import spec as spec_lib
from data_synth.experts.examples import programs
from data_synth.experts.wire import Job
from data_synth.generate import PairOptions
from data_synth.recipes import registry
from data_synth.recipes.sources import Sources
from tests.data_synth.example_experts import reasons
from tests.data_synth.outcomes import pairs_of

EXAMPLES = Path(data_synth.experts.__file__).parent / "examples"
# The program that a file calls; frei0r's plugins have no program of their own.
PROGRAMS = {"opencv_photo": "", "gmic": "gmic", "frei0r": "ffmpeg"}


def test_every_prompt_has_its_filter_and_every_program_its_license():
    prompts = {name: spec_lib.load_spec(EXAMPLES / f"{name}.toml").prompts for name in PROGRAMS}
    assert set(prompts["opencv_photo"]) == set(programs._OPENCV_FILTERS)
    assert set(prompts["gmic"]) == set(programs._GMIC_COMMANDS)
    licenses = [spec_lib.load_spec(EXAMPLES / f"{name}.toml").license for name in PROGRAMS]
    assert [text.split()[0] for text in licenses] == ["Apache-2.0", "CeCILL-2.1", "GPL-2.0-or-later"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_edit_clips(name):
    if PROGRAMS[name] and not shutil.which(PROGRAMS[name]):
        pytest.skip(f"{PROGRAMS[name]} is not installed")
    clip = footage.render_clip(2, 2, 48, 64).video
    spec = spec_lib.load_spec(EXAMPLES / f"{name}.toml")
    expert = protocol.connect_expert(spec)
    clips = protocol.run_expert(expert, [Job(clip, prompt) for prompt in spec.prompts])
    expert.close()
    if name == "frei0r" and any("frei0r" in reason for reason in reasons(clips)):
        pytest.skip("frei0r's plugins are not installed")
    assert reasons(clips) == ["clip"] * len(clips)
    for edited in clips:
        assert edited.shape == clip.shape and np.abs(edited.astype(int) - clip).mean() > 2


def test_they_make_pairs():
    path = str(EXAMPLES / "opencv_photo.toml")
    options = PairOptions(3, 48, 64, ("opencv-photo",), 0.0, sources=Sources(experts=(path,)))
    pairs = pairs_of(generate.make_block(range(4), options))
    assert pairs and "opencv-photo" in registry.recipe_names(options.sources)
    assert pairs[0].instructions[0] in programs._OPENCV_FILTERS
