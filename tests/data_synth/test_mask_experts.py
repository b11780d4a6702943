"""The example experts of role mask, with stand-ins for what finds people and text."""

from pathlib import Path

import numpy as np
import pytest

import data_synth.experts.examples.masks as masks
from data_synth.experts import spec, wire
from v2v.errors import InputError
from v2v.video.segmentation.halves import HalfSource

EXAMPLES = Path(masks.__file__).parent


class NobodyThere:
    def find(self, frames):
        raise InputError("mask person: no person found in the clip")


@pytest.mark.parametrize(("name", "call"), [("person", masks.find_people), ("text", masks.find_text)])
def test_masks_are_white_where_something_is_found(name, call, monkeypatch):
    described = spec.load_spec(EXAMPLES / f"{name}.toml")
    assert (described.role, described.call) == ("mask", f"masks:{call.__name__}")
    clip = np.zeros((3, 8, 10, 3), np.uint8)
    sources = {name: HalfSource("left")}
    monkeypatch.setattr(masks, "_build", lambda asked: sources[asked])
    (mask,) = call([wire.Job(clip, name)])
    assert mask.shape == clip.shape and mask.dtype == np.uint8
    assert (mask[:, :, :5] == 255).all() and not mask[:, :, 5:].any()
    sources[name] = NobodyThere()
    assert not call([wire.Job(clip, name)])[0].any()
