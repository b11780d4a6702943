"""A rejection's fields, not its words, say what follows from it."""

import dataclasses

import pytest

from data_synth.rejection import Rejected


def test_a_rejection_is_final_and_foreseen_unless_told_otherwise():
    rejected = Rejected("too dark")
    assert not rejected.transient and not rejected.error
    with pytest.raises(dataclasses.FrozenInstanceError):
        rejected.reason = "bright"


def test_context_keeps_what_follows_from_it():
    rejected = Rejected("expert crashed", transient=True, error=True).within("to-depth")
    assert rejected == Rejected("to-depth: expert crashed", transient=True, error=True)
