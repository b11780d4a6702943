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
# Captions of clips of which nothing is known.
_UNKNOWN = ("a video", "a picture")
# A caption that speaks of a video as such: its style, and what follows.
_VIDEO = re.compile(
    r"an? (?P<style>(?:(?!an?\b|the\b|of\b|in\b|on\b|with\b)[\w-]+ ){0,4})(?:video|clip|picture|photo|photograph|image)"
    r"(?P<rest>(?:,| of | in which | with | showing ).*|)$"
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


def add_style(prefix: str, caption: str) -> str:
    """Return the caption of a clip that gets a look, where it may speak of a video already: "a foggy video with a ball".

    Args:
      prefix: The look, such as "a foggy video".
      caption: Caption of the clip, "" if unknown.
    """
    if video := _VIDEO.match(caption):
        article, _, style = prefix.rpartition(" video")[0].partition(" ")
        words = video["style"].split() + [
            word for word in style.split() if word not in video["style"].split()
        ]
        article = "an" if words[0][0] in "aeiou" else "a"
        return f"{article} {' '.join(words)} video{video['rest']}"
    return join_video(prefix, caption)


def add_thing(caption: str, thing: str) -> str:
    """Return the caption of a clip in which there is something more.

    Args:
      caption: Caption of the clip without it, "" if unknown.
      thing: What is added, such as "a red ball on the left".
    """
    return _join_detail(caption, thing, ", and ")


def add_state(caption: str, state: str) -> str:
    """Return the caption of a clip of which a part looks otherwise.

    Args:
      caption: Caption of the clip before, "" if unknown.
      state: The part and how it is, such as "the left half in sepia".
    """
    return _join_detail(caption, state, ", ")


def add_manner(caption: str, manner: str) -> str:
    """Return the caption of a clip that is shown in some way, such as "in slow motion"."""
    video = _VIDEO.match(caption or "a video")
    return f"{caption or 'a video'}{' ' if video and not video['rest'] else ', '}{manner}"


def _join_detail(caption: str, detail: str, joint_after_with: str) -> str:
    video = _VIDEO.match(caption or "a video")
    if video and not video["rest"]:
        return f"{caption or 'a video'} with {detail}"
    has_with = (video and video["rest"].startswith(" with ")) or ", with " in caption
    return f"{caption}{joint_after_with if has_with else ', with '}{detail}"


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
    return add_manner(caption, f"after this edit: {text}")


def _exchange(caption: str, old: str, new: str) -> str:
    head = old.split()[-1]
    # Its article with the adjectives between, among which no word begins another phrase.
    adjective = r"(?!(?:a|an|the|on|in|at|of|with|and|by|from|to|is|are)\b)\w+\s+"
    phrase = rf"\b(?:(?:a|an|the|his|her|its|their)\s+(?:{adjective}){{0,3}}?)?{re.escape(head)}\b"
    article = nouns.with_article(new) if not re.match(r"(a|an|the|some|two|three)\b", new) else new
    if re.search(phrase, caption, re.IGNORECASE):
        return re.sub(phrase, lambda _: article, caption, count=1, flags=re.IGNORECASE)
    return (
        f"{caption} with {article}"
        if caption in _UNKNOWN
        else f"{caption}, with {article} instead of the {old}"
    )


def _restyle(caption: str, style: str) -> str:
    """Return the caption of a clip that becomes a picture of another kind, such as "a pencil sketch"."""
    if caption in _UNKNOWN:
        return style
    return f"{style} in which {caption}" if caption_rules.is_clause(caption) else f"{style} of {caption}"


def _recolor(caption: str, colors: str) -> str:
    return add_manner(caption, f"in {colors}")


def _remove(caption: str, name: str) -> str:
    return describe_without("" if caption in _UNKNOWN else caption, name)


def _add(caption: str, name: str) -> str:
    if caption_rules.is_clause(name):
        return ""
    return f"{caption} with {name}" if caption in _UNKNOWN else f"{caption}, with {name}"


_WHOLE = r"(?:it|this|everything|(?:the|this) (?:whole )?(?:picture|image|photo|photograph|video|clip|footage|scene))"
_PATTERNS = (
    (
        rf"(?:turn|change|convert|transform|make|render|redraw|repaint) {_WHOLE} (?:(?:in)?to |as )?(an? [\w -]+)$",
        _restyle,
    ),
    (
        rf"(?:turn|make|color|convert) {_WHOLE} (?:in|to |into )?(black and white|sepia|greyscale|grayscale)$",
        _recolor,
    ),
    (r"(?:turn|change|transform|make) the ([\w -]+?) (?:into|to) (?:an? |the )?([\w -]+)$", _exchange),
    (r"(?:replace|swap|exchange) the ([\w -]+?) (?:with|by|for) (?:an? |the )?([\w -]+)$", _exchange),
    (r"(?:remove|delete|erase|take out) the ([\w -]+)$", _remove),
    (r"(?:add|insert|put|place) ((?:an?|some|two|three) [\w -]+)$", _add),
)
