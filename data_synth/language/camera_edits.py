"""Instructions for edits of the camera. edit, slots → **instructions**; {at} is a side, {direction} the way of a pan."""

from __future__ import annotations

from data_synth.language.sentence_templates import EditSentences

TEMPLATES: dict[str, tuple[str, ...]] = {
    "zoom-in": (
        "zoom in{at}",
        "slowly zoom in{at}",
        "push the camera in{at}",
        "let the camera move closer{at}",
        "make the framing tighter bit by bit{at}",
        "add a smooth zoom towards what is going on{at}, so that it fills more and more of the frame by the end of the clip",
        "imitate an operator who turns the zoom ring gently{at} while the action continues undisturbed at its own pace",
        "end on a closer view{at}: the crop tightens steadily, without a jump, and stays sharp",
    ),
    "zoom-out": (
        "zoom out",
        "slowly zoom out",
        "pull the camera back",
        "reveal more of the surroundings",
        "let the camera move away",
        "widen the shot gradually until the surroundings that were outside the frame can be seen as well",
        "begin with the present framing and pull back smoothly, inventing nothing but showing what lies around",
        "loosen the framing bit by bit so that, at the end, the viewer understands where all of this takes place",
    ),
    "pan": (
        "pan {direction}",
        "pan the camera {direction}",
        "let the camera swing {direction}",
        "move the view slowly {direction}",
        "turn the camera {direction} in the course of the clip",
        "add a calm camera move {direction} that reveals what was hidden beyond that edge of the picture",
        "sweep the camera {direction} at an even pace, as on a tripod, while the people and things in the scene go on as before",
        "shift the framing {direction} little by little until another part of the surroundings is in view",
    ),
    "shake": (
        "add camera shake",
        "make it look handheld",
        "let the camera tremble",
        "shake the camera",
        "give the shot a nervous handheld feeling",
        "make it look as if the operator were running with the camera, shaky and never quite level",
        "film it like a war reporter: an unsteady handheld camera that jitters a little in every frame",
        "add the small involuntary movements of a hand to the camera, both shifts and slight rotations",
    ),
    "stabilise": (
        "stabilize the video",
        "remove the camera shake",
        "steady the shaky camera",
        "make the camera still as on a tripod",
        "smooth out the handheld wobble",
        "take the trembling out of the camera so that the background stands perfectly still",
        "make this shaky handheld recording look as if the camera had been standing on a heavy tripod all along",
        "compensate every jolt and rotation of the camera, and let only the people and things in the scene move",
    ),
    "tilt": (
        "tilt the camera to the {side}",
        "lean the camera to the {side}",
        "give the shot a dutch angle",
        "rotate the view so that the horizon is slanted",
        "film it from a crooked angle",
        "tip the camera over to the {side} by some degrees, so that the whole scene looks unbalanced and tense",
        "shoot it with a dutch angle as thrillers do: every vertical line leans and the ground becomes a slope",
    ),
    "level-horizon": (
        "level the horizon",
        "straighten the video",
        "straighten the crooked camera",
        "rotate the picture upright",
        "correct the slanted horizon",
        "turn the frame back until vertical lines are vertical again and the ground is level",
        "the camera was held at an angle; rotate the picture so that the horizon is perfectly horizontal throughout the clip",
    ),
}  # fmt: skip
CAPTIONS = {
    "zoom-in": "with the camera zooming in",
    "zoom-out": "with the camera zooming out",
    "pan": "with the camera panning {direction}",
    "shake": "with a shaky camera",
    "stabilise": "with a steady camera",
    "tilt": "with a tilted camera",
    "level-horizon": "with a level camera",
}
SENTENCES = EditSentences(
    TEMPLATES, {"shake": "stabilise", "stabilise": "shake", "tilt": "level-horizon", "level-horizon": "tilt"}
)


def describe_direction(x: float, y: float) -> str:
    """Return the side of the frame at (x, y), each -0.5 to 0.5; "" for its middle."""
    if max(abs(x), abs(y)) < 0.2:
        return ""
    if abs(x) >= abs(y):
        return "left" if x < 0 else "right"
    return "upper part" if y < 0 else "lower part"
