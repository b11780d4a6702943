"""One pair of each recipe of a request, made at once and shown: how a new expert is tried before a build is begun.

request → recipes → first seed that gives a pair → **contact sheet**, and what happened in words
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

from data_synth import generate
from data_synth.dataset.preview import write_preview
from data_synth.dataset.request import SynthRequest, fingerprint_sources
from data_synth.recipes import connections, external, registry
from data_synth.rejection import Rejected
from v2v.data.pair import Pair
from v2v.errors import InputError

# Seeds that each recipe gets, and recipes of a family that are tried.
MAX_SEEDS, MAX_MEMBERS = 4, 4
# What shows the work of an expert without recipes of its own.
_SHOWCASES = {"mask": "highlight", "caption": "from-canny", "instruct": "from-canny", "filter": "to-canny"}


@dataclasses.dataclass(frozen=True)
class Attempt:
    """What one recipe gave.

    Attributes:
      recipe: Its name.
      pair: The pair; None where no seed gave one.
      seconds: Seconds that it took.
      reasons: Why seeds before it gave none.
    """

    recipe: str
    pair: Pair | None
    seconds: float
    reasons: tuple[str, ...]

    def format(self) -> str:
        """Return the attempt for people."""
        lines = [f"{self.recipe}: {'a pair' if self.pair else 'no pair'} in {self.seconds:.1f} s"]
        lines += [f"  no pair: {reason}" for reason in self.reasons]
        if self.pair:
            lines += [f"  source: {self.pair.source_caption}", f"  target: {self.pair.target_caption}"]
            lines += [f"  - {sentence}" for sentence in self.pair.instructions]
        return "\n".join(lines)


def choose_recipes(request: SynthRequest) -> tuple[str, ...]:
    """Return the recipes that a trial makes: those named, or those of the request's experts, or what shows the work of experts without any."""
    if request.edits:
        recipes: list[str] = []
        for name in dict.fromkeys(request.recipes):
            recipes += registry.FAMILIES.get(name, (name,))[:MAX_MEMBERS]
        return tuple(dict.fromkeys(recipes))
    names = external.expert_recipe_names(request.sources.experts)
    if not names:
        roles = [role for role in _SHOWCASES if connections.find_experts(request.sources.experts, role)]
        names = [_SHOWCASES[role] for role in roles]
    return tuple(dict.fromkeys(names)) or request.recipes


def try_request(request: SynthRequest, sheet: str | Path) -> list[Attempt]:
    """Make one pair of each recipe and write a contact sheet of them.

    Args:
      request: What would be built; its folder and number of pairs are not looked at.
      sheet: PNG file to write.

    Raises:
      InputError: The request is impossible, no recipe gives a pair, or the sheet can't be written.
    """
    recipes = choose_recipes(request)
    request = dataclasses.replace(request, edits=recipes, pairs=max(1, len(recipes)))
    request.check()
    content = fingerprint_sources(request.sources)
    snapshot = json.dumps(content, sort_keys=True) if content else ""
    request.check_recipes(snapshot)
    options = request.pair_options(snapshot)
    attempts = [
        _try_recipe(name, request.seed, dataclasses.replace(options, edits=(name,))) for name in recipes
    ]
    pairs = [attempt.pair for attempt in attempts if attempt.pair]
    if not pairs:
        reasons = "; ".join(f"{attempt.recipe}: {attempt.reasons[-1]}" for attempt in attempts)
        raise InputError(
            f"--try: expected a pair of some recipe, got none ({reasons}); see what the experts do or choose another --seed"
        )
    try:
        write_preview(pairs, sheet, height=160)
    except OSError as error:
        raise InputError(
            f"--try {sheet}: can't be written ({error.strerror or error}); name another file"
        ) from None
    return attempts


def _try_recipe(name: str, seed: int, options: generate.PairOptions) -> Attempt:
    start, reasons = time.perf_counter(), []
    for number in range(seed, seed + MAX_SEEDS):
        outcome = generate.make_pair(number, options)
        if not isinstance(outcome, Rejected):
            return Attempt(name, outcome, time.perf_counter() - start, tuple(reasons))
        reasons.append(outcome.reason)
        if outcome.outage:
            break
    return Attempt(name, None, time.perf_counter() - start, tuple(reasons))
