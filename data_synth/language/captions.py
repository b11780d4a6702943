"""Captions as part of other texts: tidied, in templates of instructions, and as captions of what an edit makes of a clip.

caption of a file → `tidy` → templates of recipes, and captions of targets. A caption may name what is there ("a dog on a meadow") or tell what happens ("a dog
runs over a meadow"); templates for the first read wrongly with the second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from data_synth.language import caption_rules, nouns

# Words whose capital at the beginning of a caption is not that of a name.
_SMALL_WORDS = frozenset(
    "a an the this that these those his her its their two three four five six several many some one another there in on at inside outside behind near "
    "close people someone man woman men women children he she they it we".split()
)
# Words of templates that stand for a caption, and what they become where it tells what happens.
_CLAUSE_WORDS = (
    (", showing {caption}", " in which {caption}"),
    (" showing {caption}", " in which {caption}"),
    (" in which one sees {caption}", " in which {caption}"),
    (" of {caption}", " in which {caption}"),
)


def tidy(text: str) -> str:
    """Return a caption as it can stand inside a sentence: on one line, without a full stop at its end or a capital that isn't a name's."""
    text = " ".join(text.split()).rstrip(". ")
    first, _, remainder = text.partition(" ")
    if first.lower() in _SMALL_WORDS:
        return f"{first.lower()} {remainder}" if remainder else first.lower()
    return text


def first_sentence(caption: str) -> str:
    """Return the first sentence of a caption, without its full stop."""
    return re.split(r"(?<=[a-z\d])[.!?]\s", caption, maxsplit=1)[0].rstrip(".!? ")


def adapt_templates(templates: Sequence[str], caption: str) -> tuple[str, ...]:
    """Return templates that hold {caption} as they are right for a caption: "showing a dog", "in which a dog runs".

    Args:
      templates: Templates written for captions that name what is there.
      caption: The caption.
    """
    if not caption or not caption_rules.is_clause(caption):
        return tuple(templates)
    adapted = []
    for template in templates:
        for words, clause_words in _CLAUSE_WORDS:
            template = template.replace(words, clause_words)
        if "{caption}" in template and "in which {caption}" not in template:
            template = template.replace("{caption}", 'this scene: "{caption}"')
        # A clause stands at the end, where nothing is taken for a part of it.
        template = re.sub(r" in which \{caption\}( from [^,]+)$", r"\1 in which {caption}", template)
        adapted.append(template)
    return tuple(dict.fromkeys(adapted))


def join_video(prefix: str, caption: str) -> str:
    """Return the caption of a clip in a style: "an edge video of a dog", "an edge video in which a dog runs".

    Args:
      prefix: The style, such as "an edge video".
      caption: Caption of the clip, "" if unknown.
    """
    if not caption:
        return prefix
    return f"{prefix} in which {caption}" if caption_rules.is_clause(caption) else f"{prefix} of {caption}"


def describe_without(caption: str, object_name: str) -> str:
    """Return the caption of a clip from which an object is taken; "a video" where its caption speaks of nothing else.

    Args:
      caption: Caption of the clip with the object, "" if unknown.
      object_name: The object's name.
    """
    if not caption:
        return "a video"
    head = object_name.split()[-1].lower()
    if not re.search(rf"\b{re.escape(head)}\b", caption.lower()):
        return f"{caption}, without the {object_name}"
    article = r"(?:a|an|the|one|his|her|their|some)\s+(?:\w+\s+){0,2}?"
    shorter = re.sub(
        rf",?\s+(?:with|and|beside|near|behind|next to)\s+{article}{re.escape(head)}\b",
        "",
        caption,
        flags=re.IGNORECASE,
    )
    return (
        shorter
        if shorter != caption and not re.search(rf"\b{re.escape(head)}\b", shorter.lower())
        else "a video"
    )


def describe_target(caption: str, instruction: str) -> str:
    """Return the caption of a clip after an edit that only its instruction describes.

    Args:
      caption: Caption of the clip before it, or "a video".
      instruction: The instruction.
    """
    text = tidy(first_sentence(instruction))
    for pattern, build in _PATTERNS:
        if match := re.match(pattern, text, re.IGNORECASE):
            if description := build(caption, *match.groups()):
                return description
    return f"{caption}, after this edit: {text}"


def _exchange(caption: str, old: str, new: str) -> str:
    head = old.split()[-1]
    # Its article with the adjectives between, among which no word begins another phrase.
    adjective = r"(?!(?:a|an|the|on|in|at|of|with|and|by|from|to|is|are)\b)\w+\s+"
    phrase = rf"\b(?:(?:a|an|the|his|her|its|their)\s+(?:{adjective}){{0,3}}?)?{re.escape(head)}\b"
    article = nouns.with_article(new) if not re.match(r"(a|an|the|some|two|three)\b", new) else new
    if re.search(phrase, caption, re.IGNORECASE):
        return re.sub(phrase, lambda _: article, caption, count=1, flags=re.IGNORECASE)
    return (
        f"a video with {article}"
        if caption == "a video"
        else f"{caption}, with {article} instead of the {old}"
    )


def _remove(caption: str, name: str) -> str:
    return describe_without("" if caption == "a video" else caption, name)


def _add(caption: str, name: str) -> str:
    return f"{caption}, with {name}" if not caption_rules.is_clause(name) else ""


_PATTERNS = (
    (r"(?:turn|change|transform|make) the ([\w -]+?) (?:into|to) (?:an? |the )?([\w -]+)$", _exchange),
    (r"(?:replace|swap|exchange) the ([\w -]+?) (?:with|by|for) (?:an? |the )?([\w -]+)$", _exchange),
    (r"(?:remove|delete|erase|take out) the ([\w -]+)$", _remove),
    (r"(?:add|insert|put|place) ((?:an?|some|two|three) [\w -]+)$", _add),
)
