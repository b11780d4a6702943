"""Words that point at a place which a mask shows: "make this blue", "night here". They are taken out of a sentence before a model reads it.

"this" alone becomes "it", or "the object" where something happens to the thing itself; before a noun it becomes "the"; "here" and "in this area" go. What
points at the clip ("this video"), at a reference ("like this"), or joins clauses ("the ball that is red") stays.
"""

import functools
import re

from v2v.language.lexicon import load_lexicon
from v2v.language.tokens import base_forms

# What a thing is called whose name isn't known.
GENERIC_NAME = "object"
_CLIP = "video|clip|movie|film|footage|recording|picture|image|photo|photograph|scene|shot|frame|sequence"
_AREA = "area|place|spot|region|part|location|selection|section|corner|position"
_MARKED = "marked|outlined|circled|painted|masked|selected|highlighted|indicated"
_DEMONSTRATIVE = f"(?:this|that|these|those|the {_MARKED.replace('|', '|the ')})"
# Places that go with their preposition.
_PLACE = re.compile(
    rf",?\s*\b(?:in|at|on|over|within|inside|around)\s+{_DEMONSTRATIVE}\s+(?:{_AREA})s?\b", re.IGNORECASE
)
_AREA_ADVERB = re.compile(
    r"\b(?:the|this|that)\s+(?:thing|stuff|one|object|area)s?\s+(?:right\s+)?(?:here|there)\b", re.IGNORECASE
)
_ADVERB = re.compile(
    r",?\s*\b(?:(?:right|over|in|out|up|down)\s+)?(?:here|there)\b(?!\s+(?:is|are|was|were|should|must|to)\b)(?!')", re.IGNORECASE
)  # fmt: skip
# Verbs that do something to the thing itself; of them "it" says too little.
_THING_VERBS = r"remove|delete|erase|get rid of|take out|replace|swap|recolor|recolour|paint"
_TARGET = re.compile(rf"\b(?P<verb>{_THING_VERBS})\s+(?:this|that|these|those)(?:\s+(?:one|thing|object|stuff)s?)?\b(?=\s*(?:$|[.,;!?]|and\b|with\b|by\b|from\b|from\b|please\b))", re.IGNORECASE)  # fmt: skip
_AREA_ALONE = re.compile(rf"\b{_DEMONSTRATIVE}\s+(?:{_AREA}|one|thing|object|stuff)s?\b", re.IGNORECASE)
_POINTING = re.compile(r"\b(?P<word>this|that|these|those)\b(?:\s+(?P<next>[\w'-]+))?", re.IGNORECASE)
_CONJUNCTION = re.compile(r"\b(?:like|so|than|such|all|after|before|now|but|not)\s+$", re.IGNORECASE)
_VERBS = {"is", "are", "was", "were", "has", "have", "had", "looks", "look", "moves", "move", "does", "can", "could", "will", "would", "should"}  # fmt: skip
# Colours that a thing is given, rather than the clip.
_COLORS = set(
    "red green blue yellow orange purple pink white black brown cyan magenta golden gray grey".split()
)
_COLORING = re.compile(r"\b(?:make|turn|color|colour|dye|paint|recolor|recolour)\s+$", re.IGNORECASE)
_END = re.compile(r"\s*(?:$|[.,;!?]|please\b|and\s+(?!white\b))", re.IGNORECASE)
_PARTICLES = set("a an the to into in on at of off with without and or but as like by for from up down more less much very slightly bit lot little too so again please now then only just completely fully half twice out over away".split())  # fmt: skip


def take_out_pointing(sentence: str) -> str:
    """Return a sentence without the words that point at a place; the same one where there are none.

    Args:
      sentence: of an edit whose place a mask shows.
    """
    text = _PLACE.sub("", sentence)
    text = _AREA_ADVERB.sub("it", text)
    text = _ADVERB.sub("", text)
    text = _TARGET.sub(lambda match: f"{match['verb']} the {GENERIC_NAME}", text)
    text = _AREA_ALONE.sub("it", text)
    text = _POINTING.sub(lambda match: _replace(match, text), text)
    text = " ".join(text.split())
    # A sentence of nothing else pointed and asked for nothing.
    return text if text and text != " ".join(sentence.split()) else sentence


def _replace(match: re.Match[str], text: str) -> str:
    """Return what stands for a word that points, with the word behind it."""
    preceding, behind = text[: match.start()], (match["next"] or "")
    following = behind.lower()
    is_clip = re.fullmatch(rf"(?:{_CLIP})s?", following) is not None
    if is_clip or _CONJUNCTION.search(preceding):
        return match[0]
    if match["word"].lower() == "that" and following in _VERBS and preceding.strip():
        return match[0]
    if following in _COLORS and _COLORING.search(preceding):
        if _END.match(text[match.end() :]):
            return f"the {GENERIC_NAME} {behind}"
        return f"it {behind}" if following == "black" else f"the {behind}"  # black and white; the red ball
    is_adjective = not _adjectives().isdisjoint(base_forms(following))
    is_alone = not behind or following in _PARTICLES or following in _VERBS or is_adjective
    return f"it {behind}".strip() if is_alone else f"the {behind}"


@functools.cache
def _adjectives() -> frozenset[str]:
    """Return single words that say how something is to look."""
    kinds = {"look", "state", "color", "tint", "up", "down", "weak", "strong", "full", "not", "too"}
    root = load_lexicon().root
    return frozenset(
        word for word, node in root.following.items() if any(m.kind in kinds for m in node.meanings)
    )
