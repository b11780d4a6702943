"""Expectations on the notes to the user that a block of code gives."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from v2v.errors import collect_notes


@contextmanager
def expect_note(pattern: str) -> Iterator[None]:
    """Require a note that matches a regular expression."""
    with collect_notes() as notes:
        yield
    assert any(re.search(pattern, note) for note in notes), (pattern, notes)


@contextmanager
def expect_no_notes() -> Iterator[None]:
    """Require that nothing is said."""
    with collect_notes() as notes:
        yield
    assert not notes
