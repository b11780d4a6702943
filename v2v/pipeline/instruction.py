"""From a sentence to what the model is given: sentence, abilities → **`plan_instruction`** → steps, or an error that says what can be done.

A model that brings its abilities is asked in its own words, one look after the other, and what it can't do is refused before anything is
computed. `--anyway` gives it the sentence as typed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from v2v.errors import InputError, note
from v2v.language.abilities import LEAST_SUCCESS, Abilities
from v2v.language.lexicon import Lexicon, load_lexicon
from v2v.language.places import TEXT_PLACES, Place
from v2v.language.pointing import GENERIC_NAME, take_out_pointing
from v2v.language.reading import read_instruction
from v2v.language.request import REMOVE_TEXT, ObjectEdit, Obstacle, Step
from v2v.video.segmentation.registry import MASK_SOURCES

# Looks that an error offers.
MOST_OFFERED = 3


@dataclass(frozen=True)
class PlannedStep:
    """One edit by the model.

    Attributes:
      sentence: what the model reads.
      title: what it is called in messages and reports; "" where the sentence is the user's own.
      amount: the part of the edit that is applied; above 1 it is exaggerated.
      place: where, where the sentence says it.
      is_look: whether it is an edit of the whole frame, of which a mask shows a part.
    """

    sentence: str
    title: str = ""
    amount: float = 1.0
    place: Place | None = None
    is_look: bool = False

    @property
    def mask_source(self) -> str | None:
        """Return the name of the mask source that finds the place; None for no place, and for one by its position."""
        return None if self.place is None or self.place.kind == "region" else _find_source(self.place)

    def __str__(self) -> str:
        amount = "" if self.amount == 1 else f", {self.amount:g} of it"
        place = "" if self.place is None else f" in {self.place}"
        return f"{self.title or self.sentence}{amount}{place}"


def plan_instruction(
    sentence: str,
    abilities: Abilities | None,
    *,
    has_mask: bool = False,
    has_text_mask: bool = False,
    has_reference: bool = False,
    anyway: bool = False,
) -> tuple[PlannedStep, ...]:
    """Return the edits that a sentence asks for, in their order.

    Args:
      sentence: the instruction.
      abilities: of the model; None for one that reads every sentence.
      has_mask: whether a mask shows where to edit; words that point at it ("this", "here") are taken out of the sentence.
      has_text_mask: whether that mask is text which a mask source finds.
      has_reference: whether there is a reference picture.
      anyway: give the model the sentence as typed where it is not understood, or not among its abilities.

    Raises:
      InputError: the sentence is not understood, or the model can't do what it says.
    """
    sentence = " ".join(sentence.split())
    if has_mask:
        sentence = take_out_pointing(sentence)
    if abilities is None:
        return (PlannedStep(sentence),)
    lexicon = load_lexicon()
    # What a mask shows needs no name.
    generic = (GENERIC_NAME,) if has_mask and GENERIC_NAME in abilities.words else ()
    request = read_instruction(sentence, (*abilities.names, *generic), abilities.words)
    try:
        if request.obstacle is not None:
            raise InputError(_explain_obstacle(request.obstacle, abilities))
        if request.thing is not None:
            planned = (_plan_object_edit(request.thing, abilities, has_mask),)
        else:
            planned = tuple(
                _plan_text_removal(step, has_mask, has_text_mask)
                if step.look == REMOVE_TEXT
                else _plan_step(step, abilities, lexicon, has_mask, has_reference)
                for step in request.steps
            )
    except InputError as error:
        if not anyway:
            raise InputError(f"instruction: {error}; --anyway tries") from None
        note(f"tried anyway: {error}")
        return (PlannedStep(sentence),)
    for typed, read in request.corrections.items():
        note(f'"{typed}" is read as "{read}"')
    for words in request.passed_over:
        note(f'"{words}" is passed over')
    return planned


def describe_abilities(abilities: Abilities) -> str:
    """Return the looks that a model can do, as one line."""
    return ", ".join(title_of(name) for name in abilities.able_looks)


def title_of(look: str) -> str:
    """Return the title of a look."""
    looks = load_lexicon().looks
    return looks[look].title if look in looks else look.replace("-", " ")


def _plan_step(
    step: Step, abilities: Abilities, lexicon: Lexicon, has_mask: bool, has_reference: bool
) -> PlannedStep:
    title = title_of(step.look)
    ability = abilities.looks.get(step.look)
    if ability is None or not ability.is_able:
        near = lexicon.looks[step.look].near if step.look in lexicon.looks else ()
        raise InputError(f'this model can\'t do "{title}"{_offer(near, abilities)}')
    if step.look == "palette" and not has_reference:
        raise InputError(f"{title} need a picture; add --reference")
    if step.place is not None and has_mask:
        raise InputError(f"it names a place ({step.place}) and there is a mask; leave one of them out")
    if step.place is not None and step.place.kind == "thing" and _find_source(step.place) is None:
        raise InputError(f'"{step.place.text}" is a place that isn\'t found by its name; show it with --mask')
    return PlannedStep(ability.say, title, step.amount, step.place, is_look=True)


def _plan_text_removal(step: Step, has_mask: bool, has_text_mask: bool) -> PlannedStep:
    """Return the removal of text, which no model is needed for: what a mask source finds is filled from other frames."""
    assert step.place is not None, "text is a place"
    if has_mask and not has_text_mask:
        raise InputError("text is removed where it is found; leave the mask out, or say --mask text")
    if not has_mask and _find_source(step.place) is None:
        raise InputError(f'"{step.place.text}" is a place that isn\'t found by its name')
    return PlannedStep("remove the text", "text removed", place=None if has_mask else step.place)


def is_text_source(mask: str) -> bool:
    """Return whether a mask source finds text."""
    return mask.partition(":")[0] in TEXT_PLACES


def _plan_object_edit(edit: ObjectEdit, abilities: Abilities, has_mask: bool) -> PlannedStep:
    ability = abilities.things.get(edit.operation)
    by_sentence, by_mask = (ability.sentence, ability.mask) if ability else (0.0, 0.0)
    if (by_mask if has_mask else by_sentence) >= LEAST_SUCCESS:
        return PlannedStep(edit.sentence, edit.operation)
    rate = f"this model succeeds at it in {by_sentence:.0%} of clips by the sentence alone, {by_mask:.0%} with a mask"
    remedy = "; show the place with --mask" if by_mask >= LEAST_SUCCESS else ""
    raise InputError(f"{_GERUNDS[edit.operation]}: {rate}{remedy}{_offer((), abilities)}")


def _find_source(place: Place) -> str | None:
    """Return the name of the mask source that finds a thing, None where there is none."""
    name = _OPPOSITE_SOURCES.get(place.name) if place.is_inverted else place.name
    return name if name is not None and name.partition(":")[0] in MASK_SOURCES else None


# Sources of the rest of the frame.
_OPPOSITE_SOURCES = {"person": "background", "background": "person"}
_GERUNDS = {
    "remove": "removing things",
    "insert": "adding things",
    "replace": "replacing things",
    "recolor": "recoloring things",
    "background": "changing the background",
}


def _explain_obstacle(obstacle: Obstacle, abilities: Abilities) -> str:
    is_about_looks = obstacle.kind in ("unknown", "nothing", "undo")
    return obstacle.text + (_offer(obstacle.near, abilities) if is_about_looks else "")


def _offer(near: Iterable[str], abilities: Abilities) -> str:
    """Return the end of an error: the nearest things that the model can do, and where the others are listed."""
    able = abilities.able_looks
    titles = [title_of(name) for name in near if name in able][:MOST_OFFERED]
    if titles:
        return f"; nearest: {', '.join(titles)} (v2v edit --looks shows all)"
    return f"; it can do: {describe_abilities(abilities)} (v2v edit --looks)"
