"""Instructions and captions for rooms.

Edit (name, slots) → **instructions**; Room → caption. A finite grammar like grammar.py's, with words of its own:
`vocabulary()` holds the words beyond `grammar.vocabulary()`.
"""

from __future__ import annotations

import re

import numpy as np

from data_synth.language import grammar, templates
from data_synth.physics import choose, draw, figure
from data_synth.physics import surfaces as sf
from data_synth.physics.world import SHAPES, Room
from data_synth.scenes.scene import indefinite_article

_POSITION_PHRASES = {
    "left": ("on the left", "on the left side", "to the left"),
    "right": ("on the right", "on the right side", "to the right"),
    "center": ("in the center", "in the middle"),
    "foreground": ("in the foreground", "at the front"),
}
_RELIGHT_TEMPLATES = {
    "night": ("make it night", "turn the scene into night", "relight the scene as at night",
              "change the lighting to moonlight"),
    "sunset": ("make it sunset", "relight the scene as at sunset", "change the lighting to a warm sunset",
               "light the scene with a low evening sun"),
    "red light": ("light the scene with a red lamp", "change the lighting to red light", "relight the scene in red"),
    "blue light": ("light the scene with a blue lamp", "change the lighting to blue light", "relight the scene in blue"),
    "light from the left": ("light the scene from the left", "move the light to the left", "let the light come from the left"),
    "light from the right": ("light the scene from the right", "move the light to the right",
                             "let the light come from the right"),
}  # fmt: skip
_CAMERA_TEMPLATES = {
    "left": (
        "move the camera to the left",
        "orbit the camera to the left",
        "swing the camera left around the scene",
    ),
    "right": (
        "move the camera to the right",
        "orbit the camera to the right",
        "swing the camera right around the scene",
    ),
    "closer": ("move the camera closer", "push the camera in", "dolly in towards the middle"),
    "away": ("move the camera away", "pull the camera back", "dolly out of the scene"),
    "up": ("raise the camera", "move the camera up", "crane the camera up"),
    "down": ("lower the camera", "move the camera down", "crane the camera down"),
}
TEMPLATES = {
    "recolour": templates.LOCAL_TEMPLATES["recolour"],
    "retexture": (
        "make the {object} {material}",
        "turn the {object} into a {material} {shape}",
        "change the material of the {object} to {material}",
        "give the {object} a {material} surface",
        "replace the surface of the {object} with a {material} one",
    ),
    "remove": templates.LOCAL_TEMPLATES["remove"],
    "insert": (
        "add a {size} {new} {where}",
        "insert a {size} {new} {where}",
        "put a {size} {new} on the floor {where}",
        "place a {size} {new} {where}",
    ),
    "replace": templates.LOCAL_TEMPLATES["replace"],
    "background": (
        "change the background to {background}",
        "replace the background with {background}",
        "put {background} behind everything",
        "set the background to {background}",
    ),
    "floor": (
        "make the floor {floor}",
        "change the floor to a {floor} floor",
        "replace the floor with a {floor} one",
        "put a {floor} floor under everything",
    ),
    "action": (
        "make the person {action}",
        "let the person {action}",
        "change the action to {doing}",
        "the person should be {doing}, not {old}",
        "instead of {old}, make the person {action}",
    ),
    "collapse": (
        "take the {object} away and let what stands on it fall",
        "remove the {object} from under the {above} and let it fall",
        "pull the {object} out, so that the stack falls",
        "show what happens without the {object} under the {above}",
    ),
    "spare": (
        "remove the {object} and show what would have happened",
        "take away the {object}, so that nothing is hit",
        "show the scene as if the {object} had never been there",
        "delete the {object} with everything it causes",
    ),
    "float": (
        "turn off gravity",
        "make everything float",
        "let everything drift as if there was no gravity",
        "show the scene without gravity",
    ),
}


def sample_instructions(edit: choose.Edit, rng: np.random.Generator) -> tuple[str, ...]:
    """Sample up to five different instructions for the edit."""
    slots = dict(edit.slots)
    if edit.name == "relight":
        templates = _RELIGHT_TEMPLATES[slots["light"]]
    elif edit.name == "camera":
        templates = _CAMERA_TEMPLATES[slots["way"]]
    else:
        templates = TEMPLATES[edit.name]
    order = rng.permutation(len(templates))[:5]
    if edit.name == "insert":
        phrases = _POSITION_PHRASES[slots["place"]]
        slots["where"] = phrases[int(rng.integers(len(phrases)))]
    return tuple(re.sub(r"\ba (?=[aeiou])", "an ", templates[i].format(**slots)) for i in order)


def format_caption(room: Room) -> str:
    """Format a caption such as "a red ball and a wooden box on a tiled floor, blue walls behind"."""
    body_names = [
        f"{sf.MATERIALS[body.material][0]} {body.shape}" if body.material else body.name
        for body in room.bodies
    ]
    names = [f"{indefinite_article(n)} {n}" for n in body_names]
    if room.figure:
        names.insert(0, f"a person {figure.ACTIONS[room.figure.action][1]}")
    subject = (
        names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else "nothing"
    )
    floor = sf.MATERIALS[room.floor.material][1]
    ground = f"{indefinite_article(floor)} {floor}" + (" field" if floor == "grass" else " floor")
    if room.walls is None:
        return f"{subject} on {ground} under the open sky"
    walls = room.walls.color if room.walls.material == "plain" else sf.MATERIALS[room.walls.material][1]
    return f"{subject} on {ground}, {walls} walls behind"


def format_target_caption(edit: choose.Edit) -> str:
    """Format the caption of the edited clip: that of the edited room, and its light, camera move or motion."""
    caption = format_caption(edit.target_room)
    if edit.name == "relight":
        light = edit.slots["light"]
        preposition = "at " if light in ("night", "sunset") else "in " if light.endswith("light") else ""
        return f"{caption}, {preposition}{light}"
    if edit.name == "camera":
        return f"{caption}, the camera moving {edit.slots['way']}"
    endings = {"collapse": ", falling", "float": ", floating without gravity"}
    return caption + endings.get(edit.name, "")


def vocabulary() -> list[str]:
    """Return the words of all these instructions and captions that `grammar.vocabulary()` lacks, sorted."""
    tables = [
        *TEMPLATES.values(),
        *_RELIGHT_TEMPLATES.values(),
        *_CAMERA_TEMPLATES.values(),
        *_POSITION_PHRASES.values(),
        *figure.ACTIONS.values(),
    ]
    texts = [text for row in tables for text in row] + [
        *SHAPES,
        *draw.SIZES,
        *choose.LIGHTS,
        *choose.SKIES,
        *choose.CAMERA_MOVES,
    ]
    texts += [word for row in sf.MATERIALS.values() for word in row[:2]]
    texts += [
        "a person nothing on floor field under the open sky walls behind in at moving falling floating without gravity"
    ]
    grammar_words = set(grammar.vocabulary())
    return sorted(
        {w for text in texts for w in grammar.split_words(re.sub(r"\{\w+\}", " ", text))} - grammar_words
    )
