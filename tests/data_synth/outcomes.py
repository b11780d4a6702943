"""What seeds gave, taken apart: the pairs, and the reasons why there are none."""

from collections.abc import Iterable

from data_synth.rejection import Rejected
from v2v.data.pair import Pair


def reason_of(outcome: Pair | Rejected) -> str:
    """Return the reason of a rejection, "" for a pair."""
    return outcome.reason if isinstance(outcome, Rejected) else ""


def reasons_of(outcomes: Iterable[Pair | Rejected]) -> list[str]:
    """Return the reason of every outcome, "" for pairs."""
    return [reason_of(outcome) for outcome in outcomes]


def pairs_of(outcomes: Iterable[Pair | Rejected]) -> list[Pair]:
    """Return the pairs among outcomes."""
    return [outcome for outcome in outcomes if not isinstance(outcome, Rejected)]
