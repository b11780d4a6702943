"""Instructions for edits of time. edit, slots → **instructions**; {factor} is a speed in words, {when} the moment from which it holds."""

from __future__ import annotations

from data_synth.language.sentence_templates import EditSentences

TEMPLATES: dict[str, tuple[str, ...]] = {
    "slow-motion": (
        "slow the video down{when}",
        "play the video in slow motion{when}",
        "make it slow motion{when}",
        "play everything at {factor} speed{when}",
        "reduce the playback speed to {factor} speed{when}",
        "show the action in slow motion{when}, as a high-speed camera would have recorded it, with fluid movement and no stutter",
        "stretch time{when} so that all motion takes {times} as long, and invent the moments in between instead of repeating frames",
        "every gesture should take {times} as long as it does now{when}; keep the camera and the picture the same otherwise",
    ),
    "speed-up": (
        "speed the video up{when}",
        "play the video faster{when}",
        "fast-forward the video{when}",
        "make everything happen {times} as fast{when}",
        "show it like a time-lapse{when}",
        "accelerate all movement to {times} its present speed{when}, as if somebody had pressed fast-forward",
        "let the action race along {times} as fast{when} without dropping sharpness or changing the framing of the shot",
        "compress time{when}: whatever moves should hurry through the picture at {times} the original pace",
    ),
    "reverse": (
        "play the video backwards",
        "reverse the video",
        "run the clip in reverse",
        "rewind the video",
        "let time run backwards",
        "start with the last frame and end with the first, so that every movement happens in the opposite direction",
        "turn the arrow of time around: what was put down is picked up again and whoever walked forwards now walks backwards",
        "show the scene as a tape that is being rewound at normal speed, from its end back to its beginning",
    ),
    "freeze": (
        "freeze the picture{when}",
        "freeze the frame{when}",
        "let everything stand still{when}",
        "stop all motion{when}",
        "hold a still frame{when}",
        "let the clip run normally at first, then freeze it completely{when} like a photograph until it ends",
        "bring the action to a dead stop{when}: nobody and nothing moves any more, not even the camera",
        "pause the playback{when} and keep showing that one moment for the rest of the clip",
    ),
    "there-and-back": (
        "play the video forwards and then backwards{when}",
        "make it a boomerang that turns around{when}",
        "reverse the motion{when}",
        "turn back time{when}",
        "let the action run as it does and then rewind it{when}",
        "make a boomerang clip: the motion goes forwards as recorded and retraces its own path in reverse{when}",
        "let the scene unfold as usual, then undo everything by running the same frames backwards{when}",
    ),
}  # fmt: skip
CAPTIONS = {
    "slow-motion": "in slow motion",
    "speed-up": "speeded up",
    "reverse": "played backwards",
    "freeze": "frozen",
    "there-and-back": "played forwards and then backwards",
}
_FRACTIONS = {2: "half", 3: "a third of the"}
_TIMES = {2: "twice", 3: "three times"}
# What undoes an edit does so where it holds for the whole clip.
SENTENCES = EditSentences(
    TEMPLATES, {"slow-motion": "speed-up", "speed-up": "slow-motion", "reverse": "reverse"}
)


def describe_timing(name: str, factor: int, start: float) -> dict[str, str]:
    """Return the slots of an edit.

    Args:
      name: Edit, of `TEMPLATES`.
      factor: Of the speed.
      start: Share of the clip before the edit, 0 to 1.
    """
    slots = {"when": describe_moment(start)}
    if name in ("slow-motion", "speed-up"):
        slots |= {"factor": _FRACTIONS[factor], "times": _TIMES[factor]}
    return slots


def describe_moment(start: float) -> str:
    """Return the words for a moment after which something holds, "" for all of a clip.

    Args:
      start: Share of the clip before it, 0 to 1.
    """
    if start <= 0:
        return ""
    for limit, words in (
        (0.17, " shortly after the start"),
        (0.3, " after the first quarter"),
        (0.4, " after the first third"),
        (0.6, " from the middle of the clip on"),
        (0.72, " in the last third"),
    ):
        if start < limit:
            return words
    return " near the end"
