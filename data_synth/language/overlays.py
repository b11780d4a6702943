"""Instructions for overlays, and what texts, subtitles and watermarks say.

overlay, direction, slots → **instructions**. A finite grammar beside grammar.py's, whose words the packaged model does not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from data_synth.language.captions import add_thing

# Recipe → instructions that add it; slots: {words} what is written, {at} the place, {colour}, {shape}, {letter}.
ADD_TEMPLATES: dict[str, tuple[str, ...]] = {
    "text": (
        'add the text "{words}" {at}',
        'write "{words}" {at} in {colour}',
        'put the words "{words}" {at}',
        'add a {colour} title that says "{words}" {at}',
        'show "{words}" {at} in {colour} letters',
        'overlay the video with the text "{words}" in {colour}, placed {at}, from the first frame to the last',
    ),
    "subtitles": (
        'add the subtitle "{words}"',
        'subtitle the video: "{words}"',
        'add subtitles that say "{words}"',
        'show "{words}" as a subtitle',
        'caption the video at the bottom with "{words}"',
        'burn {colour} subtitles into the bottom of the picture that read "{words}"',
    ),
    "logo": (
        "add a {colour} {shape} logo {at}",
        'put a {colour} {shape} logo with the letter "{letter}" {at}',
        "place a {colour} {shape} logo {at}",
        'insert a {colour} {shape} channel logo with the letter "{letter}" {at}',
        'brand the video with a {colour} {shape} logo that carries the letter "{letter}", fixed {at} like that of a channel',
    ),
    "watermark": (
        'add a watermark that says "{words}"',
        'put a "{words}" watermark {at} the video',
        'watermark the video with "{words}"',
        'stamp a faint "{words}" {at} the video',
        'protect the video with a translucent watermark that reads "{words}" {at} the picture',
    ),
}
REMOVE_TEMPLATES: dict[str, tuple[str, ...]] = {
    "text": (
        "remove the text",
        'remove the words "{words}"',
        "erase the text {at}",
        'take the {colour} title "{words}" out of the video',
        "delete all writing from the video",
        'remove the {colour} text "{words}" {at} and restore what is behind the letters',
    ),
    "subtitles": (
        "remove the subtitles",
        "erase the subtitles from the video",
        "delete the captions at the bottom",
        "get rid of the burnt-in subtitles",
        'remove the subtitle "{words}"',
        "remove the {colour} subtitles at the bottom of the picture and restore the footage behind them",
    ),
    "logo": (
        "remove the logo",
        "erase the {colour} {shape} logo {at}",
        "delete the {shape} logo {at}",
        "get rid of the channel logo",
        "remove the {colour} {shape} logo {at} and fill in the picture behind it",
    ),
    "watermark": (
        "remove the watermark",
        'erase the watermark "{words}"',
        "clean the watermark off the video",
        "get rid of the watermark {at} the video",
        'remove the translucent "{words}" watermark {at} the picture and leave everything else as it is',
    ),
}
TITLES = (
    "SALE", "HELLO", "WELCOME", "BREAKING NEWS", "THE END", "CHAPTER ONE", "LIVE", "GAME OVER", "HAPPY BIRTHDAY", "COMING SOON",
    "EPISODE 3", "DAY 12", "TODAY", "PARIS", "SUMMER TOUR", "50% OFF", "THANK YOU", "ON AIR", "NEW", "DRAFT", "Good morning",
    "Our Story", "Part Two", "Level 5", "Merry Christmas", "See you soon", "Stay tuned", "How it works", "Take 7", "Lesson 4",
)  # fmt: skip
_SUBJECTS = ("I", "We", "They", "You", "My brothers", "The neighbors")
_ACTIONS = (
    "never left the house",
    "heard it again last night",
    "forgot to lock the door",
    "found the old map",
    "walked all the way home",
    "lost the only key",
    "sold the boat in spring",
    "saw nothing at all",
    "kept the letter for years",
    "waited until the rain stopped",
    "knew about the plan",
    "missed the last train",
)
_ENDINGS = (
    ".",
    ", you know.",
    ", and that was it.",
    ", but nobody believed it.",
    "!",
    ", didn't we?",
    " before dawn.",
    " after all.",
)
_LINES = (
    "Where have you been?", "Come with me.", "It's not what you think.", "Close the window, please.", "Who is there?",
    "Look at that!", "We should go now.", "What did you say?", "I can explain everything.", "Don't touch anything.",
    "That's the best day of my life.", "Are you sure about this?", "Stop right there!", "No one will find us here.",
)  # fmt: skip
_OWNERS = ("SAMPLE", "PREVIEW", "DEMO", "COPYRIGHT", "CONFIDENTIAL", "DO NOT COPY", "PROOF", "STOCK VIDEO", "TRIAL VERSION", "studio nine", "made by anna")  # fmt: skip


def sample_subtitle(rng: np.random.Generator) -> str:
    """Draw a line of dialogue."""
    if rng.random() < 0.35:
        return _choose(rng, _LINES)
    return f"{_choose(rng, _SUBJECTS)} {_choose(rng, _ACTIONS)}{_choose(rng, _ENDINGS)}"


def sample_title(rng: np.random.Generator) -> str:
    """Draw the words of a title."""
    return _choose(rng, TITLES)


def sample_watermark(rng: np.random.Generator) -> str:
    """Draw the words of a watermark."""
    return _choose(rng, _OWNERS)


def sample_instructions(
    name: str, forward: bool, slots: Mapping[str, str], rng: np.random.Generator, count: int = 5
) -> tuple[str, ...]:
    """Sample different instructions for an overlay.

    Args:
      name: Name of the overlay, of `ADD_TEMPLATES`.
      forward: Whether it is added; otherwise it is removed.
      slots: Words for the placeholders.
      rng: Orders the templates.
      count: Largest number of instructions.
    """
    rows = (ADD_TEMPLATES if forward else REMOVE_TEMPLATES)[name]
    order = rng.permutation(len(rows))[:count].tolist()
    return tuple(_with_articles(rows[i].format(**slots)) for i in order)


def format_caption(name: str, slots: Mapping[str, str], caption: str) -> str:
    """Format the caption of a clip under an overlay.

    Args:
      name: Name of the overlay.
      slots: Words for the placeholders.
      caption: Caption of the clip, "" if unknown.
    """
    description = {
        "text": '{colour} text "{words}"',
        "subtitles": 'the subtitle "{words}"',
        "logo": "a {colour} {shape} logo",
        "watermark": 'a watermark "{words}"',
    }[name]
    return add_thing(caption, _with_articles(description.format(**slots)))


def _with_articles(sentence: str) -> str:
    """Return a sentence with "an" before vowels; what is quoted is left as it is."""
    parts = sentence.split('"')
    parts[::2] = [re.sub(r"\ba (?=[aeiou])", "an ", part) for part in parts[::2]]
    return '"'.join(parts)


def _choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]
