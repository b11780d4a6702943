"""Messages to the person who runs v2v: errors that they can fix, notes, and how to install what is missing.

Notes are for results that may surprise, such as a mask that covers nothing. They are log records of level WARNING, unless a
`collect_notes` block around the call takes them, as the runner of manifests does to show each with its line:

    with collect_notes() as notes:
        editor.edit_video("in.mp4", "make it sepia", mask="black.png")
    print(notes)

A thread sees the collector of the code that started it only if it runs in a copy of that code's context
(`contextvars.copy_context().run`).
"""

import contextvars
import difflib
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

logger = logging.getLogger("v2v")

_NO_DIGITS = re.compile(r"\D")
# The name to install by. The import name and the command are `v2v`, which on the package index is another project.
DISTRIBUTION = "v2v-edit"

_collector: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("collector", default=None)


class InputError(ValueError):
    """Bad input: one line that says what and where, what was expected, what came, and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """


def install_hint(extra: str = "") -> str:
    """Return the command that installs v2v, or one of its extras.

    Args:
      extra: a name from `extras_require` in setup.py, such as "train"; "" for the package itself.
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install {DISTRIBUTION}"


def suggest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean NAME?" for the known name that is nearest to a mistyped one, or "" where none is near.

    Args:
      name: what was typed; capitals make no difference.
      known: the names that would have been understood. Those with other digits mean something else, as h264 does for h265.
    """
    by_lower = {
        other.lower(): other for other in known if _NO_DIGITS.sub("", other) == _NO_DIGITS.sub("", name)
    }
    close = difflib.get_close_matches(name.lower(), by_lower, 1, 0.7)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""


def note(text: str) -> None:
    """Tell the user something that is not an error: log it, or add it to the notes of the surrounding `collect_notes` block.

    Args:
      text: one line; a block holds it once, however often it is noted there.
    """
    notes = _collector.get()
    if notes is None:
        logger.warning("%s", text)
    elif text not in notes:
        notes.append(text)


@contextmanager
def collect_notes() -> Iterator[list[str]]:
    """Collect the notes of a block in a list instead of logging them.

    Yields:
      The list, complete when the block ends.
    """
    notes: list[str] = []
    token = _collector.set(notes)
    try:
        yield notes
    finally:
        _collector.reset(token)
